"""BFCL's rule for a dialogue, written anew: is the world, after every turn, as the reference leaves it?

A turn for which the reference makes calls succeeds where (a) the public attributes of all instances equal
those of the reference's world, (b) each response that the reference got in this turn is among the responses
that the answer got in all turns so far, as often and in any order, and (c) the answer makes a call at all.
Further calls are free unless they change the state (`multi_turn_checker.py` of bfcl-eval 2026.3.23).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from trajnb.formatting.calls import render
from trajnb.formatting.dialogue import Dialogue
from trajnb.world.sandbox import Sandbox


@dataclass(frozen=True)
class Played:
    """One turn, played: what its calls were answered, in their order, and the state that they left."""

    responses: tuple[str, ...]
    state: Mapping[str, dict]  # see `world.snapshot`


@dataclass(frozen=True)
class Verdict:
    """Whether each turn for which the reference makes calls succeeds; the others ask for nothing."""

    turns: tuple[bool, ...]

    @property
    def success(self) -> bool:
        """Of the dialogue, as BFCL counts it."""
        return all(self.turns)

    @property
    def progress(self) -> float:
        """The share of the turns that lie before the first failure."""
        return len(list(takewhile(bool, self.turns))) / len(self.turns)


def judge(reference: Sequence[Played], answer: Sequence[Played]) -> Verdict:
    """The verdict on an answer, given both sides turn by turn.

    BFCL's checker stops at the first turn that fails. Here the later ones are judged too, on the world as it
    then is, so that a dialogue may recover; its success is the same.

    Raises:
        ValueError: the answer has other turns than the reference; one without calls is a turn too.
    """
    if len(reference) != len(answer):
        raise ValueError(f"an answer of {len(answer)} turns cannot answer a dialogue of {len(reference)}")
    so_far: Counter[str] = Counter()
    turns = []
    for wanted, given in zip(reference, answer, strict=True):
        so_far.update(given.responses)
        if wanted.responses:
            turns.append(
                bool(given.responses) and given.state == wanted.state and Counter(wanted.responses) <= so_far
            )
    return Verdict(tuple(turns))


def play(
    sandbox: Sandbox,
    scenario: tuple[Sequence[str], Mapping[str, dict]],
    turns: Sequence[Sequence[str]],
) -> tuple[Played, ...]:
    """Carry out the calls of every turn in a fresh world.

    Args:
        sandbox: where they run.
        scenario: the world's classes and their initial configuration.
        turns: the calls of each turn, as text.
    """
    world = sandbox.open(*scenario)
    played = []
    for calls in turns:
        responses = tuple(sandbox.execute(world, call).text for call in calls)
        played.append(Played(responses, sandbox.state(world)))
    sandbox.close(world)
    return tuple(played)


def reference_calls(dialogue: Dialogue) -> tuple[tuple[str, ...], ...]:
    """The calls that answer each user turn of a dialogue, as text."""
    turns: list[list[str]] = []
    for turn in dialogue.turns:
        if turn.role == "user":
            turns.append([])
        elif turn.call:
            turns[-1].append(render(turn.call))
    return tuple(map(tuple, turns))
