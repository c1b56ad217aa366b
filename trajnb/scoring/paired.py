"""Answers held against each other: two stages of one arm, or two arms, on what both were asked.

An item is (dialogue_id, step). Every run (seed, block order) answers all items, so seeds and orders
are crossed with dialogues: answers are paired by seed, order and item, and intervals draw all three
anew (`stats.crossed_bootstrap`). Tables are those of `tables.frame`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np
import pandas as pd

from trajnb.scoring.arms import Arm
from trajnb.scoring.stats import Interval, crossed_bootstrap

ITEM = ["dialogue_id", "step"]
CELL = ["seed", "order", *ITEM]  # what an answer shares with the one it is paired with


def values(rows: pd.DataFrame, measure: str, when: str) -> pd.Series:
    """A measure by seed, order and item (`CELL`), in points (nats a token for `logp`).

    `when` is `zero` (before training), `final`, or `gain` (what training added).
    """
    if when == "gain":
        return values(rows, measure, "final") - values(rows, measure, "zero")
    side = rows[rows["last"] if when == "final" else rows.stage == 0]
    return (1 if measure == "logp" else 100) * side.groupby(CELL)[measure].mean().astype(float)


def token_weights(table: pd.DataFrame, cells: pd.MultiIndex, measure: str) -> np.ndarray | None:
    """What weighs each of `cells`: for `logp` the gold call's tokens, so that a mean is one over
    tokens, as a perplexity is; otherwise None.
    """
    if measure != "logp":
        return None
    tokens = table.groupby(ITEM).gold_tokens.first()
    return tokens.loc[cells.droplevel(["seed", "order"])].to_numpy(float)


def labels(cells: pd.Series) -> list[pd.Index]:
    """Dialogue, seed and order of each value."""
    return [cells.index.get_level_values(name) for name in ("dialogue_id", "seed", "order")]


def interval(cells: pd.Series, weights: np.ndarray | None = None) -> Interval:
    """The mean of values by `CELL` with its 95 % interval over dialogues, seeds and orders."""
    return crossed_bootstrap(cells.to_numpy(float), *labels(cells), weights)


def change(table: pd.DataFrame, measure: str) -> Interval:
    """Final stage minus stage 0 on the same items, in points (nats a token for `logp`); nan where
    answers have no probabilities.
    """
    gained = values(table, measure, "gain").dropna()
    return interval(gained, token_weights(table, gained.index, measure))


def compare(left: pd.DataFrame, right: pd.DataFrame, measure: str, when: str) -> Interval:
    """Rows `left` minus rows `right` of a table, on the seeds, orders and items both have; nan if
    none.

    `when` as in `values`; its `gain` is what training added to the gap.
    """
    differences = (values(left, measure, when) - values(right, measure, when)).dropna()
    return interval(differences, token_weights(left, differences.index, measure))


def pairs(table: pd.DataFrame) -> list[tuple[Arm, Arm]]:
    """Training arms worth holding against each other, as (left, right); `stripped` is on the right.

    Arms that differ in the condition alone, and an arm that matches the tokens of another condition
    with that one. Where there are none, every arm with the first.
    """
    arms = table.drop_duplicates("trained")
    first, *others = arms.trained
    baseline = "stripped" if "stripped" in set(arms.condition) else first.condition
    found = []
    for arm, match_tokens in zip(arms.trained, arms.match_tokens, strict=True):
        if match_tokens:
            partner = arm.matched(match_tokens)
        else:
            partner = replace(arm, condition=baseline)
        if partner == arm or partner not in set(arms.trained):
            continue
        found.append((partner, arm) if arm.condition == baseline else (arm, partner))
    return list(dict.fromkeys(found)) or [(other, first) for other in others]


@dataclass(frozen=True)
class Comparison:
    """One arm minus another."""

    left: Arm
    right: Arm
    asked: str
    """With which prompts both were asked, or `OWN`."""
    measure: str
    when: str
    """As in `values`."""
    mean: float
    low: float
    high: float


OWN = "its own"
"""Each arm was asked with the prompts that it was trained on."""


def comparisons(
    table: pd.DataFrame, measures: Iterable[str] = ("canonical", "name", "logp")
) -> pd.DataFrame:
    """All `pairs` under every test prompt that both were asked with, at the end.

    Two arms without a common test prompt are compared each under its own, before training (`zero`),
    at the end (`final`) and in what training added (`gain`). Columns are the fields of
    `Comparison`.
    """
    rows = []
    for left, right in pairs(table):
        for asked, one, other in _sides(table, left, right):
            moments = ("zero", "final", "gain") if asked == OWN else ("final",)
            for measure, when in product(measures, moments):
                if one[measure].isna().all() or other[measure].isna().all():
                    continue  # an arm that copies has no likelihood
                gap = compare(one, other, measure, when)
                rows.append(Comparison(left, right, asked, measure, when, *gap))
    columns = [field.name for field in fields(Comparison)]
    return pd.DataFrame([vars(row) for row in rows], columns=columns)


def _sides(
    table: pd.DataFrame, left: Arm, right: Arm
) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """The test prompts that both arms were asked with and the rows of either, or `OWN` and the rows
    of each under its own.
    """
    one, other = table[table.trained == left], table[table.trained == right]
    both = set(other.eval_condition)
    common = [asked for asked in one.eval_condition.unique() if asked in both]
    if common:
        return [
            (asked, one[one.eval_condition == asked], other[other.eval_condition == asked])
            for asked in common
        ]
    own = [side[side.eval_condition == side.condition] for side in (one, other)]
    return [(OWN, *own)]
