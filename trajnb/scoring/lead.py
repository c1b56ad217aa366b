"""What a study says first: one comparison in one sentence, and how often two arms are right.

No sentence claims more than `stats.direction` allows: below FEW_RUNS run pairs there are counts,
and that they tell nothing about other seeds.
"""

from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from trajnb.scoring import crossing
from trajnb.scoring.arms import Arm
from trajnb.scoring.overview import Plan
from trajnb.scoring.paired import by_cell, compare, pairs
from trajnb.scoring.resampling import FEW_RUNS
from trajnb.scoring.stats import Estimate, direction, runs_words

LEADING = ("training@stripped", "training@full", "content", "prompt@full")
"""The effects of `crossing` that set two arms against each other, the more telling first."""
MOST_WORDS = 35


@dataclass(frozen=True)
class Side:
    """Answers that can be held against others: an arm at its end, or the model before training."""

    arm: Arm
    is_untrained: bool = False

    def __str__(self) -> str:
        """For people: `full → stripped`, `untrained`."""
        if not self.is_untrained:
            return str(self.arm)
        return f"untrained → {self.arm.asked}" if self.arm.asked else "untrained"

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Its answers in a table of `tables.frame`, one stage of each run."""
        own = table[table.arm == self.arm]
        return own[own.stage == 0] if self.is_untrained else own[own["last"]]


@dataclass(frozen=True)
class Counts:
    """How often two sides are right, on the runs and items that both have."""

    left: Side
    right: Side
    only_left: int
    only_right: int
    both: int
    neither: int

    @property
    def calls(self) -> int:
        """Answers of either side."""
        return self.only_left + self.only_right + self.both + self.neither


@dataclass(frozen=True)
class Lead:
    """What stands at the top of a report."""

    measure: str
    """`canonical`, or `novel` where the study declared it as the one that decides."""
    counts: Counts
    answer: str
    """One sentence or two, at most MOST_WORDS words."""
    untold: str
    """What it does not tell."""


def sides_of(table: pd.DataFrame) -> list[Side]:
    """What can be compared: the arms, and where all have one training, the model before it."""
    arms = list(table.arm.unique())
    found = [Side(arm) for arm in arms]
    if table.trained.nunique() == 1 and (table.stage > 0).any():
        found += [Side(arm, is_untrained=True) for arm in arms]
    return found


def counts_of(table: pd.DataFrame, measure: str) -> list[Counts]:
    """Of every pair of sides that were asked the same in the same runs."""
    cells = {side: by_cell(side.rows(table), measure) for side in sides_of(table)}
    found = [
        _counts(left, right, cells[left], cells[right]) for left, right in combinations(cells, 2)
    ]
    return [counts for counts in found if counts.calls]


def _counts(left: Side, right: Side, one: pd.Series, other: pd.Series) -> Counts:
    both = pd.concat([one, other], axis=1, join="inner", keys=["left", "right"]) > 0
    return Counts(
        left,
        right,
        only_left=int((both.left & ~both.right).sum()),
        only_right=int((both.right & ~both.left).sum()),
        both=int((both.left & both.right).sum()),
        neither=int((~both.left & ~both.right).sum()),
    )


def lead(table: pd.DataFrame, found: pd.DataFrame, plan: Plan) -> Lead | None:
    """The comparison that opens a report; None where nothing can be paired.

    `table` is that of `tables.frame`, `found` its `crossing.effects`.
    """
    measure = "novel" if plan.primary == "novel" and table.novel.notna().any() else "canonical"
    left, right, estimate = _crossed(table, found, measure) or _other(table, measure)
    cells = [by_cell(side.rows(table), measure) for side in (left, right)]
    counts = _counts(left, right, *cells)
    if not counts.calls:
        return None
    said = f"{_compared(counts, measure)}{_further(table, counts, measure)}"
    said = f"{said}{_judged(estimate, said)}"
    return Lead(measure, counts, said, _untold(table, left, right))


def _crossed(
    table: pd.DataFrame, found: pd.DataFrame, measure: str
) -> tuple[Side, Side, Estimate] | None:
    """The most telling effect that sets two arms against each other, a declared one first."""
    rows = found[(found["items"] > 0) & (found.measure == measure) & found.effect.isin(LEADING)]
    rows = rows.sort_values("effect", key=lambda names: names.map(LEADING.index), kind="stable")
    rows = rows.sort_values("declared", ascending=False, kind="stable")
    for row in rows.itertuples():
        part = crossing.combinations(table)[row.variant]
        cells = list(crossing.CONTRASTS[row.effect])
        arms = [part[(part.condition == t) & (part.eval_condition == a)].arm for t, a in cells]
        left, right = (Side(arm.iloc[0]) for arm in arms)
        p = row.holm if row.declared else row.p
        return left, right, Estimate(row.mean, row.low, row.high, p, row.pairs, row.covers)
    return None


def _other(table: pd.DataFrame, measure: str) -> tuple[Side, Side, Estimate]:
    """Two arms, each asked as it was trained; of one training, against the model before it."""
    for trained in pairs(table):
        own = [
            table[(table.trained == one) & (table.eval_condition == one.condition)]
            for one in trained
        ]
        if all(len(rows) for rows in own):
            left, right = (Side(rows.arm.iloc[0]) for rows in own)
            return left, right, compare(*own, measure, "final")
    arm = table.arm.iloc[0]
    rows = table[table.arm == arm]
    gained = compare(rows, rows.assign(**{"last": rows.stage == 0}), measure, "final")
    return Side(arm), Side(arm, is_untrained=True), gained


def _compared(counts: Counts, measure: str) -> str:
    """Both counts in words."""
    left, right = counts.left, counts.right
    calls = f"held-out calls{' that are novel' if measure == 'novel' else ''}"
    made = f"makes {counts.only_left + counts.both:,} of {counts.calls:,} {calls} exactly"
    other = f"{counts.only_right + counts.both:,}"
    trained = _trained(left.arm)
    if right.is_untrained:
        return f"Trained on {trained}, the model {made}; before training, {other}"
    if left.arm.condition == right.arm.condition and left.arm.training() == right.arm.training():
        asked = f"asked with {left.arm.asked} prompts"
        return (
            f"Trained on {trained}, the model {made} when {asked}, {other} with {right.arm.asked}"
        )
    if left.arm.asked and left.arm.asked == right.arm.asked:
        who = f"the model trained on {trained}"
        return f"Asked with {left.arm.asked} prompts, {who} {made}; on {_short(right.arm)}, {other}"
    return f"Trained on {trained}, the model {made}; on {_short(right.arm)}, {other}"


def _trained(arm: Arm) -> str:
    return ", ".join(filter(None, [f"{arm.condition} prompts", arm.training()]))


def _short(arm: Arm) -> str:
    return ", ".join(filter(None, [arm.condition, arm.training()]))


def _further(table: pd.DataFrame, counts: Counts, measure: str) -> str:
    """The counts of other plain arms that were asked the same, as far as there is room."""
    said = ""
    for side in sides_of(table):
        asked = side.arm.asked == counts.left.arm.asked
        if (
            side in (counts.left, counts.right)
            or side.is_untrained
            or not asked
            or side.arm.training()
        ):
            continue
        cells = by_cell(side.rows(table), measure)
        if len(cells) != counts.calls:
            continue
        said += f"; on {side.arm.condition}, {int((cells > 0).sum()):,}"
    room = MOST_WORDS - len(_compared(counts, measure).split()) - 10
    return said if len(said.split()) <= room else "; other arms below"


def _judged(estimate: Estimate, said: str) -> str:
    """The difference as far as it may be read, in the ten words that are left at most."""
    if estimate.pairs < FEW_RUNS:
        runs = runs_words(max(estimate.pairs, 1)).replace("1 run", "One run")
        return f". {runs} each: this tells nothing about other seeds."
    span = f"95 % interval {estimate.low:+z.1f} to {estimate.high:+z.1f}"
    word = ("undecided", "higher", "lower")[direction(estimate)]
    return f" ({estimate.mean:+z.1f} points, {span}): {word}."


def _untold(table: pd.DataFrame, left: Side, right: Side) -> str:
    """What the comparison leaves open, in one sentence."""
    rests = f"{table.dialogue_id.nunique()} held-out dialogues"
    if right.is_untrained:
        return (
            "Not told: what a trajectory is worth, for there is one training and the model before "
            f"it; {rests}."
        )
    if not left.arm.asked:
        return (
            "Not told: whether learning or reading did it, for each model was asked with its own "
            f"prompts only; {rests}."
        )
    known = ["other models and corpora"]
    known += ["other block orders"] if table.order.nunique() == 1 else []
    return f"Not told: {' and '.join(known)}; it rests on {rests}."
