"""The training of a stage that learns preferences: supervised first, then from its pairs.

    so_far = begin(run)
    for planned in run.stages:
        supervise(learner, run, planned, so_far)
        ask_before(learner.network, run, planned, so_far)
        pairs = pair(run, planned, grow(learner.network, run, planned, so_far), so_far)
        learn_pairs(learner, run, planned, pairs, so_far)

See `run.homes` for what is kept where, `run.turns` and `run.grow` for the steps in between.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from trajnb.files import read_json
from trajnb.formatting.controls import flipped_sides, random_sides
from trajnb.formatting.pairs import Pairs
from trajnb.machine import say as aloud
from trajnb.qlora import chat
from trajnb.qlora import model as models
from trajnb.qlora.pairs import Pair
from trajnb.qlora.plan import Plan
from trajnb.qlora.prefer import (
    PairPlan,
    PreferRecipe,
    chosen_plan,
    plan_pairs,
    train_pairs,
    without_dropout,
)
from trajnb.qlora.train import train_block
from trajnb.run.homes import SoFar, alone
from trajnb.run.learn import Learner, learn, place_of, save
from trajnb.run.prepare import Planned, Prepared


def supervise(
    learner: Learner,
    run: Prepared,
    planned: Planned,
    so_far: SoFar,
    say: Callable[[str], None] = aloud,
) -> dict | None:
    """The supervised training of a stage, see `run.learn.learn`."""
    home = so_far.homes[planned.stage.name]
    with alone(home):
        return learn(learner, run, planned, say, home)


def learn_pairs(
    learner: Learner,
    run: Prepared,
    planned: Planned,
    pairs: Pairs,
    so_far: SoFar,
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
    plan = plan_of(run, pairs)
    if not plan.pairs:
        say(f"{where} · no pair, so no preference is learnt: the stage ends as it is")
    if adapter.exists():
        models.restore_adapter(learner.network, adapter)
        say(f"{where} · preferences learnt before")
    else:
        checkpoints = run.place.folder / "checkpoints" / f"{planned.folder}-preferences"
        trained = _trained(learner, run, planned, plan, checkpoints, say) if plan.pairs else None
        save(learner.network, trained, adapter, account)
        shutil.rmtree(checkpoints, ignore_errors=True)
    so_far.flops += learnt_plan(run, plan).operations(learner.config, run.settings.lora_rank)
    so_far.stages[name]["pairs"]["learnt"] = len(plan.pairs)
    so_far.stages[name]["training"] = read_json(account)
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
        report_to=settings.report_to,
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
