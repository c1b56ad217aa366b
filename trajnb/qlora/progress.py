"""Lines about a long wait: what is done, how much is left, and how long that takes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

EVERY = 5.0
"""Seconds from one line to the next, at least."""

Tell = Callable[[str], None]
"""Takes a line, to print it or to drop it."""


def silent(text: str) -> None:
    """Tells nobody."""


def duration(seconds: float) -> str:
    """`50 s`, `4 min 10 s`, `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@dataclass
class Pace:
    """Holds lines back that come less than `EVERY` seconds after the last one."""

    tell: Tell
    clock: Callable[[], float] = time.monotonic
    said: float = field(init=False)
    """When the last line came; at first, when the wait began: a short one is silent."""

    def __post_init__(self):
        self.said = self.clock()

    def __call__(self, text: str, *, always: bool = False) -> None:
        """Tell a line; one that is to be told `always` is not held back."""
        if always or self.clock() - self.said >= EVERY:
            self.said = self.clock()
            self.tell(text)


@dataclass
class Answering:
    """How far the answers to many prompts are: first tokens of prompts are read, then answers are
    written, a token of each at a step; then the next wave of prompts is read, and so on.
    """

    tell: Tell
    tokens: int
    """To be read, in all waves."""
    answers: int
    """To be written, in all waves."""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self):
        self.pace = Pace(self.tell, self.clock)
        self.tokens_read, self.answers_written, self.steps = 0, 0, 0
        self.reading, self.writing = 0.0, 0.0  # seconds so far
        self.last = self.clock()

    def read(self, tokens: float) -> None:
        """So many more tokens of prompts were read since the last call; a part of a forward pass
        over n tokens counts as that part of n.
        """
        self.reading += self._lap()
        self.tokens_read += tokens
        if not self.tokens_read:
            return  # nobody knows yet how long it takes
        of = f"{self.tokens_read:,.0f} of {self.tokens:,} tokens of prompts"
        if self.answers_written:
            left = duration(self._unread() + self._unasked(going=0, rest=0.0))
            self.pace(f"read {of} · {left} left")
        else:  # how long an answer takes is not known yet
            self.pace(f"read {of} · {duration(self._unread())} of reading left")

    def watch(self, tokens: int) -> Callable[[float], None]:
        """A function for one forward pass over so many tokens, to be called with the share of it
        that is done, as `attention.Watched` does, and with 1 at its end.
        """
        before = self.tokens_read

        def tell(share: float) -> None:
            self.read(before + tokens * share - self.tokens_read)

        return tell

    def finished(self, answers: int) -> None:
        """So many more answers are written to their end; no line, for a step follows."""
        self.answers_written += answers

    def wrote(self, going: int, steps_left: int) -> None:
        """One more token was written of every answer that was begun. Those that are not finished
        are `going` on, for up to `steps_left` tokens.
        """
        self.writing += self._lap()
        self.steps += 1
        rest = steps_left * self.writing / self.steps if going else 0.0
        left = self._unread() + rest + self._unasked(going, rest)
        of = f"{self.answers_written:,} of {self.answers:,} answers"
        self.pace(f"written {of} · up to {duration(left)} left")

    def _lap(self) -> float:
        before, self.last = self.last, self.clock()
        return self.last - before

    def _unread(self) -> float:
        """Seconds for what is still to be read, at the speed so far."""
        return max(self.tokens - self.tokens_read, 0) * self.reading / self.tokens_read

    def _unasked(self, going: int, rest: float) -> float:
        """Seconds for the answers that were not begun, if they take as long as the others: those
        took `writing` seconds so far, and `rest` more where some are `going` on.
        """
        begun = self.answers_written + going
        return (self.answers - begun) * (self.writing + rest) / begun if begun else 0.0
