"""Records that travel: kept from a study's folder, and taken over into one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from trajnb.files import write_bytes, write_json, write_lines
from trajnb.grown import kept_as
from trajnb.machine import CHANGED
from trajnb.records import ABOUT, finished_runs, read_about, read_beside, read_run
from trajnb.schema import Run
from trajnb.textless import FIGURES, at_home, figures_of, without_folders, without_texts
from trajnb.upgrades import upgrade_parameters


def with_changes(run: Run) -> list[str]:
    """The names of a run's records that were made from a tree with uncommitted changes."""
    made = {"record.json": run.record.git_commit}
    played = read_beside(run.folder).get("rollout.json", [{}])[0]
    made["rollout.json"] = played.get("git_commit", "")
    return [name for name, commit in made.items() if commit.endswith(CHANGED)]


def keep(
    study: Path, out: Path, allow_changes: bool = False, scores_only: bool = False
) -> dict[str, list[str]]:
    """Copy the finished runs of a study folder to `out` as records, predictions compressed, with
    the study's own description; returns their names, each with its records `with_changes`. `out` is
    what `trajnb run --records` and `trajnb report` take, on any machine; of the path of a corpus
    only the last name is kept. `scores_only`: `without_texts`, and of what lies beside the records
    the figures; else trees and repairs are kept too, see `grown`. Nothing is written before all of
    it is read and checked.

    Raises:
        ValueError: records that are damaged or cannot be pooled, or were made from a tree with
            uncommitted changes, without `allow_changes`.
    """
    runs, about = finished_runs(study), read_about(study)
    changed = {run.folder.name: with_changes(run) for run in runs}
    if any(changed.values()) and not allow_changes:
        named = "; ".join(f"{name}: {', '.join(files)}" for name, files in changed.items() if files)
        raise ValueError(
            "records made from a tree with uncommitted changes, which nobody can have again "
            f"({named}). Commit the changes, delete the folder of each such run, or rollout.json "
            "where it is that alone, and run the study again; --allow-changes takes them as they are"
        )
    told = without_folders if scores_only else at_home
    beside = [read_beside(run.folder) for run in runs]
    grown = [] if scores_only else list(kept_as(runs, study))
    for run, files in zip(runs, beside, strict=True):
        folder = out / "records" / run.folder.name
        kept = without_texts(run) if scores_only else run
        record = asdict(kept.record)
        write_lines(folder / "items.jsonl", kept.items)
        write_lines(folder / "predictions.jsonl.gz", kept.predictions)
        _write_beside(folder, files if kept is run else _figures_beside(run, files))
        write_json(folder / "record.json", record | {"parameters": told(record["parameters"])})
    for place, lines in grown:
        write_lines(out / place, lines)
    if about:
        runs_of = about.get("runs", {}).items()
        about["runs"] = {name: told(upgrade_parameters(run)) for name, run in runs_of}
        text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
        write_bytes(out / ABOUT, text.encode())
    return changed


def _figures_beside(run: Run, files: Mapping[str, list]) -> dict[str, list]:
    """What lies beside the records of a run, without texts."""
    name = run.record.corpus["name"]
    return {
        file: [figures_of(line, FIGURES[file], name) for line in lines] if file in FIGURES else lines
        for file, lines in files.items()  # others are figures and parameters alone
    }


@dataclass(frozen=True)
class Kept:
    """The records of a run, kept elsewhere, read and checked."""

    run: Run
    beside: dict[str, list]
    """See `read_beside`."""


def read_kept(folder: Path) -> Kept:
    """Raises ValueError where a file is missing or damaged."""
    return Kept(read_run(folder), read_beside(folder))


def adopt(folder: Path, kept: Kept) -> None:
    """Take the records of a run as those of `folder`; the marker of the end comes last."""
    write_lines(folder / "items.jsonl", kept.run.items)
    write_lines(folder / "predictions.jsonl", kept.run.predictions)
    _write_beside(folder, kept.beside)
    write_json(folder / "record.json", asdict(kept.run.record))


def _write_beside(folder: Path, files: Mapping[str, list]) -> None:
    for name, lines in files.items():
        if name.endswith(".jsonl"):
            write_lines(folder / name, lines)
        else:
            write_json(folder / name, *lines)
