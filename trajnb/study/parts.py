"""What a study consists of, as data: a tuple of parts, each a notebook that is executed once or for
every run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NotRequired, TypedDict

from trajnb.files import read_json, read_yaml
from trajnb.objectives import USUAL, objective_of
from trajnb.run.settings import asked_with
from trajnb.schema import PlayedMeans
from trajnb.shapes import check_shape
from trajnb.study.folder import is_finished
from trajnb.study.job import Job
from trajnb.study.parameters import Parameters, notebook_parameters

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


def never(job: Job) -> bool:
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
        is_done=never,
        parameters=_of_study,
        name="03_evaluate",
    ),
    Part(
        "07_details.ipynb",
        per_run=False,
        is_done=never,
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
