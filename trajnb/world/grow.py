"""Trees, grown: along the reference's calls, by search, or until an answer is given.

The search is DFSDT (arXiv 2307.16789), pre-order: a reply's whole subtree comes before the next
reply to the same state. A tree is a generator that yields what it wants to hear, so that many tasks
advance together; what comes of one depends on nothing but its task, so any batch gives the same
trees.
"""

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from typing import TypeVar

from trajnb.formatting.calls import NO_CALL
from trajnb.formatting.replies import NOT_DRAWN, ROOT, STOP
from trajnb.world.sandbox import Sandbox
from trajnb.world.sapling import Sapling
from trajnb.world.trees import Ask, Node, Said, Search, Tree, Wanted
from trajnb.world.turns import TurnTask

Grown = TypeVar("Grown")
Growing = Generator[list[Wanted], list[list[Said]], Tree]


def expert_trees(
    sandbox: Sandbox, tasks: Sequence[TurnTask], ask: Ask, search: Search
) -> list[Tree]:
    """Trees along the reference's calls and, where the model ends turns, `[]`: at each of their
    states the model replies `width` times. All states are known beforehand, so that, unless
    attempts are to be listed, all tasks are asked in one wave.
    """
    return together(
        {task.id: _along(Sapling(sandbox, task, search, "expert")) for task in tasks}, ask
    )


def grow_trees(sandbox: Sandbox, tasks: Sequence[TurnTask], ask: Ask, search: Search) -> list[Tree]:
    """Trees that the model searches by itself and that know the verdict of a `[]`: they end with
    the first success, or when the width, the depth or the budget is used up.

    Raises:
        ValueError: a width of 1, for then there is nothing to prefer.
    """
    if search.width < 2:
        raise ValueError(
            "width is 1: a tree that the model grows would be a chain, without a reply to prefer "
            "another to; use a width of 2 or more, or expert trees"
        )
    return together(
        {task.id: _search(Sapling(sandbox, task, search, "self")) for task in tasks}, ask
    )


def infer(sandbox: Sandbox, tasks: Sequence[TurnTask], ask: Ask, search: Search) -> list[Tree]:
    """The same search without knowing verdicts: it ends with the first answer (`[]`, or as many
    calls as the reference's), which the rule then judges. With a width of 1 it is one greedy chain,
    and where that ends with an answer, the search of any width does too, with the same one.
    """
    return together(
        {task.id: _answer(Sapling(sandbox, task, search, "self")) for task in tasks}, ask
    )


def together(
    growing: Mapping[Hashable, Generator[list[Wanted], list[list[Said]], Grown]], ask: Ask
) -> list[Grown]:
    """Grow all trees at once, or whatever else wants replies: a wave asks for what every one that
    is not done wants next. What they return, in their order.
    """
    done: dict[Hashable, Grown] = {}
    answers: dict[Hashable, list[list[Said]] | None] = dict.fromkeys(growing)
    while answers:
        wanted: dict[Hashable, list[Wanted]] = {}
        for name, answer in answers.items():
            try:
                wanted[name] = growing[name].send(answer)
            except StopIteration as end:
                done[name] = end.value
        answers = _asked(wanted, ask) if wanted else {}
    return [done[name] for name in growing]


def _asked(wanted: Mapping[Hashable, list[Wanted]], ask: Ask) -> dict[Hashable, list[list[Said]]]:
    """One question for all of them, its answers by name."""
    wave = [one for each in wanted.values() for one in each]
    said = ask(wave)
    if list(map(len, said)) != [len(one.draws) for one in wave]:
        raise ValueError(
            "there must be a list of replies for each state, and in it one for each draw"
        )
    replies = iter(said)
    return {name: [next(replies) for _ in each] for name, each in wanted.items()}


def _along(tree: Sapling) -> Growing:
    """An expert's tree."""
    states, place = [], ROOT
    stop = [NO_CALL] if tree.search.ends == "model" else []
    for text in [*tree.task.reference, *stop]:
        states.append(place)
        place = tree.add(place, Said(text), NOT_DRAWN)
    yield from _fill(tree, states, tree.search.width * len(states))
    return tree.finished(place)


def _search(tree: Sapling) -> Growing:
    """A tree that the model grows, which knows the verdicts."""
    yield from _grow(tree, ROOT, lambda node: bool(node.won))
    if tree.end is not None and tree.search.explore == "path":
        states = [ROOT, *tree.ancestors(tree.end)]
        yield from _fill(tree, states, tree.search.budget)
    return tree.finished(tree.end)


def _answer(tree: Sapling) -> Growing:
    """A tree that ends with the first answer."""
    yield from _grow(tree, ROOT, lambda node: node.won is not None)
    return tree.finished(tree.end, label=False)


def _grow(
    tree: Sapling, state: int, is_end: Callable[[Node], bool]
) -> Generator[list[Wanted], list[list[Said]], int]:
    """The subtree of a state; returns how many levels to go back. `tree.end` is set where it is
    found.
    """
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
    tree: Sapling, states: Sequence[int], most: int
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
