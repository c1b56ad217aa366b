"""Answers held against each other: two stages of one arm, or two arms, on what both were asked.

An item is (dialogue_id, step). Every run (seed, block order) answers all items, so seeds and orders are
crossed with dialogues: answers are paired by seed, order and item, and intervals draw all three anew
(`stats.crossed_bootstrap`). Tables are those of `tables.frame`.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

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
    """What weighs each of `cells`: for `logp` the gold call's tokens, so that a mean is one over tokens, as a
    perplexity is; otherwise None.
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
    """Final stage minus stage 0 on the same items, in points (nats a token for `logp`)."""
    gained = values(table, measure, "gain")
    return interval(gained, token_weights(table, gained.index, measure))


def compare(left: pd.DataFrame, right: pd.DataFrame, measure: str, when: str) -> Interval:
    """Rows `left` minus rows `right` of a table, on the seeds, orders and items both have; nan if none.

    `when` as in `values`; its `gain` is what training added to the gap.
    """
    differences = (values(left, measure, when) - values(right, measure, when)).dropna()
    return interval(differences, token_weights(left, differences.index, measure))


def pairs(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Training arms worth holding against each other, as (left, right); `stripped` is on the right.

    Arms that differ in the condition alone, and an arm that matches the tokens of another condition with that
    one. Where there are none, every arm with the first.
    """
    arms = table.drop_duplicates("trained")
    names, conditions = set(arms.trained), list(arms.condition)
    baseline = "stripped" if "stripped" in conditions else conditions[0]
    found = []
    for arm in arms.itertuples():
        rest = arm.trained.removeprefix(arm.condition)
        if arm.match_tokens:
            partner = arm.match_tokens + rest.replace(f", match_tokens {arm.match_tokens}", "")
        else:
            partner = baseline + rest
        if partner in names and partner != arm.trained:
            pair = (arm.trained, partner)
            found.append(pair[::-1] if arm.condition == baseline else pair)
    first, *others = arms.trained
    return list(dict.fromkeys(found)) or [(other, first) for other in others]


def comparisons(table: pd.DataFrame, measures: Iterable[str] = ("canonical", "name", "logp")) -> pd.DataFrame:
    """All `pairs` under every test prompt that both were asked with, at the end.

    Two arms without a common test prompt are compared each under its own, before training (`zero`), at the
    end (`final`) and in what training added (`gain`). Columns: `left, right, asked` (with which prompts),
    `measure, when, mean, low, high`.
    """
    rows = []
    for left, right in pairs(table):
        sides = [table[table.trained == arm] for arm in (left, right)]
        both = set(sides[1].eval_condition)
        common = [asked for asked in sides[0].eval_condition.unique() if asked in both]
        for asked in common or ["its own"]:
            own = [side[side.eval_condition == (asked if common else side.condition)] for side in sides]
            for measure in measures:
                for when in ("final",) if common else ("zero", "final", "gain"):
                    rows.append((left, right, asked, measure, when, *compare(*own, measure, when)))
    return pd.DataFrame(rows, columns=["left", "right", "asked", "measure", "when", *Interval._fields])
