"""Repairers: where the repair of a candidate begins, and what is asked there.

Each is a function of what it is told. Only the oracle is told the reference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trajnb.formatting.calls import REQUEST_PREFIX
from trajnb.formatting.conditions import History, cue_line, lines
from trajnb.formatting.dialogue import Turn
from trajnb.formatting.replies import FAILED, REFUSED
from trajnb.world.candidates import Move, Trajectory, history_after
from trajnb.world.sandbox import Sandbox
from trajnb.world.turns import TurnTask, replay, succeeds

FAILURES = {
    "no call": "no call was made",
    "refused": "a call was not carried out: it could not be read, or there is no such function",
    "failed": "a call was answered with an error",
    "unfinished": "the calls went on without an end",
    "not done": "no call was answered with an error, but what was asked for was not done",
    "poor": "what was asked for was done, but not well: with calls that are wrong, or too many",
}
"""What is wrong with a candidate, see `failure`, and its words in a prompt."""

INSTRUCTION = (
    "You repair what an assistant did for a user by calling APIs. You read the dialogue, the "
    "attempt at its last request with what every call was answered, and what is wrong with it. The "
    "attempt was undone: start again from the state before it, and do not repeat its mistakes. "
    "Each time, write one line and nothing else: the next call as "
    f"{REQUEST_PREFIX} [Name(key='value')], with argument values as Python literals, or "
    f"{REQUEST_PREFIX} [] when nothing more is to be called. Take values from what the user said "
    "and from responses. API documents:"
)


@dataclass(frozen=True)
class Case:
    """What a repairer is told."""

    task: TurnTask
    """Its `reference` is empty, but for a repairer in `READS_GOLD`."""
    candidate: Trajectory
    failure: str
    """A word of `FAILURES`."""
    sandbox: Sandbox
    most: int
    """Replies that a repair may have."""


@dataclass(frozen=True)
class Start:
    """Where a repair begins."""

    calls: tuple[str, ...]
    """Made at once."""
    asks: Callable[[tuple[Move, ...]], tuple[History, tuple[dict[str, str], ...]]] | None
    """What is put to a model after the moves of the repair: a history, and the prompt where it is
    not made of that. None: nothing is asked, and the repair ends.
    """


def failure(candidate: Trajectory) -> str:
    """What is wrong with a candidate that is not kept, from what can be seen and its verdict."""
    if candidate.won:
        return "poor"
    if not candidate.calls:
        return "no call"
    kinds = {move.kind for move in candidate.moves}
    for kind, word in ((REFUSED, "refused"), (FAILED, "failed")):
        if kind in kinds:
            return word
    return "not done" if candidate.ended else "unfinished"


def resample(case: Case) -> Start:
    """Keep what stands before the first refused or failed call (where there is none, before the
    last one) and let the model go on from there.
    """
    calls = case.candidate.calls
    bad = [place for place, move in enumerate(calls) if move.kind in (REFUSED, FAILED)]
    place = bad[0] if bad else max(len(calls) - 1, 0)
    kept = tuple(move.text for move in calls[:place])
    return Start(kept, lambda moves: (history_after(case.task, moves), ()))


def ask_again(case: Case) -> Start:
    """Let the model see what it did and what that got, and ask for the turn's first call again."""
    seen = history_after(case.task, case.candidate.calls)

    def asks(moves: tuple[Move, ...]) -> tuple[History, tuple[dict[str, str], ...]]:
        own = history_after(case.task, moves)
        made = own.turns[len(case.task.turns) :]
        return replace(seen, turns=(*seen.turns, *made), ordinal=own.ordinal), ()

    return Start((), asks)


def prompted(case: Case) -> Start:
    """Put dialogue, attempt and diagnosis to a model that need not know our prompts."""
    return Start((), lambda moves: (history_after(case.task, moves), repair_prompt(case, moves)))


def oracle(case: Case) -> Start:
    """Strike refused and failed calls; of what is left, keep the longest part from its start from
    which some last part of the reference's calls succeeds, and add the shortest such. Reads gold.
    """
    task, sandbox = case.task, case.sandbox
    goal = replay(sandbox, task, task.reference)
    good = [move.text for move in case.candidate.calls if move.kind not in (REFUSED, FAILED)]
    most = max(case.most - 1, len(task.reference))  # calls, for `[]` comes behind them
    for kept in range(min(len(good), most), -1, -1):
        for added in range(min(len(task.reference), most - kept) + 1):
            calls = (*good[:kept], *task.reference[len(task.reference) - added :])
            if calls and succeeds(goal, replay(sandbox, task, calls)):
                return Start(calls, None)
    raise ValueError(f"task {task.id}: its own reference does not succeed; is its world another?")


REPAIRERS: dict[str, Callable[[Case], Start]] = {
    "oracle": oracle,
    "resample": resample,
    "self": ask_again,
    "model": prompted,
    "endpoint": prompted,
}
"""By name; `model` and `endpoint` differ in who is asked."""
READS_GOLD = ("oracle",)


def repair_prompt(case: Case, moves: Sequence[Move]) -> tuple[dict[str, str], ...]:
    """The messages that ask for the next call of a repair."""
    task = case.task
    own = history_after(task, moves)
    said = _texts(own, task.turns)
    attempt = _texts(history_after(task, case.candidate.calls), (), len(task.turns))
    made = _texts(own, (), len(task.turns))
    parts = [
        "Dialogue:",
        *said,
        "Attempt, undone:",
        *(attempt or ["(none)"]),
        f"Wrong with it: {FAILURES[case.failure]}.",
        "Made anew so far:",
        *(made or ["(nothing)"]),
        cue_line(own),
    ]
    return (
        {"role": "system", "content": "\n".join([INSTRUCTION, *task.documents])},
        {"role": "user", "content": "\n".join(parts)},
    )


def _texts(history: History, turns: Sequence[Turn], start: int = 0) -> list[str]:
    """The lines of `turns`, or of those of the history from `start` on."""
    chosen = tuple(turns) or history.turns[start:]
    return [line.text for line in lines(replace(history, turns=chosen))] if chosen else []
