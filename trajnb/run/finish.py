"""The record of a run, made from what it was told, what it took and what it answered."""

import time
from collections.abc import Mapping
from dataclasses import asdict

from transformers import PreTrainedConfig

from trajnb import machine, records
from trajnb.formatting.conditions import PLACEBOS
from trajnb.formatting.examples import STRATA, sides
from trajnb.formatting.leaks import leaks
from trajnb.records import Record
from trajnb.run.answer import Answered
from trajnb.run.prepare import Prepared
from trajnb.scoring import score

ITEM = ("dialogue_id", "step", "block", "gold", *STRATA)
"""The columns of an example that its item keeps."""


def finish(
    run: Prepared, config: PreTrainedConfig, trained: Mapping[str, Mapping], answered: Answered
) -> Record:
    """Write items, predictions, stops and, last, the record: from then on the run counts as
    finished.

    `trained`: what each stage took, by its name, see `learn.learn`; `config`: of the model.

    Raises:
        ValueError: not every item was answered once at every stage under every condition.
    """
    folder = run.place.folder
    stages = 1 + len(run.stages)
    wanted = len(run.material.items) * len(run.place.tested) * stages
    if len(answered.predictions) != wanted:
        raise ValueError(f"{len(answered.predictions)} answers where {wanted} were asked for")
    items = [{key: row[key] for key in ITEM} for row in run.material.items]
    records.write_lines(folder / "items.jsonl", items)
    records.write_lines(folder / "predictions.jsonl", answered.predictions)
    if run.settings.stop_targets:
        records.write_lines(folder / "stops.jsonl", answered.stops)
    records.write_json(folder / "record.json", asdict(make_record(run, config, trained, answered)))
    return records.read_run(folder).record


def make_record(
    run: Prepared, config: PreTrainedConfig, trained: Mapping[str, Mapping], answered: Answered
) -> Record:
    """The record as it stands now; arguments as of `finish`."""
    blocks = list(run.source.order)
    costs = [account["cost"] for account in trained.values()]
    learnt = [planned for planned in run.stages if planned.stage.name in trained]
    held_out = run.material.items["block"]
    files, corpus = run.source.files, run.source.corpus
    held = sides(corpus)["held_out"]
    told = {"eval_conditions": list(run.place.tested), "order": blocks}
    return Record(
        parameters=asdict(run.settings) | told,
        blocks=blocks,
        stages=[list(planned.stage.blocks) for planned in run.stages],
        items=[held_out.count(block) for block in blocks],
        matrix=score.matrix(answered.predictions, blocks),
        tokens={
            "train_total": sum(cost["tokens"] for cost in costs),
            "train_supervised": sum(cost["supervised"] for cost in costs),
            "train_computed": sum(cost["computed"] for cost in costs),
            "by_block": [cost["tokens"] for cost in costs],
        },
        steps=sum(cost["steps"] for cost in costs),
        flops=sum(one.plan.operations(config, run.settings.lora_rank) for one in learnt),
        seconds={
            "train": sum(account["seconds"] for account in trained.values()),
            "evaluate": answered.seconds,
            "total": time.monotonic() - run.place.began,
        },
        leaks={name: asdict(leaks(held, name)) for name in run.place.tested if name in PLACEBOS},
        resumed=any(account["resumed"] for account in trained.values()),
        peak_memory_mb=machine.peak_memory_mb(),
        versions=machine.versions(),
        model={"id": files.id, "revision": files.revision, "sha256": run.source.weights},
        corpus={"name": corpus.name, "hash": corpus.hash, "account": corpus.account},
        git_commit=machine.git_commit(),
        machine=machine.describe(),
        started=run.place.started,
        finished=machine.now(),
    )
