"""What a study runs, as data: a tuple of parts, each a notebook that is executed once or for every
run.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NotRequired, TypedDict

from trajnb.files import digest, read_json, read_yaml
from trajnb.objectives import USUAL, objective_of
from trajnb.records import has_runs, read_beside, read_study
from trajnb.run.settings import asked_with, question
from trajnb.schema import PlayedMeans, Run
from trajnb.shapes import check_shape
from trajnb.strategies import strategy_of
from trajnb.study import engines
from trajnb.study.engines import Slots, say, slots, visible_gpus
from trajnb.study.folder import (
    ATTEMPTS,
    adopt_kept,
    check_can_go_on,
    claim_folder,
    count,
    is_finished,
    planned_runs,
    planned_states,
    run_states,
)
from trajnb.study.job import Job
from trajnb.study.parameters import Parameters, notebook_parameters
from trajnb.study.params import Study

TRAIN = "02_train.ipynb"
PREFER = "05_prefer.ipynb"
REPAIR = "06_repair.ipynb"


@dataclass(frozen=True)
class Place:
    """Where a study lies, and where its notebooks come from."""

    out: Path
    notebooks: Path
    """Relative paths in parameters start from its parent."""

    def written(self, path: Path) -> str:
        """`path` as a parameter: from the repository's root where it lies inside, so that records
        name no one's home.
        """
        root = self.notebooks.parent.resolve()
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def run_folder(self, name: str) -> Path:
        return self.out / "runs" / name


@dataclass(frozen=True)
class Part:
    """A notebook of a study."""

    notebook: str
    per_run: bool
    """It is executed for every run, else once for the study."""
    is_done: Callable[[Job], bool]
    parameters: Callable[[Place, str, dict], dict]
    """(place, name of the run, its parameters) -> those of the notebook that are not the run's own.
    Parts that are executed once get the first run.
    """
    wanted: Callable[[dict], bool] = lambda run: True
    """Whether a run asks for it."""
    trains: bool = False
    """It makes the run: its parameters shape it, its end is the run's."""
    of_finished: bool = True
    """It needs finished runs: a part for every run those it is about, another one at least one."""
    unless_asked: Mapping[str, object] = field(default_factory=dict)
    """Of its own parameters, what a run has that does not name them."""
    name: str = "{run}"
    files: tuple[str, str] = ("{stem}.yaml", "{stem}.log")
    """Its job's name, its parameters file and its log."""
    at_least: int = 1
    """How many are executed at a time where nobody says it and there is no GPU."""


class Ended(TypedDict):
    """How papermill says that an execution ended."""

    exception: NotRequired[bool | None]
    end_time: NotRequired[str | None]


class Metadata(TypedDict):
    papermill: Ended


class Executed(TypedDict):
    """What is looked at of an executed notebook."""

    metadata: Metadata


def is_shown(job: Job) -> bool:
    """Whether the page of `job` is there, made without an error and with the same parameters."""
    try:
        notebook = read_json(job.executed)
        check_shape(notebook, Executed, "it")
        parameters = read_yaml(job.parameters_file)
    except (OSError, ValueError):
        return False
    executed = notebook["metadata"]["papermill"]
    done = executed.get("exception") is None and executed.get("end_time") is not None
    return done and parameters == job.parameters and job.executed.with_suffix(".html").is_file()


def is_trained(job: Job) -> bool:
    """Whether the run of `job` has its record, with every evaluation that it asks for."""
    return is_finished(job.log.parent, job.parameters)


def is_rolled_out(job: Job) -> bool:
    """Whether the rollout of `job` is kept, with the same parameters."""
    try:
        played = read_json(job.log.parent / "rollout.json")
        check_shape(played, PlayedMeans, "it")
    except (OSError, ValueError):
        return False
    kept = played.get("parameters", {"": None})
    return kept.items() <= job.parameters.items()


def _never(job: Job) -> bool:
    """What is made of all runs is made anew each time."""
    return False


def _of_training(place: Place, name: str, run: dict) -> dict:
    folder, zero_shot = place.run_folder(name), place.out / "zero_shot"
    return {"run_folder": place.written(folder), "zero_shot_folder": place.written(zero_shot)}


def _of_preferring(place: Place, name: str, run: dict) -> dict:
    shared = {"preferences_folder": place.written(place.out / "preferences")}
    return _of_training(place, name, run) | shared


def _of_repairing(place: Place, name: str, run: dict) -> dict:
    shared = {"repair_folder": place.written(place.out / "repair")}
    return _of_training(place, name, run) | shared


def _of_rollout(place: Place, name: str, run: dict) -> dict:
    return {"run_folder": place.written(place.run_folder(name)), "eval_conditions": asked_with(run)}


def _of_study(place: Place, name: str, run: dict) -> dict:
    return {"study_folder": place.written(place.out)}


PARTS = (
    Part(
        "01_inspect.ipynb",
        per_run=False,
        is_done=is_shown,
        parameters=lambda place, name, run: {},
        of_finished=False,
        name="01_inspect",
    ),
    Part(
        TRAIN,
        per_run=True,
        is_done=is_trained,
        parameters=_of_training,
        wanted=lambda run: not objective_of(run).plays,
        trains=True,
        of_finished=False,
        files=("parameters.yaml", "log.txt"),
    ),
    Part(
        PREFER,
        per_run=True,
        is_done=is_trained,
        parameters=_of_preferring,
        wanted=lambda run: objective_of(run).prefers,
        trains=True,
        of_finished=False,
        unless_asked={"objective": USUAL.name},
        files=("parameters.yaml", "log.txt"),
    ),
    Part(
        REPAIR,
        per_run=True,
        is_done=is_trained,
        parameters=_of_repairing,
        wanted=lambda run: objective_of(run).repairs,
        trains=True,
        of_finished=False,
        unless_asked={"objective": USUAL.name},
        files=("parameters.yaml", "log.txt"),
    ),
    Part(
        "04_rollout.ipynb",
        per_run=True,
        is_done=is_rolled_out,
        parameters=_of_rollout,
        wanted=lambda run: run.get("rollout_dialogues", 0) > 0,
        unless_asked={"rollout_dialogues": 0},
        name="{run} rollout",
        files=("rollout.yaml", "rollout.log"),
        at_least=2,  # many small steps, which one core does nearly as fast as two
    ),
    Part(
        "03_evaluate.ipynb",
        per_run=False,
        is_done=_never,
        parameters=_of_study,
        name="03_evaluate",
    ),
    Part(
        "07_details.ipynb",
        per_run=False,
        is_done=_never,
        parameters=_of_study,
        name="07_details",
    ),
)
"""In the order in which they are executed."""


def schema(notebooks: Path) -> Parameters:
    """What a params file may say: the parameters of all notebooks that are executed for every run.
    Those of notebooks that train shape a run; those of others do not.
    """
    found: Parameters = {}
    for part in PARTS:
        for name, parameter in _own_parameters(part, notebooks).items():
            found.setdefault(name, replace(parameter, shapes=part.trains))
    return found


def of_training(notebooks: Path) -> Parameters:
    """The parameters that one run may be told, whatever notebook trains it."""
    return {name: one for name, one in schema(notebooks).items() if one.shapes}


def _own_parameters(part: Part, notebooks: Path) -> Parameters:
    """The parameters of a part for every run, each at what a run has that does not name it."""
    if not part.per_run:
        return {}
    found = notebook_parameters(notebooks / part.notebook)
    defaults = {name: part.unless_asked.get(name, one.default) for name, one in found.items()}
    return {name: replace(one, default=defaults[name]) for name, one in found.items()}


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
    write_index(place.out, states)
    at_a_time = f"; {len(slots(jobs))} at a time" if engine is engines.local else ""
    say(f"{study.title}: {count(states)}{at_a_time}; into {place.out}")
    errors: dict[str, str] = {}
    if asked_first:
        errors |= engine(asking_jobs(place, runs, states), slots(jobs), _never, lambda *_: None)
    for part in PARTS:
        waiting = [job for job in jobs_of(part, place, runs, states) if not part.is_done(job)]
        places = _slots(part, jobs)
        changed = partial(_changed, part, place.out, states, errors)
        execute = engine if part.per_run else engines.local
        errors |= execute(waiting, places, part.is_done, changed)
        errors |= {job.name: told for job in waiting if (told := _unshown(job)) and job.name not in errors}
    _write_pages(place.out, states, errors, at_end=True)
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
        with _page_named(errors, f"page of {job.name}"):
            render_page(job.executed)
    if part.trains:
        states[job.name] = state
        if state == "finished":
            _write_pages(out, states, errors)
            return
        with _page_named(errors, "index.html"):
            write_index(out, states)


def _write_pages(
    out: Path, states: dict[str, str] | None, errors: dict[str, str], at_end: bool = False
) -> None:
    """The pages of items and of rollouts, then the index, which links them; at the end of all work
    the headline too, as the last lines that are said. The records are read once.
    """
    with _page_named(errors, "index.html"):
        runs = read_study(out)
        with _page_named(errors, "items.html"):
            write_readers(out, runs)
        write_index(out, states, runs)
        for line in _headline(runs) if at_end else ():
            say(line)


def _headline(runs: Sequence[Run]) -> list[str]:
    """Where the plain arms began and where they ended, as a table; nothing where it cannot be told.
    """
    from trajnb.scoring import crossing
    from trajnb.scoring.tables import frame, headline
    from trajnb.show.results import headline_lines

    try:
        return headline_lines(headline(crossing.with_memory(frame(runs)))) if runs else []
    except ValueError:  # the index page says why these runs give no table
        return []


@contextmanager
def _page_named(errors: dict[str, str], name: str) -> Iterator[None]:
    """Whatever keeps a page from being made is one sentence under its name, gone once it is made.

    Of notebooks that were cut, disks that are full and templates anything may come; nothing of it
    may end what computes.
    """
    try:
        yield
    except Exception as error:
        errors[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        say(f"{name}: it cannot be made: {errors[name]}")
    else:
        errors.pop(name, None)


def _unshown(job: Job) -> str:
    """What of a job's page is not there, as an error; empty where nothing is missing."""
    from trajnb.show.page import unshown

    try:
        cells = read_json(job.executed)["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    count = unshown(output for cell in cells for output in cell.get("outputs", []))
    return f"{count} figures are missing from its page" if count else ""


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
    with _page_named(errors, "items.html"):
        made += write_readers(place.out, read_study(place.out))  # the evaluation links them
    for part in PARTS:
        if part.is_done is _never:
            job = job_of(part, place, "", {})
            changed = partial(_changed, part, place.out, {}, errors)
            errors |= engines.local([job], slots(1), _never, changed)
            errors |= {job.name: told} if (told := _unshown(job)) and job.name not in errors else {}
    for part in PARTS:
        for executed in place.out.glob(
            f"runs/*/{part.notebook}" if part.per_run else part.notebook
        ):
            with _page_named(errors, f"page of {executed.relative_to(place.out)}"):
                render_page(executed)
    _clean_pages(place.out, made, errors)
    _write_pages(place.out, planned_states(place.out), errors, at_end=True)
    return errors


def _clean_pages(out: Path, made: Collection[Path], errors: dict[str, str]) -> None:
    """Clean what pages a folder came with under names that the index links: those that are neither
    `made` nor have a notebook.
    """
    from trajnb.show.report import PAGES, clean_page

    names = [*PAGES, *(f"r*s/*/{Path(part.notebook).stem}.html" for part in PARTS)]  # runs, or records
    for page in sorted({page for name in names for page in out.glob(name)}):
        if page not in made and not page.with_suffix(".ipynb").is_file():
            with _page_named(errors, page.relative_to(out).as_posix()):
                clean_page(page)


def render_page(executed: Path) -> None:
    """Render an executed notebook as the page beside it."""
    from trajnb.show.report import render_notebook  # nbconvert and seaborn take seconds to import

    render_notebook(executed, executed.with_suffix(".html"))


def write_index(
    out: Path, states: dict[str, str] | None, runs: Sequence[Run] | None = None
) -> None:
    """Write the study's index page as things stand; `runs`, where they are read already."""
    from trajnb.show.report import write_index

    write_index(out, read_study(out) if runs is None else runs, states)


def write_readers(out: Path, runs: Sequence[Run] | None = None) -> list[Path]:
    """Write the pages of items and of rollouts as things stand; returns their paths."""
    from trajnb.corpora.load import corpora_of
    from trajnb.show.report import write_readers

    runs = read_study(out) if runs is None else runs
    if not runs:
        return []
    chosen = {run.record.corpus["hash"]: run.record.parameters for run in runs}
    return write_readers(out, runs, {} if runs[0].record.scores_only else corpora_of(chosen))
