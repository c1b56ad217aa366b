"""The figures of a corpus, before anything is trained. Every function returns a new matplotlib
Figure.
"""

from collections.abc import Sequence
from itertools import cycle

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trajnb.show.plots import condition_colours, finish, short, subplots

SHARED = "#CCCCCC"
"""What all conditions share."""


def api_counts(items: pd.DataFrame, blocks: Sequence[str], most: int = 10) -> Figure:
    """The `most` called APIs of every block; `items` has `block` and `api`."""
    grid = sns.FacetGrid(
        items, col="block", col_order=blocks, height=3.4, aspect=0.85, sharex=True, sharey=False
    )
    for block, ax in grid.axes_dict.items():
        counts = items[items.block == block].api.value_counts().head(most)
        ax.barh(counts.index, counts, color="#56B4E9")
        ax.bar_label(ax.containers[0], fontsize="x-small", padding=2)
        ax.set(xlabel="calls", title=short(block))
        ax.tick_params(axis="y", labelsize="x-small")
        ax.invert_yaxis()
        ax.grid(False)
    grid.tight_layout()
    return finish(grid.figure)


def call_counts(calls: pd.DataFrame, per_turn: pd.DataFrame, blocks: Sequence[str]) -> Figure:
    """How many dialogues, and how many user turns, have so many calls; both have `block` and
    `calls`.
    """
    figure, axes = subplots(1, 2, figsize=(10, 2.8))
    palette = dict(zip(blocks, cycle(sns.color_palette("colorblind")), strict=False))
    for ax, table, unit in zip(axes[0], (calls, per_turn), ("dialogue", "user turn"), strict=True):
        _histogram(ax, table, blocks, palette, legend=ax is axes[0, 1])
        ax.set(title=f"calls per {unit}", xlabel="", ylabel=f"{unit.split()[-1]}s")
    return finish(figure)


def _histogram(ax: Axes, table: pd.DataFrame, blocks, palette: dict, *, legend: bool) -> None:
    sns.histplot(
        table,
        x="calls",
        hue="block",
        hue_order=blocks,
        palette=palette,
        multiple="stack",
        discrete=True,
        ax=ax,
        legend=legend,
        edgecolor="white",
    )
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.yaxis.get_major_locator().set_params(integer=True)


def prompt_tokens(means: pd.DataFrame, blocks: Sequence[str]) -> Figure:
    """Tokens of a prompt under each condition, what all share in grey, a panel for each block.

    `means`: by (block, condition), with `documents`, `history` and `tokens`.
    """
    rows = -(-len(blocks) // 2)
    figure, axes = subplots(rows, 2, figsize=(11, 2.4 * rows), sharex=True, sharey=True)
    palette = condition_colours(means.index.get_level_values("condition"))
    for ax, block in zip(axes.flat, blocks, strict=False):
        mean = means.loc[block]
        ink = [palette[name] for name in mean.index]
        ax.barh(mean.index, mean.documents, color=SHARED)
        bars = ax.barh(mean.index, mean.history, left=mean.documents, color=ink)
        labels = [f"{tokens:,.0f}" for tokens in mean.tokens]
        ax.bar_label(bars, labels, fontsize="small", padding=3)
        ax.set(title=short(block))
        ax.grid(False, axis="y")
    for ax in axes.flat[len(blocks) :]:
        ax.axis("off")
    axes[0, 0].invert_yaxis()
    axes[0, 0].margins(x=0.12)
    figure.supxlabel("prompt tokens, mean", fontsize="medium")
    return finish(figure)


def response_only(items: pd.DataFrame, blocks: Sequence[str]) -> Figure:
    """The share of targets with a value that stands only in an earlier response, by block and side;
    `items` has `block`, `split` and `response_only`.
    """
    table = items.groupby(["block", "split"], sort=False).response_only.agg(["sum", "size"])
    sides = ["train", "held_out"]
    share = (100 * table["sum"] / table["size"]).unstack("split").loc[list(blocks), sides]
    figure, axes = subplots(1, 1, figsize=(10, 2.9))
    ax = axes[0, 0]
    shown = share.rename(columns={"held_out": "held out"})
    shown.index = list(map(short, shown.index))
    shown.plot.bar(ax=ax, rot=0, width=0.75, color=["#999999", "#E69F00"])
    for bars, side in zip(ax.containers, sides, strict=True):
        cells = [table.loc[block, side] for block in blocks]
        notes = [f"{cell['sum']}/{cell['size']}" for cell in cells]
        ax.bar_label(bars, notes, fontsize="small", padding=2)
    title = "targets with a value found only in an earlier response"
    ax.set(ylabel="% of calls", xlabel="", title=title)
    ax.margins(y=0.18)
    ax.grid(False, axis="x")
    return finish(figure)
