"""The figures that hold training arms against each other: crossing, differences, effects by
stratum, cost.

Every function returns a new matplotlib Figure, in the colours of `trajnb.show.plots`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.optimize import isotonic_regression

from trajnb.scoring.answers import unit_of
from trajnb.scoring.arms import Arm, words
from trajnb.scoring.matrices import Difference
from trajnb.scoring.score import MEASURES
from trajnb.scoring.stats import direction
from trajnb.show.plots import (
    CONDITION_COLOURS,
    condition_colours,
    finish,
    frame_learnt,
    heat_maps,
    subplots,
)
from trajnb.strategies import PLAIN

MARKERS = "osD^vPX*<>hpd"
INK = "#1d2330"


def crossing(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Score over test prompt, one line per training, one panel per measure, with 95 % intervals.

    `panels`: measure -> `scoring.crossing.levels`. Between lines one reads what training taught,
    along a line what the prompt shows, and from lines that are not parallel an interaction.
    """
    figure, axes = subplots(1, len(panels), figsize=(5.4 * len(panels), 4.3))
    for ax, (measure, levels) in zip(axes[0], panels.items(), strict=True):
        draw_levels(ax, levels, measure)
    return finish(figure)


def draw_levels(ax: Axes, levels: pd.DataFrame, measure: str) -> None:
    """Draw one panel of `crossing`."""
    trained, asked = list(levels.train.unique()), list(levels.asked.unique())
    palette = condition_colours(trained)
    label, unit = MEASURES[measure]
    bounds = (0, 100) if unit == "%" else (-np.inf, np.inf)
    levels = levels.assign(
        x=levels.asked.map(asked.index).astype(float),
        low=levels.low.fillna(levels["mean"]).clip(*bounds),
        high=levels.high.fillna(levels["mean"]).clip(*bounds),
    )
    _room(ax, levels, percent=unit == "%")
    for place, (train, marker) in enumerate(zip(trained, MARKERS * len(trained), strict=False)):
        line = levels[levels.train == train]
        ax.errorbar(
            line.x + 0.02 * (place - (len(trained) - 1) / 2),  # side by side
            line["mean"],
            [line["mean"] - line.low, line.high - line["mean"]],
            color=palette[train],
            marker=marker,
            ms=7,
            mec="white",
            lw=2,
            elinewidth=1,
            ls=":" if train == "none" else "-",
            clip_on=False,
        )
    ends = levels.groupby("train").x.max()  # where a line is named
    edge = 0.01 * (len(trained) - 1)
    for x, points in levels.rename(columns={"mean": "level"}).groupby("x"):
        notes = [_level_note(row, unit, named=ends[row.train] == x) for row in points.itertuples()]
        inks = [palette[train] for train in points.train]
        _notes(ax, x + (edge if x else -edge), points.level, notes, inks, left=x == 0)
    ax.set(title=label, ylabel=unit, xlabel="asked with", xlim=(-0.6, len(asked) - 0.2))
    ax.set_xticks(range(len(asked)), [f"{name} prompts" for name in asked])
    ax.grid(False, axis="x")


def _level_note(row, unit: str, named: bool) -> str:
    level = f"{row.level:.{1 if unit == '%' else 2}f}"
    name = "untrained" if row.train == "none" else row.train
    return f"{name}  {level}" if named else level


def differences(panels: Mapping[str, Difference], score: str) -> Figure:
    """One annotated heat map per panel (title -> difference): points of full minus stripped, rows
    stages, columns blocks. The frame marks the block that a stage has just learnt, a cell is empty
    where not both were asked. Colours are those of the two conditions, and all panels share one
    scale.
    """
    top = max(5.0, *(np.nanmax(np.abs(one.points)) for one in panels.values()))
    ends = CONDITION_COLOURS["stripped"], "white", CONDITION_COLOURS["full"]
    scale = LinearSegmentedColormap.from_list("", ends)
    stages = max(len(one.points) for one in panels.values())
    blocks = max(len(one.blocks) for one in panels.values())
    figure, axes = heat_maps(len(panels), 1.2 + 0.45 * stages, blocks)
    for ax, (title, one) in zip(axes.flat, panels.items(), strict=False):
        notes = np.array(["" if np.isnan(x) else f"{x:+z.0f}" for x in one.points.flat])
        sns.heatmap(
            one.points,
            annot=notes.reshape(one.points.shape),
            fmt="",
            cmap=scale,
            vmin=-top,
            vmax=top,
            linewidths=1,
            ax=ax,
            cbar=False,
            annot_kws={"color": "black"},  # on an area: see `vector`
        )
        frame_learnt(ax, one.blocks, len(one.points))
        ax.set(
            title=f"{title}: {MEASURES[score][0]}", xlabel="asked about", ylabel="after learning"
        )
    bar = figure.colorbar(axes[0, 0].collections[0], ax=axes, fraction=0.03)
    bar.set_label("points, full minus stripped")
    return finish(figure)


def forest(effects: pd.DataFrame, measure: str) -> Figure:
    """Effects by stratum with 95 % intervals, one panel per effect; a dot is filled where a result
    may be called higher or lower, see `scoring.stats.direction`.

    `effects`: `scoring.strata.by_stratum`.
    """
    names = list(effects.effect.unique())
    rows = effects.drop_duplicates("stratum")
    gaps = (rows.group != rows.group.shift()).cumsum()  # room between groups
    rows = rows.assign(y=np.arange(len(rows)) + 0.6 * gaps)
    size = (3.2 + 2.7 * len(names), 1.2 + 0.26 * rows.y.max())
    figure, axes = subplots(1, len(names), figsize=size, sharey=True, sharex=True)
    for ax, name in zip(axes[0], names, strict=True):
        shown = effects[effects.effect == name].merge(rows[["stratum", "y"]])
        _dots(ax, shown, measure)
        ax.set_title(name)
    least, most = (0.05, np.inf) if measure == "logp" else (5, 100)
    widest = effects[["mean", "low", "high"]].abs().max(axis=None)
    reach = 1.05 * widest.clip(least, most)
    axes[0, 0].set_xlim(-reach, reach)
    axes[0, 0].set_yticks(rows.y, [f"{row.stratum} ({row.items})" for row in rows.itertuples()])
    axes[0, 0].invert_yaxis()
    figure.suptitle(f"{MEASURES[measure][0]}: effects by stratum (items)", fontsize="medium")
    return finish(figure)


def _dots(ax: Axes, rows: pd.DataFrame, measure: str) -> None:
    """One panel of `forest`; `rows` have `y` and the columns of `scoring.strata.by_stratum`."""
    unit, digits = unit_of(measure)
    aligned = {"ha": "right", "va": "center", "fontsize": "small"}
    for row in rows.assign(level=rows["mean"]).itertuples():
        sure = direction(row) != 0
        ax.plot([row.low, row.high], [row.y, row.y], color=INK, lw=2, alpha=1 if sure else 0.45)
        ax.plot(row.level, row.y, "o", color=INK, mfc=INK if sure else "white", ms=6)
        ax.annotate(
            f"{row.level:+z.{digits}f}",
            (1, row.y),
            (36, 0),
            xycoords=ax.get_yaxis_transform(),
            textcoords="offset points",
            **aligned,
        )
    ax.axvline(0, color="0.3", lw=1)
    ax.set_xlabel(unit)
    ax.grid(False, axis="y")


def cost_accuracy(returns: pd.DataFrame, measure: str) -> Figure:
    """Final score over the cost of training, one panel per test prompt: the colour of a dot is its
    condition, its form what else its training is.

    `returns`: `scoring.cost.returns`. The cost is operations where every record has them, else
    tokens.
    """
    column, label, size = "total", "training tokens, millions", 1e6
    if returns.flops.notna().all():
        column, label, size = "flops", "training operations, 10¹⁵", 1e15
    returns = returns.rename(columns={"mean": "level"}).assign(
        mean=returns["mean"],
        x=returns[column] / size,
        low=returns.low.clip(lower=0),
        high=returns.high.clip(upper=100),
        condition=[arm.condition for arm in returns.trained],
        form=[replace(arm, condition="") for arm in returns.trained],
    )
    if returns.trained.is_unique:  # every arm was asked with its own prompts only
        returns["asked"] = "its own"
    forms = dict(zip(returns.form.unique(), MARKERS * len(returns), strict=False))
    palette = condition_colours(returns.condition)
    asked = list(returns.asked.unique())
    figure, axes = subplots(1, len(asked), figsize=(5.4 * len(asked), 4.6), sharey=True)
    for ax, prompt in zip(axes[0], asked, strict=True):
        _room(ax, returns, percent=True)
        _costs(ax, returns[returns.asked == prompt], palette, forms)
        ax.set(title=f"asked with {prompt} prompts", xlabel=label)
    axes[0, 0].set_ylabel(f"{MEASURES[measure][0]}, %")
    keys = [Patch(color=palette[name], label=name) for name in returns.condition.unique()]
    keys += [
        Line2D([], [], ls="", marker=marker, color=INK, label=_form_words(form))
        for form, marker in forms.items()
    ]
    below = {"loc": "outside lower center", "ncols": 5, "frameon": False, "fontsize": "small"}
    figure.legend(handles=keys, **below)
    return finish(figure)


def _costs(ax: Axes, rows: pd.DataFrame, palette: Mapping, forms: Mapping) -> None:
    """One panel of `cost_accuracy`; `rows` have `x`, `level`, `low` and `high`."""
    for row in rows.itertuples():
        colour = palette[row.condition]
        ax.plot([row.x, row.x], [row.low, row.high], color=colour, lw=1, alpha=0.5)
        ax.plot(row.x, row.level, forms[row.form], color=colour, ms=8, mec="white")
    right = 1.15 * max(rows.x.max(), 1e-9)
    for _, near in rows.groupby((20 * rows.x / right).round()):
        inks = [palette[condition] for condition in near.condition]
        _notes(ax, near.x, near.level, [f"{level:.1f}" for level in near.level], inks)
    ax.set_xlim(-0.03 * right, right)
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _form_words(arm: Arm) -> str:
    """How it is trained; the plain strategy is named where nothing else is."""
    strategy = "" if arm.strategy == PLAIN.name else arm.strategy
    said = [strategy, words(arm.settings), words(arm.variant)]
    return ", ".join(filter(None, said)) or PLAIN.name


def _room(ax: Axes, levels: pd.DataFrame, percent: bool) -> None:
    """Limits of the y axis around all intervals; from zero, and to 10 at least, where they are
    percent.
    """
    low, high = levels[["mean", "low"]].min(axis=None), levels[["mean", "high"]].max(axis=None)
    if percent:
        ax.set_ylim(0, max(10, 1.08 * high))
    else:
        room = 0.08 * max(high - low, 0.1)
        ax.set_ylim(low - room, high + room)


def _notes(ax: Axes, x, y, notes: Sequence[str], inks: Sequence[str], left: bool = False) -> None:
    """Texts beside points, right of them or left, moved apart where they would overlap."""
    bottom, top = ax.get_ylim()
    order = np.argsort(np.asarray(y, float), kind="stable")
    steps = 0.055 * (top - bottom) * np.arange(len(order))
    places = isotonic_regression(np.asarray(y, float)[order] - steps).x + steps
    places = np.clip(
        places, bottom + steps, top - steps[::-1]
    )  # what lies outside the axes is not drawn
    sides = np.broadcast_to(x, len(order))
    offset, anchor = (-12, "right") if left else (12, "left")
    for place, point in zip(places, order, strict=True):
        ax.annotate(
            notes[point],
            (sides[point], place),
            (offset, 0),
            textcoords="offset points",
            ha=anchor,
            va="center",
            color=inks[point],
            fontsize="small",
        )
