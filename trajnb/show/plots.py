"""The figures of a report: colours that stay with their condition, numbers in the picture, colour-blind safe.

Every function returns a new matplotlib Figure. Tables come from `trajnb.scoring.tables`; arms are its arms.
What holds arms against each other is drawn in `trajnb.show.contrasts`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from trajnb.scoring.tables import MEASURES

# Okabe and Ito 2008, told apart under all common colour blindness; a condition keeps its colour everywhere
CONDITION_COLOURS = {
    "stripped": "#0072B2", "full": "#D55E00", "requests": "#009E73", "responses": "#CC79A7",
    "placebo": "#E69F00", "stripped+values": "#56B4E9", "none": "#555555",
}  # fmt: skip
OTHER_COLOURS = ("#6A3D9A", "#8C6D31", "#1B7837", "#999999")  # conditions that were added
# right to wrong, dark to light, so that it also reads in grey
OUTCOME_COLOURS = {
    "exact": "#08415C", "other arguments": "#3B8EA5", "other API": "#F0B67F", "no call": "#DDDDDD",
}  # fmt: skip
KIND_COLOURS = {
    "exact": "#08415C", "wrong or missing value": "#3B8EA5", "wrong type": "#8CC3CF",
    "invented argument": "#C9E3E6", "valid but wrong API": "#F0B67F", "invented function": "#C9752B",
    "unparseable": "#DDDDDD",
}  # fmt: skip
DARK = ("#08415C", "#3B8EA5", "#C9752B")  # grounds that want white figures


def use_style() -> None:
    """Sets the look of all later figures; call it once at the top of a notebook."""
    sns.set_theme(style="whitegrid", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 130, "axes.titleweight": "bold", "axes.titlesize": "medium"})


def colours(arms: Iterable[str]) -> dict[str, str]:
    """A colour per arm: a condition's own for the condition and for `full → full`, lighter ones of it for its
    other arms.
    """
    arms, palette, spare = list(dict.fromkeys(arms)), dict(CONDITION_COLOURS), cycle(OTHER_COLOURS)
    conditions = {arm: re.split(", | → ", arm)[0] for arm in arms}
    own = {arm: arm in (condition, f"{condition} → {condition}") for arm, condition in conditions.items()}
    others, seen = Counter(conditions[arm] for arm in arms if not own[arm]), Counter()
    for arm, condition in conditions.items():
        if condition not in palette:
            palette[condition] = next(spare)
        palette[arm] = palette[condition]
        if not own[arm]:
            seen[condition] += 1
            white = 0.25 + 0.5 * seen[condition] / (others[condition] + 1)
            palette[arm] = to_hex((1 - white) * np.array(to_rgb(palette[condition])) + white)
    return palette


def effects(headline: pd.DataFrame, measures: Iterable[str] = ("name", "canonical", "logp")) -> Figure:
    """Final minus zero-shot per arm, with 95 % intervals; a dot right of zero is an improvement."""
    arms = list(headline.arm.unique())
    palette, measures = colours(arms), list(measures)
    figure, axes = subplots(
        1, len(measures), figsize=(3.6 * len(measures), 0.9 + 0.6 * len(arms)), sharey=True
    )
    for ax, measure in zip(axes[0], measures, strict=True):
        label, unit = MEASURES[measure]
        rows = headline[headline.measure == measure]
        for y, row in enumerate(rows.itertuples()):
            ax.plot([row.low, row.high], [y, y], color=palette[row.arm], lw=3, solid_capstyle="round")
            ax.plot(row.change, y, "o", color=palette[row.arm], ms=8, mec="white")
            if measure == "logp":
                note = f"{row.zero:.2f} → {row.final:.2f}"
            else:
                note = f"{row.zero_right} → {row.final_right} of {row.n}"
            ax.annotate(
                note, (row.change, y), (0, 8), textcoords="offset points", ha="center", fontsize="small"
            )
        ax.axvline(0, color="0.3", lw=1)
        ax.set(title=label, xlabel="change, points" if unit == "%" else f"change, {unit}")
        ends = [0.0, *rows[["change", "low", "high"]].stack()]
        room = max(0.25 * (max(ends) - min(ends)), 5 if unit == "%" else 0.05)  # also where nothing changed
        ax.set_xlim(min(ends) - room, max(ends) + room)
    axes[0, 0].set(yticks=range(len(arms)), yticklabels=arms, ylim=(len(arms) - 0.5, -0.6))
    return finish(figure)


def matrices(panels: Mapping[str, tuple], score: str) -> Figure:
    """One annotated heat map per panel: rows are stages, columns the blocks in the order learnt.

    `panels`: title -> (right, items, blocks); `right` (stages, T) counts of right answers, `items` (T,)
    counts of items, both summed over the runs shown. The frame marks the block that a stage has just learnt.
    All panels share one colour scale.
    """
    shares = [100 * np.asarray(right) / np.asarray(items) for right, items, _ in panels.values()]
    top = max(10.0, *(share.max() for share in shares))
    columns = min(2, len(panels))
    rows, stages = ceil(len(panels) / columns), max(len(share) for share in shares)
    figure, axes = subplots(rows, columns, figsize=(5.2 * columns, rows * (1.2 + 0.55 * stages)))
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    for ax, share, (title, (right, items, blocks)) in zip(axes.flat, shares, panels.items(), strict=False):
        notes = [
            [f"{p:.0f} %\n{r}/{n}" for p, r, n in zip(*row, items, strict=True)]
            for row in zip(share, right, strict=True)
        ]
        sns.heatmap(
            share, annot=notes, fmt="", cmap="cividis", vmin=0, vmax=top, linewidths=1, ax=ax,
            annot_kws={"fontsize": "small"}, cbar=False,
        )  # fmt: skip
        frame_learnt(ax, blocks, len(share))
        ax.set(title=f"{title}: {MEASURES[score][0]}", xlabel="asked about", ylabel="after learning")
    figure.colorbar(axes[0, 0].collections[0], ax=axes, label="percent right", fraction=0.03)
    return finish(figure)


def frame_learnt(ax: Axes, blocks: Sequence[str], stages: int) -> None:
    """Names of stages and blocks on a heat map, a line below zero-shot, frames around what a stage learnt.

    `stages` counts zero-shot too; where all blocks were learnt at once, or none, there are two and no frame.
    """
    ax.axhline(1, color="white", lw=5)
    labels = ["zero-shot", "at the end"]
    if stages == len(blocks) + 1:
        labels = ["zero-shot", *(f"{stage} · {block}" for stage, block in enumerate(blocks, 1))]
        for block in range(len(blocks)):
            ax.add_patch(plt.Rectangle((block, block + 1), 1, 1, fill=False, ec="#CC79A7", lw=2.5))
    ax.set_yticklabels(labels, rotation=0)
    ax.set_xticklabels([block.replace("_", "\n") for block in blocks], rotation=0)


def learning_curves(table: pd.DataFrame, blocks: list[str], score: str) -> Figure:
    """Percent right on each block over the stages, one line per arm (mean of its runs; thin lines are runs).

    `table`: rows of `tables.frame`, all of one block order, which `blocks` gives. The band marks the stage
    in which the block is learnt.
    """
    arms = list(table.arm.unique())
    palette = colours(arms)
    figure, axes = subplots(1, len(blocks), figsize=(2.7 * len(blocks), 2.9), sharey=True)
    for learnt, (ax, block) in enumerate(zip(axes[0], blocks, strict=True), 1):
        ax.axvspan(learnt - 0.5, learnt + 0.5, color="0.92", lw=0)
        for marker, arm in zip("osD^vPX*" * len(arms), arms, strict=False):
            rows = table[(table.arm == arm) & (table.block == block)]
            runs = 100 * rows.groupby(["run", "stage"])[score].mean().unstack("run")
            if runs.shape[1] > 1:
                ax.plot(runs.index, runs, color=palette[arm], lw=0.7, alpha=0.5)
            ax.plot(
                runs.index,
                runs.mean(axis=1),
                marker=marker,
                color=palette[arm],
                label=arm,
                mec="white",
                clip_on=False,
                zorder=3,
            )
        ax.set(title=block, xlabel="stage", xticks=range(len(blocks) + 1))
    axes[0, 0].set_ylabel(f"{MEASURES[score][0]}, %")
    axes[0, 0].set_ylim(0, max(10, axes[0, 0].get_ylim()[1]))  # after all panels: they share the axis
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return finish(figure)


def outcomes(table: pd.DataFrame) -> Figure:
    """What the predictions of each arm are, before and after training, as shares of all items."""
    bars = {
        f"{arm}, {when}": part[stage].outcome
        for arm, part in table.groupby("arm", sort=False)
        for when, stage in (("zero-shot", part.stage == 0), ("final", part["last"]))
    }
    return _shares(bars, OUTCOME_COLOURS)


def error_kinds(table: pd.DataFrame) -> Figure:
    """What is wrong with the predictions of each arm, stage by stage, as shares of all items."""
    bars = {
        f"{arm}, {f'stage {stage}' if stage else 'zero-shot'}": rows.error
        for arm, part in table.groupby("arm", sort=False)
        for stage, rows in part.groupby("stage")
    }
    return _shares(bars, KIND_COLOURS)


def _shares(bars: Mapping[str, pd.Series], colours: Mapping[str, str]) -> Figure:
    """A bar for each series of words, cut by how often it holds each word of `colours`."""
    figure, axes = subplots(1, 1, figsize=(9, 0.9 + 0.42 * len(bars)))
    ax = axes[0, 0]
    for y, values in enumerate(bars.values()):
        left = 0.0
        for name, colour in colours.items():
            count = int((values == name).sum())
            width = 100 * count / len(values)
            ax.barh(y, width, left=left, color=colour, ec="white", label=name if y == 0 else None)
            if width > 3:
                ink = "white" if colour in DARK else "black"
                ax.text(left + width / 2, y, count, ha="center", va="center", color=ink, fontsize="small")
            left += width
    ax.set(yticks=range(len(bars)), yticklabels=list(bars), xlim=(0, 100), xlabel="% of items")
    ax.set_ylim(len(bars) - 0.4, -0.6)
    ax.grid(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return finish(figure)


def token_overhead(panels: Mapping[str, pd.Series]) -> Figure:
    """Tokens per arm against the cheapest arm, one panel per title; each Series is indexed by arm."""
    palette = colours(arm for column in panels.values() for arm in column.index)
    most = max(len(column) for column in panels.values())
    figure, axes = subplots(1, len(panels), figsize=(11 / 3 * len(panels), 0.8 + 0.45 * most))
    for ax, (title, column) in zip(axes[0], panels.items(), strict=True):
        bars = ax.barh(column.index, column, color=[palette[arm] for arm in column.index], height=0.65)
        notes = [
            f"{n:,.0f}" + (f"  ({n / column.min() - 1:+.0%})" if n > column.min() else "") for n in column
        ]
        ax.bar_label(bars, notes, padding=4, fontsize="small")
        ax.set(title=title, xlim=(0, 1.6 * column.max()), xticks=[])
        ax.grid(False)
        ax.invert_yaxis()
        sns.despine(ax=ax, bottom=True)
    return finish(figure)


def subplots(rows: int, columns: int, **settings) -> tuple[Figure, np.ndarray]:
    """A figure with its axes, always (rows, columns)."""
    return plt.subplots(rows, columns, squeeze=False, layout="constrained", **settings)


def finish(figure: Figure) -> Figure:
    """Detaches the figure from pyplot: a notebook shows it as the value of its cell, once."""
    plt.close(figure)
    return figure
