"""A tree as it grows: replies are tried in the world of their task, and told apart.

A reply beside the success path is *harmless* where it was carried out without an error and some
suffix of the calls to come still makes the turn succeed: of those that the path makes from this
state on, or of the reference's that were not made yet; with the reply's own call among them, or
without it, for an order may not matter. A refused or failed reply never is: in BFCL's rule further
calls are free, so nearly all of them would be.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from trajnb.formatting.calls import LIMIT, is_no_call
from trajnb.formatting.documents import apis_of
from trajnb.formatting.replies import (
    EXECUTED,
    FAILED,
    NOT_DRAWN,
    REFUSED,
    ROOT,
    STOP,
    form,
    meaning,
)
from trajnb.world.environment import Response
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Draw, Node, Said, Search, Tree, Wanted
from trajnb.world.turns import TurnTask, history_of, replay, succeeds


class Sapling:
    """A tree as it grows, and the world to try replies in."""

    def __init__(self, sandbox: Sandbox, task: TurnTask, search: Search, source: str):
        self.sandbox, self.task, self.search, self.source = sandbox, task, search, source
        self.goal = replay(sandbox, task, task.reference)
        self.depth = search.depth(len(task.reference))
        self.nodes: list[Node] = []
        self.passes: list[bool] = []  # by node: whether the turn succeeds if it ends after its call
        self.drawn: Counter[int] = Counter()  # by state: how many replies were drawn
        self.duplicates = 0
        self.end: int | None = None  # the reply that the search ends with
        self.apis = apis_of(task.documents)
        self.meanings: dict[int, set] = {}  # by state

    @property
    def replies(self) -> int:
        return self.drawn.total()

    def ancestors(self, place: int) -> list[int]:
        """The places of the replies before a reply, from the first."""
        places = []
        while (place := self.nodes[place].parent) != ROOT:
            places.append(place)
        return places[::-1]

    def path(self, state: int) -> list[Node]:
        """The replies that lead to a state, from the first."""
        if state == ROOT:
            return []
        return [self.nodes[place] for place in (*self.ancestors(state), state)]

    def children(self, state: int) -> list[Node]:
        return [node for node in self.nodes if node.parent == state]

    def want(self, state: int, count: int = 1) -> Wanted:
        """The next `count` replies to a state."""
        path = self.path(state)
        history = history_of(
            self.task, [node.text for node in path], [node.response for node in path]
        )
        forms = tuple(node.form for node in path)
        first = self.drawn[state]
        draws = tuple(Draw(self.task.id, forms, index) for index in range(first, first + count))
        return Wanted(self.task.id, history, draws, self._earlier(state))

    def _earlier(self, state: int) -> tuple[str, ...]:
        if self.search.diversity != "prompt":
            return ()
        return tuple(node.form for node in self.children(state) if node.draw != NOT_DRAWN)

    def hear(self, state: int, said: Said) -> int | None:
        """Take in the next reply to a state: its place, or None where it says what another one
        says.
        """
        index = self.drawn[state]
        self.drawn[state] += 1
        place = self.add(state, said, index)
        self.duplicates += place is None
        return place

    def add(self, state: int, said: Said, draw: int) -> int | None:
        """Try what was said. None where it is among what was said at this state."""
        text, cut = writable(said.text[:LIMIT]), said.cut or len(said.text) > LIMIT
        known = self.meanings.setdefault(state, set())
        meant = meaning(text, self.apis)
        if meant in known:
            return None
        known.add(meant)
        node = Node(state, draw, form(text), text, "", STOP, cut)
        node, passes = self._stop(node) if is_no_call(text) else self._call(node)
        self.nodes.append(node)
        self.passes.append(passes)
        return len(self.nodes) - 1

    def _stop(self, node: Node) -> tuple[Node, bool]:
        """What comes of `[]`; where the reference ends turns, it is no answer."""
        if self.search.ends == "model":
            node = replace(node, won=node.parent != ROOT and self.passes[node.parent])
        return node, False

    def _call(self, node: Node) -> tuple[Node, bool]:
        """What comes of any other reply, and whether the turn succeeds if it ends with it."""
        calls = [*(one.text for one in self.path(node.parent)), node.text]
        given = replay(self.sandbox, self.task, calls)
        response = given.responses[-1]
        kind = kind_of(response)
        passes = succeeds(self.goal, given)
        ends = self.search.ends == "oracle" and len(calls) == self.depth and kind != REFUSED
        won = passes if ends else None
        return replace(node, response=writable(response.text), kind=kind, won=won), passes

    def may_grow(self, place: int) -> bool:
        """Whether there can be replies after a reply: it is a call that was carried out, above the
        limit.
        """
        node = self.nodes[place]
        goes_on = node.kind in (EXECUTED, FAILED) and node.won is None
        return goes_on and len(self.path(place)) < self.depth

    def finished(self, end: int | None, label: bool = True) -> Tree:
        """The tree as it stands; where it ends with success, its path is marked and, with `label`,
        what stands beside it labelled.
        """
        won = end is not None and bool(self.nodes[end].won)
        path = {*self.ancestors(end), end} if won else set()
        states = {self.nodes[place].parent for place in path} if label else set()
        nodes = []
        for place, node in enumerate(self.nodes):
            if place in path:
                node = replace(node, on_path=True)
            elif node.parent in states:
                node = replace(node, harmless=self._is_harmless(place, path))
            nodes.append(node)
        return Tree(
            task=self.task.id,
            block=self.task.block,
            source=self.source,
            nodes=tuple(nodes),
            replies=self.replies,
            duplicates=self.duplicates,
            won=won,
        )

    def _is_harmless(self, place: int, path: set[int]) -> bool:
        node = self.nodes[place]
        if node.kind in (FAILED, REFUSED):
            return False
        if node.kind == STOP or node.won:
            return bool(node.won)
        calls = [one.text for one in self.path(place)]
        return any(
            succeeds(self.goal, replay(self.sandbox, self.task, [*calls, *rest]))
            for rest in self._rests(calls, path)
        )

    def _rests(self, calls: Sequence[str], path: set[int]) -> list[tuple[str, ...]]:
        """What may follow the last of these calls, each way once, the shortest first."""
        *made, reply = calls
        on_path = [self.nodes[place] for place in sorted(path)][len(made) :]
        onward = [node.text for node in on_path if node.kind != STOP]
        rests = []
        for to_come in (onward, self._without(self.task.reference, made)):
            rests += _suffixes(to_come) + _suffixes(self._without(to_come, [reply]))
        if self.search.ends == "oracle":  # a turn has as many calls as the reference makes
            rests = [rest for rest in rests if len(calls) + len(rest) == self.depth]
        return sorted(dict.fromkeys(rests), key=len)

    def _without(self, calls: Sequence[str], made: Sequence[str]) -> list[str]:
        """The calls but those that were made, each as often as it was made."""
        counted = Counter(meaning(text, self.apis) for text in made)
        left = []
        for text in calls:
            what = meaning(text, self.apis)
            if counted[what]:
                counted[what] -= 1
            else:
                left.append(text)
        return left


def kind_of(response: Response) -> str:
    """One of `replies.KINDS`: what came of a call."""
    return REFUSED if response.refused else FAILED if response.failed else EXECUTED


def writable(text: str) -> str:
    """Without lone surrogates, which no file or tokenizer takes; decoded tokens have none."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _suffixes(calls: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(calls[start:]) for start in range(len(calls) + 1)]
