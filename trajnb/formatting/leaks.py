"""What a placebo gives away: another dialogue's calls may name the API that is wanted, or hold a
value that it needs. How often they do says how far a placebo is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trajnb.formatting.calls import render
from trajnb.formatting.dialogue import Dialogue
from trajnb.formatting.examples import Step, donors, steps


@dataclass(frozen=True)
class Leaks:
    """Of the calls of some dialogues, how many a placebo helps."""

    later: int
    """Calls before which a donor's calls are shown."""
    named: int
    """Of these: a shown request of the donor calls the API that is wanted."""
    needing: int
    """Calls that take something from their own responses, see `History.needed`."""
    told: int
    """Of these: all that is needed stands in the donor's shown requests and responses."""


def leaks(dialogues: Sequence[Dialogue], condition: str) -> Leaks:
    """What the placebo `condition` gives away in the dialogues of one side of a split; dialogues
    without a donor are left out.
    """
    donor_of = donors(dialogues, condition)
    found = [
        step
        for dialogue in dialogues
        if dialogue.id in donor_of
        for step in steps(dialogue, donor_of[dialogue.id])
        if step.call is not None and step.history.donated
    ]
    needing = [step for step in found if step.history.needed]
    return Leaks(len(found), sum(map(_names, found)), len(needing), sum(map(_tells, needing)))


def _names(step: Step) -> bool:
    return any(turn.call.name == step.call.name for turn in step.history.donated)


def _tells(step: Step) -> bool:
    history = step.history
    answered = len(history.donated) - history.awaited
    shown = [render(turn.call) for turn in history.donated]
    shown += [turn.text for turn in history.donated[:answered]]
    return all(any(value in text for text in shown) for value in history.needed)
