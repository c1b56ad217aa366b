"""The folder of a study: whose it is, what of it is finished, what is taken over from elsewhere."""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from trajnb.checks import to_record
from trajnb.corpora.load import corpus_of
from trajnb.files import read_json, write_bytes
from trajnb.keeping import Kept, adopt, read_kept
from trajnb.machine import now
from trajnb.records import ABOUT, check_pool, finished_runs, has_runs, read_about, runs_folder
from trajnb.run.settings import asked_with, identity
from trajnb.schema import About, Planned, Record
from trajnb.scoring.score import has_holes
from trajnb.shapes import check_shape
from trajnb.study.engines import say
from trajnb.study.params import Study
from trajnb.textless import name_of_model
from trajnb.upgrades import upgrade_parameters
from trajnb.words import counted

ATTEMPTS = "attempts"
"""The folder of a study in which attempts at runs work, see `attempts`."""
DECISIVE = ("primary", "smallest_effect")


def claim_folder(
    out: Path, study: Study, runs: dict[str, dict], kept: Path | None = None
) -> None:
    """Make `out` the folder of this study, or raise ValueError where it is already something
    else's. What was declared when the records in the folder `kept` were made was declared then.
    """
    about = out / ABOUT
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: choose a folder with --out")
    if out.is_dir() and any(out.iterdir()) and not about.is_file():
        raise ValueError(
            f"{out} holds files but no study (no study.yaml): choose another folder with --out"
        )
    strange = sorted(
        path.name for path in out.glob("runs/*") if path.is_dir() and path.name not in runs
    )
    if strange:
        raise ValueError(
            f"{out} holds runs of another study, {_name_in(out)}: {', '.join(strange)}. "
            "Choose another folder with --out, or delete them if they are not wanted"
        )
    (out / "runs").mkdir(parents=True, exist_ok=True)
    content = {"name": study.name, "title": study.title, "description": study.description}
    decisive = {"primary": study.primary, "smallest_effect": study.smallest_effect}
    decisive = {name: value for name, value in decisive.items() if value}
    if study.family:
        content["family"] = _declared(study.family, decisive, _first_about(out, kept))
    content |= decisive
    content["runs"] = runs
    content = json.loads(json.dumps(content))  # lists that runs share would become YAML anchors
    write_bytes(about, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def _first_about(out: Path, kept: Path | None) -> About:
    """What a study said of itself first: in its folder, else where its kept records lie."""
    return read_about(out) or (read_about(kept) if kept else {})


def _declared(family: dict, decisive: dict, before: About) -> dict:
    """The family of tests with the time at which the study's folder first named it, and with it
    what is decisive.
    """
    named = before.get("family") or {}
    same = {name: named.get(name) for name in family} == family
    same = same and {name: before.get(name) for name in DECISIVE if name in before} == decisive
    return {**family, "declared": (named.get("declared") if same else None) or now()}


def adopt_kept(
    out: Path, runs: dict[str, dict], kept: Path, defaults: Mapping[str, object] | None = None
) -> None:
    """Take over from the folder `kept` the records of those `runs` that are not finished in `out`:
    those whose own parameters are the run's, whatever their folder is called. Nothing is written
    before all of it is read and checked.

    `defaults`: of the parameters, which is what a record had of those that it lacks.

    Raises:
        ValueError: there is no record, one is damaged, or they cannot be pooled.
    """
    if not has_runs(kept):
        raise ValueError(f"{kept} holds no finished run: there is no record.json in it")
    found = [read_kept(path.parent) for path in sorted(runs_folder(kept).glob("*/record.json"))]
    taken: dict[str, Kept] = {}
    for name, run in runs.items():
        if is_finished(out / "runs" / name, run):
            continue
        own = [one for one in found if not _differing(one.run.record, run, defaults, order=True)]
        whole = [one for one in own if _is_answered(one.run.record, run)]
        if whole:
            taken[name] = whole[0]
        elif own:
            say(
                f"{name}: the record in {kept} lacks an evaluation that is asked for, so it runs anew"
            )
        elif others := [one for one in found if one.run.folder.name == name]:
            told = _differing(others[0].run.record, run, defaults, order=True)
            say(f"{name}: the record in {kept} is of {', '.join(told)}, so it runs anew")
    check_pool([*finished_runs(out), *(one.run for one in taken.values())])
    for name, one in taken.items():
        adopt(out / "runs" / name, one)
        say(f"{name}: taken from {kept}")


def check_can_go_on(out: Path, states: Mapping[str, str]) -> None:
    """Raise ValueError where an evaluation would have to be added to a record without texts."""
    for name in [name for name, state in states.items() if state != "finished"]:
        record = _record(out / "runs" / name)
        if record and record.scores_only:
            raise ValueError(
                f"the record of {name} was kept without texts (trajnb records --scores-only), so "
                "nothing can be added to it, and it lacks an evaluation that is asked for: take "
                "the record with texts, or delete its folder, and it runs anew"
            )


def run_states(out: Path, runs: dict[str, dict]) -> dict[str, str]:
    """`finished`, `cut` (was started, goes on from there) or `waiting` for each run."""
    folders = {name: runs_folder(out) / name for name in runs}
    return {
        name: "finished"
        if is_finished(folder, runs[name])
        else "cut"
        if folder.is_dir() or (out / ATTEMPTS / name).is_dir()
        else "waiting"
        for name, folder in folders.items()
    }


def planned_states(out: Path) -> dict[str, str] | None:
    """The `run_states` of the runs that study.yaml names; None for a folder of records without it.
    """
    return run_states(out, planned_runs(out)) or None


def planned_runs(out: Path) -> dict[str, dict]:
    """The runs that study.yaml names, with their parameters; none where there is no such file.

    Raises:
        ValueError: it is damaged.
    """
    runs = read_about(out).get("runs", {})
    check_shape(runs, dict[str, Planned], f"{ABOUT}: runs")
    return {name: upgrade_parameters(run) for name, run in runs.items()}


def is_finished(folder: Path, run: dict) -> bool:
    """Whether `folder` holds the record of `run` with every evaluation that the run asks for, at
    the stages that it asks for.

    Raises:
        ValueError: what is there is no record, or that of a run with other parameters.
    """
    record = _record(folder)
    if record is None:
        return False
    if others := _differing(record, run):
        raise ValueError(
            f"{folder} holds a run of {', '.join(others)}, not {_of(run, others)}: choose another "
            "folder with --out, or delete it"
        )
    return _is_answered(record, run)


def _is_answered(record: Record, run: dict) -> bool:
    asked = asked_with(run)
    if not set(asked) <= set(record.matrix):
        return False
    ends = run.get("eval_stages", "all") == "ends"
    return ends or not has_holes({name: record.matrix[name] for name in asked})


def _record(folder: Path) -> Record | None:
    """The record of a folder, None where there is none."""
    file = folder / "record.json"
    try:
        return to_record(read_json(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{file} is no record: delete it, and the run goes on ({error})"
        ) from None


def _differing(
    record: Record, run: dict, defaults: Mapping | None = None, order: bool = False
) -> list[str]:
    """What the record's own parameters say where they shape another run than `run`, such as
    `condition full`. Names of runs outlived the change of what `placebo` shows, and a folder can be
    called anything.

    `order`: also whether blocks were learnt in the corpus's own order, where that is asked for; it
    takes the corpus.
    """
    theirs = identity({**(defaults or {}), **record.parameters})
    ours = identity(run)
    if record.scores_only and "model" in ours:
        ours["model"] = name_of_model(ours["model"])
    if ours.get("order") == []:
        del ours["order"]
        if order and "corpus" in run:
            ours["order"] = list(corpus_of(run).blocks)
    differ = [name for name in ours if name in theirs and theirs[name] != ours[name]]
    return [f"{name} {theirs[name]}"[:80] for name in differ]


def _of(run: dict, told: list[str]) -> str:
    """What `run` has in place of what `_differing` told."""
    return ", ".join(f"{run.get(name, '')}"[:60] for name in (one.split()[0] for one in told))


def count(states: dict[str, str]) -> str:
    counts = {state: list(states.values()).count(state) for state in ("finished", "cut", "waiting")}
    return f"{counted(len(states), 'run')}, " + ", ".join(
        f"{count} {state}" for state, count in counts.items() if count
    )


def _name_in(out: Path) -> str:
    try:
        return read_about(out).get("name", "of an unknown name")
    except ValueError:
        return "of an unknown name"
