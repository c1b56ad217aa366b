"""The figures of a report: colours that stay with their condition, numbers in the picture,
colour-blind safe.

Every function returns a new matplotlib Figure. Tables come from `trajnb.scoring.tables`; arms are
`scoring.arms.Arm`s, whose words are made here. What holds arms against each other is drawn in
`trajnb.show.contrasts`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, cycle
from math import ceil
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from seaborn.utils import relative_luminance

from trajnb.scoring.arms import Arm
from trajnb.scoring.matrices import Matrix
from trajnb.scoring.score import MEASURES, OUTCOMES
from trajnb.show.page import show_figures, use_fonts

# Okabe and Ito 2008, told apart under all common colour blindness; a condition keeps its colour
# everywhere
CONDITION_COLOURS = {
    "stripped": "#0072B2",
    "full": "#D55E00",
    "requests": "#009E73",
    "responses": "#CC79A7",
    "placebo": "#E69F00",
    "placebo-near": "#B8860B",
    "stripped+values": "#56B4E9",
    "none": "#555555",
}
OTHER_COLOURS = ("#6A3D9A", "#8C6D31", "#1B7837", "#999999")  # conditions that were added
# right to wrong, dark to light, so that it also reads in grey
OUTCOME_COLOURS = dict(zip(OUTCOMES, ("#08415C", "#3B8EA5", "#F0B67F", "#DDDDDD"), strict=True))
KIND_COLOURS = {
    "exact": "#08415C",
    "wrong or missing value": "#3B8EA5",
    "wrong type": "#8CC3CF",
    "invented argument": "#C9E3E6",
    "valid but wrong API": "#F0B67F",
    "invented function": "#C9752B",
    "unparseable": "#DDDDDD",
}
DARK = ("#08415C",)  # a ground that wants white figures
MIDDLE = 0.179
"""The luminance of a ground on which black and white are read equally well."""


def use_style() -> None:
    """Sets the look of all later figures, whatever this machine's own settings are, and sees to it
    that they stand in the page; call it once at the top of a notebook.
    """
    show_figures()
    use_theme()


def use_theme() -> None:
    """The same without the page: what `use_style` sets of matplotlib."""
    plt.rcdefaults()
    sns.set_theme(style="whitegrid", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 130, "axes.titleweight": "bold", "axes.titlesize": "medium"})
    plt.rcParams["text.parse_math"] = False  # a name with $ is no formula
    # texts stay texts, and a figure of the same numbers the same bytes
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "trajnb"})
    plt.rcParams["font.sans-serif"] = ["DejaVu Sans", "Arial"]  # the first comes with matplotlib
    pd.set_option("display.html.use_mathjax", False, "styler.html.mathjax", False)  # nor in a table


def colours(arms: Iterable[Arm]) -> dict[Arm, str]:
    """A colour per arm: a condition's own for the plain arm asked in its own condition, lighter
    ones of it for its other arms.
    """
    arms = list(dict.fromkeys(arms))
    of_condition = condition_colours(arm.condition for arm in arms)
    others = [arm for arm in arms if arm.training() or not arm.in_its_own()]
    count, seen = Counter(arm.condition for arm in others), Counter()
    palette = {}
    for arm in arms:
        palette[arm] = of_condition[arm.condition]
        if arm in others:
            seen[arm.condition] += 1
            white = 0.25 + 0.5 * seen[arm.condition] / (count[arm.condition] + 1)
            palette[arm] = to_hex((1 - white) * np.array(to_rgb(palette[arm])) + white)
    return palette


def condition_colours(conditions: Iterable[str]) -> dict[str, str]:
    """A colour per condition, its own everywhere."""
    palette, spare = dict(CONDITION_COLOURS), cycle(OTHER_COLOURS)
    for condition in conditions:
        if condition not in palette:
            palette[condition] = next(spare)
    return palette


def changes(
    headline: pd.DataFrame, measures: Sequence[str] = ("name", "canonical", "logp")
) -> Figure:
    """Final minus zero-shot per arm, with 95 % intervals; a dot right of zero is an improvement."""
    arms = list(headline.arm.unique())
    palette = colours(arms)
    size = (3.6 * len(measures), 0.9 + 0.6 * len(arms))
    figure, axes = subplots(1, len(measures), figsize=size, sharey=True)
    for ax, measure in zip(axes[0], measures, strict=True):
        _changes(ax, headline[headline.measure == measure], measure, palette)
    labels = list(map(str, arms))
    axes[0, 0].set(yticks=range(len(arms)), yticklabels=labels, ylim=(len(arms) - 0.5, -0.6))
    return finish(figure)


def _changes(ax: Axes, rows: pd.DataFrame, measure: str, palette: Mapping[Arm, str]) -> None:
    label, unit = MEASURES[measure]
    for y, row in enumerate(rows.itertuples()):
        colour = palette[row.arm]
        ax.plot([row.low, row.high], [y, y], color=colour, lw=3, solid_capstyle="round")
        ax.plot(row.change, y, "o", color=colour, ms=8, mec="white")
        note = f"{row.zero_right} → {row.final_right} of {row.n}"
        if measure == "logp":
            known = not np.isnan(row.final)
            note = f"{row.zero:.2f} → {row.final:.2f}" if known else "no probabilities"
        above = {"textcoords": "offset points", "ha": "center", "fontsize": "small"}
        ax.annotate(note, (np.nan_to_num(row.change), y), (0, 8), **above)
    ax.axvline(0, color="0.3", lw=1)
    ax.set(title=label, xlabel="change, points" if unit == "%" else f"change, {unit}")
    ends = [0.0, *rows[["change", "low", "high"]].stack().dropna()]
    least = 5 if unit == "%" else 0.05  # also where nothing changed
    room = max(0.25 * (max(ends) - min(ends)), least)
    ax.set_xlim(min(ends) - room, max(ends) + room)


def matrices(panels: Mapping[str, Matrix], score: str) -> Figure:
    """One annotated heat map per panel (title -> matrix): rows are stages, columns the blocks in
    the order learnt. The frame marks the block that a stage has just learnt, a cell is empty where
    none was asked. All panels share one colour scale.
    """
    shares = [matrix.percent for matrix in panels.values()]
    top = max(10.0, *(np.nanmax(share) for share in shares))
    blocks = max(len(matrix.blocks) for matrix in panels.values())
    figure, axes = heat_maps(len(panels), 1.2 + 0.55 * max(map(len, shares)), blocks)
    for ax, (title, matrix) in zip(axes.flat, panels.items(), strict=False):
        sns.heatmap(
            matrix.percent,
            annot=_shares_and_counts(matrix),
            fmt="",
            cmap="cividis",
            vmin=0,
            vmax=top,
            linewidths=1,
            ax=ax,
            annot_kws={"fontsize": "small"},
            cbar=False,
        )
        _make_readable(ax, len(matrix.blocks))
        frame_learnt(ax, matrix.blocks, len(matrix.right))
        ax.set(
            title=f"{title}: {MEASURES[score][0]}", xlabel="asked about", ylabel="after learning"
        )
    figure.colorbar(axes[0, 0].collections[0], ax=axes, label="percent right", fraction=0.03)
    return finish(figure)


def _make_readable(ax: Axes, columns: int) -> None:
    """Write the texts of a heat map in black or white, whatever can be read on its cells: see
    `show.vector`, which keeps these two.
    """
    inks = ax.collections[0].get_facecolors()
    for text in ax.texts:
        column, row = map(int, text.get_position())
        is_light = relative_luminance(inks[row * columns + column]) > MIDDLE
        text.set_color("black" if is_light else "white")


def _shares_and_counts(matrix: Matrix) -> np.ndarray:
    """What stands in each cell, (stages, T); nothing in a hole."""
    notes = np.full(matrix.right.shape, "", object)
    for stage, block in np.argwhere(~np.isnan(matrix.right)):
        counts = f"{matrix.right[stage, block]:.0f}/{matrix.items[block]}"
        notes[stage, block] = f"{matrix.percent[stage, block]:.0f} %\n{counts}"
    return notes


def heat_maps(panels: int, height: float, blocks: int) -> tuple[Figure, np.ndarray]:
    """A figure for so many heat maps of one height (inches), two in a row; wider for more than five
    blocks.
    """
    columns = min(2, panels)
    rows = ceil(panels / columns)
    width = max(5.2, 1.6 + 0.72 * blocks)
    figure, axes = subplots(rows, columns, figsize=(width * columns, rows * height))
    for ax in axes.flat[panels:]:
        ax.axis("off")
    return figure, axes


def frame_learnt(ax: Axes, blocks: Sequence[str], stages: int) -> None:
    """Names of stages and blocks on a heat map, a line below zero-shot, frames around what a stage
    learnt.

    `stages` counts zero-shot too; where all blocks were learnt at once, or none, there are two and
    no frame.
    """
    ax.axhline(1, color="white", lw=5)
    labels = ["zero-shot", "at the end"]
    if stages == len(blocks) + 1:
        labels = ["zero-shot", *(f"{stage} · {short(block)}" for stage, block in enumerate(blocks, 1))]
        for block in range(len(blocks)):
            corner = (block, block + 1)
            ax.add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec="#CC79A7", lw=2.5))
    ax.set_yticklabels(labels, rotation=0)
    ax.set_xticklabels(list(map(_narrow, blocks)), rotation=0)


def _narrow(block: str) -> str:
    """The name of a block on lines of at most 13 characters."""
    return "\n".join(chain.from_iterable(wrap(part, 13) for part in short(block).split("_")))


def short(block: str) -> str:
    """The name of a block as a figure has room for it."""
    return block if len(block) <= 20 else f"{block[:12]}…{block[-7:]}"


def learning_curves(table: pd.DataFrame, score: str) -> Figure:
    """Percent right on each block over the stages, one line per training arm (mean of its runs;
    thin lines are runs) over the stages that all of them were asked at. The band marks the stage in
    which the block is learnt.

    `table`: rows of `tables.frame`, all of one block order, asked with the prompts that they are
    compared by.
    """
    blocks, arms = table.order.iloc[0], list(table.trained.unique())
    palette = colours(arms)
    figure, axes = subplots(1, len(blocks), figsize=(2.7 * len(blocks), 2.9), sharey=True)
    for learnt, (ax, block) in enumerate(zip(axes[0], blocks, strict=True), 1):
        ax.axvspan(learnt - 0.5, learnt + 0.5, color="0.92", lw=0)
        for marker, arm in zip("osD^vPX*" * len(arms), arms, strict=False):
            rows = table[(table.trained == arm) & (table.block == block)]
            runs = 100 * rows.groupby(["run", "stage"])[score].mean().unstack("run").dropna()
            if runs.shape[1] > 1:
                ax.plot(runs.index, runs, color=palette[arm], lw=0.7, alpha=0.5)
            ax.plot(
                runs.index,
                runs.mean(axis=1),
                marker=marker,
                color=palette[arm],
                label=str(arm),
                mec="white",
                clip_on=False,
                zorder=3,
            )
        ax.set(title=short(block), xlabel="stage", xticks=range(len(blocks) + 1))
    first = axes[0, 0]
    first.set_ylabel(f"{MEASURES[score][0]}, %")
    first.set_ylim(0, max(10, first.get_ylim()[1]))  # after all panels: they share the axis
    legend = first.get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=4, frameon=False)
    return finish(figure)


def outcomes(table: pd.DataFrame) -> Figure:
    """What the predictions of each arm are, before and after training, as shares of all items."""
    bars = {}
    for arm, part in table.groupby("arm", sort=False):
        bars[f"{arm}, zero-shot"] = part[part.stage == 0].outcome
        bars[f"{arm}, final"] = part[part["last"]].outcome
    return _shares(bars, OUTCOME_COLOURS)


def error_kinds(table: pd.DataFrame) -> Figure:
    """What is wrong with the predictions of each arm, stage by stage, as shares of all items; a
    stage that was not asked about all is left out.
    """
    bars = {}
    for arm, part in table.groupby("arm", sort=False):
        everything = (part.stage == 0).sum()
        for stage, rows in part.groupby("stage"):
            if len(rows) < everything:
                continue
            bars[f"{arm}, {f'stage {stage}' if stage else 'zero-shot'}"] = rows.error
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
            label = name if y == 0 else None
            ax.barh(y, width, left=left, color=colour, ec="white", label=label)
            if width > 3:
                inside = {"ha": "center", "va": "center", "fontsize": "small"}
                ink = "white" if colour in DARK else "black"
                ax.text(left + width / 2, y, count, color=ink, **inside)
            left += width
    ax.set(yticks=range(len(bars)), yticklabels=list(bars), xlim=(0, 100), xlabel="% of items")
    ax.set_ylim(len(bars) - 0.4, -0.6)
    ax.grid(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return finish(figure)


def token_overhead(panels: Mapping[str, pd.Series]) -> Figure:
    """Tokens per arm against the cheapest, one panel per title; each Series is indexed by `Arm`."""
    palette = colours(chain.from_iterable(column.index for column in panels.values()))
    most = max(map(len, panels.values()))
    figure, axes = subplots(1, len(panels), figsize=(11 / 3 * len(panels), 0.8 + 0.45 * most))
    for ax, (title, column) in zip(axes[0], panels.items(), strict=True):
        names, inks = list(map(str, column.index)), [palette[arm] for arm in column.index]
        bars = ax.barh(names, column, color=inks, height=0.65)
        notes = [_above_least(tokens, column.min()) for tokens in column]
        ax.bar_label(bars, notes, padding=4, fontsize="small")
        ax.set(title=title, xlim=(0, 1.6 * column.max()), xticks=[])
        ax.grid(False)
        ax.invert_yaxis()
        sns.despine(ax=ax, bottom=True)
    return finish(figure)


def _above_least(tokens: float, least: float) -> str:
    more = f"  ({tokens / least - 1:+.0%})" if tokens > least else ""
    return f"{tokens:,.0f}{more}"


def subplots(rows: int, columns: int, **settings) -> tuple[Figure, np.ndarray]:
    """A figure with its axes, always (rows, columns)."""
    return plt.subplots(rows, columns, squeeze=False, layout="constrained", **settings)


def finish(figure: Figure) -> Figure:
    """Detaches the figure from pyplot: a notebook shows it as the value of its cell, once. Its texts
    get fonts that have their characters.
    """
    use_fonts(figure)
    plt.close(figure)
    return figure
