"""Records that travel: kept from a study's folder, and taken over into one."""

import json
from dataclasses import asdict
from pathlib import Path

import yaml

from trajnb.files import read_lines, write_bytes, write_json, write_lines
from trajnb.machine import CHANGED
from trajnb.records import finished_runs, read_run
from trajnb.schema import BESIDE, Run, upgrade_parameters
from trajnb.textless import FIGURES, at_home, figures_of, without_folders, without_texts


def with_changes(folder: Path) -> list[str]:
    """The names of a run's records that were made from a tree with uncommitted changes."""
    found = []
    for path in (folder / "record.json", folder / "rollout.json"):
        commit = json.loads(path.read_text("utf-8")).get("git_commit", "") if path.is_file() else ""
        if commit.endswith(CHANGED):
            found.append(path.name)
    return found


def keep(
    study: Path, out: Path, allow_changes: bool = False, scores_only: bool = False
) -> list[str]:
    """Copy the finished runs of a study folder to `out` as records, predictions compressed, with
    the study's own description; returns their names. `out` is what `trajnb run --records` and
    `trajnb report` take, on any machine; of the path of a corpus only the last name is kept.
    `scores_only`: `without_texts`, and of what lies beside the records the figures.

    Raises:
        ValueError: records made from a tree with uncommitted changes, without `allow_changes`.
    """
    runs = finished_runs(study)
    changed = {run.folder.name: names for run in runs if (names := with_changes(run.folder))}
    if changed and not allow_changes:
        named = "; ".join(f"{name}: {', '.join(files)}" for name, files in changed.items())
        raise ValueError(
            "records made from a tree with uncommitted changes, which nobody can have again "
            f"({named}). Commit the changes, delete the folder of each such run, or rollout.json "
            "where it is that alone, and run the study again; --allow-changes takes them as they are"
        )
    told = without_folders if scores_only else at_home
    for run in runs:
        folder = out / "records" / run.folder.name
        kept = without_texts(run) if scores_only else run
        record = asdict(kept.record)
        write_json(folder / "record.json", record | {"parameters": told(record["parameters"])})
        write_lines(folder / "items.jsonl", kept.items)
        write_lines(folder / "predictions.jsonl.gz", kept.predictions)
        if kept is run:
            _copy_beside(run.folder, folder)
        else:
            _keep_figures(run, folder)
    if (study / "study.yaml").is_file():
        about = yaml.safe_load((study / "study.yaml").read_text(encoding="utf-8"))
        runs_of = about["runs"].items()
        about["runs"] = {name: told(upgrade_parameters(run)) for name, run in runs_of}
        text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
        write_bytes(out / "study.yaml", text.encode())
    return [run.folder.name for run in runs]


def _keep_figures(run: Run, folder: Path) -> None:
    """Write to `folder` what lies beside the records of a run, without texts."""
    for file, keys in FIGURES.items():
        if (run.folder / file).is_file():
            lines = read_lines(run.folder / file)
            write_lines(
                folder / file, [figures_of(line, keys, run.record.corpus["name"]) for line in lines]
            )
    if (run.folder / "rollout.json").is_file():  # figures and parameters alone
        write_bytes(folder / "rollout.json", (run.folder / "rollout.json").read_bytes())


def adopt(folder: Path, kept: Path) -> None:
    """Take the record of a run, kept elsewhere, as that of `folder`; the marker of the end comes
    last.
    """
    run = read_run(kept)
    write_lines(folder / "items.jsonl", run.items)
    write_lines(folder / "predictions.jsonl", run.predictions)
    _copy_beside(kept, folder)
    write_json(folder / "record.json", asdict(run.record))


def _copy_beside(source: Path, target: Path) -> None:
    for name in BESIDE:
        if (source / name).is_file():
            write_bytes(target / name, (source / name).read_bytes())
