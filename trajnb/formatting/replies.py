"""What a model says where a call is asked for, as data: what it means, and the choice that it was.

Trees are grown in `world.trees`; here is what pairs are made of, which need no world.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from trajnb.formatting.calls import LIMIT, NO_CALL, canonical, is_no_call, made_turn, render
from trajnb.formatting.conditions import History
from trajnb.formatting.documents import Api

KINDS = ("executed", "failed", "refused", "stop")
"""What came of a reply: a call that was carried out and told of no error; one that told of an
error; one that was not carried out (unreadable, unknown, out of bounds); `[]`, no further call.
"""
EXECUTED, FAILED, REFUSED, STOP = KINDS
ROOT = -1
"""In place of a parent in a tree of replies: the state that the reference left."""
NOT_DRAWN = -1
"""In place of the number of a draw: the reference's own call, which no model was asked for."""


@dataclass(frozen=True)
class Reply:
    """What was said at a state."""

    text: str
    """As generated."""
    kind: str
    """One of `KINDS`."""
    draw: int
    """Which reply at this state it was, from 0; `NOT_DRAWN`."""
    harmless: bool = False
    """The turn can still succeed after it."""
    cut: bool = False
    """It was ended by the limit of its length, and not by the model."""


@dataclass(frozen=True)
class Fork:
    """A state of a success path: the reply on the path, and those that were made beside it."""

    task: str
    dialogue_id: str
    block: str
    step: int
    """How many replies of its turn stand before it."""
    history: History
    chosen: Reply
    others: tuple[Reply, ...]


def form(text: str) -> str:
    """A reply as it is written for people and in prompts: `[]`, the call as `render` writes it, or
    the text on one line, of bounded length, where no call can be read.
    """
    if is_no_call(text):
        return NO_CALL
    turn = made_turn(text, "")
    return render(turn.call) if turn.call else turn.request


def meaning(text: str, apis: Mapping[str, Api]) -> Hashable:
    """What two replies must share to be the same: `[]`, the call in `calls.canonical` form, or the
    text without its white space, where no call can be read.

    `apis`: what documents say, see `documents.apis_of`; it binds arguments that are given by
    position.
    """
    if is_no_call(text):
        return NO_CALL
    call = made_turn(text, "").call
    if call is None:
        return " ".join(text[:LIMIT].split())
    known = apis.get(call.name)
    return canonical(call, known.names if known else None)
