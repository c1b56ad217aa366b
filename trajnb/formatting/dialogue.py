"""The data that everything else passes around: a dialogue, its turns, and the calls in them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Call:
    """One API call. Equality is by value; `formatting.calls` alone reads and writes the text form."""

    name: str
    arguments: dict[str, object] = field(default_factory=dict)
    positional: tuple[object, ...] = ()


@dataclass(frozen=True)
class Turn:
    """What a user or the assistant says, or a call together with its response text."""

    role: str  # "user" | "ai" | "api", and "end" of a target: no further call
    text: str  # for an api turn: the response
    call: Call | None = None  # api turns only; None there where the call cannot be read and `text` is all
    request: str = ""  # where the call cannot be read: what was written, and `text` is what it got


@dataclass(frozen=True)
class Dialogue:
    """One conversation and what its prompts need to know about the APIs it may use."""

    id: str
    block: str
    documents: tuple[str, ...]  # one JSON document, on one line, per API
    turns: tuple[Turn, ...]
    targets: tuple[int, ...] | None = None  # turns to learn and to predict; None: every call

    @property
    def places(self) -> tuple[int, ...]:
        """The places of its targets among its turns."""
        if self.targets is not None:
            return self.targets
        return tuple(place for place, turn in enumerate(self.turns) if turn.call)
