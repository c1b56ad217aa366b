"""Read a params file and check every value of it before anything runs.

A params file is one study::

    title: Stripped against full                # optional, shown on top of the report
    description: One sentence on what it asks.  # optional
    common: {corpus: bfcl, learning_rate: 2e-4} # what all runs share
    family: {measures: [novel], effects: [training@full]}  # optional: tested together, see
        the report
    primary: novel                              # optional: the measure of the family that decides
    smallest_effect: 4.4                        # optional: what of it can be found, in points
    resources: {cpus: 4, gpus: 1}               # optional: of a cluster, for each run
    runs:                                       # grids; their union is the study
      - condition: [stripped, full]             # in a grid a list is an axis
        seed: [0, 1, 2]
        orders: 2                               # block orders: how many, or a list of lists; see
            `grid`
      - condition: [stripped, full]
        together: {seed: [0, 1, 2], fold: [0, 1, 2], orders: 2}  # axes that are walked in step

What the parameters are, the training notebook says, see `parameters`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trajnb.files import read_yaml
from trajnb.known import nearest, with_type
from trajnb.machine import found
from trajnb.plain import parse_yaml
from trajnb.run.settings import FOLDERS
from trajnb.study.declared import read_family, read_primary, read_smallest_effect
from trajnb.study.parameters import Parameters, check_run, typed_value, words_of
from trajnb.study.resources import Resources, read_resources

TOP_LEVEL = (
    "title",
    "description",
    "family",
    "primary",
    "smallest_effect",
    "resources",
    "common",
    "runs",
)
PATHS = ("corpus_path", "model", "repair_model")
"""Which may be paths: relative ones start where a command is run."""


@dataclass(frozen=True)
class Study:
    """A params file, read: `common` and `grids` hold checked values, lists in `grids` being axes.
    Two keys of a grid are no parameters: of `orders` `grid.expand` makes an axis `order`, and
    `together` holds axes of one length, `orders` perhaps among them, that are walked in step.
    """

    name: str
    title: str
    description: str
    common: dict
    grids: tuple[dict, ...]
    family: dict | None = None
    """Measures and effects whose tests are corrected together; None: not declared."""
    primary: str = ""
    """The measure of the family that decides; empty: not declared."""
    smallest_effect: float | None = None
    """The smallest true effect on it that the study can find, in points; None: not declared."""
    resources: Resources = Resources()
    """What a run asks of a cluster."""


def read_params(file: Path, parameters: Parameters, settings: Sequence[str] = ()) -> Study:
    """Read and check `file`; `settings` are `name=value` texts that replace values of `common`.

    Every fault is a ValueError that names the file, the place in it and what was expected.
    """
    content = _load_yaml(file)
    unknown = [key for key in content if key not in TOP_LEVEL]
    if unknown:
        raise ValueError(f"{file}: unknown key {unknown[0]!r}{nearest(str(unknown[0]), TOP_LEVEL)}")
    common = {} if content.get("common") is None else content["common"]
    if not isinstance(common, dict):
        raise ValueError(f"{file}: common must map parameters to values, not {with_type(common)}")
    grids = content.get("runs")
    if (
        not isinstance(grids, list)
        or not grids
        or not all(isinstance(grid, dict) for grid in grids)
    ):
        raise ValueError(
            f"{file}: runs must be a list of grids, such as `runs: [{{condition: [stripped, full]}}]`, "
            f"not {with_type(grids)}"
        )
    common = {
        name: _checked(file, "common", name, value, parameters) for name, value in common.items()
    }
    grids = tuple(
        _grid(file, f"runs[{place}]", grid, parameters) for place, grid in enumerate(grids)
    )
    common |= _read_settings(settings, grids, parameters)
    title, description = (_text(file, key, content.get(key)) for key in ("title", "description"))
    family = read_family(file, content["family"]) if content.get("family") is not None else None
    primary = read_primary(file, content, family)
    effect = read_smallest_effect(file, content, primary)
    resources = read_resources(file, content.get("resources"))
    return Study(
        file.stem, title or file.stem, description, common, grids, family, primary, effect, resources
    )


def read_run(file: Path, parameters: Parameters) -> dict:
    """The parameters of one run, those that `file` leaves out at their default; what papermill
    takes.

    Raises:
        ValueError: as `read_params`, and as `check_run`.
    """
    run = {name: parameter.default for name, parameter in parameters.items()}
    for name, value in _load_yaml(file).items():
        run[name] = typed_value(f"{file}: {name}", name, value, parameters)
    try:
        check_run(run, parameters)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return run


def _load_yaml(file: Path) -> dict:
    try:
        content = read_yaml(Path(os.path.realpath(file)))  # one's own file may be a link
    except FileNotFoundError:
        others = (
            sorted(path.name for path in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        )
        raise ValueError(f"{file} does not exist{nearest(file.name, others)}") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read as text: {error}") from None
    except ValueError as error:
        raise ValueError(f"{file} cannot be read as text in YAML: {error}") from None
    if content is None:
        raise ValueError(f"{file} is empty: a params file holds `common` and `runs`")
    if not isinstance(content, dict):
        raise ValueError(f"{file} must map `common` and `runs`, but holds {with_type(content)}")
    return content


def _text(file: Path, key: str, value: object) -> str:
    """A title or a description, which YAML may take for a number."""
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"{file}: {key} must be text, not {with_type(value)}")


def _read_settings(settings: Sequence[str], grids: Sequence[dict], parameters: Parameters) -> dict:
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: write --set name=value")
        if any(name in grid or name in grid.get("together", {}) for grid in grids):
            raise ValueError(
                f"--set {name}: {name} is set in runs; --set changes only what all runs share"
            )
        try:
            value = parse_yaml(text)
        except ValueError:
            raise ValueError(f"--set {setting[:80]}: {text!r:.80} is not a YAML value") from None
        values[name] = _checked("--set", "", name, "" if value is None else value, parameters)
    return values


def _grid(file: Path, place: str, grid: dict, parameters: Parameters) -> dict:
    """A grid, checked: its axes, and under `together` those that are walked in step."""
    free = {name: value for name, value in grid.items() if name != "together"}
    axes = _axes(file, place, free, parameters)
    if "together" in grid:
        axes["together"] = _together(file, f"{place}.together", grid["together"], free, parameters)
    return axes


def _axes(file: Path, place: str, axes: dict, parameters: Parameters) -> dict:
    return {
        name: _orders(file, place, value)
        if name == "orders"
        else _axis(file, place, name, value, parameters)
        for name, value in axes.items()
    }


def _together(file: Path, where: str, tied: object, free: dict, parameters: Parameters) -> dict:
    """Axes that are walked in step: as long as each other, and none of them `free` too."""
    if not isinstance(tied, dict) or len(tied) < 2:
        raise ValueError(
            f"{file}: {where} must map two parameters or more to lists, such as "
            f"{{seed: [0, 1], fold: [0, 1]}}, not {with_type(tied)}"
        )
    axes = _axes(file, where, tied, parameters)
    if both := sorted(axes.keys() & free.keys()):
        raise ValueError(
            f"{file}: {where}: {both[0]} stands beside together too: an axis is tied or free"
        )
    if "order" in tied and "orders" in tied:
        raise ValueError(
            f"{file}: {where}: order and orders both say the order of blocks: give one"
        )
    lengths = {name: len(values) for name, values in axes.items() if name != "orders"}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"{file}: {where}: axes walked in step are equally long, but {told}")
    return axes


def _axis(file: Path, place: str, name: str, value: object, parameters: Parameters) -> list:
    """The values of one axis; a single value is an axis of one."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError(f"{file}: {place}.{name} is an empty list, which makes no run")
    kind = parameters[name].kind if name in parameters else ""
    if kind.startswith("list") and not all(isinstance(one, list) for one in values):
        raise ValueError(
            f"{file}: {place}.{name} is a list itself; an axis of it is a list of lists, [[..]]"
        )
    return [_checked(file, place, name, one, parameters) for one in values]


def _orders(file: Path, place: str, value: object) -> int | list:
    """A count of block orders, or the orders themselves."""
    lists = isinstance(value, list) and value and all(isinstance(order, list) for order in value)
    if lists and all(isinstance(block, str) for order in value for block in order):
        return value
    if type(value) is int and value > 0:
        return value
    raise ValueError(
        f"{file}: {place}.orders must be a count or a list of lists of blocks, not {with_type(value)}"
    )


def _checked(
    file: Path | str, place: str, name: str, value: object, parameters: Parameters
) -> object:
    """`value` as the type that the notebook's annotation asks for."""
    where = f"{file}: {place}.{name}" if place else f"{file} {name}"
    if name in FOLDERS and name in parameters:
        raise ValueError(
            f"{where}: trajnb run sets the folders of runs; choose the study's with --out"
        )
    hint = (
        "; to vary it, put the list into runs"
        if isinstance(value, list) and place == "common"
        else ""
    )
    typed = typed_value(where, name, value, parameters, hint)
    return found(typed) if name in PATHS and typed not in words_of(parameters[name].help) else typed
