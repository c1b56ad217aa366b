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

The parameters, their types and the words allowed for them are read from the training notebook's
`parameters` cell, so that they stand in one place.
"""

import ast
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trajnb.files import read_yaml
from trajnb.known import KINDS, as_kind, check_known, nearest
from trajnb.machine import ROOT, found, resolve
from trajnb.plain import parse_yaml
from trajnb.run.by_objective import check_objective
from trajnb.run.settings import FOLDERS, asked_with, check_played, check_recalled
from trajnb.strategies import strategy_of
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
class Parameter:
    """One line of a notebook's parameters cell: `name: kind = default  # help`."""

    name: str
    kind: str  # one of KINDS
    default: object
    help: str
    shapes: bool = True
    """It shapes a run: a parameter of a notebook that trains, not of one that is executed with the
    run afterwards.
    """

    @property
    def words(self) -> list[str]:
        """The only values allowed: those of a help text that is nothing but words between bars."""
        words = [word.strip() for word in self.help.split("|")]
        return (
            words if len(words) > 1 and all(re.fullmatch(r"[\w-]+", word) for word in words) else []
        )


    def check_range(self, value: object) -> None:
        """Raise ValueError where a number lies outside the interval that ends the help text, such
        as `in (0, 1]`: at a round bracket the end itself is outside.
        """
        if not (found := _RANGE.search(self.help)):
            return
        low, high = float(found["low"]), float(found["high"])
        above = value > low or (value == low and found["opens"] == "[")
        below = value < high or (value == high and found["closes"] == "]")
        if not (above and below):
            raise ValueError(f"{self.name} is {value!r:.40}: it must lie {found[0]}")


_RANGE = re.compile(r"in (?P<opens>[\[(])(?P<low>[\d.-]+), (?P<high>[\d.]+)(?P<closes>[])])$")
Parameters = dict[str, Parameter]  # of one notebook, by name


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
    family: dict | None = (
        None  # measures and effects whose tests are corrected together; None: not declared
    )
    primary: str = ""
    """The measure of the family that decides; empty: not declared."""
    smallest_effect: float | None = None
    """The smallest true effect on it that the study can find, in points; None: not declared."""
    resources: Resources = Resources()
    """What a run asks of a cluster."""


def notebook_parameters(notebook: Path) -> Parameters:
    """The parameters cell of `notebook`, by name; ValueError where papermill could not fill all of
    it.
    """
    from papermill import inspect_notebook  # 0.5 s, and `trajnb --help` has no use for it

    if not notebook.is_file():
        raise ValueError(
            f"{notebook} is missing: trajnb runs in a clone, installed with `pip install -e .`"
        )
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    cell = next(
        (cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])), {"source": ""}
    )
    read, found = inspect_notebook(notebook), {}
    for assignment in ast.parse("".join(cell["source"])).body:
        name = re.split(r"\W", ast.unparse(assignment))[0]
        line = read.get(
            name, {"inferred_type_name": None}
        )  # papermill passes over what it cannot read
        kind = line["inferred_type_name"]
        if kind not in KINDS:
            form = (
                f"`name: type = value  # help`, with one `=` in all, type one of {', '.join(KINDS)}"
            )
            raise ValueError(f"{notebook}: the parameter {name} must be one line, {form}")
        found[name] = Parameter(name, kind, ast.literal_eval(line["default"]), line["help"])
    if not found:
        raise ValueError(f"{notebook} has no cell tagged `parameters`, or nothing in it")
    return found


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
        raise ValueError(f"{file}: common must map parameters to values, not {_shown(common)}")
    grids = content.get("runs")
    if (
        not isinstance(grids, list)
        or not grids
        or not all(isinstance(grid, dict) for grid in grids)
    ):
        raise ValueError(
            f"{file}: runs must be a list of grids, such as `runs: [{{condition: [stripped, full]}}]`, "
            f"not {_shown(grids)}"
        )
    common = {
        name: _checked(file, "common", name, value, parameters) for name, value in common.items()
    }
    grids = tuple(
        _grid(file, f"runs[{place}]", grid, parameters) for place, grid in enumerate(grids)
    )
    common |= _read_settings(settings, grids, parameters)
    title, description = (_text(file, key, content.get(key)) for key in ("title", "description"))
    family = _family(file, content["family"]) if content.get("family") is not None else None
    primary = _primary(file, content, family)
    effect = _smallest_effect(file, content, primary)
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
        run[name] = _typed(f"{file}: {name}", name, value, parameters)
    try:
        check_run(run, parameters)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return run


def check_run(run: dict, parameters: Parameters) -> None:
    """Raise ValueError where the values of one run, each of the right type, make no run."""
    for name, value in run.items():
        if words := parameters[name].words:
            check_known(name, value, words)
        parameters[name].check_range(value)
    _check_conditions(run)
    if "strategy" in run:
        _check_strategy(run)
    check_objective(run)
    if "corpus" in run:
        from trajnb.corpora.load import corpus_of

        _check_order(run["order"], corpus_of(run).blocks)
    if "model" in run:
        _check_model(run["model"], parameters["model"].help)


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
        raise ValueError(f"{file} must map `common` and `runs`, but holds {_shown(content)}")
    return content


def _text(file: Path, key: str, value: object) -> str:
    """A title or a description, which YAML may take for a number."""
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"{file}: {key} must be text, not {_shown(value)}")


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
            f"{{seed: [0, 1], fold: [0, 1]}}, not {_shown(tied)}"
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
        f"{file}: {place}.orders must be a count or a list of lists of blocks, not {_shown(value)}"
    )


def _family(file: Path, value: object) -> dict[str, list[str]]:
    """The comparisons that are tested together: every effect on every measure, those of the crossing
    of conditions, of preferences or of repair.
    """
    known = _words_of_family(value)
    if not isinstance(value, dict) or sorted(value) != sorted(known):
        raise ValueError(
            f"{file}: family must map measures and effects to lists, not {_shown(value)}"
        )
    for part, words in known.items():
        if not isinstance(value[part], list) or not value[part]:
            raise ValueError(f"{file}: family.{part} must be a list of {', '.join(words)}")
        for word in value[part]:
            if word not in words:
                hint = nearest(str(word), words)
                raise ValueError(
                    f"{file}: family.{part}: unknown {word!r}{hint}; known: {', '.join(words)}"
                )
    return value


def _words_of_family(value: object) -> dict[str, Sequence[str]]:
    """The measures and effects of preferences, or of repair, where one of these effects is named, else
    those of the crossing: one family has one kind.
    """
    from trajnb.scoring import crossing, preferences, repairs
    from trajnb.scoring.score import MEASURES

    effects = value.get("effects") if isinstance(value, dict) else None
    for kind in (preferences, repairs):
        if isinstance(effects, list) and set(map(str, effects)) & set(kind.EFFECTS):
            return {"measures": list(kind.MEASURES), "effects": kind.EFFECTS}
    return {"measures": list(MEASURES), "effects": crossing.EFFECTS}


def _primary(file: Path, content: dict, family: dict | None) -> str:
    """The measure that decides, one of the family's."""
    from trajnb.scoring import preferences
    from trajnb.scoring.score import MEASURES

    primary, known = content.get("primary"), [*MEASURES, *preferences.MEASURES]
    if primary is None:
        return ""
    if not isinstance(primary, str) or primary not in known:
        hint = nearest(str(primary), known)
        raise ValueError(f"{file}: unknown primary {primary!r}{hint}; known: {', '.join(known)}")
    if family is None or primary not in family["measures"]:
        raise ValueError(
            f"{file}: primary is {primary}, but family.measures does not name it, so no test of it "
            "would be declared"
        )
    return primary


def _smallest_effect(file: Path, content: dict, primary: str) -> float | None:
    """A positive number of points of the primary measure."""
    value = content.get("smallest_effect")
    if value is None:
        return None
    number = as_kind(value, "float")
    if number is None or number <= 0:
        raise ValueError(
            f"{file}: smallest_effect must be a positive number of points, not {_shown(value)}"
        )
    if not primary:
        raise ValueError(f"{file}: smallest_effect is of the primary measure: declare one")
    return number


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
    typed = _typed(where, name, value, parameters, hint)
    return found(typed) if name in PATHS and typed not in _words(parameters[name].help) else typed


def _typed(where: str, name: str, value: object, parameters: Parameters, hint: str = "") -> object:
    """`value` as the type of its parameter; `hint` is what else to say of another type."""
    if name not in parameters:
        raise ValueError(f"{where}: unknown parameter {name!r}{nearest(str(name), parameters)}")
    kind = parameters[name].kind
    converted = as_kind(value, kind)
    if converted is None:
        quoted = kind == "str" and isinstance(value, (bool, int, float))
        hint = hint or ("; quote it" if quoted else "")
        raise ValueError(f"{where} must be {kind}, not {_shown(value)}{hint}")
    return converted


def _check_conditions(run: dict) -> None:
    from trajnb.formatting.conditions import CONDITIONS

    matched = [run["match_tokens"]] if run.get("match_tokens") else []
    for name, conditions in (
        ("condition", [run["condition"]]),
        ("eval_conditions", run["eval_conditions"]),
        ("match_tokens", matched),
    ):
        for condition in conditions:
            try:
                check_known("condition", condition, CONDITIONS)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None


def _check_strategy(run: dict) -> None:
    if run.get("rollout_dialogues", 0) > 0:  # not there where 02_train alone is asked for
        _check_rollout(run)
    if run["match_tokens"] and not strategy_of(run).trains:
        raise ValueError(
            f"match_tokens is about training, and under strategy {run['strategy']!r} nothing is trained"
        )
    check_recalled(run)
    if run["match_tokens"] and run["truncation"] == "paper":
        raise ValueError(
            "match_tokens counts whole examples: it needs truncation 'turns', not 'paper'"
        )


def _check_rollout(run: dict) -> None:
    from trajnb.corpora.load import EXECUTED

    if run["corpus"] not in EXECUTED:
        raise ValueError(
            f"rollout_dialogues: the calls of the corpus {run['corpus']!r} cannot be executed"
        )
    if not strategy_of(run).ends_with_one_model:
        raise ValueError(
            f"rollout_dialogues: strategy {run['strategy']!r} ends with no one model to be played"
        )
    try:
        check_played(asked_with(run))
    except ValueError as error:
        raise ValueError(f"rollout_dialogues: {error}") from None


def _check_order(order: list[str], blocks: tuple[str, ...]) -> None:
    if order and sorted(order) != sorted(blocks):
        hint = "".join(nearest(block, blocks) for block in order if block not in blocks)
        raise ValueError(
            f"order must name each of {', '.join(blocks)} once, not {', '.join(order)}{hint}"
        )


def _check_model(model: str, help: str) -> None:
    """A model is a word of the notebook's help, an owner/name of the hub, or a folder."""
    known = _words(help)
    if model in known or re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", model) or resolve(model).is_dir():
        return
    raise ValueError(
        f"unknown model {model!r}{nearest(model, known)}: neither {' nor '.join(known)}, nor owner/name of "
        f"a hub model, nor a folder in {Path.cwd()} or {ROOT}, where relative paths start"
    )


def _words(help: str) -> list[str]:
    """The words of a help text that stand between bars by themselves."""
    return [word.strip() for word in help.split("|") if " " not in word.strip()]


def _shown(value: object) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) < 80 else f"{text[:77]}..."
