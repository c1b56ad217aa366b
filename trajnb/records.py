"""The records of runs, read and checked; figures and tables read them and nothing else.

What they hold: `schema`. Without texts: `textless`. Copied from folder to folder: `keeping`.
"""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

from trajnb.files import present, read_lines
from trajnb.formatting.dialogue import NO_FOLD, CorpusChoice
from trajnb.schema import (
    Record,
    Run,
    condition_of_today,
    to_record,
    upgrade_item,
    upgrade_prediction,
)
from trajnb.textless import without_texts

NO_TEXTS = "Not shown: these records were kept without texts (trajnb records --scores-only)."
"""What a page says in place of what only texts can tell."""


def read_run(folder: Path) -> Run:
    """One finished run. Raises ValueError, naming the file, where one is missing or damaged."""
    try:
        content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        record, today = to_record(content), condition_of_today(content["parameters"])
        items = read_lines(present(folder / "items.jsonl"))
        items = [upgrade_item(item, record.parameters) for item in items]
        predictions = read_lines(present(folder / "predictions.jsonl"))
        gold_of = {(item["dialogue_id"], item["step"]): item["gold"] for item in items}
        predictions = [
            upgrade_prediction(one, gold_of.get((one["dialogue_id"], one["step"]), ""), today)
            for one in predictions
        ]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"the records in {folder} cannot be read ({error}); delete the folder and run again"
        ) from error
    return Run(folder, record, items, predictions)


def runs_folder(study: Path) -> Path:
    """Where the runs of a study lie: in its `runs/`, or in its `records/` where only these were
    kept, or in it.
    """
    return next((study / part for part in ("runs", "records") if (study / part).is_dir()), study)


def read_study(folder: Path) -> list[Run]:
    """The finished runs of a study folder, by name; all of them `without_texts` where any of them
    was kept so. Raises ValueError where they cannot be pooled.
    """
    runs = finished_runs(folder)
    return list(map(without_texts, runs)) if any(run.record.scores_only for run in runs) else runs


def finished_runs(folder: Path) -> list[Run]:
    """The finished runs of a study folder as they are, provided that they can be pooled."""
    runs = [read_run(path.parent) for path in sorted(runs_folder(folder).glob("*/record.json"))]
    check_pool(runs)
    return runs


def check_pool(runs: Sequence[Run]) -> None:
    """Raise ValueError, naming two runs, where runs that ask for the same were made from other
    things: another corpus hash, other model weights or revision, another major version of trajnb;
    or where they hold out folds of different numbers, or folds and the corpus's own split; or where
    dialogues go by other names, see `names_without_texts`.
    """
    found: dict[tuple, tuple[Run, str]] = {}
    for run in runs:
        for key, value in _made_from(run.record).items():
            first, before = found.setdefault(key, (run, value))
            if value != before:
                raise ValueError(
                    f"runs that cannot be pooled: {first.folder.name} has {key[0]} {before}, "
                    f"{run.folder.name} has {value}; keep them in two folders, or run one of them again"
                )
    _check_folds(runs)


def _check_folds(runs: Sequence[Run]) -> None:
    """Raise ValueError, naming two runs, where dialogues of one corpus were dealt in two ways."""
    found: dict[str, tuple[Run, str]] = {}
    for run in runs:
        asked = _asked_for(run.record)
        fold, folds = asked.pop("fold"), asked.pop("folds")
        dealt = "the corpus's own split" if fold == NO_FOLD else f"one of {folds} folds"
        first, before = found.setdefault(json.dumps(asked), (run, dealt))
        if dealt != before:
            raise ValueError(
                "runs that cannot be compared item by item: "
                f"{first.folder.name} holds out {before}, {run.folder.name} {dealt}, "
                "so that some dialogues would count twice; keep them in two folders"
            )


def _made_from(record: Record) -> dict[tuple, str]:
    """(what, what was asked for) -> what it was."""
    asked = _asked_for(record)
    if asked["fold"] == NO_FOLD:
        asked.pop("folds")
    model, revision = record.model, record.parameters.get("revision", "")
    major = record.versions.get("trajnb", "").partition(".")[0]
    return {
        ("corpus hash", json.dumps(asked)): record.corpus["hash"],
        ("model", model["id"], revision): f"{model['revision']} {model['sha256']}",
        ("major version of trajnb",): major,
    }


def _asked_for(record: Record) -> dict:
    """The corpus that a run chose, wherever its files lie on its machine."""
    asked = {name: record.parameters.get(name) for name in CorpusChoice.names()}
    asked.pop("corpus_path")
    return asked
