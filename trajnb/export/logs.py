"""Predictions as logs of Inspect: `inspect view --log-dir OUT` shows prompts, answers and scores.

A log is JSON in the form that inspect_ai 0.3 reads (version 2): one for each run, evaluation
condition and stage.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trajnb.corpora.load import corpora_of
from trajnb.export.prompts import asked_of, check_texts
from trajnb.files import write_json
from trajnb.records import Run
from trajnb.schema import Item, Prediction

VERSION = 2
SCORES = ("canonical", "name", "string", "parsed")
"""Measures of a sample; the first is what a run is about."""
NO_PROMPT = "(the corpus of this run is not to be had here, so there is no prompt)"


def write_logs(runs: Sequence[Run], out: Path) -> list[Path]:
    """A folder of logs; without a corpus their samples have no prompts.

    Raises:
        ValueError: records were kept without texts.
    """
    check_texts(runs)
    out.mkdir(parents=True, exist_ok=True)
    prompts = _prompts(runs)
    written = []
    for run in runs:
        items = {(item["dialogue_id"], item["step"]): item for item in run.items}
        for condition in run.record.matrix:
            for stage in range(len(run.record.stages) + 1):
                rows = [
                    row
                    for row in run.predictions
                    if row["stage"] == stage and row["eval_condition"] == condition
                ]
                if rows:
                    known = prompts.get((run.folder.name, condition), {})
                    log = _log(run, condition, stage, [_sample(row, items, known) for row in rows])
                    day = log["eval"]["created"][:19].replace(":", "-")
                    name = f"{day}_trajnb-{condition}_{run.folder.name}-stage-{stage}.json"
                    write_json(out / name, log)
                    written.append(out / name)
    return written


def _prompts(runs: Sequence[Run]) -> dict[tuple[str, str], dict[tuple, list]]:
    """By run and condition, the prompt of every held-out call as far as its corpus is there."""
    there = corpora_of({run.record.corpus["hash"]: run.record.parameters for run in runs})
    found: dict[tuple[str, str], dict[tuple, list]] = {}
    having = [run for run in runs if run.record.corpus["hash"] in there]
    for asked in asked_of(having, evaluated=True):
        rows = {(row["dialogue_id"], row["step"]): row["prompt"] for row in asked.rows("held_out")}
        found |= {(run.folder.name, asked.condition): rows for run in asked.runs}
    return found


def _log(run: Run, condition: str, stage: int, samples: list[dict]) -> dict:
    record = run.record
    about = {
        "created": record.finished,
        "task": f"trajnb-{condition}",
        "task_id": f"{run.folder.name}-{condition}-{stage}",
        "run_id": run.folder.name,
        "eval_id": f"{run.folder.name}-{condition}-{stage}",
        "dataset": {"name": record.corpus["name"], "samples": len(samples)},
        "model": f"trajnb/{record.model['id']}",
        "task_args": {"condition": condition, "trained": record.parameters["condition"]},
        "config": {},
        "packages": dict(record.versions),
        "metadata": {
            "stage": stage,
            "learnt": record.stages[:stage],
            "corpus": record.corpus["hash"],
        },
    }
    scores = [
        {
            "name": name,
            "scorer": name,
            "scored_samples": len(samples),
            "metrics": {"accuracy": {"name": "accuracy", "value": _share(samples, name)}},
        }
        for name in SCORES
    ]
    count = len(samples)
    results = {"total_samples": count, "completed_samples": count, "scores": scores}
    return {
        "version": VERSION,
        "status": "success",
        "eval": about,
        "plan": {"name": "plan", "steps": []},
        "results": results,
        "stats": {"started_at": record.started, "completed_at": record.finished},
        "samples": samples,
    }


def _share(samples: Sequence[Mapping], name: str) -> float:
    return sum(sample["scores"][name]["value"] == "C" for sample in samples) / len(samples)


def _sample(row: Prediction, items: Mapping[tuple, Item], prompts: Mapping[tuple, list]) -> dict:
    key = row["dialogue_id"], row["step"]
    item, answer = items[key], row["prediction"] or ""
    asked = [dict(message) for message in prompts.get(key, [])]
    said = {"role": "assistant", "content": answer, "source": "generate"}
    scores = {name: {"value": "C" if row[name] else "I", "answer": answer} for name in SCORES}
    return {
        "id": f"{row['dialogue_id']}:{row['step']}",
        "epoch": 1,
        "input": asked or NO_PROMPT,
        "target": item["gold"] or "",
        "messages": [*asked, said],
        "output": {
            "model": "trajnb",
            "choices": [
                {"message": said, "stop_reason": "stop" if row["stopped"] else "max_tokens"}
            ],
            "completion": answer,
        },
        "scores": scores,
        "metadata": {"block": row["block"], "error": row["error"], "gold_nll": row["gold_nll"]},
    }
