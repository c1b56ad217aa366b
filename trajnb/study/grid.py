"""Expand grids into runs, and name each run by what shapes its training."""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Sequence

from trajnb.run.settings import NOT_IDENTITY, asked_with, identity
from trajnb.study.parameters import Parameters, check_run
from trajnb.study.params import Study


def expand(study: Study, parameters: Parameters) -> dict[str, dict]:
    """All runs of `study` in the order of its grids: run name -> all parameters of the training
    notebook.

    Axes under `together` are walked in step, each step crossed with the grid's other axes, so that
    a study that is cut has whole steps; `orders` among them come round again where there are more
    steps. The union: a run that two grids name is one run, evaluated under the conditions and at
    the stages of both. A run that cannot be is a ValueError that names its grid.
    """
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    runs: dict[str, dict] = {}
    check_size(study)
    for place, grid in enumerate(study.grids):
        for run in _runs_of(grid, defaults | study.common, f"{study.name}: runs[{place}]"):
            try:
                check_run(run, parameters)
            except ValueError as error:
                raise ValueError(f"{study.name}: runs[{place}]: {error}") from None
            twin = runs.setdefault(run_name(run, parameters), run)
            if twin is not run:
                both = asked_with(twin) + asked_with(run)
                twin["eval_conditions"] = list(dict.fromkeys(both))
                if "all" in (twin.get("eval_stages"), run.get("eval_stages")):
                    twin["eval_stages"] = "all"
    return runs


MOST_RUNS = 10_000
"""Of a study; the largest that was planned has under a hundred."""


def check_size(study: Study) -> None:
    """Raise ValueError where the grids of a study are of more runs than anyone has time for, before
    any of them is made.
    """
    total = 0
    for grid in study.grids:
        tied = grid.get("together", {})
        orders = grid.get("orders", 1)
        free = [len(values) for name, values in grid.items() if name not in ("orders", "together")]
        steps = [len(values) for name, values in tied.items() if name != "orders"]
        total += math.prod(free) * max(steps, default=1) * (
            orders if isinstance(orders, int) else len(orders)
        )
    if total > MOST_RUNS:
        raise ValueError(f"{study.name}: runs makes {total:,} runs, and a study has at most {MOST_RUNS:,}")


def _runs_of(grid: dict, shared: dict, where: str) -> Iterator[dict]:
    tied = grid.get("together", {})
    if sum(name in axes for name in ("order", "orders") for axes in (grid, tied)) > 1:
        raise ValueError(
            f"{where}: order and orders both say in which order blocks are learnt: give one"
        )
    free = {name: values for name, values in grid.items() if name not in ("orders", "together")}
    for number, step in enumerate(_steps(tied)):
        for values in itertools.product(*free.values()):
            run = shared | dict(zip(free, values, strict=True)) | step
            try:
                orders = _orders_of(run, grid, tied, number)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            yield from (run | {"order": order} for order in orders) if orders else [run]


def _steps(tied: dict[str, list]) -> list[dict]:
    """What axes that are walked in step say at each step; one step that says nothing where none
    are.
    """
    axes = {name: values for name, values in tied.items() if name != "orders"}
    steps = zip(*axes.values(), strict=True)
    return [dict(zip(axes, values, strict=True)) for values in steps] or [{}]


def _orders_of(run: dict, grid: dict, tied: dict, number: int) -> list[list[str]]:
    """The block orders of a run at step `number`: all that the grid asks for, or, of tied ones,
    that of the step; none where the run's own `order` says it.

    The corpus's own order is the default, and a run in it the same run.
    """
    asked = grid.get("orders", tied.get("orders"))
    if asked is None:
        return []
    from trajnb.corpora.load import corpus_of

    blocks = corpus_of(run).blocks
    orders = balanced_orders(blocks, asked) if isinstance(asked, int) else asked
    found = [[] if list(order) == list(blocks) else list(order) for order in orders]
    return [found[number % len(found)]] if "orders" in tied else found


def balanced_orders(blocks: Sequence[str], count: int) -> list[list[str]]:
    """The first `count` rows of a balanced Latin square of `blocks` (Williams 1949), the first in
    their own order: over all rows each block stands once in each place and, where their number is
    even, once behind every other; an odd number of blocks takes twice as many rows, and then twice.

    Raises:
        ValueError: the square has fewer rows.
    """
    size = len(blocks)
    zigzag = [
        (place + 1) // 2 if place % 2 else (size - place // 2) % size for place in range(size)
    ]
    rows = [[(step + shift) % size for step in zigzag] for shift in range(size)]
    rows += [row[::-1] for row in rows] if size % 2 and size > 1 else []
    if not 0 < count <= len(rows):
        raise ValueError(
            f"orders is {count}: a balanced square of {size} blocks has 1 to {len(rows)} orders"
        )
    names = dict(zip(rows[0], blocks, strict=True))
    return [[names[step] for step in row] for row in rows[:count]]


def shaping(run: dict, parameters: Parameters) -> dict:
    """The parameters that shape the training of `run` and are not at their default, sorted by name.

    Defaults are left out so that a parameter that is added later leaves earlier runs what they are.
    """
    own = {name: value for name, value in run.items() if parameters[name].shapes}
    shaped = identity(own).items()
    return {name: value for name, value in shaped if value != parameters[name].default}


def run_name(run: dict, parameters: Parameters) -> str:
    """The name of the folder of `run`: condition, seed and a hash of what shapes it,
    `full-s0-1a2b3c4d`.
    """
    identity = hashlib.sha256(json.dumps(shaping(run, parameters)).encode()).hexdigest()
    return f"{run['condition']}-s{run['seed']}-{identity[:8]}"


def varying(runs: dict[str, dict]) -> list[str]:
    """The parameters that differ between `runs`, which are what a table of them shows."""
    names = [name for name in next(iter(runs.values())) if name not in NOT_IDENTITY]
    return [name for name in names if len({json.dumps(run[name]) for run in runs.values()}) > 1]
