"""The folder of a study: whose it is, what of it is finished, what is taken over from elsewhere."""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from trajnb.files import write_bytes
from trajnb.keeping import adopt
from trajnb.machine import now
from trajnb.records import read_study, runs_folder
from trajnb.run.settings import asked_with
from trajnb.schema import condition_of_today, upgrade_parameters
from trajnb.scoring.score import has_holes
from trajnb.study.engines import say
from trajnb.study.params import Study

DECISIVE = ("primary", "smallest_effect")


def claim_folder(out: Path, study: Study, runs: dict[str, dict]) -> None:
    """Make `out` the folder of this study, or raise ValueError where it is already something
    else's.
    """
    about = out / "study.yaml"
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
            f"{out} holds runs of another study, {_name_in(about)}: {', '.join(strange)}. "
            "Choose another folder with --out, or delete them if they are not wanted"
        )
    (out / "runs").mkdir(parents=True, exist_ok=True)
    content = {"name": study.name, "title": study.title, "description": study.description}
    decisive = {"primary": study.primary, "smallest_effect": study.smallest_effect}
    decisive = {name: value for name, value in decisive.items() if value}
    if study.family:
        content["family"] = _declared(study.family, decisive, about)
    content |= decisive
    content["runs"] = runs
    content = json.loads(json.dumps(content))  # lists that runs share would become YAML anchors
    write_bytes(about, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def _declared(family: dict, decisive: dict, about: Path) -> dict:
    """The family of tests with the time at which this study's folder first named it, and with it
    what is decisive.
    """
    before = yaml.safe_load(about.read_text(encoding="utf-8")) if about.is_file() else {}
    named = before.get("family") or {}
    same = {name: named.get(name) for name in family} == family
    same = same and {name: before.get(name) for name in DECISIVE if name in before} == decisive
    return {**family, "declared": named["declared"] if same else now()}


def adopt_kept(out: Path, runs: dict[str, dict], kept: Path) -> None:
    """Take over from the folder `kept` the records of those `runs` that are not finished in `out`.
    """
    if not any(kept.rglob("record.json")):
        raise ValueError(f"{kept} holds no finished run: there is no record.json in it")
    found = {path.parent.name: path.parent for path in runs_folder(kept).glob("*/record.json")}
    for name, run in runs.items():
        if name not in found or is_finished(out / "runs" / name, run):
            continue
        if other := _other_condition(found[name], run):
            say(f"{name}: the record in {kept} is of condition {other}, so it runs anew")
            continue
        if is_finished(found[name], run):
            adopt(out / "runs" / name, found[name])
            say(f"{name}: taken from {kept}")
        else:
            say(
                f"{name}: the record in {kept} lacks an evaluation that is asked for, so it runs anew"
            )
    read_study(out)  # whether all of it can be pooled


def check_can_go_on(out: Path, states: Mapping[str, str]) -> None:
    """Raise ValueError where an evaluation would have to be added to a record without texts."""
    for name in [name for name, state in states.items() if state != "finished"]:
        if (_content(out / "runs" / name) or {}).get("scores_only"):
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
        if folder.is_dir()
        else "waiting"
        for name, folder in folders.items()
    }


def planned_states(out: Path) -> dict[str, str] | None:
    """The `run_states` of the runs that study.yaml names; None for a folder of records without it.
    """
    about = out / "study.yaml"
    if not about.is_file():
        return None
    runs = yaml.safe_load(about.read_text(encoding="utf-8"))["runs"]
    return run_states(out, {name: upgrade_parameters(run) for name, run in runs.items()})


def is_finished(folder: Path, run: dict) -> bool:
    """Whether `folder` holds the record of `run` with every evaluation that the run asks for, at
    the stages that it asks for.

    Raises:
        ValueError: what is there is no record, or that of another condition.
    """
    content = _content(folder)
    if content is None:
        return False
    if other := _other_condition(folder, run):
        raise ValueError(
            f"{folder} holds a run of condition {other}, not {run['condition']}: choose another "
            "folder with --out, or delete it"
        )
    today = condition_of_today(content.get("parameters", {}))
    matrix = {today(condition): scores for condition, scores in content["matrix"].items()}
    asked = asked_with(run)
    if not set(asked) <= set(matrix):
        return False
    ends = run.get("eval_stages", "all") == "ends"
    return ends or not has_holes({name: matrix[name] for name in asked})


def _content(folder: Path) -> dict | None:
    """What the record of a folder says, None where there is none."""
    record = folder / "record.json"
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        content["matrix"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{record} is no record: delete it, and the run goes on") from None
    return content


def _other_condition(folder: Path, run: dict) -> str:
    """The condition of the run in a folder, where it is not that of `run`: names of runs outlived
    the change of what `placebo` shows.
    """
    parameters = _content(folder).get("parameters", {})
    condition = upgrade_parameters(parameters).get("condition", run["condition"])
    return condition if condition != run["condition"] else ""


def count(states: dict[str, str]) -> str:
    counts = {state: list(states.values()).count(state) for state in ("finished", "cut", "waiting")}
    return f"{len(states)} runs, " + ", ".join(
        f"{count} {state}" for state, count in counts.items() if count
    )


def _name_in(about: Path) -> str:
    try:
        return str(yaml.safe_load(about.read_text(encoding="utf-8"))["name"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return "of an unknown name"
