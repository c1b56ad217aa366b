"""A study, run and reported: its parts, in their order, as jobs of an engine."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path

from trajnb.files import digest
from trajnb.records import has_runs, read_beside, read_study
from trajnb.run.settings import asked_with, question
from trajnb.strategies import strategy_of
from trajnb.study import engines, pages
from trajnb.study.engines import Slots, say, slots, visible_gpus
from trajnb.study.folder import (
    ATTEMPTS,
    adopt_kept,
    check_can_go_on,
    claim_folder,
    count,
    planned_runs,
    planned_states,
    run_states,
)
from trajnb.study.job import Job
from trajnb.study.parameters import notebook_parameters
from trajnb.study.params import Study
from trajnb.study.parts import PARTS, TRAIN, Part, Place, never


def run_study(
    study: Study,
    runs: dict[str, dict],
    out: Path,
    notebooks: Path,
    jobs: int | None = None,
    kept: Path | None = None,
    engine: Callable = engines.local,
    asked_first: bool = False,
) -> dict[str, str]:
    """Run what is not finished of `runs` in the folder `out`, render all of it, return errors by
    job name.

    Args:
        runs: run name -> its parameters, see `grid.expand`.
        notebooks: the folder of the notebooks.
        jobs: runs at a time; None is one per GPU.
        kept: a folder of records, committed or copied from elsewhere; its runs are not run again.
        engine: where the jobs of runs are executed, see `engines`; those that are executed once for
            the study are executed on this machine.
        asked_first: models are asked before any training in jobs of their own, before the runs that
            share the answers begin; else the first run that needs them asks.

    Raises:
        ValueError: `out` holds something else, or records that do not go together.
    """
    place = Place(out.resolve(), notebooks)
    claim_folder(place.out, study, runs, kept)
    if kept:
        known = notebook_parameters(notebooks / TRAIN).items()
        adopt_kept(place.out, runs, kept, {name: one.default for name, one in known})
    states = run_states(place.out, runs)
    check_can_go_on(place.out, states)
    pages.write_index(place.out, states)
    at_a_time = f"; {len(slots(jobs))} at a time" if engine is engines.local else ""
    say(f"{study.title}: {count(states)}{at_a_time}; into {place.out}")
    errors: dict[str, str] = {}
    if asked_first:
        errors |= engine(asking_jobs(place, runs, states), slots(jobs), never, lambda *_: None)
    for part in PARTS:
        waiting = [job for job in jobs_of(part, place, runs, states) if not part.is_done(job)]
        places = _slots(part, jobs)
        changed = partial(_changed, part, place.out, states, errors)
        execute = engine if part.per_run else engines.local
        errors |= execute(waiting, places, part.is_done, changed)
        errors |= _unshown(waiting, errors)
    pages.write_all(place.out, states, errors, at_end=True)
    return errors


def jobs_of(
    part: Part, place: Place, runs: dict[str, dict], states: Mapping[str, str]
) -> list[Job]:
    """The jobs of a part, whether they are done or not."""
    ready = list(runs)
    if part.of_finished:
        ready = [name for name in runs if states[name] == "finished"]
    if not part.per_run:
        ready = ready[:1]
    return [job_of(part, place, name, runs[name]) for name in ready if part.wanted(runs[name])]


def job_of(part: Part, place: Place, name: str, run: dict) -> Job:
    """The job of a part for one run: of the run's parameters it gets those that its notebook knows.
    """
    notebook = place.notebooks / part.notebook
    folder = place.run_folder(name) if part.per_run else place.out
    own = {known: run[known] for known in notebook_parameters(notebook) if known in run}
    parameters_file, log = (folder / file.format(stem=notebook.stem) for file in part.files)
    return Job(
        part.name.format(run=name),
        notebook,
        folder / part.notebook,
        parameters_file,
        log,
        own | part.parameters(place, name, run),
        place.out / ATTEMPTS / name if part.trains else None,
    )


def asking_jobs(
    place: Place, runs: Mapping[str, dict], states: Mapping[str, str]
) -> list[Job]:
    """A job for each group of unfinished runs that share their answers before training: it asks the
    model, and the runs read what it wrote.
    """
    groups: dict[str, list[str]] = {}
    for name, run in runs.items():
        if states[name] != "finished" and not strategy_of(run).recalls:
            groups.setdefault(digest(question(run)), []).append(name)
    jobs = []
    for group, names in groups.items():
        if len(names) < 2:
            continue  # who asks alone asks at once
        first = runs[names[0]]
        part = next(part for part in PARTS if part.trains and part.wanted(first))
        asked = list(dict.fromkeys(chain.from_iterable(asked_with(runs[name]) for name in names)))
        job = job_of(part, place, names[0], first | {"eval_conditions": asked})
        folder = place.out / "zero_shot" / f"asked-{group[:16]}"
        parameters = job.parameters | {"run_folder": place.written(folder)}
        jobs.append(
            Job(
                f"before training {len(jobs) + 1}",
                job.notebook,
                folder / part.notebook,
                folder / "parameters.yaml",
                folder / "log.txt",
                parameters,
                module=("trajnb", "ask", str(folder / "parameters.yaml")),
            )
        )
    return jobs


def _slots(part: Part, jobs: int | None) -> Slots:
    """The places for a part's jobs; what is executed once gets all that one place has."""
    if not part.per_run:
        return slots(jobs)[:1]
    return slots(jobs if jobs or visible_gpus() or part.at_least == 1 else part.at_least)


def _changed(
    part: Part, out: Path, states: dict[str, str], errors: dict[str, str], job: Job, state: str
) -> None:
    """Show what has become of a job: its page and, of a training run, the index. A page that cannot
    be made is an error of its own in `errors`: the work goes on.
    """
    if state != "running" and job.executed.is_file():
        with pages.named(errors, f"page of {job.name}"):
            pages.render(job.executed)
    if part.trains:
        states[job.name] = state
        if state == "finished":
            pages.write_all(out, states, errors)
            return
        with pages.named(errors, "index.html"):
            pages.write_index(out, states)


def _unshown(jobs: Iterable[Job], errors: Mapping[str, str]) -> dict[str, str]:
    """Errors by job name of those whose pages lack figures and that have no other error."""
    found = {job.name: pages.unshown(job) for job in jobs if job.name not in errors}
    return {name: told for name, told in found.items() if told}


def report(out: Path, notebooks: Path) -> dict[str, str]:
    """Execute the pages of a folder of runs or of records again, render all of it; errors by job
    name.
    """
    place = Place(out.resolve(), notebooks)
    if not has_runs(place.out):
        raise ValueError(f"{place.out} holds no finished run: there is no record.json in it")
    for run in read_study(place.out):  # damage ends it here, before anything is executed
        read_beside(run.folder)
    planned_runs(place.out)
    errors: dict[str, str] = {}
    made: list[Path] = []
    with pages.named(errors, "items.html"):
        made += pages.write_readers(place.out, read_study(place.out))  # the evaluation links them
    for part in PARTS:
        if part.is_done is never:
            job = job_of(part, place, "", {})
            changed = partial(_changed, part, place.out, {}, errors)
            errors |= engines.local([job], slots(1), never, changed)
            errors |= _unshown([job], errors)
    for part in PARTS:
        for executed in place.out.glob(
            f"runs/*/{part.notebook}" if part.per_run else part.notebook
        ):
            with pages.named(errors, f"page of {executed.relative_to(place.out)}"):
                pages.render(executed)
    pages.clean(place.out, made, errors)
    pages.write_all(place.out, planned_states(place.out), errors, at_end=True)
    return errors
