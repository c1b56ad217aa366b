"""The figures and tables of runs that repair: one repair side by side, acceptance by repairer, the
reward model beside what needs none, GRPO step by step, score against outcome.

Every function returns a new matplotlib Figure, or HTML in which all text of models, APIs and records
is escaped.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trajnb.escaping import in_html as escape
from trajnb.formatting.replies import EXECUTED, STOP
from trajnb.objectives import OBJECTIVES
from trajnb.records import Run
from trajnb.scoring import repairs
from trajnb.scoring.length import MODEL
from trajnb.show.dialogue import style
from trajnb.show.plots import OTHER_COLOURS, finish, subplots
from trajnb.show.preferences import INK, SIDE_COLOURS, table_html
from trajnb.show.results import intervals_html
from trajnb.show.trees import WORDS, short
from trajnb.words import counted

FAILURES = {
    "no call": "it made no call",
    "refused": "a call could not be carried out",
    "failed": "a call was answered with an error",
    "unfinished": "it went on without an end",
    "not done": "no error, but not what was asked for",
    "poor": "what was asked for, but not well",
}
"""What was wrong with a candidate, in words; keys are those of `world.repairers.FAILURES`."""
SIDES = {"train": "training dialogues", "held_out": "held-out dialogues"}
MEASURED = {"score": INK, "outcome": SIDE_COLOURS["rejected"]}

SECTION = """<h3>Repaired trajectories and rewards</h3>
<p>Runs of objective <code>repair</code> (after AutoTraj, arXiv 2601.23032; none of its figures
stands here): after the supervised training of a block the model plays its training turn tasks
several times; good candidates are kept, the others repaired; trajectories are learnt, as
<code>lessons</code> says which, and GRPO follows for the <code>reward</code>. First candidates by
label and what was learnt, then repairs by repairer: the oracle reads the reference and is an upper
bound. Then the reward model on pairs of dialogues that it did not learn from, held-out turn tasks
at the end, and GRPO. Intervals are said by the one rule of this page, so that few runs get
counts.</p>"""
STREAM = """<h3>What an objective does to the stream</h3>
<p>Metrics of continual learning of exact next calls at the ends of stages, in percent, by what a
stage learns after its supervised training.</p>"""


def one_repair(
    candidates: Iterable[Mapping], made: Iterable[Mapping]
) -> tuple[Mapping, Mapping] | None:
    """Of the accepted repairs of the first repairer that has one, that with the most replies changed,
    after the candidate that it repairs; None where none was accepted. Both are lines of
    `candidates.jsonl` and `repairs.jsonl`.
    """
    accepted = [line for line in made if line["accepted"]]
    if not accepted:
        return None
    own = [line for line in accepted if line["repairer"] == accepted[0]["repairer"]]
    best = max(own, key=lambda line: line["edits"])
    names = {(line["task"], line["number"]): line for line in candidates}
    return names[best["task"], best["number"]], best


def show_repair(candidate: Mapping, repair: Mapping, asked: str = "") -> HTML:
    """A candidate, what is wrong with it, and the accepted repair, side by side.

    Args:
        candidate: a line of `candidates.jsonl`, see `world.candidates.to_line`.
        repair: the line of `repairs.jsonl` that repairs it, see `world.repair.to_line`.
        asked: the user's line.
    """
    good = repair["attempts"][-1]
    gold = ", which reads the reference" if repair["reads_gold"] else ""
    tried = f"attempt {len(repair['attempts'])}, {repair['edits']} replies changed"
    heads = [
        f"<b>candidate {candidate['number']}</b> {_verdict(candidate)}",
        f"<b>diagnosis</b> {escape(repair['failure'])}",
        f"<b>repaired by {escape(repair['repairer'])}</b>{gold}: {tried}; {_verdict(good)}",
    ]
    cells = [_moves(candidate), f"<p>{escape(FAILURES[repair['failure']])}</p>", _moves(good)]
    row = "".join(f'<td style="vertical-align: top">{cell}</td>' for cell in cells)
    head = "".join(f"<th>{text}</th>" for text in heads)
    said = f'<div class="line user">User: {escape(asked)}</div>' if asked else ""
    title = f'<div class="head"><b>{escape(candidate["task"])}</b></div>'
    table = f"<table><thead><tr>{head}</tr></thead><tbody><tr>{row}</tr></tbody></table>"
    return HTML(
        f'{style()}<div class="trajnb trajnb-colours tree">{title}{said}'
        f'<div class="scroll">{table}</div></div>'
    )


def _verdict(trajectory: Mapping) -> str:
    return "✓ succeeds" if trajectory["won"] else "✗ fails"


def _moves(trajectory: Mapping) -> str:
    """The replies of a trajectory as a list, with what they got."""
    items = []
    for move in trajectory["moves"]:
        good = move["kind"] in (EXECUTED, STOP)
        cut = ", cut" if move["cut"] else ""
        got = ""
        if move["kind"] != STOP:
            ends = "got" if good else "got failed"
            got = f'<span class="line response {ends}">→ {short(move["response"])}</span>'
        items.append(
            f'<li class="{"path" if good else "dead"}"><span class="line request">{short(move["form"])}'
            f'</span> <span class="note">{escape(WORDS[move["kind"]] + cut)}</span>{got}</li>'
        )
    return f"<ol>{''.join(items)}</ol>" if items else "<p>(no reply)</p>"


def counts_html(table: pd.DataFrame) -> str:
    """Counts of `scoring.repairs` by stage as HTML."""
    return table_html(table)


def acceptance_html(table: pd.DataFrame) -> str:
    """`scoring.repairs.acceptance`, all kinds of failure together, as HTML."""
    whole = table[table.failure == "all"].set_index("repairer")
    reads = ["yes, an upper bound" if reads else "" for reads in whole["reads gold"]]
    shown = whole[["repaired", "accepted"]].assign(
        share=[_percent(*row) for row in whole[["accepted", "repaired"]].itertuples(index=False)],
        edits=[f"{mean:.1f}" if mean == mean else "" for mean in whole.edits],
    )
    shown["reads the reference"] = reads
    return table_html(shown.rename(columns={"edits": "replies changed"}))


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else ""


def acceptance(table: pd.DataFrame) -> Figure:
    """Shares of repairs that were accepted, by kind of failure, a panel for each repairer; counts stand
    beside the bars. `table`: of `scoring.repairs.acceptance`.
    """
    names = list(dict.fromkeys(table.repairer)) or ["no repairer"]
    kinds = [kind for kind in ("all", *FAILURES) if kind in set(table.failure)] or ["all"]
    size = (1.6 + 2.6 * len(names), 1.0 + 0.36 * len(kinds))
    figure, axes = subplots(1, len(names), figsize=size, sharey=True)
    for ax, name in zip(axes[0], names, strict=True):
        rows = table[table.repairer == name].set_index("failure").reindex(kinds)
        marked = " (reads gold)" if rows["reads gold"].fillna(False).any() else ""
        for y, row in enumerate(rows.itertuples()):
            if not row.repaired > 0:
                continue
            share = 100 * row.accepted / row.repaired
            ax.barh(y, share, color=INK if y == 0 else OTHER_COLOURS[-1], height=0.7)
            _note(ax, share, y, f"{row.accepted:.0f} of {row.repaired:.0f}")
        ax.set(title=name + marked, xlim=(0, 135), xticks=range(0, 101, 25), xlabel="% accepted")
        ax.grid(False, axis="y")
    axes[0, 0].set(yticks=range(len(kinds)), yticklabels=kinds, ylim=(len(kinds) - 0.5, -0.5))
    return finish(figure)


def _note(ax: Axes, x: float, y: float, text: str) -> None:
    note = {"textcoords": "offset points", "va": "center", "fontsize": "small"}
    ax.annotate(text, (x, y), (6, 0), **note)


def accuracies(table: pd.DataFrame) -> Figure:
    """How often the better trajectory of a held-out pair is put first, with intervals over dialogues, by
    the reward model (filled) and what stands beside it, a panel for each kind of pair. `table`: of
    `scoring.repairs.accuracies`.
    """
    kinds = list(dict.fromkeys(table.kind))
    names = list(dict.fromkeys(table.name))
    size = (2.4 + 3.2 * len(kinds), 1.1 + 0.34 * len(names))
    figure, axes = subplots(1, len(kinds), figsize=size, sharey=True)
    for ax, kind in zip(axes[0], kinds, strict=True):
        rows = table[table.kind == kind]
        for row in rows.itertuples(index=False):
            y, (mean, low, high) = names.index(row.name), (100 * np.array(row.right))
            ax.plot([low, high], [y, y], color=INK, lw=2, alpha=0.5)
            ax.plot(mean, y, "o", color=INK, mfc=INK if row.name.startswith(MODEL) else "white", ms=7)
        first = rows.iloc[0]
        title = f"{repairs.KINDS[kind]}\n{first.pairs} pairs of {counted(first.dialogues, 'dialogue')}"
        ax.axvline(50, color="0.3", lw=1)
        ax.set(title=title, xlabel="% in the right order", xlim=(-3, 103))
        ax.grid(False, axis="y")
    axes[0, 0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    return finish(figure)


def grpo(steps: pd.DataFrame) -> Figure:
    """What episodes earned, and the share of groups without effect, step by step, a line for each run
    and stage. `steps`: of `scoring.repairs.grpo_steps`.
    """
    figure, axes = subplots(1, 2, figsize=(8.4, 2.9))
    numbers = sorted(set(steps.step))
    ticks = numbers[:: max(1, len(numbers) // 6)]
    steps = steps.assign(without=100 * steps.equal_groups / steps.groups)
    panels = {"reward": "mean reward", "without": "groups without effect, %"}
    for ax, (column, title) in zip(axes[0], panels.items(), strict=True):
        for place, ((_, blocks), part) in enumerate(steps.groupby(["run", "blocks"], sort=False)):
            colour = ([INK, *OTHER_COLOURS] * 99)[place % 5]
            ax.plot(part.step, part[column], color=colour, marker="o", ms=4, label=blocks)
        ax.set(title=title, xlabel="step", xticks=ticks)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    figure.legend(known.values(), known, loc="outside lower center", ncols=2, frameon=False)
    return finish(figure)


def over_optimisation(followed: pd.DataFrame) -> Figure:
    """The score (from 0 to 1) and the true outcome of fixed tasks over the steps of GRPO: thin lines are
    stages of runs, thick ones their means; a panel for each side of the split. `followed`: of
    `scoring.repairs.followed`.
    """
    sides = [side for side in SIDES if side in set(followed.side)]
    figure, axes = subplots(1, len(sides), figsize=(1.6 + 3.4 * len(sides), 3.0), sharey=True)
    for ax, side in zip(axes[0], sides, strict=True):
        rows = followed[followed.side == side]
        for name, colour in MEASURED.items():
            known = rows[rows[name].notna()]
            for _, part in known.groupby(["run", "stage"]):
                ax.plot(part.taken, part[name], color=colour, lw=1, alpha=0.35)
            mean = known.astype({name: float}).groupby("taken")[name].mean()
            ax.plot(mean.index, mean, color=colour, lw=2.5, marker="o", ms=4, label=name)
        ax.set(title=SIDES[side], xlabel="steps taken", ylim=(-0.03, 1.03))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return finish(figure)


def section_html(runs: Sequence[Run]) -> str:
    """What stands in the evaluation of a study on its runs that repair, without figures; nothing where
    none does.
    """
    if not repairs.repairing(runs):
        return ""
    parts = [SECTION, counts_html(repairs.candidates_by_stage(runs))]
    parts += [counts_html(repairs.lessons_by_stage(runs))]
    parts += [acceptance_html(repairs.acceptance(runs))]
    steps = repairs.grpo_steps(runs)
    said = [*repairs.verdict(repairs.accuracies(runs)).splitlines()]
    said += [repairs.effectless(steps)] if len(steps) else []
    parts += [f"<p>{escape(text)}</p>" for text in said]
    return "".join(parts)


def stream_html(table: pd.DataFrame) -> str:
    """What objectives do to the stream, see `scoring.repairs.by_objective`; nothing where all runs have
    the same. `table`: of `scoring.tables.frame`.
    """
    found = repairs.by_objective(table)
    if found.empty:
        return ""
    words = "; ".join(f"{one.name}: {one.words}" for one in OBJECTIVES.values())
    return f"{STREAM}{intervals_html(found, signed=False)}<p>{escape(words)}.</p>"


def figures(runs: Sequence[Run]) -> list[Figure]:
    """The figures of that section: acceptance, the reward model, GRPO, score against outcome; those of
    which something was measured.
    """
    found = []
    for table, draw in (
        (repairs.acceptance(runs), acceptance),
        (repairs.accuracies(runs), accuracies),
        (repairs.grpo_steps(runs), grpo),
        (repairs.followed(runs), over_optimisation),
    ):
        if len(table):
            found.append(draw(table))
    return found
