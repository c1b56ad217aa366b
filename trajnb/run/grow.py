"""Trees on the training turn tasks of a stage, and the pairs that are made of them."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from trajnb.files import read_json, read_lines, write_bytes, write_json, write_lines
from trajnb.formatting.pairs import Pairs, build_pairs
from trajnb.machine import say as aloud
from trajnb.run.homes import SoFar, alone
from trajnb.run.learn import place_of
from trajnb.run.prepare import Planned, Prepared
from trajnb.run.turns import asking, search_of, wording_of
from trajnb.world.grow import expert_trees, grow_trees
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Tree, forks, from_line, to_line
from trajnb.world.turns import TurnTask

TOGETHER = 10
"""Dialogues whose trees are grown at once, and kept at once."""


def grow(
    network, run: Prepared, planned: Planned, so_far: SoFar, say: Callable[[str], None] = aloud
) -> list[Tree]:
    """A tree for every training turn task of the stage's blocks, in the order of `so_far.tasks`: those
    that are kept already are read, all others are grown. None where nothing is learnt from pairs.
    """
    home, began = so_far.homes[planned.stage.name], time.monotonic()
    if home is None:
        return []
    tasks = tasks_of(planned, so_far)
    with alone(home):
        trees = _kept_trees(home)
        lacking = [task for task in tasks if task.id not in trees]
        for some in by_dialogues(lacking):
            trees |= _grown(network, run, planned, some, say)
            text = "".join(f"{to_line(trees[task.id])}\n" for task in tasks if task.id in trees)
            write_bytes(home / "trees.jsonl", text.encode())
    found = [trees[task.id] for task in tasks]
    so_far.seconds += time.monotonic() - began
    won, replies = sum(tree.won for tree in found), sum(tree.replies for tree in found)
    told = f"{len(found)} trees, {won} with a success path, {replies} replies"
    say(f"{place_of(run, planned)} · {told}")
    return found


def tasks_of(planned: Planned, so_far: SoFar) -> list[TurnTask]:
    """The training turn tasks of a stage's blocks."""
    blocks = planned.stage.blocks
    return [task for task in so_far.tasks if task.block in blocks and not task.held_out]


def _kept_trees(home: Path) -> dict[str, Tree]:
    path = home / "trees.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {tree.task: tree for tree in map(from_line, lines)}


def by_dialogues(tasks: Sequence[TurnTask]) -> list[list[TurnTask]]:
    """Tasks in their order, those of TOGETHER dialogues at a time."""
    names = list(dict.fromkeys(task.dialogue_id for task in tasks))
    found = []
    for first in range(0, len(names), TOGETHER):
        some = set(names[first : first + TOGETHER])
        found.append([task for task in tasks if task.dialogue_id in some])
    return found


def _grown(network, run: Prepared, planned: Planned, tasks: list[TurnTask], say) -> dict[str, Tree]:
    search, where = search_of(run), place_of(run, planned)
    growing = {"expert": expert_trees, "self": grow_trees}[run.settings.tree_source]
    with Sandbox() as sandbox:
        replies = asking(network, run, search.temperature, lambda text: say(f"{where} · trees · {text}"))
        trees = growing(sandbox, tasks, replies, search)
    return {tree.task: tree for tree in trees}


def pair(
    run: Prepared,
    planned: Planned,
    trees: Sequence[Tree],
    so_far: SoFar,
    say: Callable[[str], None] = aloud,
) -> Pairs:
    """The pairs of a stage's trees, kept ones or new; none where nothing is learnt from them."""
    home = so_far.homes[planned.stage.name]
    if home is None:
        return Pairs((), {})
    with alone(home):
        if not (home / "pairs.json").is_file():
            made = _paired(run, planned, trees, so_far)
            write_lines(home / "pairs.jsonl", made.rows)
            write_json(home / "pairs.json", {"dropped": made.dropped})
        dropped = read_json(home / "pairs.json")["dropped"]
        found = Pairs(tuple(read_lines(home / "pairs.jsonl")), dropped)
    so_far.stages[planned.stage.name] = account_of(planned, trees, found)
    kinds = ", ".join(f"{count} {kind}" for kind, count in kinds_of(found).items())
    say(f"{place_of(run, planned)} · {len(found.rows)} pairs{f': {kinds}' if kinds else ''}")
    return found


def _paired(
    run: Prepared, planned: Planned, trees: Sequence[Tree], so_far: SoFar
) -> Pairs:
    settings, found = run.settings, []
    for task, tree in zip(tasks_of(planned, so_far), trees, strict=True):
        found += forks(task, tree)
    return build_pairs(
        found,
        wording_of(run),
        labels=settings.pairs,
        siblings=settings.siblings,
        most_pairs=settings.most_pairs,
    )


def kinds_of(pairs: Pairs) -> dict[str, int]:
    """How many pairs there are by what came of the rejected side."""
    return dict(Counter(row["kind"] for row in pairs.rows))


def account_of(planned: Planned, trees: Sequence[Tree], pairs: Pairs) -> dict:
    """What a stage learns from, counted: its trees; its pairs by the kind of their rejected side, and
    why other replies beside success paths make none; `harmless`, the rejected sides that the rule would
    have forgiven, are the label noise of `published`: among its pairs, or dropped by `verified`.
    `training`, and of the pairs how many are `learnt`, `run.prefer.learn_pairs` adds.
    """
    harmless = pairs.dropped["harmless"] + sum(row["harmless"] for row in pairs.rows)
    return {
        "stage": planned.number,
        "blocks": list(planned.stage.blocks),
        "trees": {
            "tasks": len(trees),
            "won": sum(tree.won for tree in trees),
            "replies": sum(tree.replies for tree in trees),
            "duplicates": sum(tree.duplicates for tree in trees),
        },
        "pairs": {
            "pairs": len(pairs.rows),
            "learnt": 0,
            "kind": kinds_of(pairs),
            "harmless": harmless,
            "dropped": pairs.dropped,
        },
        "training": None,
    }
