"""Trees, grown: along the reference's calls, by search, or, of a task held out, until an answer is given.

The search is DFSDT (arXiv 2307.16789), pre-order: a reply's whole subtree comes before the next reply to the
same state. A tree is a generator that yields what it wants to hear, so that many tasks advance together;
what comes of one depends on nothing but its task, so any batch gives the same trees.

A reply beside the success path is *harmless* where it was carried out without an error and some suffix of
the calls to come still makes the turn succeed: those that the path makes from this state on, and, in a tree
that the model grew, the reference's. A refused or failed reply never is: in BFCL's rule further calls are
free, so nearly all of them would be.
"""

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace

from trajnb.formatting.calls import LIMIT, NO_CALL, is_no_call
from trajnb.formatting.documents import apis_of
from trajnb.formatting.replies import (
    EXECUTED,
    FAILED,
    NOT_DRAWN,
    REFUSED,
    STOP,
    form,
    meaning,
)
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import ROOT, Ask, Draw, Node, Said, Search, Tree, Wanted
from trajnb.world.turns import TurnTask, history_of, replay, succeeds

Growing = Generator[list[Wanted], list[list[Said]], Tree]


def expert_trees(
    sandbox: Sandbox, tasks: Sequence[TurnTask], ask: Ask, search: Search
) -> list[Tree]:
    """Trees along the reference's calls and, where the model ends turns, `[]`: at each of their states the
    model replies `width` times. All states are known beforehand, so that, unless attempts are to be listed,
    all tasks are asked in one wave.
    """
    return _together({task.id: _along(_Tree(sandbox, task, search, "expert")) for task in tasks}, ask)


def grow_trees(
    sandbox: Sandbox, tasks: Sequence[TurnTask], ask: Ask, search: Search
) -> list[Tree]:
    """Trees that the model searches by itself and that know the verdict of a `[]`: they end with the first
    success, or when the width, the depth or the budget is used up.

    Raises:
        ValueError: a width of 1, for then there is nothing to prefer.
    """
    if search.width < 2:
        raise ValueError(
            "width is 1: a tree that the model grows would be a chain, without a reply to prefer "
            "another to; use a width of 2 or more, or expert trees"
        )
    return _together({task.id: _search(_Tree(sandbox, task, search, "self")) for task in tasks}, ask)


def infer(sandbox: Sandbox, tasks: Sequence[TurnTask], ask: Ask, search: Search) -> list[Tree]:
    """The same search without knowing verdicts: it ends with the first answer (`[]`, or as many calls as
    the reference's), which the rule then judges. With a width of 1 it is one greedy chain, and where that
    ends with an answer, the search of any width does too, with the same one.
    """
    return _together({task.id: _answer(_Tree(sandbox, task, search, "self")) for task in tasks}, ask)


def _together(growing: Mapping[str, Growing], ask: Ask) -> list[Tree]:
    """Grow all trees at once: a wave asks for what every tree that is not done wants next."""
    done: dict[str, Tree] = {}
    answers: dict[str, list[list[Said]] | None] = dict.fromkeys(growing)
    while answers:
        wanted: dict[str, list[Wanted]] = {}
        for name, answer in answers.items():
            try:
                wanted[name] = growing[name].send(answer)
            except StopIteration as end:
                done[name] = end.value
        answers = _asked(wanted, ask) if wanted else {}
    return [done[name] for name in growing]


def _asked(wanted: Mapping[str, list[Wanted]], ask: Ask) -> dict[str, list[list[Said]]]:
    """One question for all trees, its answers by tree."""
    wave = [one for each in wanted.values() for one in each]
    said = ask(wave)
    if list(map(len, said)) != [len(one.draws) for one in wave]:
        raise ValueError("there must be a list of replies for each state, and in it one for each draw")
    replies = iter(said)
    return {name: [next(replies) for _ in each] for name, each in wanted.items()}


class _Tree:
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
        history = history_of(self.task, [node.text for node in path], [node.response for node in path])
        forms = tuple(node.form for node in path)
        first = self.drawn[state]
        draws = tuple(Draw(self.task.id, forms, index) for index in range(first, first + count))
        return Wanted(self.task.id, history, draws, self._earlier(state))

    def _earlier(self, state: int) -> tuple[str, ...]:
        if self.search.diversity != "prompt":
            return ()
        return tuple(node.form for node in self.children(state) if node.draw != NOT_DRAWN)

    def hear(self, state: int, said: Said) -> int | None:
        """Take in the next reply to a state: its place, or None where it says what another one says."""
        index = self.drawn[state]
        self.drawn[state] += 1
        place = self.add(state, said, index)
        self.duplicates += place is None
        return place

    def add(self, state: int, said: Said, draw: int) -> int | None:
        """Try what was said. None where it is among what was said at this state."""
        text, cut = said.text[:LIMIT], said.cut or len(said.text) > LIMIT
        known = self.meanings.setdefault(state, set())
        meant = meaning(text, self.apis)
        if meant in known:
            return None
        known.add(meant)
        node = Node(state, draw, form(text), text, "", STOP, cut)
        passes = False
        if is_no_call(text):
            if self.search.ends == "model":
                node = replace(node, won=state != ROOT and self.passes[state])
        else:
            calls = [one.text for one in self.path(state)]
            given = replay(self.sandbox, self.task, [*calls, text])
            response = given.responses[-1]
            kind = REFUSED if response.refused else FAILED if response.failed else EXECUTED
            passes = succeeds(self.goal, given)
            ends = self.search.ends == "oracle" and len(calls) + 1 == self.depth and kind != REFUSED
            node = replace(node, response=response.text, kind=kind, won=passes if ends else None)
        self.nodes.append(node)
        self.passes.append(passes)
        return len(self.nodes) - 1

    def may_grow(self, place: int) -> bool:
        """Whether there can be replies after a reply: it is a call that was carried out, above the limit."""
        node = self.nodes[place]
        goes_on = node.kind in (EXECUTED, FAILED) and node.won is None
        return goes_on and len(self.path(place)) < self.depth

    def finished(self, end: int | None, label: bool = True) -> Tree:
        """The tree as it stands; where it ends with success, its path is marked and, with `label`, what
        stands beside it labelled.
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
            for rest in self._rests(len(calls), path)
        )

    def _rests(self, made: int, path: set[int]) -> list[tuple[str, ...]]:
        """The calls that may follow the last of so many, each way once, the shortest first."""
        on_path = [self.nodes[one] for one in sorted(path)]
        rests = _suffixes([one.text for one in on_path[made - 1 :] if one.kind != STOP])
        if self.source == "self":
            rests += _suffixes(self.task.reference)
        if self.search.ends == "oracle":  # a turn has as many calls as the reference makes
            rests = [rest for rest in rests if made + len(rest) == self.depth]
        return sorted(dict.fromkeys(rests), key=len)


def _suffixes(calls: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(calls[start:]) for start in range(len(calls) + 1)]


def _along(tree: _Tree) -> Growing:
    """An expert's tree."""
    states, place = [], ROOT
    stop = [NO_CALL] if tree.search.ends == "model" else []
    for text in [*tree.task.reference, *stop]:
        states.append(place)
        place = tree.add(place, Said(text), NOT_DRAWN)
    yield from _fill(tree, states, tree.search.width * len(states))
    return tree.finished(place)


def _search(tree: _Tree) -> Growing:
    """A tree that the model grows, which knows the verdicts."""
    yield from _grow(tree, ROOT, lambda node: bool(node.won))
    if tree.end is not None and tree.search.explore == "path":
        states = [ROOT, *tree.ancestors(tree.end)]
        yield from _fill(tree, states, tree.search.budget)
    return tree.finished(tree.end)


def _answer(tree: _Tree) -> Growing:
    """A tree that ends with the first answer."""
    yield from _grow(tree, ROOT, lambda node: node.won is not None)
    return tree.finished(tree.end, label=False)


def _grow(
    tree: _Tree, state: int, is_end: Callable[[Node], bool]
) -> Generator[list[Wanted], list[list[Said]], int]:
    """The subtree of a state; returns how many levels to go back. `tree.end` is set where it is found."""
    for _ in range(tree.search.width):
        if tree.end is not None or tree.replies == tree.search.budget:
            break
        [[said]] = yield [tree.want(state)]
        place = tree.hear(state, said)
        if place is None:
            continue
        node, back = tree.nodes[place], 1
        if is_end(node):
            tree.end = place
        elif tree.may_grow(place):
            back = yield from _grow(tree, place, is_end)
        elif node.won is False and node.kind == STOP:
            back = tree.search.back_up
        if back > 1:
            return back - 1
    return 1


def _fill(
    tree: _Tree, states: Sequence[int], most: int
) -> Generator[list[Wanted], list[list[Said]], None]:
    """Draw until every state has its full width, or the tree `most` replies; none is replied to."""
    at_once = tree.search.width if tree.search.diversity == "sample" else 1
    while True:
        counts, room = {}, most - tree.replies
        for state in states:
            count = min(tree.search.width - tree.drawn[state], at_once, room)
            if count > 0:
                counts[state] = count
                room -= count
        if not counts:
            return
        said = yield [tree.want(state, count) for state, count in counts.items()]
        for state, replies in zip(counts, said, strict=True):
            for reply in replies:
                tree.hear(state, reply)
