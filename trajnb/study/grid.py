"""Expand grids into runs, and name each run by what shapes its training."""

import hashlib
import itertools
import json

from trajnb.study.params import FOLDERS, Parameters, Study, check_run

# Where a run is kept and what it is evaluated on change no weight; everything else is its identity.
NOT_IDENTITY = (*FOLDERS, "eval_conditions")


def expand(study: Study, parameters: Parameters) -> dict[str, dict]:
    """All runs of `study` in the order of its grids: run name -> all parameters of the training notebook.

    The union: a run that two grids name is one run, evaluated under the conditions of both. A run that
    cannot be is a ValueError that names its grid.
    """
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    runs: dict[str, dict] = {}
    for place, grid in enumerate(study.grids):
        for values in itertools.product(*grid.values()):
            run = defaults | study.common | dict(zip(grid, values, strict=True))
            try:
                check_run(run, parameters)
            except ValueError as error:
                raise ValueError(f"{study.name}: runs[{place}]: {error}") from None
            twin = runs.setdefault(run_name(run, parameters), run)
            if twin is not run:
                both = _evaluated(twin) + _evaluated(run)
                twin["eval_conditions"] = list(dict.fromkeys(both))
    return runs


def shaping(run: dict, parameters: Parameters) -> dict:
    """The parameters that shape the training of `run` and are not at their default, sorted by name.

    Defaults are left out so that a parameter that is added later leaves earlier runs what they are.
    """
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    return {n: run[n] for n in sorted(run) if n not in NOT_IDENTITY and run[n] != defaults[n]}


def run_name(run: dict, parameters: Parameters) -> str:
    """The name of the folder of `run`: condition, seed and a hash of what shapes it, `full-s0-1a2b3c4d`."""
    identity = hashlib.sha256(json.dumps(shaping(run, parameters)).encode()).hexdigest()
    return f"{run['condition']}-s{run['seed']}-{identity[:8]}"


def varying(runs: dict[str, dict]) -> list[str]:
    """The parameters that differ between `runs`, which are what a table of them shows."""
    names = [name for name in next(iter(runs.values())) if name not in NOT_IDENTITY]
    return [name for name in names if len({json.dumps(run[name]) for run in runs.values()}) > 1]


def _evaluated(run: dict) -> list[str]:
    return run["eval_conditions"] or [run["condition"]]
