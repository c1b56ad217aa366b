"""Run a study: its folder, what of it is finished, its notebooks in order, its pages."""

import json
from pathlib import Path

import yaml

from trajnb.study.execute import Job, Slots, execute, say, slots, visible_gpus
from trajnb.study.params import Study, notebook_parameters
from trajnb.machine import now
from trajnb.records import adopt, read_study, runs_folder

INSPECT, TRAIN, EVALUATE = "01_inspect.ipynb", "02_train.ipynb", "03_evaluate.ipynb"
ROLLOUT, DETAILS = "04_rollout.ipynb", "07_details.ipynb"


def run_study(
    study: Study,
    runs: dict[str, dict],
    out: Path,
    notebooks: Path,
    jobs: int | None = None,
    kept: Path | None = None,
) -> dict[str, str]:
    """Run what is not finished of `runs` in the folder `out`, render all of it, return errors by job name.

    Args:
        runs: run name -> all parameters of the training notebook, see `grid.expand`.
        notebooks: the folder of the notebooks; relative paths in parameters start from its parent.
        jobs: runs at a time; None is one per GPU.
        kept: a folder of records, committed or copied from elsewhere; its runs are not run again.

    Raises:
        ValueError: `out` holds something else, or records that do not go together.
    """
    out = out.resolve()
    claim_folder(out, study, runs)
    if kept:
        adopt_kept(out, runs, kept)
    states = run_states(out, runs)
    write_index(out, states)
    places = slots(jobs)
    say(f"{study.title}: {_count(states)}; {len(places)} at a time; into {out}")

    def changed(job: Job, state: str) -> None:
        states[job.name] = state
        if state != "running" and job.executed.is_file():
            render(job.executed)
        write_index(out, states)

    errors = inspect(out, runs, notebooks, places)
    waiting = [training_job(out, name, runs[name], notebooks) for name in runs if states[name] != "finished"]
    errors |= execute(waiting, places, lambda job: is_finished(job.log.parent, runs[job.name]), changed)
    done = [name for name in runs if states[name] == "finished"]
    rollouts = [rollout_job(out, name, runs[name], notebooks) for name in done if asks_rollout(runs[name])]
    rollouts = [job for job in rollouts if not is_rolled_out(job)]
    # a rollout is many small steps, which one core does nearly as fast as two
    two = places if jobs or visible_gpus() else slots(2)
    errors |= execute(rollouts, two, is_rolled_out, _render_when_done)
    if done:
        errors |= evaluate(out, notebooks, places)
    write_index(out, states)
    return errors


def claim_folder(out: Path, study: Study, runs: dict[str, dict]) -> None:
    """Make `out` the folder of this study, or raise ValueError where it is already something else's."""
    about = out / "study.yaml"
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: choose a folder with --out")
    if out.is_dir() and any(out.iterdir()) and not about.is_file():
        raise ValueError(f"{out} holds files but no study (no study.yaml): choose another folder with --out")
    strange = sorted(path.name for path in out.glob("runs/*") if path.is_dir() and path.name not in runs)
    if strange:
        raise ValueError(
            f"{out} holds runs of another study, {_name_in(about)}: {', '.join(strange)}. "
            "Choose another folder with --out, or delete them if they are not wanted"
        )
    (out / "runs").mkdir(parents=True, exist_ok=True)
    content = {"name": study.name, "title": study.title, "description": study.description}
    if study.family:
        content["family"] = _declared(study.family, about)
    content["runs"] = runs
    content = json.loads(json.dumps(content))  # lists that runs share would become YAML anchors
    about.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _declared(family: dict, about: Path) -> dict:
    """The family of tests with the time at which this study's folder first named it."""
    before = yaml.safe_load(about.read_text(encoding="utf-8")).get("family") if about.is_file() else None
    same = before and {name: before.get(name) for name in family} == family
    return {**family, "declared": before["declared"] if same else now()}


def adopt_kept(out: Path, runs: dict[str, dict], kept: Path) -> None:
    """Take over from the folder `kept` the records of those `runs` that are not finished in `out`."""
    if not any(kept.rglob("record.json")):
        raise ValueError(f"{kept} holds no finished run: there is no record.json in it")
    found = {path.parent.name: path.parent for path in runs_folder(kept).glob("*/record.json")}
    for name, run in runs.items():
        if name not in found or is_finished(out / "runs" / name, run):
            continue
        if is_finished(found[name], run):
            adopt(out / "runs" / name, found[name])
            say(f"{name}: taken from {kept}")
        else:
            say(f"{name}: the record in {kept} lacks an evaluation that is asked for, so it runs anew")
    read_study(out)  # whether all of it can be pooled


def run_states(out: Path, runs: dict[str, dict]) -> dict[str, str]:
    """`finished`, `cut` (was started, goes on from there) or `waiting` for each run."""
    folders = {name: runs_folder(out) / name for name in runs}
    return {
        name: "finished" if is_finished(folder, runs[name]) else "cut" if folder.is_dir() else "waiting"
        for name, folder in folders.items()
    }


def is_finished(folder: Path, run: dict) -> bool:
    """Whether `folder` holds the record of `run` with every evaluation that the run asks for."""
    record = folder / "record.json"
    try:
        matrix = json.loads(record.read_text(encoding="utf-8"))["matrix"]
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{record} is no record: delete it, and the run goes on") from None
    return set(run["eval_conditions"] or [run["condition"]]) <= set(matrix)


def training_job(out: Path, name: str, run: dict, notebooks: Path) -> Job:
    """The job that trains `run` in its folder; its notebook goes on where an earlier one was cut."""
    folder, root = out / "runs" / name, notebooks.parent
    run = run | {"run_folder": _from(root, folder), "zero_shot_folder": _from(root, out / "zero_shot")}
    return Job(name, notebooks / TRAIN, folder / TRAIN, folder / "parameters.yaml", folder / "log.txt", run)


def asks_rollout(run: dict) -> bool:
    """Whether the dialogues of a run are to be played to their end as well."""
    return run.get("rollout_dialogues", 0) > 0


def rollout_job(out: Path, name: str, run: dict, notebooks: Path) -> Job:
    """The job that plays held-out dialogues with the model that `run` trained."""
    folder = out / "runs" / name
    parameters = {
        "run_folder": _from(notebooks.parent, folder),
        "rollout_dialogues": run["rollout_dialogues"],
        "rollout_calls": run["rollout_calls"],
        "eval_conditions": run["eval_conditions"] or [run["condition"]],
    }
    files = (folder / ROLLOUT, folder / "rollout.yaml", folder / "rollout.log")
    return Job(f"{name} rollout", notebooks / ROLLOUT, *files, parameters)


def is_rolled_out(job: Job) -> bool:
    """Whether the rollout of `job` is kept, with the same parameters."""
    try:
        kept = json.loads((job.log.parent / "rollout.json").read_text(encoding="utf-8"))["parameters"]
    except (OSError, ValueError, KeyError):
        return False
    return kept.items() <= job.parameters.items()


def inspect(out: Path, runs: dict[str, dict], notebooks: Path, places: Slots) -> dict[str, str]:
    """Execute 01 on what the first run learns from, unless that page is there; errors by job name."""
    first = next(iter(runs.values()))
    known = notebook_parameters(notebooks / INSPECT)
    job = _page(out, notebooks / INSPECT, {name: first[name] for name in known if name in first})
    return {} if _is_shown(job) else _execute_page(job, places)


def evaluate(out: Path, notebooks: Path, places: Slots) -> dict[str, str]:
    """Execute 03 and 07 on the runs in `out`; errors by job name."""
    errors, folder = {}, {"study_folder": _from(notebooks.parent, out)}
    for name in (EVALUATE, DETAILS):
        errors |= _execute_page(_page(out, notebooks / name, folder), places)
    return errors


def report(out: Path, notebooks: Path) -> dict[str, str]:
    """Execute 03 and 07 again on a folder of runs or of records, render every page of it; errors by job name."""
    out = out.resolve()
    if not any(out.rglob("record.json")):
        raise ValueError(f"{out} holds no finished run: there is no record.json in it")
    errors = evaluate(out, notebooks, slots(1))
    for executed in [*out.glob("*.ipynb"), *out.glob(f"runs/*/{TRAIN}"), *out.glob(f"runs/*/{ROLLOUT}")]:
        render(executed)
    about = out / "study.yaml"
    runs = yaml.safe_load(about.read_text(encoding="utf-8"))["runs"] if about.is_file() else {}
    write_index(out, run_states(out, runs) or None)
    return errors


def render(executed: Path) -> None:
    """Render an executed notebook as the page beside it."""
    from trajnb.show.report import render_notebook  # nbconvert and seaborn take seconds to import

    render_notebook(executed, executed.with_suffix(".html"))


def write_index(out: Path, states: dict[str, str] | None) -> None:
    """Write the study's index page as things stand."""
    from trajnb.show.report import write_index

    write_index(out, read_study(out), states)


def _page(out: Path, notebook: Path, parameters: dict) -> Job:
    stem = notebook.stem
    return Job(stem, notebook, out / notebook.name, out / f"{stem}.yaml", out / f"{stem}.log", parameters)


def _is_shown(job: Job) -> bool:
    """Whether the page of `job` is there, made without an error and with the same parameters."""
    try:
        executed = json.loads(job.executed.read_text(encoding="utf-8"))["metadata"]["papermill"]
        parameters = yaml.safe_load(job.parameters_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        return False
    done = executed.get("exception") is None and executed.get("end_time") is not None
    return done and parameters == job.parameters and job.executed.with_suffix(".html").is_file()


def _execute_page(job: Job, places: Slots) -> dict[str, str]:
    return execute([job], places[:1], lambda job: False, _render_when_done)


def _render_when_done(job: Job, state: str) -> None:
    if state != "running" and job.executed.is_file():
        render(job.executed)


def _count(states: dict[str, str]) -> str:
    counts = {state: list(states.values()).count(state) for state in ("finished", "cut", "waiting")}
    return f"{len(states)} runs, " + ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def _name_in(about: Path) -> str:
    try:
        return str(yaml.safe_load(about.read_text(encoding="utf-8"))["name"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return "of an unknown name"


def _from(root: Path, path: Path) -> str:
    """`path` from the repository's root where it lies inside, so that records name no one's home."""
    root = root.resolve()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
