"""The parameters of a run: what a notebook's `parameters` cell says of them, and whether the values of
one run make a run.

The cell is the one place where they stand, with their types, defaults, and the words or the range that
are allowed.
"""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

from trajnb.known import KINDS, as_kind, check_known, nearest, with_type
from trajnb.machine import ROOT, resolve
from trajnb.run.by_objective import check_objective
from trajnb.run.settings import asked_with, check_played, check_recalled
from trajnb.strategies import strategy_of


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
        plain = len(words) > 1 and all(re.fullmatch(r"[\w-]+", word) for word in words)
        return words if plain else []

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
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    source = "".join(tagged[0]["source"]) if tagged else ""
    read, found = inspect_notebook(notebook), {}
    for assignment in ast.parse(source).body:
        name = re.split(r"\W", ast.unparse(assignment))[0]
        # papermill passes over what it cannot read
        line = read.get(name, {"inferred_type_name": None})
        kind = line["inferred_type_name"]
        if kind not in KINDS:
            form = f"`name: type = value  # help`, with one `=` in all, type one of {', '.join(KINDS)}"
            raise ValueError(f"{notebook}: the parameter {name} must be one line, {form}")
        found[name] = Parameter(name, kind, ast.literal_eval(line["default"]), line["help"])
    if not found:
        raise ValueError(f"{notebook} has no cell tagged `parameters`, or nothing in it")
    return found


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


def typed_value(where: str, name: str, value: object, parameters: Parameters, hint: str = "") -> object:
    """`value` as the type of its parameter; `hint` is what else to say of another type."""
    if name not in parameters:
        raise ValueError(f"{where}: unknown parameter {name!r}{nearest(str(name), parameters)}")
    kind = parameters[name].kind
    converted = as_kind(value, kind)
    if converted is None:
        quoted = kind == "str" and isinstance(value, (bool, int, float))
        hint = hint or ("; quote it" if quoted else "")
        raise ValueError(f"{where} must be {kind}, not {with_type(value)}{hint}")
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
    known = words_of(help)
    if model in known or re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", model) or resolve(model).is_dir():
        return
    raise ValueError(
        f"unknown model {model!r}{nearest(model, known)}: neither {' nor '.join(known)}, nor owner/name of "
        f"a hub model, nor a folder in {Path.cwd()} or {ROOT}, where relative paths start"
    )


def words_of(help: str) -> list[str]:
    """The words of a help text that stand between bars by themselves."""
    return [word.strip() for word in help.split("|") if " " not in word.strip()]
