"""Run a study: its folder, what of it is finished, its notebooks in order, its pages."""

import json
from pathlib import Path

import yaml

from trajnb.study.execute import Job, execute, say, slots
from trajnb.study.params import Study, notebook_parameters

TRAIN, INSPECT, EVALUATE = "02_train.ipynb", "01_inspect.ipynb", "03_evaluate.ipynb"


def run_study(study: Study, runs: dict[str, dict], out: Path, notebooks: Path, jobs: int | None = None) -> dict[str, str]:
    """Run what is not finished of `runs` in the folder `out`, render all, and return the errors by job name.

    `notebooks` is the folder of the three notebooks. A folder that holds anything else is a ValueError.
    """
    out = out.resolve()
    claim_folder(out, study, runs)
    states = run_states(out, runs)
    write_index(out, states)
    places = slots(jobs)
    say(f"{study.title}: {len(runs)} runs, {_count(states)}; {len(places)} at a time; into {out}")
    errors = inspect(out, runs, notebooks, places)

    def changed(job: Job, state: str) -> None:
        states[job.name] = state
        if state != "running" and job.executed.is_file():
            render(job.executed)
        write_index(out, states)

    waiting = [training_job(out, name, runs[name], notebooks) for name in runs if states[name] != "finished"]
    errors |= execute(waiting, places, lambda job: is_finished(job.log.parent, runs[job.name]), changed)
    if "finished" in states.values():
        errors |= evaluate(out, notebooks, places)
    write_index(out, states)
    return errors


def claim_folder(out: Path, study: Study, runs: dict[str, dict]) -> None:
    """Make `out` the folder of this study, or raise ValueError where it is already something else's."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, not a folder: choose another with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / "study.yaml").is_file():
        raise ValueError(f"{out} holds files that are no study's (it has no study.yaml): choose another with --out")
    strange = [folder.name for folder in sorted(out.glob("runs/*")) if folder.is_dir() and folder.name not in runs]
    if strange:
        owner = (yaml.safe_load((out / "study.yaml").read_text(encoding="utf-8")) or {}).get("name", "another study")
        raise ValueError(
            f"{out} holds runs that are not of this study but of {owner!r} as it was then: {', '.join(strange)}. "
            "Choose another folder with --out, or delete them"
        )
    (out / "runs").mkdir(parents=True, exist_ok=True)
    content = {"name": study.name, "title": study.title, "description": study.description, "runs": runs}
    (out / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def run_states(out: Path, runs: dict[str, dict]) -> dict[str, str]:
    """`finished`, `cut` (started once, to be gone on with) or `waiting` for each run."""
    states = {}
    for name, run in runs.items():
        folder = out / "runs" / name
        states[name] = "finished" if is_finished(folder, run) else "cut" if folder.is_dir() else "waiting"
    return states


def is_finished(folder: Path, run: dict) -> bool:
    """Whether `folder` holds the record of `run` with every evaluation that the run asks for."""
    try:
        matrix = json.loads((folder / "record.json").read_text(encoding="utf-8"))["matrix"]
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / 'record.json'} is no record: delete it, and the run goes on") from None
    return set(run["eval_conditions"] or [run["condition"]]) <= set(matrix)


def training_job(out: Path, name: str, run: dict, notebooks: Path) -> Job:
    """The job that trains `run` in its folder; its notebook goes on where an earlier one was cut."""
    folder = out / "runs" / name
    root = notebooks.parent
    folders = {"run_folder": _from_root(folder, root), "zero_shot_folder": _from_root(out / "zero_shot", root)}
    return Job(name, notebooks / TRAIN, folder / TRAIN, folder / "parameters.yaml", folder / "log.txt", run | folders)


def inspect(out: Path, runs: dict[str, dict], notebooks: Path, places: list[dict]) -> dict[str, str]:
    """Execute 01 on what the first run trains on, unless that page is there already; errors by job name."""
    first = next(iter(runs.values()))
    known = notebook_parameters(notebooks / INSPECT)
    job = _page(out, notebooks / INSPECT, {name: first[name] for name in known if name in first})
    if job.executed.with_suffix(".html").is_file() and job.parameters_file.is_file():
        if yaml.safe_load(job.parameters_file.read_text(encoding="utf-8")) == job.parameters:
            return {}
    return _execute_page(job, places)


def evaluate(out: Path, notebooks: Path, places: list[dict]) -> dict[str, str]:
    """Execute 03 on the runs in `out`; errors by job name."""
    job = _page(out, notebooks / EVALUATE, {"study_folder": _from_root(out, notebooks.parent)})
    return _execute_page(job, places)


def report(out: Path, notebooks: Path) -> dict[str, str]:
    """Execute 03 again on a folder of runs or records, and render every page of it; errors by job name."""
    out = out.resolve()
    if not any(out.rglob("record.json")):
        raise ValueError(f"{out} holds no finished run: no record.json anywhere in it")
    errors = evaluate(out, notebooks, slots(1))
    for executed in [*out.glob("*.ipynb"), *out.glob(f"runs/*/{TRAIN}")]:
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
    from trajnb.show.report import write_index

    write_index(out, states)


def _page(out: Path, notebook: Path, parameters: dict) -> Job:
    stem = notebook.stem
    return Job(stem, notebook, out / notebook.name, out / f"{stem}.yaml", out / f"{stem}.log", parameters)


def _execute_page(job: Job, places: list[dict]) -> dict[str, str]:
    def changed(job: Job, state: str) -> None:
        if state == "finished":
            render(job.executed)

    return execute([job], places[:1], lambda job: False, changed)


def _count(states: dict[str, str]) -> str:
    counted = [(state, list(states.values()).count(state)) for state in ("finished", "cut", "waiting")]
    return ", ".join(f"{count} {state}" for state, count in counted if count)


def _from_root(path: Path, root: Path) -> str:
    """`path` relative to the repository's root where it lies inside, so that records name no one's home."""
    return str(path.relative_to(root.resolve()) if path.is_relative_to(root.resolve()) else path)
