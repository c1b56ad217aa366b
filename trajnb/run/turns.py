"""Held-out turn tasks, played by the model of a run as it is after a stage."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trajnb.formatting.pairs import Wording
from trajnb.machine import say as aloud
from trajnb.objectives import objective_of
from trajnb.qlora import chat
from trajnb.run.answer import ask, kept
from trajnb.run.ask import asked_for_replies
from trajnb.run.homes import SoFar, alone
from trajnb.run.prepare import Planned, Prepared
from trajnb.world.grow import infer
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Ask, Search
from trajnb.world.turns import FREE, TurnTask


def wording_of(run: Prepared) -> Wording:
    """How a state of a turn task is put to the model of a run; a prompt leaves room for a reply."""
    settings = run.settings
    room = settings.max_length - settings.max_new_tokens
    count = chat.count_tokens(run.source.tokenizer)
    return Wording(settings.condition, settings.cue, room, count)


def asking(network, run: Prepared, temperature: float, say: Callable[[str], None]) -> Ask:
    """The model of a run, as trees, candidates and repairs ask it."""
    return asked_for_replies(
        network,
        run.source.tokenizer,
        wording_of(run),
        seed=run.settings.seed,
        temperature=temperature,
        max_new_tokens=run.settings.max_new_tokens,
        say=say,
    )


def ask_before(
    network, run: Prepared, planned: Planned, so_far: SoFar, say: Callable[[str], None] = aloud
) -> None:
    """Ask and play what is asked and played after every stage, before its preferences are learnt."""
    home = so_far.homes[planned.stage.name]
    if home is None:
        return
    with alone(home):
        ask(network, run, planned.number, so_far.before, say, home)
        so_far.turns += _play(network, run, so_far, planned.number, "before", say, home)


def play(
    network, run: Prepared, stage: int, so_far: SoFar, say: Callable[[str], None] = aloud
) -> None:
    """Play the held-out turn tasks as the model is after a stage, those of the blocks that are asked
    about: greedily, and at the end of the run by search too.
    """
    so_far.turns += _play(network, run, so_far, stage, "after", say)


def _play(
    network, run: Prepared, so_far: SoFar, stage: int, moment: str, say, home: Path | None = None
) -> list[dict]:
    began, lines = time.monotonic(), []
    searches = _searches(run, at_end=stage == len(run.stages) and moment == "after")
    rows = [_row(task) for task in so_far.tasks if task.held_out]
    for name, search in searches.items():
        path = run.place.folder / "stages" / f"{stage}-turns-{name}.jsonl"
        path = home / "turns.jsonl" if home else path

        def measure(asked: Sequence[Mapping], name=name, search=search) -> list[dict]:
            where = {"stage": stage, "moment": moment, "search": name}
            return _played(network, run, so_far, asked, search, where, say)

        lines += kept(path, rows, run.blocks_asked(stage), measure)
    so_far.seconds += time.monotonic() - began
    return lines


def _searches(run: Prepared, at_end: bool) -> dict[str, Search]:
    """How turn tasks are played, by name: by one greedy chain; at the end of a run that grows trees
    by search too.
    """
    if not objective_of(vars(run.settings)).prefers:
        return {"greedy": Search(width=1, extra_depth=run.settings.extra_depth)}
    found = {"greedy": search_of(run, width=1)}
    return found | ({"tree": search_of(run)} if at_end else {})


def _row(task: TurnTask) -> dict:
    """A turn task as an item that is asked."""
    return {"dialogue_id": task.dialogue_id, "step": task.turn, "block": task.block}


def _played(
    network, run: Prepared, so_far: SoFar, asked, search: Search, where: Mapping, say
) -> list[dict]:
    """Lines of `turns.jsonl`, in the order of `asked`."""
    wanted = {(row["dialogue_id"], row["step"]) for row in asked}
    tasks = [task for task in so_far.tasks if (task.dialogue_id, task.turn) in wanted]
    began = time.monotonic()
    told = f"stage {where['stage']}, {where['search']} turns"
    with Sandbox() as sandbox:
        replies = asking(network, run, search.temperature, lambda text: say(f"{told} · {text}"))
        trees = infer(sandbox, tasks, replies, search)
    lines = []
    for task, tree in zip(tasks, trees, strict=True):
        found = {"passed": tree.won, "replies": tree.replies, "invalid": tree.refused}
        lines.append(_row(task) | {"free": task.id in FREE} | dict(where) | found)
    passed = sum(line["passed"] for line in lines)
    say(f"{told} · {passed} of {len(lines)} tasks passed · {time.monotonic() - began:.0f} s")
    return lines


def search_of(run: Prepared, **other) -> Search:
    """How a run grows its trees."""
    settings = run.settings
    told = {
        "width": settings.width,
        "extra_depth": settings.extra_depth,
        "budget": settings.budget,
        "temperature": settings.temperature,
        "back_up": settings.back_up,
        "diversity": settings.diversity,
        "ends": settings.ends,
        "explore": "stop" if settings.siblings == "earlier" else "path",
    }
    return Search(**(told | other))
