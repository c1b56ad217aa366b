"""The pictures that open a report, as SVG with text: every held-out call at every stage, and the
crossing of training and test prompt.

Numbers of pixels are those on the screen: nothing is scaled, so that text stays readable on a
phone. All text of records is escaped.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from textwrap import shorten
from urllib.parse import urlencode

import pandas as pd

from trajnb.escaping import in_html as escape
from trajnb.scoring.crossing import levels
from trajnb.scoring.lead import Counts, Side
from trajnb.scoring.paired import ITEM, RUN
from trajnb.show.plots import colours, condition_colours
from trajnb.show.reader import Numbered, row_id

CELL, GAP = 10, 2
"""Of the squares, in pixels."""
BAR, WIDE = 90, 16
"""Of the bars where shares stand in place of squares: the height of 100 %, and the width."""
HEAD = 34
"""Above the squares: the name of the block, and of both sides."""
MOST_LINES = 60
"""Calls of a block, over which shares stand in place of lines."""


def items_link(**chosen: str) -> str:
    """An address within the page of items; keys are those of its choices."""
    return f"items.html#{urlencode(chosen, errors='replace')}"


def count_links(counts: Counts, measure: str) -> list[tuple[int, str, str]]:
    """The four counts of a pair: how many, in words, and the choice of the page of items."""
    left, right = str(counts.left), str(counts.right)
    found = []
    for number, words, one, other in (
        (counts.only_left, f"only {left} right", "right", "wrong"),
        (counts.only_right, f"only {right} right", "wrong", "right"),
        (counts.both, "both right", "right", "right"),
        (counts.neither, "neither", "wrong", "wrong"),
    ):
        chosen = {f"arm {left}": one, f"arm {right}": other}
        chosen |= {"stratum": "novel"} if measure == "novel" else {}
        found.append((number, words, items_link(**chosen)))
    return found


_LINES = (
    "Every held-out call is a line, every stage a square: before training, then after each block. "
    "A full square is an exact call."
)
_BARS = (
    "The share of exact calls by block: before training, then after each block; the number is that "
    "of the end."
)


def ink_styles(inks: Numbered) -> str:
    """A class for each colour: a policy that lets in one style sheet lets no attribute in."""
    return "\n".join(f".ink{number} {{ --arm: {colour}; }}" for colour, number in inks.items())


def picture(
    table: pd.DataFrame, counts: Counts, measure: str, numbers: Numbered, linked: bool
) -> str:
    """Every held-out call of the two sides at every stage, a figure for each block.

    `numbers`: of the colours that are used, see `ink_styles`; `linked`: the page of items is there,
    and a line of cells opens its item.
    """
    sides = [side for side in (counts.right, counts.left) if not side.is_untrained]
    of_arm = colours(table.arm.unique())
    inks = {side: f"ink{numbers[of_arm[side.arm]]}" for side in sides}
    shown = table[table.arm.isin([side.arm for side in sides]) & table[measure].notna()]
    blocks = list(dict.fromkeys(block for order in shown.order.unique() for block in order))
    most = max(len(part.groupby([*RUN, *ITEM])) for _, part in shown.groupby("block"))
    draw = _lines if most <= MOST_LINES else _shares
    drawn = []
    for block in blocks:
        part = shown[shown.block == block]
        if len(part):
            drawn.append(draw(block, part, inks, measure, linked))
    legend = " ".join(
        f'<span class="{inks[side]}"><b>■</b> {escape(str(side))}</span>' for side in sides
    )
    words = _LINES if draw is _lines else _BARS
    words += " A line opens its item." if linked and draw is _lines else ""
    return (
        f'<figure class="opens picture"><div class="legend">{legend}</div>'
        f'<div class="blocks">{"".join(drawn)}</div><figcaption>{words}</figcaption></figure>'
    )


def _lines(
    block: str, rows: pd.DataFrame, inks: Mapping[Side, str], measure: str, linked: bool
) -> str:
    """One block: a line for each call, those that were right more often first."""
    grouped = rows.groupby([*RUN, *ITEM], sort=False)
    right = grouped[measure].sum().astype(int)
    right = right.sort_values(ascending=False, kind="stable")
    stages = int(rows.stage.max()) + 1
    wide = stages * (CELL + GAP)
    cells = {
        side: rows[rows.arm == side.arm].set_index([*RUN, *ITEM, "stage"])[measure].to_dict()
        for side in inks
    }
    seen = _repetitions(rows)
    parts = []
    for line, key in enumerate(right.index):
        *_, dialogue, step = key
        drawn = ""
        for column, (side, ink) in enumerate(inks.items()):
            values = [cells[side].get((*key, stage)) for stage in range(stages)]
            drawn += _squares(values, column * (wide + 8), HEAD + line * (CELL + GAP), ink)
        name = row_id(dialogue, step, seen[key])
        title = f"<title>{escape(f'{dialogue}, step {step}')}</title>"
        drawn = f"<g>{title}{drawn}</g>"
        if linked:
            drawn = f'<a href="{escape(items_link(item=name))}">{drawn}</a>'
        parts.append(drawn)
    height = HEAD + len(right) * (CELL + GAP)
    return _svg(block, inks, wide, height, "".join(parts))


def _repetitions(rows: pd.DataFrame) -> dict[tuple, int]:
    """By run and item, the how manieth repetition of the item it is, from 0."""
    found: dict[tuple, int] = {}
    order: dict[tuple, list] = {}
    for key in rows.groupby([*RUN, *ITEM], sort=False).groups:
        own = order.setdefault(key[len(RUN) :], [])
        found[key] = len(own)
        own.append(key)
    return found


def _squares(values: Sequence, x: int, y: int, ink: str) -> str:
    """A line of squares, full where the call is right; None is not asked."""
    paths = {True: "", False: ""}
    for stage, value in enumerate(values):
        if value is not None:
            paths[bool(value)] += f"M{x + stage * (CELL + GAP)} {y}h{CELL}v{CELL}h-{CELL}z"
    drawn = f'<path class="no" d="{paths[False]}"/>' if paths[False] else ""
    return drawn + (f'<path class="yes {ink}" d="{paths[True]}"/>' if paths[True] else "")


def _shares(
    block: str, rows: pd.DataFrame, inks: Mapping[Side, str], measure: str, linked: bool
) -> str:
    """One block: for each side a bar of the share of exact calls at every stage."""
    stages = int(rows.stage.max()) + 1
    wide = stages * (WIDE + GAP)
    foot = HEAD + BAR
    drawn = ""
    for column, (side, ink) in enumerate(inks.items()):
        x, bars = column * (wide + 8), ""
        own = rows[rows.arm == side.arm].groupby("stage")[measure].mean()
        for stage, share in own.items():
            place, height = x + stage * (WIDE + GAP), round(BAR * share, 1)
            bars += _bar("no", place, HEAD, BAR) + _bar(f"yes {ink}", place, foot - height, height)
        bars += (
            f'<text x="{x}" y="{foot + 14}">{100 * side.rows(rows)[measure].mean():.0f} %</text>'
        )
        if linked:
            address = items_link(**{f"arm {side}": "right", "block": block})
            bars = f'<a href="{escape(address)}">{bars}</a>'
        drawn += bars
    return _svg(block, inks, wide, foot + 18, drawn)


def _bar(kind: str, x: float, y: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x}" y="{round(y, 1)}" width="{WIDE}" height="{height}"/>'


def _svg(block: str, inks: Mapping[Side, str], wide: int, height: int, drawn: str) -> str:
    """A block with its name, and the names of the sides as far as there is room."""
    name = shorten(block.replace("_", " "), 40, placeholder=" …")
    width = max(len(inks) * (wide + 8), 8 * len(name) + 4)
    heads = "".join(
        f'<text class="soft" x="{column * (wide + 8)}" y="29">{escape(str(side))}</text>'
        for column, side in enumerate(inks)
        if 6.5 * len(str(side)) <= wide
    )
    label = escape(f"{block}: held-out calls, right or wrong at every stage")
    return (
        f'<svg width="{width}" height="{height}" role="group" aria-label="{label}">'
        f'<text class="name" x="0" y="13">{escape(name)}</text>{heads}{drawn}</svg>'
    )


def crossing_picture(rows: pd.DataFrame, measure: str, numbers: Numbered) -> str:
    """The score over the test prompt, one line for each training; nothing where not both prompts
    were asked.

    `rows`: one of `crossing.combinations`.
    """
    points = levels(rows, measure)
    points = points[points.asked.isin(["stripped", "full"])]
    both = points.groupby("train").asked.nunique()
    points = points[points.train.isin(both[both == 2].index)]
    if not (points.train != "none").any():
        return ""
    trained = list(dict.fromkeys(points.train))
    palette = condition_colours(trained)
    inks = {train: f"ink{numbers[palette[train]]}" for train in trained}
    top = max(10, 10 * ceil(points["mean"].max() / 10))
    left, right, foot, head = 52, 178, 168, 30

    def height(percent: float) -> float:
        return round(foot - (foot - head) * percent / top, 1)

    drawn = ""
    for level in (0, top // 2, top):
        y = height(level)
        drawn += f'<path class="grid" d="M{left} {y}H{right}"/>'
        drawn += f'<text class="soft end" x="{left - 8}" y="{y + 4}">{level:.0f} %</text>'
    ends = []
    for train in trained:
        own = points[points.train == train].set_index("asked")["mean"]
        one, other = height(own["stripped"]), height(own["full"])
        drawn += f'<path class="line {inks[train]}" d="M{left} {one}L{right} {other}"/>'
        name = "untrained" if train == "none" else train
        ends.append((other, f"{own['stripped']:.0f} → {own['full']:.0f} {name}", inks[train]))
    lowest = 0.0
    for y, words, ink in sorted(ends):
        lowest = max(y, lowest + 14)
        drawn += f'<text class="arm {ink}" x="{right + 8}" y="{lowest + 4}">{escape(words)}</text>'
    drawn += f'<text class="soft" x="{left - 18}" y="{foot + 18}">stripped</text>'
    drawn += f'<text class="soft" x="{right - 14}" y="{foot + 18}">full</text>'
    return (
        '<figure class="opens crossing"><svg width="310" height="192" role="img" '
        'aria-label="exact calls by training and test prompt">'
        f'<text class="name" x="0" y="13">exact calls by test prompt, one line a training</text>'
        f"{drawn}</svg></figure>"
    )
