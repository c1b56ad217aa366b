"""Preferences: what a stage of objective `prefer` does after its supervised training.

How a stage learns (the objective) and what is learnt when (the strategy) are two axes: stages, their
plans and their supervised training are those of any run (`run.prepare`, `run.learn`). Then

1. `ask_before` and `play` ask the model what any run is asked, and play held-out turn tasks;
2. `grow` grows a tree of replies on every training turn task of the stage's blocks;
3. `pair` makes step-wise pairs of them;
4. `learn_pairs` learns from the pairs what the run's `preference` says, and the next stage begins
   where it ends.

What is there before preferences begin lies in a folder of the stage, its *home*: `sft` (the adapter)
and `sft.json`, `asked-<condition>.jsonl`, `turns.jsonl`, `trees.jsonl`, `pairs.jsonl` and, last,
`pairs.json` (counts). The adapter at the end of the stage is that of any run, `adapters/<stage>`, and
`training/<stage>-preferences.json` what it took. Each of them appears whole or not at all, and what
is there is read, so that a run that was killed goes on where it was; replies are drawn from their
names, so it ends with the same bytes.

The first home does not depend on what is learnt from its pairs, so arms of a study share it: it lies
in `preferences_folder` under a hash of all that shapes it (`_shaping_before`), as answers before
training lie in `zero_shot_folder`. Runs at work at the same time make it one after the other
(`_alone`). Later homes follow from preferences and are the run's own.

The preference `none` ends a stage with its supervised training: such a run has no home, and its
adapters and answers are, bit for bit, those of objective `sft`. It plays turn tasks as the others do.
"""

import fcntl
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trajnb import machine, records
from trajnb.corpora.bfcl import scenarios
from trajnb.formatting.pairs import Pairs, Wording, build_pairs, flipped_sides, random_sides
from trajnb.machine import say as aloud
from trajnb.qlora import chat
from trajnb.qlora import model as models
from trajnb.qlora.plan import Plan
from trajnb.qlora.prefer import (
    Pair,
    PairPlan,
    PreferRecipe,
    chosen_plan,
    plan_pairs,
    train_pairs,
    without_dropout,
)
from trajnb.qlora.train import train_block
from trajnb.run.answer import Answered, ask, kept
from trajnb.run.learn import Learner, learn, place_of, save, shaping
from trajnb.run.prepare import Planned, Prepared
from trajnb.world.grow import expert_trees, grow_trees, infer
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Search, Tree, forks, from_line, to_line
from trajnb.world.turns import FREE, TurnTask, turn_tasks

AFTERWARDS = ("preference", "beta", "preference_rate", "preference_epochs")
"""Parameters of which nothing depends before the first preferences are learnt."""
TOGETHER = 10
"""Dialogues whose trees are grown at once, and kept at once."""


@dataclass
class Preferring:
    """What a run that learns preferences has made and measured so far, beside its answers."""

    tasks: list[TurnTask]
    homes: dict[str, Path | None]
    """By the name of the stage; None where nothing is learnt from pairs."""
    before: Answered = field(default_factory=Answered)
    """Answers of every stage before its preferences."""
    turns: list[dict] = field(default_factory=list)
    """Lines of `turns.jsonl`."""
    stages: dict[str, dict] = field(default_factory=dict)
    """By name, what a stage learnt from: see `account_of`."""
    seconds: float = 0.0
    """Of growing trees and playing turn tasks."""


def begin(run: Prepared) -> Preferring:
    """The turn tasks of a run and the homes of its stages; nothing is played yet."""
    corpus = run.source.corpus
    worlds = scenarios(fresh_ids=run.settings.fresh_ids)
    tasks = turn_tasks(corpus.dialogues, worlds, corpus.held_out)
    homes: dict[str, Path | None] = {planned.stage.name: None for planned in run.stages}
    if run.settings.learnt_from_pairs.learns:
        homes = {planned.stage.name: _home(run, planned) for planned in run.stages}
    return Preferring(tasks, homes)


def _home(run: Prepared, planned: Planned) -> Path:
    shared = run.settings.preferences_folder
    if planned.number > 1 or not shared:
        return run.place.folder / "preferences" / planned.folder
    name = records.digest(_shaping_before(run))[:16]
    return machine.resolve(shared) / f"{planned.folder}-{name}"


def _shaping_before(run: Prepared) -> dict:
    """All that shapes a run until its first preferences are learnt."""
    return {name: value for name, value in shaping(run).items() if name not in AFTERWARDS}


def supervise(
    learner: Learner,
    run: Prepared,
    planned: Planned,
    so_far: Preferring,
    say: Callable[[str], None] = aloud,
) -> dict | None:
    """The supervised training of a stage, see `run.learn.learn`."""
    home = so_far.homes[planned.stage.name]
    with _alone(home):
        return learn(learner, run, planned, say, home)


def ask_before(
    network, run: Prepared, planned: Planned, so_far: Preferring, say: Callable[[str], None] = aloud
) -> None:
    """Ask and play what is asked and played after every stage, before its preferences are learnt."""
    home = so_far.homes[planned.stage.name]
    if home is None:
        return
    with _alone(home):
        ask(network, run, planned.number, so_far.before, say, home)
        so_far.turns += _play(network, run, so_far, planned.number, "before", say, home)


def play(
    network, run: Prepared, stage: int, so_far: Preferring, say: Callable[[str], None] = aloud
) -> None:
    """Play the held-out turn tasks as the model is after a stage, those of the blocks that are asked
    about: greedily, and at the end of the run by search too.
    """
    so_far.turns += _play(network, run, so_far, stage, "after", say)


def _play(
    network, run: Prepared, so_far: Preferring, stage: int, moment: str, say, home: Path | None = None
) -> list[dict]:
    began, lines = time.monotonic(), []
    ends = stage == len(run.stages) and moment == "after"
    searches = {"greedy": search_of(run, width=1)}
    searches |= {"tree": search_of(run)} if ends else {}
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


def _row(task: TurnTask) -> dict:
    """A turn task as an item that is asked."""
    return {"dialogue_id": task.dialogue_id, "step": task.turn, "block": task.block}


def _played(
    network, run: Prepared, so_far: Preferring, asked, search: Search, where: Mapping, say
) -> list[dict]:
    """Lines of `turns.jsonl`, in the order of `asked`."""
    wanted = {(row["dialogue_id"], row["step"]) for row in asked}
    tasks = [task for task in so_far.tasks if (task.dialogue_id, task.turn) in wanted]
    began = time.monotonic()
    told = f"stage {where['stage']}, {where['search']} turns"
    with Sandbox() as sandbox:
        replies = _asking(network, run, search, lambda text: say(f"{told} · {text}"))
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


def grow(
    network, run: Prepared, planned: Planned, so_far: Preferring, say: Callable[[str], None] = aloud
) -> list[Tree]:
    """A tree for every training turn task of the stage's blocks, in the order of `so_far.tasks`: those
    that are kept already are read, all others are grown. None where nothing is learnt from pairs.
    """
    home, began = so_far.homes[planned.stage.name], time.monotonic()
    if home is None:
        return []
    tasks = tasks_of(planned, so_far)
    with _alone(home):
        trees = _kept_trees(home)
        lacking = [task for task in tasks if task.id not in trees]
        for some in _by_dialogues(lacking):
            trees |= _grown(network, run, planned, some, say)
            text = "".join(f"{to_line(trees[task.id])}\n" for task in tasks if task.id in trees)
            records.write_bytes(home / "trees.jsonl", text.encode())
    found = [trees[task.id] for task in tasks]
    so_far.seconds += time.monotonic() - began
    won, replies = sum(tree.won for tree in found), sum(tree.replies for tree in found)
    say(f"{place_of(run, planned)} · {won} of {len(found)} trees succeed, {replies} replies")
    return found


def tasks_of(planned: Planned, so_far: Preferring) -> list[TurnTask]:
    """The training turn tasks of a stage's blocks."""
    blocks = planned.stage.blocks
    return [task for task in so_far.tasks if task.block in blocks and not task.held_out]


def _kept_trees(home: Path) -> dict[str, Tree]:
    path = home / "trees.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {tree.task: tree for tree in map(from_line, lines)}


def _by_dialogues(tasks: Sequence[TurnTask]) -> list[list[TurnTask]]:
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
        replies = _asking(network, run, search, lambda text: say(f"{where} · trees · {text}"))
        trees = growing(sandbox, tasks, replies, search)
    return {tree.task: tree for tree in trees}


def wording_of(run: Prepared) -> Wording:
    """How a state of a turn task is put to the model of a run."""
    settings = run.settings
    count = chat.count_tokens(run.source.tokenizer)
    return Wording(settings.condition, settings.cue, settings.max_length, count)


def pair(
    run: Prepared,
    planned: Planned,
    trees: Sequence[Tree],
    so_far: Preferring,
    say: Callable[[str], None] = aloud,
) -> Pairs:
    """The pairs of a stage's trees, kept ones or new; none where nothing is learnt from them."""
    home = so_far.homes[planned.stage.name]
    if home is None:
        return Pairs((), {})
    with _alone(home):
        if not (home / "pairs.json").is_file():
            made = _paired(run, planned, trees, so_far)
            records.write_lines(home / "pairs.jsonl", made.rows)
            records.write_json(home / "pairs.json", {"dropped": made.dropped})
        dropped = json.loads((home / "pairs.json").read_text())["dropped"]
        found = Pairs(tuple(records.read_lines(home / "pairs.jsonl")), dropped)
    so_far.stages[planned.stage.name] = account_of(planned, trees, found)
    kinds = ", ".join(f"{count} {kind}" for kind, count in kinds_of(found).items())
    say(f"{place_of(run, planned)} · {len(found.rows)} pairs{f': {kinds}' if kinds else ''}")
    return found


def _paired(
    run: Prepared, planned: Planned, trees: Sequence[Tree], so_far: Preferring
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
            "kind": kinds_of(pairs),
            "harmless": harmless,
            "dropped": pairs.dropped,
        },
        "training": None,
    }


def learn_pairs(
    learner: Learner,
    run: Prepared,
    planned: Planned,
    pairs: Pairs,
    so_far: Preferring,
    say: Callable[[str], None] = aloud,
) -> dict | None:
    """Learn from the pairs of a stage what the run's preference says; its end is kept as any stage's.
    Returns what that took, see `qlora.prefer.Preferred`, or `qlora.train.Trained` where supervised; None
    where there was nothing to learn from, which is said.
    """
    name, where = planned.stage.name, place_of(run, planned)
    if so_far.homes[name] is None:
        return None
    adapter = run.place.folder / "adapters" / planned.folder
    account = run.place.folder / "training" / f"{planned.folder}-preferences.json"
    if adapter.exists():
        models.restore_adapter(learner.network, adapter)
        say(f"{where} · preferences learnt before")
    else:
        plan = plan_of(run, pairs)
        if not plan.pairs:
            say(f"{where} · no pair, so no preference is learnt: the stage ends as it is")
        checkpoints = run.place.folder / "checkpoints" / f"{planned.folder}-preferences"
        trained = _trained(learner, run, planned, plan, checkpoints, say) if plan.pairs else None
        save(learner.network, trained, adapter, account)
        shutil.rmtree(checkpoints, ignore_errors=True)
    so_far.stages[name]["training"] = json.loads(account.read_text())
    return so_far.stages[name]["training"]


def plan_of(run: Prepared, pairs: Pairs) -> PairPlan:
    """The pairs as the run's preference has them, and the steps in which they are learnt."""
    settings, tokenizer = run.settings, run.source.tokenizer
    sides = settings.learnt_from_pairs.sides
    if sides == "random":
        pairs = random_sides(pairs, settings.seed)
    elif sides == "flipped":
        pairs = flipped_sides(pairs)
    encoded = [
        Pair(*(chat.encode(tokenizer, row | {"completion": row[side]}) for side in _SIDES))
        for row in pairs.rows
    ]
    recipe = PreferRecipe(
        beta=settings.beta,
        learning_rate=settings.preference_rate,
        epochs=settings.preference_epochs,
        dialogues_per_step=settings.dialogues_per_step,
        warmup_ratio=settings.warmup_ratio,
        token_budget=settings.token_budget,
    )
    names = [row["dialogue_id"] for row in pairs.rows]
    return plan_pairs(encoded, names, recipe, settings.seed)


_SIDES = ("chosen", "rejected")


def learnt_plan(run: Prepared, plan: PairPlan) -> Plan:
    """The steps that are really taken: over both sides, or over the chosen ones alone."""
    chosen = run.settings.learnt_from_pairs.learns == "chosen"
    return chosen_plan(plan) if chosen else plan.sides


def _trained(learner: Learner, run: Prepared, planned: Planned, plan: PairPlan, folder: Path, say):
    where = place_of(run, planned)
    told = {
        "seed": 1000 * run.settings.seed + planned.number,
        "folder": folder,
        "say": lambda text: say(f"{where} · preferences · {text}"),
    }
    if run.settings.learnt_from_pairs.learns == "chosen":
        with without_dropout(learner.network):  # as in training on pairs
            return train_block(learner.network, learnt_plan(run, plan), **told)
    return train_pairs(learner.network, plan, **told)


@contextmanager
def _alone(home: Path | None) -> Iterator[None]:
    """Within, no other process works on a home that runs share: it is waited for."""
    if home is None:
        yield
        return
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks
        yield
