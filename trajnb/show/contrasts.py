"""The figures that hold training arms against each other: crossing, differences, effects by stratum, cost.

Every function returns a new matplotlib Figure, in the colours of `trajnb.show.plots`.
"""

from collections.abc import Mapping, Sequence
from math import ceil

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

from trajnb.scoring.tables import MEASURES
from trajnb.scoring.verdict import unit_of
from trajnb.show.plots import CONDITION_COLOURS, colours, finish, frame_learnt, subplots

MARKERS = "osD^vPX*<>hpd"
INK = "#1d2330"


def crossing(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Score over test prompt, one line per training, one panel per measure, with 95 % intervals.

    `panels`: measure -> `scoring.crossing.levels`. Between lines one reads what training taught, along a
    line what the prompt shows, and from lines that are not parallel an interaction.
    """
    figure, axes = subplots(1, len(panels), figsize=(5.4 * len(panels), 4.3))
    for ax, (measure, levels) in zip(axes[0], panels.items(), strict=True):
        trained, asked = list(levels.train.unique()), list(levels.asked.unique())
        label, unit = MEASURES[measure]
        palette, digits = colours(trained), 1 if unit == "%" else 2
        bounds = (0, 100) if unit == "%" else (-np.inf, np.inf)
        levels = levels.assign(
            x=levels.asked.map(asked.index).astype(float),
            low=levels.low.fillna(levels["mean"]).clip(*bounds),
            high=levels.high.fillna(levels["mean"]).clip(*bounds),
        )
        _room(ax, levels, percent=unit == "%")
        for place, (train, marker) in enumerate(zip(trained, MARKERS * len(trained), strict=False)):
            line = levels[levels.train == train]
            beside = line.x + 0.02 * (place - (len(trained) - 1) / 2)
            around = [line["mean"] - line.low, line.high - line["mean"]]
            ax.errorbar(
                beside, line["mean"], around, color=palette[train], marker=marker, ms=7, mec="white", lw=2,
                elinewidth=1, ls=":" if train == "none" else "-", clip_on=False,
            )  # fmt: skip
        for x, points in levels.groupby("x"):
            ends = [levels[levels.train == train].x.max() == x for train in points.train]
            notes = [
                f"{name}  {level:.{digits}f}" if end else f"{level:.{digits}f}"
                for name, level, end in zip(
                    points.train.replace("none", "untrained"), points["mean"], ends, strict=True
                )
            ]
            inks, edge = [palette[train] for train in points.train], 0.01 * (len(trained) - 1)
            _notes(ax, x + (edge if x else -edge), points["mean"], notes, inks, left=x == 0)
        ax.set(title=label, ylabel=unit, xlabel="asked with", xlim=(-0.45, len(asked) - 0.2))
        ax.set_xticks(range(len(asked)), [f"{name} prompts" for name in asked])
        ax.grid(False, axis="x")
    return finish(figure)


def differences(panels: Mapping[str, tuple], score: str) -> Figure:
    """One annotated heat map per panel: points of full minus stripped, rows stages, columns blocks.

    `panels`: title -> (points (T + 1, T), blocks in the order learnt). The frame marks the block that a stage
    has just learnt. Colours are those of the two conditions, and all panels share one scale.
    """
    top = max(5.0, *(np.abs(points).max() for points, _ in panels.values()))
    ends = CONDITION_COLOURS["stripped"], "white", CONDITION_COLOURS["full"]
    scale = LinearSegmentedColormap.from_list("", ends)
    columns, stages = min(2, len(panels)), max(len(points) for points, _ in panels.values())
    rows = ceil(len(panels) / columns)
    figure, axes = subplots(rows, columns, figsize=(5.2 * columns, rows * (1.2 + 0.45 * stages)))
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    for ax, (title, (points, blocks)) in zip(axes.flat, panels.items(), strict=False):
        notes = [[f"{value:+z.0f}" for value in row] for row in points]
        sns.heatmap(
            points, annot=notes, fmt="", cmap=scale, vmin=-top, vmax=top, linewidths=1, ax=ax, cbar=False,
            annot_kws={"color": INK},
        )  # fmt: skip
        frame_learnt(ax, blocks, len(points))
        ax.set(title=f"{title}: {MEASURES[score][0]}", xlabel="asked about", ylabel="after learning")
    figure.colorbar(axes[0, 0].collections[0], ax=axes, label="points, full minus stripped", fraction=0.03)
    return finish(figure)


def forest(effects: pd.DataFrame, measure: str) -> Figure:
    """Effects by stratum with 95 % intervals, one panel per effect; a dot is filled where zero is excluded.

    `effects`: `scoring.strata.by_stratum`.
    """
    names = list(effects.effect.unique())
    rows = effects.drop_duplicates("stratum")
    rows = rows.assign(y=np.arange(len(rows)) + 0.6 * (rows.group != rows.group.shift()).cumsum())
    unit, digits = unit_of(measure)
    figure, axes = subplots(
        1, len(names), figsize=(3.2 + 2.7 * len(names), 1.2 + 0.26 * rows.y.max()), sharey=True, sharex=True
    )
    for ax, name in zip(axes[0], names, strict=True):
        shown = effects[effects.effect == name].merge(rows[["stratum", "y"]])
        for row in shown.rename(columns={"mean": "level"}).itertuples():
            sure = row.low > 0 or row.high < 0
            ax.plot([row.low, row.high], [row.y, row.y], color=INK, lw=2, alpha=1 if sure else 0.45)
            ax.plot(row.level, row.y, "o", color=INK, mfc=INK if sure else "white", ms=6)
            ax.annotate(
                f"{row.level:+z.{digits}f}", (1, row.y), (36, 0), xycoords=ax.get_yaxis_transform(),
                textcoords="offset points", ha="right", va="center", fontsize="small",
            )  # fmt: skip
        ax.axvline(0, color="0.3", lw=1)
        ax.set(title=name, xlabel=unit)
        ax.grid(False, axis="y")
    least, most = (0.05, np.inf) if measure == "logp" else (5, 100)
    reach = 1.05 * effects[["mean", "low", "high"]].abs().max(axis=None).clip(least, most)
    axes[0, 0].set_xlim(-reach, reach)
    axes[0, 0].set_yticks(rows.y, [f"{row.stratum} ({row.items})" for row in rows.itertuples()])
    axes[0, 0].invert_yaxis()
    figure.suptitle(f"{MEASURES[measure][0]}: effects by stratum (items)", fontsize="medium")
    return finish(figure)


def cost_accuracy(returns: pd.DataFrame, measure: str) -> Figure:
    """Final score over the cost of training, one panel per test prompt: the colour of a dot is its condition,
    its form what else its training is.

    `returns`: `scoring.cost.returns`. The cost is operations where every record has them, else tokens.
    """
    column, words, size = "total", "training tokens, millions", 1e6
    if returns.flops.notna().all():
        column, words, size = "flops", "training operations, 10¹⁵", 1e15
    returns = returns.assign(
        x=returns[column] / size, low=returns.low.clip(lower=0), high=returns.high.clip(upper=100)
    )
    if returns.trained.is_unique:  # every arm was asked with its own prompts only
        returns["asked"] = "its own"
    returns[["condition", "rest"]] = returns.trained.str.partition(", ")[[0, 2]]
    forms = dict(zip(returns.rest.unique(), MARKERS * len(returns), strict=False))
    palette = colours(returns.condition)
    asked = list(returns.asked.unique())
    figure, axes = subplots(1, len(asked), figsize=(5.4 * len(asked), 4.6), sharey=True)
    for ax, prompt in zip(axes[0], asked, strict=True):
        shown = returns[returns.asked == prompt].rename(columns={"mean": "level"})
        _room(ax, returns, percent=True)
        for row in shown.itertuples():
            ax.plot([row.x, row.x], [row.low, row.high], color=palette[row.condition], lw=1, alpha=0.5)
            ax.plot(row.x, row.level, forms[row.rest], color=palette[row.condition], ms=8, mec="white")
        right = 1.15 * max(shown.x.max(), 1e-9)
        for _, near in shown.groupby((20 * shown.x / right).round()):
            inks = [palette[condition] for condition in near.condition]
            _notes(ax, near.x, near.level, [f"{level:.1f}" for level in near.level], inks)
        ax.set(title=f"asked with {prompt} prompts", xlabel=words, xlim=(-0.03 * right, right))
        ax.xaxis.set_major_locator(MaxNLocator(5))
    axes[0, 0].set_ylabel(f"{MEASURES[measure][0]}, %")
    keys = [Patch(color=palette[condition], label=condition) for condition in returns.condition.unique()]
    keys += [
        Line2D([], [], ls="", marker=form, color=INK, label=rest.replace("strategy ", "") or "sequential")
        for rest, form in forms.items()
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=5, frameon=False, fontsize="small")
    return finish(figure)


def _room(ax: Axes, levels: pd.DataFrame, percent: bool) -> None:
    """Limits of the y axis around all intervals; from zero, and to 10 at least, where they are percent."""
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
    places = np.clip(places, bottom + steps, top - steps[::-1])  # what lies outside the axes is not drawn
    for place, point in zip(places, order, strict=True):
        ax.annotate(
            notes[point], (np.broadcast_to(x, len(order))[point], place), (-12 if left else 12, 0),
            textcoords="offset points", ha="right" if left else "left", va="center", color=inks[point],
            fontsize="small",
        )  # fmt: skip
