"""The record of a run, made from what it was told, what it took and what it answered."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain, product

from transformers import PreTrainedConfig

from trajnb import machine
from trajnb.files import write_json, write_lines
from trajnb.formatting.conditions import PLACEBOS
from trajnb.formatting.examples import STRATA, sides
from trajnb.formatting.leaks import leaks
from trajnb.objectives import objective_of
from trajnb.qlora import ranks
from trajnb.records import read_run
from trajnb.run.answer import Answered
from trajnb.run.homes import SoFar
from trajnb.run.prepare import Planned, Prepared
from trajnb.schema import BEFORE, TURNS, Record
from trajnb.scoring import score

ITEM = ("dialogue_id", "step", "block", "gold", *STRATA)
"""The columns of an example that its item keeps."""


def finish(
    run: Prepared,
    config: PreTrainedConfig | None,
    trained: Mapping[str, Mapping],
    answered: Answered,
    so_far: SoFar | None = None,
) -> Record:
    """Write items, predictions, stops and, last, the record: from then on the run counts as
    finished.

    `trained`: what each stage took, by its name, see `learn.learn`; `config`: of the model,
    None where there was none; `so_far`: of a run whose stages have two ends, whose answers before
    the second part of each and turn tasks are written too.

    Raises:
        ValueError: an item was not answered at a stage and under a condition that ask for it, or
            it was answered twice.
    """
    folder, asked = run.place.folder, _cut_turns(run)
    _check_answers(run, answered)
    cut = [dict(zip(asked, counts, strict=True)) for counts in zip(*asked.values(), strict=True)]
    items = [
        {key: row[key] for key in ITEM} | {"cut_turns": counts}
        for row, counts in zip(run.material.items, cut, strict=True)
    ]
    write_lines(folder / "items.jsonl", items)
    write_lines(folder / "predictions.jsonl", answered.predictions)
    if run.settings.stop_targets:
        write_lines(folder / "stops.jsonl", answered.stops)
    if so_far:
        write_lines(folder / BEFORE, so_far.before.predictions)
        write_lines(folder / TURNS, so_far.turns)
    record = make_record(run, config, trained, answered, so_far)
    write_json(folder / "record.json", asdict(record))
    return read_run(folder).record


def _cut_turns(run: Prepared) -> dict[str, list[int]]:
    """How many user turns were cut from the prompt of every item, by evaluation condition."""
    return {name: list(run.material.asked[name]["cut_turns"]) for name in run.place.tested}


def _check_answers(run: Prepared, answered: Answered) -> None:
    given = Counter(
        (line["eval_condition"], line["stage"], line["dialogue_id"], line["step"])
        for line in answered.predictions
    )
    wanted = {
        (name, stage, item["dialogue_id"], item["step"])
        for name, stage in product(run.place.tested, range(1 + len(run.stages)))
        for item in run.material.items
        if item["block"] in run.blocks_asked(stage)
    }
    there = sum(key in given for key in wanted)
    if there < len(wanted) or given.total() > len(given):
        twice = given.total() - len(given)
        raise ValueError(
            f"{there} answers where {len(wanted)} were asked for, and {twice} that are there twice"
        )


def _shared_by() -> str:
    """What the machine's description says of a run that several processes worked on: the memory and
    the times of its record are those of the first.
    """
    return f", {ranks.count()} processes" if ranks.count() > 1 else ""


def _accounts(
    planned: Planned, trained: Mapping[str, Mapping], so_far: SoFar | None
) -> list[Mapping]:
    """What the trainings of a stage took: supervised, and what came after it, where there was any."""
    found = [trained[planned.stage.name]]
    stage = so_far.stages.get(planned.stage.name, {}) if so_far else {}
    if stage.get("training"):  # on its pairs
        found.append(stage["training"])
    for part in ("reward", "lessons"):
        if stage.get(part) and stage[part]["training"]:
            found.append(stage[part]["training"])
    return found


def _stages(so_far: SoFar) -> dict:
    return {"stages": list(so_far.stages.values())}


def _seconds(run: Prepared, so_far: SoFar | None) -> dict[str, float]:
    """What a run whose stages have two ends takes beside training on examples and being asked."""
    if so_far is None:
        return {}
    if objective_of(vars(run.settings)).prefers:
        return {"trees and turns": so_far.seconds}
    rounds = [stage["grpo"]["seconds"] for stage in so_far.stages.values() if stage["grpo"]]
    return {"candidates, repairs and turns": so_far.seconds, "GRPO": sum(rounds)}


def make_record(
    run: Prepared,
    config: PreTrainedConfig | None,
    trained: Mapping[str, Mapping],
    answered: Answered,
    so_far: SoFar | None = None,
) -> Record:
    """The record as it stands now; arguments as of `finish`."""
    blocks = list(run.source.order)
    learnt = [planned for planned in run.stages if planned.stage.name in trained]
    accounts = [_accounts(planned, trained, so_far) for planned in learnt]
    taken = list(chain.from_iterable(accounts))
    costs = [account["cost"] for account in taken]
    held_out = run.material.items["block"]
    files, corpus = run.source.files, run.source.corpus
    held, objective = sides(corpus)["held_out"], objective_of(vars(run.settings))
    matrix = score.matrix(answered.predictions, blocks)
    told = {
        "eval_conditions": list(run.place.tested),
        "eval_stages": "ends" if score.has_holes(matrix) else "all",
        "order": blocks,
    }
    return Record(
        parameters=asdict(run.settings) | told,
        blocks=blocks,
        stages=[list(planned.stage.blocks) for planned in run.stages],
        items=[held_out.count(block) for block in blocks],
        matrix=matrix,
        tokens={
            "train_total": sum(cost["tokens"] for cost in costs),
            "train_supervised": sum(cost["supervised"] for cost in costs),
            "train_computed": sum(cost["computed"] for cost in costs),
            "by_block": [sum(one["cost"]["tokens"] for one in stage) for stage in accounts],
        },
        steps=sum(cost["steps"] for cost in costs),
        flops=sum(one.plan.operations(config, run.settings.lora_rank) for one in learnt)
        + (so_far.flops if so_far else 0),
        seconds={
            "train": sum(account["seconds"] for account in taken),
            "evaluate": answered.seconds + (so_far.before.seconds if so_far else 0),
            "total": time.monotonic() - run.place.began,
        }
        | _seconds(run, so_far),
        cut_turns={
            "train": {run.settings.condition: sum(run.material.learnt["cut_turns"])},
            "held_out": {name: sum(counts) for name, counts in _cut_turns(run).items()},
        },
        scores_only=False,
        leaks={name: asdict(leaks(held, name)) for name in run.place.tested if name in PLACEBOS},
        preferences=_stages(so_far) if objective.prefers else {},
        repair=_stages(so_far) if objective.repairs else {},
        resumed=any(account["resumed"] for account in taken),
        peak_memory_mb=machine.peak_memory_mb(),
        versions=machine.versions(),
        model={"id": files.id, "revision": files.revision, "sha256": run.source.weights},
        corpus={"name": corpus.name, "hash": corpus.hash, "account": corpus.account},
        git_commit=machine.git_commit(),
        machine=machine.describe() + _shared_by(),
        started=run.place.started,
        finished=machine.now(),
    )
