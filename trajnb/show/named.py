"""Tables and figures of a study by name: what `explore` shows and `trajnb data` writes.

A table has numbers for programs and words for people; neither rounds what the other is made of.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import isnan

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from trajnb.known import check_known
from trajnb.records import Run
from trajnb.scoring import caveats, crossing, matrices, tables
from trajnb.scoring.answers import unit_of
from trajnb.scoring.arms import numbered, words
from trajnb.scoring.errors import KINDS
from trajnb.scoring.overview import Plan, overview
from trajnb.scoring.paired import ITEM, RUN
from trajnb.scoring.score import MEASURES, OUTCOMES
from trajnb.show import contrasts, plots
from trajnb.show.outputs import KEPT_FIGURES, Drawing, Table

CURVES = ("canonical", "name")
"""Measures of figures over stages."""


@dataclass(frozen=True)
class Results:
    """Runs of a study, and what was planned of it."""

    runs: Sequence[Run]
    plan: Plan

    @cached_property
    def rows(self) -> pd.DataFrame:
        """As `tables.frame` has them."""
        return tables.frame(self.runs)

    @cached_property
    def plain(self) -> pd.DataFrame:
        """The rows that a headline is about."""
        return crossing.plain(self.rows)


def table(results: Results, name: str) -> Table:
    """The table of this name, one of `TABLES`; ValueError for any other."""
    check_known("table", name, TABLES)
    return TABLES[name](results)


def figure(results: Results, name: str) -> Drawing:
    """The figure of this name, one of `FIGURES`, which has no parts where a study has nothing to
    draw there; ValueError for any other name.
    """
    check_known("figure", name, FIGURES)
    title, draw = FIGURES[name]
    with plt.rc_context():
        plots.use_theme()
        plt.rcParams.update(KEPT_FIGURES)
        return Drawing(title, tuple(draw(results)))


def _headline(results: Results) -> Table:
    numbers = tables.headline(results.rows)
    shown = numbers[numbers.final.notna()]
    lines = [
        {
            "trained with": str(row.arm),
            "measure": row.label,
            "zero-shot": _level(row.zero, row.zero_right, row),
            "final": _level(row.final, row.final_right, row),
            "change": _signed(row.change, row.measure),
            "95 % interval": _interval(row.low, row.high, row.measure),
        }
        for row in shown.itertuples()
    ]
    return Table(_plain(numbers), pd.DataFrame(lines), caveats.covered(list(numbers.covers)))


def _level(value: float, right: object, row) -> str:
    if row.unit != "%":
        return f"{value:.2f} {row.unit}"
    return f"{value:.1f} % ({right} of {row.n})"


def _signed(value: float, measure: str) -> str:
    return "" if isnan(value) else f"{value:+z.{unit_of(measure)[1]}f}"


def _interval(low: float, high: float, measure: str) -> str:
    if isnan(low):
        return "none"
    return f"{_signed(low, measure)} to {_signed(high, measure)}"


def _effects(results: Results) -> Table:
    numbers = crossing.effects(results.rows, results.plan.measures(), results.plan.family)
    lines = [
        {
            "measure": ", ".join(filter(None, [words(row.variant), MEASURES[row.measure][0]])),
            "effect": row.effect,
            "mean": _signed(row.level, row.measure),
            "95 % interval": _interval(row.low, row.high, row.measure),
            "p": "–" if isnan(row.p) else f"{row.p:.3f}",
            "Holm": "–" if isnan(row.holm) else f"{row.holm:.3f}",
            "run pairs": str(row.pairs),
            "items": str(row.calls),
        }
        for row in numbers.rename(columns={"mean": "level", "items": "calls"}).itertuples()
        if row.calls
    ]
    numbers = numbers.assign(variant=[words(variant) for variant in numbers.variant])
    return Table(_plain(numbers), pd.DataFrame(lines))


def _counts(column: str, known: Sequence[str]) -> Callable[[Results], Table]:
    def counted(results: Results) -> Table:
        rows = results.plain
        rows = rows[rows[column].notna()]  # of older records
        if rows.empty:
            return Table(pd.DataFrame(), pd.DataFrame())
        numbers = tables.outcomes(rows, column, known).rename_axis(["arm", "when"]).reset_index()
        numbers = _plain(numbers)
        return Table(numbers, numbers.astype(str))

    return counted


def _matrices(results: Results) -> Table:
    lines = []
    orders = list(results.rows.order.unique())
    for measure in CURVES:
        for order, by_arm in matrices.matrices(results.rows, measure).items():
            for arm, one in by_arm.items():
                head = {"arm": f"{arm}{numbered(order, orders)}", "measure": measure}
                lines += [head | cell for cell in _cells(one)]
    numbers = pd.DataFrame(lines)
    shown = numbers.assign(percent=[f"{share:.1f} %" for share in numbers.get("percent", [])])
    return Table(numbers, shown.astype(str))


def _cells(one: matrices.Matrix) -> list[dict]:
    """The cells of a matrix that were asked."""
    found = []
    for stage, counts in enumerate(one.right):
        for block, right, items in zip(one.blocks, counts, one.items, strict=True):
            if not isnan(right):
                cell = {"stage": stage, "block": block, "right": int(right), "items": int(items)}
                found.append(cell | {"percent": 100 * right / items})
    return found


def _runs(results: Results) -> Table:
    numbers = _plain(overview(results.runs).rename_axis("run").reset_index())
    return Table(numbers, numbers.astype(str))


def _plain(numbers: pd.DataFrame) -> pd.DataFrame:
    """Numbers and texts alone: arms in words, several words as one text."""
    found = numbers.copy()
    for column in found:
        values = list(found[column])
        if any(not pd.api.types.is_scalar(value) for value in values):
            found[column] = [_text(value) for value in values]
    return found


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


TABLES: dict[str, Callable[[Results], Table]] = {
    "headline": _headline,
    "effects": _effects,
    "outcomes": _counts("outcome", OUTCOMES),
    "errors": _counts("error", KINDS),
    "matrices": _matrices,
    "runs": _runs,
}


def _items(results: Results) -> list[Figure]:
    """Every held-out call of the plain arms at every stage."""
    rows = results.plain
    arms = list(rows.arm.unique())
    palette = plots.colours(arms)
    blocks = list(dict.fromkeys(chain.from_iterable(rows.order.unique())))
    calls = {block: _by_call(rows[rows.block == block]) for block in blocks}
    most = max(map(len, calls.values()))
    height = 1.2 + min(6.0, 0.13 * most)
    figure, axes = plots.subplots(
        len(arms), len(blocks), figsize=(2.2 * len(blocks), height * len(arms)), sharex=True
    )
    for place, (line, arm) in enumerate(zip(axes, arms, strict=True)):
        for ax, block in zip(line, blocks, strict=True):
            wide = calls[block][arm] if arm in calls[block] else pd.DataFrame()
            if wide.empty:
                ax.axis("off")
                continue
            ink = ListedColormap(["#E8E8E8", palette[arm]])
            ink = ink.with_extremes(bad=(0, 0, 0, 0))  # a stage at which it was not asked
            ax.pcolormesh(wide.to_numpy(float), cmap=ink, vmin=0, vmax=1, edgecolors="white")
            ax.set(ylim=(most, 0), yticks=[], title="" if place else plots.short(block))
            ax.set_xticks([stage + 0.5 for stage in range(wide.shape[1])], range(wide.shape[1]))
            ax.grid(False)
        line[0].set_ylabel(str(arm))
    figure.supxlabel("stage: 0 is before training; full squares are exact calls", fontsize="small")
    return [plots.finish(figure)]


def _by_call(rows: pd.DataFrame) -> pd.DataFrame:
    """Exact or not, a line a call, those more often right first; columns (arm, stage)."""
    wide = rows.assign(right=rows.canonical.astype(float))
    wide = wide.pivot_table(
        index=[*RUN, *ITEM], columns=["arm", "stage"], values="right", sort=False
    )
    best = wide.sum(axis=1).sort_values(ascending=False, kind="stable").index
    return wide.loc[best].sort_index(axis=1, level="stage", sort_remaining=False)


def _crossing(results: Results) -> list[Figure]:
    found = []
    for part in crossing.combinations(results.rows).values():
        levels = {measure: crossing.levels(part, measure) for measure in CURVES}
        found.append(contrasts.crossing(levels))
    return found


def _changes(results: Results) -> list[Figure]:
    return [plots.changes(tables.headline(results.plain))]


def _heat(results: Results) -> list[Figure]:
    orders, found = list(results.rows.order.unique()), []
    for measure in CURVES:
        panels = {}
        for order, by_arm in matrices.matrices(results.rows, measure).items():
            panels |= {f"{arm}{numbered(order, orders)}": one for arm, one in by_arm.items()}
        found += [plots.matrices(panels, measure)] if panels else []
    return found


def _curves(results: Results) -> list[Figure]:
    parts = matrices.curves(results.rows).values()
    return [plots.learning_curves(part, measure) for part in parts for measure in CURVES]


def _errors(results: Results) -> list[Figure]:
    rows = results.plain
    rows = rows[rows.error.notna()]
    return [plots.error_kinds(rows)] if len(rows) else []


FIGURES: dict[str, tuple[str, Callable[[Results], list[Figure]]]] = {
    "items": ("Every held-out call at every stage", _items),
    "crossing": ("Scores by training and test prompt", _crossing),
    "changes": ("Final minus zero-shot, with 95 % intervals", _changes),
    "matrices": ("Right answers by stage and block", _heat),
    "curves": ("Each block over the stages", _curves),
    "outcomes": ("What the predictions are", lambda results: [plots.outcomes(results.plain)]),
    "errors": ("What is wrong with the predictions, by kind", _errors),
}
