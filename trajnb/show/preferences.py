"""The figures and tables of runs that learn preferences: what they learnt from, how log-ratios moved,
and what was passed before and after.

Every function returns a new matplotlib Figure, or HTML in which all text of records is escaped.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from trajnb.scoring.preferences import GROUPS, MOMENTS
from trajnb.show.plots import OTHER_COLOURS, finish, subplots

SIDE_COLOURS = {"chosen": "#0072B2", "rejected": "#D55E00"}  # Okabe and Ito, as in `show.plots`
INK = "#1d2330"


def log_ratios(training: Mapping[str, Mapping | None]) -> Figure | None:
    """How much likelier the two sides of pairs became against the reference, step by step, a panel for
    each stage; None where no stage learnt from both sides.

    `training`: by stage, what learning from its pairs took, see `qlora.prefer.Preferred`; None where
    nothing was learnt. With every step's pairs a line moves for two reasons: the adapter's, and that
    other pairs are asked.
    """
    shown = {name: one["steps"] for name, one in training.items() if one and "steps" in one}
    if not shown:
        return None
    figure, axes = subplots(1, len(shown), figsize=(3.2 * len(shown), 2.9), sharey=True)
    for ax, (name, steps) in zip(axes[0], shown.items(), strict=True):
        numbers = range(1, len(steps) + 1)
        for side, colour in SIDE_COLOURS.items():
            nats = [step[f"logratio_{side}"] for step in steps]
            ax.plot(numbers, nats, color=colour, marker="o", ms=4, label=side)
        ax.axhline(0, color="0.3", lw=1)
        ax.set(title=name, xlabel="step", xticks=_few(numbers))
    axes[0, 0].set_ylabel("log-ratio to the reference, nats")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return finish(figure)


def _few(numbers: Sequence[int]) -> list[int]:
    """At most six of them, the first and the last among them."""
    places = np.linspace(0, len(numbers) - 1, min(6, len(numbers))).round().astype(int)
    return [numbers[place] for place in places]


def before_and_after(panels: Mapping[str, pd.DataFrame], what: str = "preferences") -> Figure:
    """What is right before preferences (open) and after (filled), in percent, an arm and a group of
    blocks in each row; counts stand beside the dots.

    `panels`: title -> `scoring.preferences.before_and_after`; `what`: the second part of the stages.
    """
    tables = list(panels.values())
    arms = list(dict.fromkeys(tables[0].index.get_level_values("arm")))
    rows = [(arm, group) for arm in arms for group in GROUPS]
    inks = dict(zip(arms, [INK, *OTHER_COLOURS, *[INK] * len(arms)], strict=False))
    size = (2.6 + 4.2 * len(panels), 1.1 + 0.34 * len(rows))
    figure, axes = subplots(1, len(panels), figsize=size, sharey=True)
    for ax, (title, table) in zip(axes[0], panels.items(), strict=True):
        for y, (arm, group) in enumerate(rows):
            _dumbbell(ax, y, _cells(table, arm, group), inks[arm])
        ax.set(title=title, xlabel="%", xlim=(-3, 130), xticks=range(0, 101, 25))
        ax.grid(False, axis="y")
    labels = [f"{arm}: {group}" if len(arms) > 1 else group for arm, group in rows]
    axes[0, 0].set(yticks=range(len(rows)), yticklabels=labels, ylim=(len(rows) - 0.5, -0.6))
    keys = {"before": "white", "after": INK}
    handles = [Line2D([], [], ls="", marker="o", color=INK, mfc=fill, label=f"{name} {what}")
               for name, fill in keys.items()]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    return finish(figure)


def _cells(table: pd.DataFrame, arm: object, group: str) -> dict[str, tuple[int, int]]:
    """(right, of) at each moment that was measured."""
    known = {moment: (arm, group, moment) for moment in MOMENTS}
    return {
        moment: (int(table.right[key]), int(table.of[key]))
        for moment, key in known.items()
        if key in table.index
    }


def _dumbbell(ax: Axes, y: int, cells: Mapping[str, tuple[int, int]], ink: str) -> None:
    percent = {moment: 100 * right / of for moment, (right, of) in cells.items()}
    if not percent:
        return
    ax.plot(list(percent.values()), [y] * len(percent), color=ink, lw=2, alpha=0.5)
    for moment, x in percent.items():
        ax.plot(x, y, "o", color=ink, mfc="white" if moment == "before" else ink, ms=7)
    counts = " → ".join(str(right) for right, _ in cells.values())
    of = " / ".join(dict.fromkeys(str(of) for _, of in cells.values()))
    note = {"textcoords": "offset points", "va": "center", "fontsize": "small"}
    ax.annotate(f"{counts} of {of}", (max(percent.values()), y), (9, 0), **note)


SECTION = """<h3>Preferences between steps</h3>
<p>Runs of objective <code>prefer</code> (after TP-LLaMA, arXiv 2406.07115; none of its figures stands
here): after the supervised training of a block the model replies to every state of the block's training
turn tasks, and pairs of the right step and what it said instead are learnt from, as the arm says:
<code>pairs</code> by DPO, <code>more-sft</code> the right steps alone, <code>random</code> with wrong steps
of other states, <code>flipped</code> with sides swapped, <code>none</code> not at all. First what was learnt
from: trees, pairs by what came of their rejected side, and what was dropped. <i>Harmless</i> replies are
wrong by the published rule alone. Then held-out turn tasks at the end, passed by one greedy chain of the
model's own calls and by search, and their cost in replies; <i>free</i> tasks are passed by any harmless
call. Intervals are said by the one rule of this page, so that few runs get counts.</p>"""
METRICS = """<p>Metrics of continual learning of the same scores, at the ends of stages, in percent; a block
needs five dialogues, or runs folds of their own, for an interval.</p>"""


def counts_html(table: pd.DataFrame) -> str:
    """`scoring.preferences.learnt_from`, or the same by stage, as HTML; what is nowhere is left out."""
    return table_html(table.loc[:, (table != 0).any()])


def at_the_end_html(table: pd.DataFrame) -> str:
    """`scoring.preferences.at_the_end` as HTML."""
    whole = [name for name in table if not name.endswith("a task")]
    return table_html(table.astype(dict.fromkeys(whole, int)).round(2))


def table_html(table: pd.DataFrame) -> str:
    """A table, all of whose texts are escaped."""
    return f'<div class="scroll">{table.to_html()}</div>'
