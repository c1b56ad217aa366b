"""The records of runs, read and checked; figures and tables read them and nothing else.

What they hold: `schema`. Without texts: `textless`. Copied from folder to folder: `keeping`.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trajnb.checks import check_lines, to_record
from trajnb.files import present, read_json, read_lines, read_yaml
from trajnb.formatting.dialogue import NO_FOLD, CorpusChoice
from trajnb.schema import BESIDE, About, Item, Prediction, Record, Run
from trajnb.shapes import check_shape
from trajnb.textless import without_texts
from trajnb.upgrades import condition_of_today, upgrade_item, upgrade_prediction

ABOUT = "study.yaml"
"""What a study is, and which runs were planned, see `schema.About`."""

NO_TEXTS = "Not shown: these records were kept without texts (trajnb records --scores-only)."
"""What a page says in place of what only texts can tell."""


def read_run(folder: Path) -> Run:
    """One finished run. Raises ValueError, naming the file, where one is missing or damaged."""
    with _named(folder):
        if folder.is_symlink():
            raise ValueError("it is a link, and links are not followed")
        content = read_json(folder / "record.json")
        with _in_file("record.json"):
            record = to_record(content)
        items = read_lines(present(folder / "items.jsonl"), Item)
        items = [upgrade_item(item, record.parameters) for item in items]
        gold_of = {(item["dialogue_id"], item["step"]): item["gold"] for item in items}
        today = condition_of_today(content["parameters"])
        predictions = [
            upgrade_prediction(one, gold_of.get((one["dialogue_id"], one["step"])), today)
            for one in read_lines(present(folder / "predictions.jsonl"), Prediction)
        ]
        check_lines(record, items, predictions)
    return Run(folder, record, items, predictions)


def read_about(study: Path) -> About:
    """What `study.yaml` says of a folder; nothing where there is none.

    Raises:
        ValueError: it is damaged.
    """
    file = study / ABOUT
    if not os.path.lexists(file):
        return {}
    try:
        about = read_yaml(file)
        check_shape(about, About, ABOUT)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{file} cannot be read ({error}): put back a copy of it, or run its params file into "
            f"another folder (--out), which takes the finished runs of this one (--records {study})"
        ) from None
    return about


def read_beside(folder: Path) -> dict[str, list[dict]]:
    """What only some runs leave, see `BESIDE`, by file; what is one object is a list of one.

    Raises:
        ValueError: a file is damaged.
    """
    found = {}
    with _named(folder):
        for name, kind in BESIDE.items():
            if not os.path.lexists(folder / name):
                continue
            if name.endswith(".jsonl"):
                found[name] = read_lines(folder / name, kind)
            else:
                found[name] = [read_json(folder / name)]
                check_shape(found[name][0], kind, name)
    return found


@contextmanager
def _in_file(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Whatever is wrong with the files of a folder is one sentence that says what to do."""
    try:
        yield
    except (OSError, ValueError) as error:
        told = f"{Path(error.filename).name}: {error.strerror}" if isinstance(error, OSError) else error
        raise ValueError(
            f"the records in {folder} cannot be read ({told}); delete the folder and run again"
        ) from error


def runs_folder(study: Path) -> Path:
    """Where the runs of a study lie: in its `runs/`, or in its `records/` where only these were
    kept, or in it.
    """
    return next((study / part for part in ("runs", "records") if (study / part).is_dir()), study)


def has_runs(study: Path) -> bool:
    """Whether a folder holds a finished run."""
    return any(runs_folder(study).glob("*/record.json"))


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
