"""Answers held against each other: two stages of one arm, or two arms, on what both were asked.

An item is (dialogue_id, step). A run is a seed, a block order and a fold, and answers are paired by
run and item. Where runs hold out folds of their own, an interval is Student's t over folds
(`scoring.by_run`); where every run answers the same items, dialogues, seeds and orders are crossed,
and all three are drawn anew (`stats.crossed_test`). With fewer than `FEW_RUNS` runs an interval
knows other dialogues alone. Tables are those of `tables.frame`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np
import pandas as pd

from trajnb.scoring import by_run
from trajnb.scoring.arms import Arm
from trajnb.scoring.resampling import FEW_RUNS
from trajnb.scoring.stats import Estimate, Interval, crossed_test

ITEM = ["dialogue_id", "step"]
RUN = ["seed", "order", "fold"]
CELL = [*RUN, *ITEM]  # what an answer shares with the one it is paired with


def values(rows: pd.DataFrame, measure: str, when: str) -> pd.Series:
    """A measure by run and item (`CELL`), in points (nats a token for `logp`).

    `when` is `zero` (before training), `final`, or `gain` (what training added). Items that the
    measure passes over (`novel`), and answers without it, are left out.
    """
    if when == "gain":
        return (values(rows, measure, "final") - values(rows, measure, "zero")).dropna()
    side = rows[rows["last"] if when == "final" else rows.stage == 0]
    return by_cell(side, measure)


def by_cell(rows: pd.DataFrame, measure: str) -> pd.Series:
    """The mean of a measure by `CELL`, in points (nats a token for `logp`), where it is known."""
    known = rows[rows[measure].notna()]
    return (1 if measure == "logp" else 100) * known.groupby(CELL)[measure].mean().astype(float)


def token_weights(table: pd.DataFrame, cells: pd.MultiIndex, measure: str) -> np.ndarray | None:
    """What weighs each of `cells`: for `logp` the gold call's tokens, so that a mean is one over
    tokens, as a perplexity is; otherwise None.
    """
    if measure != "logp":
        return None
    tokens = table.groupby(ITEM).gold_tokens.first()
    return tokens.loc[cells.droplevel(RUN)].to_numpy(float)


def labels(cells: pd.Series) -> list[pd.Index]:
    """Dialogue, seed and order of each value."""
    return [cells.index.get_level_values(name) for name in ("dialogue_id", "seed", "order")]


def interval(cells: pd.Series, weights: np.ndarray | None = None) -> Interval:
    """The mean of values by `CELL` with its 95 % interval, see `estimate`."""
    return estimate(cells, weights).interval


def estimate(cells: pd.Series, weights: np.ndarray | None = None) -> Estimate:
    """The mean of values by `CELL`, its 95 % interval, p, and what they may be read for.

    Runs of at least FEW_RUNS folds: Student's t over folds, a mean of means of folds. Runs of fewer
    folds: an interval over dialogues alone, given these runs. Runs of one and the same split:
    dialogues, seeds and orders crossed.
    """
    folds = cells.index.get_level_values("fold")
    dialogues, seeds, orders = labels(cells)
    distinct = folds.nunique()
    if distinct >= FEW_RUNS:
        found, p = by_run.student(fold_means(cells, weights))
        return Estimate(*found, p, distinct, _known(seeds, orders, folds))
    if distinct > 1:
        alike = np.zeros(len(cells))
        found, p = crossed_test(cells.to_numpy(float), dialogues, alike, alike, weights)
        return Estimate(*found, p, distinct, ("dialogues",))
    found, p = crossed_test(cells.to_numpy(float), dialogues, seeds, orders, weights)
    return Estimate(*found, p, seeds.nunique(), _known(seeds, orders, seeds))


def fold_means(cells: pd.Series, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean of values by `CELL` in every fold, (folds,), see `by_run.differences`."""
    runs = cells.index.droplevel(ITEM)
    folds = cells.index.get_level_values("fold")
    return by_run.differences(cells.to_numpy(float), runs, folds, weights)


def _known(seeds: pd.Index, orders: pd.Index, units: pd.Index) -> tuple[str, ...]:
    """Of what an interval over `units` (folds or seeds) knows other ones: dialogues; seeds where
    there are enough of them; orders where every unit has one of its own.
    """
    known = ["dialogues"]
    if seeds.nunique() >= FEW_RUNS:
        known.append("seeds")
    if orders.nunique() >= max(FEW_RUNS, units.nunique()):
        known.append("orders")
    return tuple(known)


def change(table: pd.DataFrame, measure: str) -> Estimate:
    """Final stage minus stage 0 on the same items, in points (nats a token for `logp`); nan where
    answers have no probabilities.
    """
    gained = values(table, measure, "gain").dropna()
    return estimate(gained, token_weights(table, gained.index, measure))


def compare(left: pd.DataFrame, right: pd.DataFrame, measure: str, when: str) -> Estimate:
    """Rows `left` minus rows `right` of a table, on the runs and items both have; nan if none.

    `when` as in `values`; its `gain` is what training added to the gap.

    Raises:
        ValueError: the two hold out different folds.
    """
    check_folds([left, right], "the arms to compare")
    differences = (values(left, measure, when) - values(right, measure, when)).dropna()
    return estimate(differences, token_weights(left, differences.index, measure))


def check_folds(sides: Sequence[pd.DataFrame], who: str) -> None:
    """Refuse rows of a table that rest on dialogues of different folds.

    Raises:
        ValueError: the sides deal dialogues differently, or hold out no fold in common.
    """
    sides = [rows for rows in sides if len(rows)]
    for column in ("folds", "fold"):
        held_out = [set(rows[column]) for rows in sides]
        if held_out and not set.intersection(*held_out):
            shown = " against ".join(dict.fromkeys(map(_folds_words, sides)))
            raise ValueError(
                f"{who} hold out different dialogues ({shown}), so there is no call to pair; "
                "compare runs of equal fold"
            )


def _folds_words(rows: pd.DataFrame) -> str:
    if rows.fold.iloc[0] < 0:
        return "the corpus's own split"
    return f"fold {', '.join(map(str, sorted(set(rows.fold))))} of {rows.folds.iloc[0]}"


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
    p: float
    pairs: int
    covers: tuple[str, ...]
    """As in `stats.Estimate`."""


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
