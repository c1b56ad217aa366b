"""Trees of replies to a turn task: what is asked of a model, what a tree holds, and its line in a
file.

They are grown in `world.grow`; pairs for preferences are made of them in `formatting.pairs`.
Nothing here knows of models: one is asked through a function.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256

from trajnb.formatting.conditions import History
from trajnb.formatting.replies import KINDS, REFUSED, ROOT, Fork, Reply
from trajnb.known import check_known
from trajnb.world.lines import read_line
from trajnb.world.rollout import ENDS
from trajnb.world.turns import TurnTask, history_of

SOURCES = ("expert", "self")
"""Whose calls are the success path: the reference's, or the model's own, found by search."""
DIVERSITY = ("sample", "prompt")
"""How replies to one state are made to differ: drawn at a temperature, or, besides, asked for with
the earlier attempts listed, as ToolBench does.
"""
EXPLORE = ("stop", "path")
"""What follows the first success: nothing, or the states on its path get the replies that they
lack.
"""


@dataclass(frozen=True)
class Draw:
    """One reply that is wanted, by its name."""

    task: str
    path: tuple[str, ...]
    """The forms of the replies that lead to its state."""
    index: int
    """Which reply at this state, from 0, which is greedy."""
    purpose: str = ""
    """What it is drawn for, where not for a tree or a candidate, so that its random numbers are its
    own.
    """

    @property
    def greedy(self) -> bool:
        """Whether it is decoded greedily, and needs no random numbers."""
        return self.index == 0

    def seed(self, seed: int) -> int:
        """The 64-bit seed of all random numbers of this reply under the seed of a run."""
        purpose = [self.purpose] if self.purpose else []
        name = json.dumps([seed, self.task, self.path, self.index, *purpose])
        return int.from_bytes(sha256(name.encode()).digest()[:8], "big")


@dataclass(frozen=True)
class Wanted:
    """Replies that are wanted at one state."""

    task: str
    history: History
    draws: tuple[Draw, ...]
    earlier: tuple[str, ...] = ()
    """Attempts to be listed before the cue, as forms; under diversity "prompt" only."""
    messages: tuple[Mapping[str, str], ...] = ()
    """The prompt itself, where it is not made of the history: a repairer's own words."""


@dataclass(frozen=True)
class Said:
    """A reply."""

    text: str
    cut: bool = False
    """It was ended by the limit of its length, and not by the model."""


Ask = Callable[[Sequence[Wanted]], list[list[Said]]]
"""What a model says: for each state, in order, one reply for each draw, in order."""


@dataclass(frozen=True)
class Search:
    """How a tree is grown."""

    width: int = 3
    """Replies at a state."""
    most_depth: int = 8
    extra_depth: int = 2
    """A path has at most so many replies more than the reference has calls, and at most
    `most_depth`; `[]` is a reply. Where the reference ends turns, a path has as many replies as it.
    """
    budget: int = 20
    """Replies of a tree that is searched; an expert's tree has `width` at each of its states."""
    temperature: float = 1.0
    """Of all replies at a state but the first, which is greedy."""
    back_up: int = 1
    """How many levels the search goes back from a `[]` that fails: 1, or 2 as in ToolBench, which
    then passes over the other replies to the same state.
    """
    diversity: str = "sample"
    """One of `DIVERSITY`."""
    ends: str = "model"
    """Who ends a turn, one of `rollout.ENDS`: the model by `[]`, or the reference by its number of
    calls.
    """
    explore: str = "stop"
    """One of `EXPLORE`."""

    def __post_init__(self):
        for name in ("width", "most_depth", "extra_depth", "budget", "back_up"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: a search needs at least 1")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(
                f"temperature is {self.temperature}: give one above 0; the first reply at a state "
                "is greedy whatever it is"
            )
        check_known("diversity", self.diversity, DIVERSITY)
        check_known("ends", self.ends, ENDS)
        check_known("explore", self.explore, EXPLORE)

    def depth(self, calls: int) -> int:
        """The most replies of a path where the reference makes so many calls."""
        return calls if self.ends == "oracle" else min(calls + self.extra_depth, self.most_depth)


@dataclass(frozen=True)
class Node:
    """A reply and what came of it."""

    parent: int
    """The place among the tree's nodes of the reply before it; `replies.ROOT`."""
    draw: int
    """Which reply at its state it is, from 0; `replies.NOT_DRAWN` where it is the reference's."""
    form: str
    """The reply for people, see `replies.form`."""
    text: str
    """As generated, at most `calls.LIMIT` characters."""
    response: str
    """What it got; empty for `[]`."""
    kind: str
    """One of `replies.KINDS`."""
    cut: bool = False
    """It was ended by the limit of its length, and not by the model."""
    won: bool | None = None
    """The verdict of BFCL's rule, where the turn ends with it."""
    on_path: bool = False
    """It is part of the success path."""
    harmless: bool | None = None
    """Of a reply beside the success path: whether the turn can still succeed after it, see
    `world.sapling`. None where that was not asked: on the path, and away from it.
    """


@dataclass(frozen=True)
class Tree:
    """All distinct replies to one task."""

    task: str
    block: str
    source: str
    """One of `SOURCES`."""
    nodes: tuple[Node, ...]
    """In the order in which they were made; a parent comes before its children."""
    replies: int
    """How often the model was asked."""
    duplicates: int
    """How many of these replies mean the same as another one at their state."""
    won: bool
    """Whether a path succeeds: of an inference, the one that it ended with."""

    @property
    def refused(self) -> int:
        """How many distinct replies were not carried out."""
        return sum(node.kind == REFUSED for node in self.nodes)


def to_line(tree: Tree) -> str:
    """A tree as one line of JSON, without its end; ASCII, for replies may hold line ends."""
    return json.dumps(asdict(tree))


def _tree_of(content: dict) -> Tree:
    nodes = tuple(Node(**node) for node in content.pop("nodes"))
    return Tree(nodes=nodes, **content)


def from_line(line: str) -> Tree:
    """The tree of a line.

    Raises:
        ValueError: the line holds no tree.
    """
    tree = read_line(line, _tree_of, "tree", "grow")
    for place, node in enumerate(tree.nodes):
        check_known("kind", node.kind, KINDS)
        if not ROOT <= node.parent < place:
            raise ValueError(f"tree {tree.task}: node {place} cannot come after node {node.parent}")
    return tree


def forks(task: TurnTask, tree: Tree) -> list[Fork]:
    """The states of a tree's success path, from the first; none where it has no such path."""
    found = []
    calls: list[Node] = []
    for node in tree.nodes:
        if not node.on_path:
            continue
        beside = [one for one in _children(tree, node.parent) if not one.on_path]
        found.append(
            Fork(
                task=tree.task,
                dialogue_id=task.dialogue_id,
                block=task.block,
                step=len(calls),
                history=history_of(
                    task, [call.text for call in calls], [call.response for call in calls]
                ),
                chosen=_reply(node),
                others=tuple(map(_reply, beside)),
            )
        )
        calls.append(node)
    return found


def _children(tree: Tree, parent: int) -> Iterable[Node]:
    return (node for node in tree.nodes if node.parent == parent)


def _reply(node: Node) -> Reply:
    return Reply(node.text, node.kind, node.draw, bool(node.harmless), node.cut)
