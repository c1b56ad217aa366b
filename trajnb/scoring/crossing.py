"""What training taught and what the prompt shows, told apart.

Y[train, asked] is the final score of the model trained under one condition and asked with the
prompts of another; train `none` is the model before training. Where every adapter was asked with
stripped and with full prompts:

- `training@e` = Y[full, e] - Y[stripped, e]: what training on trajectories taught, at test prompt
  e; `training` is the mean over both e;
- `prompt@t` = Y[t, full] - Y[t, stripped]: what the prompt shows the model trained under t;
  `prompt` is the mean over t = stripped and full;
- `interaction` = training@full - training@stripped;
- `same-prompt` = the effect of training on the items whose prompts are identical in both
  conditions, which runs that were asked in their own condition only can tell too;
- `content` = Y[full, full] - Y[placebo, full]: what the right trajectory teaches beyond another
  one of the same form.

`training` averages over a model that was asked in a format it never saw: one trained on stripped
prompts has never read an API line. So `training@stripped` and `training@full` come first.

All of it on the items and runs (seed, order, fold) that every side has, paired.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import product

import numpy as np
import pandas as pd

from trajnb.scoring import by_run
from trajnb.scoring.arms import Arm, Pairs
from trajnb.scoring.paired import (
    CELL,
    ITEM,
    RUN,
    by_cell,
    check_folds,
    estimate,
    fold_means,
    interval,
    token_weights,
)
from trajnb.scoring.resampling import FEW_RUNS
from trajnb.scoring.stats import Interval, McNemar, holm, mcnemar, sign_flip
from trajnb.strategies import PLAIN, STRATEGIES

# effect -> {(train, asked): weight}; asked `either`: stripped or full, the prompt being the same
CONTRASTS = {
    "training@stripped": {("full", "stripped"): 1, ("stripped", "stripped"): -1},
    "training@full": {("full", "full"): 1, ("stripped", "full"): -1},
    "training": {
        ("full", "stripped"): 0.5,
        ("stripped", "stripped"): -0.5,
        ("full", "full"): 0.5,
        ("stripped", "full"): -0.5,
    },
    "prompt": {
        ("stripped", "full"): 0.5,
        ("stripped", "stripped"): -0.5,
        ("full", "full"): 0.5,
        ("full", "stripped"): -0.5,
    },
    "prompt@none": {("none", "full"): 1, ("none", "stripped"): -1},
    "prompt@stripped": {("stripped", "full"): 1, ("stripped", "stripped"): -1},
    "prompt@full": {("full", "full"): 1, ("full", "stripped"): -1},
    "interaction": {
        ("full", "full"): 1,
        ("full", "stripped"): -1,
        ("stripped", "full"): -1,
        ("stripped", "stripped"): 1,
    },
    "same-prompt": {("full", "either"): 1, ("stripped", "either"): -1},
    "content": {("full", "full"): 1, ("placebo", "full"): -1},
}
EFFECTS = tuple(CONTRASTS)
CROSSED = {"none", "stripped", "full"}
"""What is trained and asked in every combination; other conditions are controls."""
FLOOR = 5.0
"""Percent: where no side of a contrast comes so far, counts say nothing of a difference."""


@dataclass(frozen=True)
class Effect:
    """One effect on one measure, in points, or nats a token for `logp`."""

    variant: Pairs
    effect: str
    measure: str
    mean: float = np.nan
    low: float = np.nan
    high: float = np.nan
    """With its 95 % interval."""
    p: float = np.nan
    """By the same t as the interval; nan with fewer than FEW_RUNS pairs."""
    pairs: int = 0
    covers: tuple[str, ...] = ()
    """As in `stats.Estimate`: the run pairs that count, and what the interval knows others of."""
    corrected_low: float = np.nan
    corrected_high: float = np.nan
    """By Nadeau and Bengio, where runs hold out folds of their own, see `by_run.corrected`."""
    flip: float = np.nan
    """p of sign flips by dialogue, a description; nan where there are too few."""
    floor: bool = False
    """No side comes to FLOOR percent."""
    highest: float = np.nan
    """Of the sides, in percent (nats a token for `logp`)."""
    mcnemar: float = np.nan
    left_only: int = 0
    right_only: int = 0
    """Where two arms are compared, the answers right in one of them alone, and McNemar's p, which
    takes them for independent: a description."""
    items: int = 0
    dialogues: int = 0
    seeds: int = 0
    orders: int = 0
    folds: int = 0
    """What it rests on; before training there are no seeds and orders, and a corpus's own split is
    no fold."""
    left_out: str = ""
    """What only some of the sides have, in words."""
    note: str = ""
    """Why it could not be measured, in words; then there are no items."""


def combinations(table: pd.DataFrame) -> dict[Pairs, pd.DataFrame]:
    """The rows that can be crossed, by what sets them apart (`variant`): those of plain runs where
    nothing else varies, or, where every run varies in something, those of each combination.
    """
    variants = dict(tuple(table[table.strategy == PLAIN.name].groupby("variant", sort=False)))
    return {(): variants[()]} if () in variants else variants


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of all `combinations`; where there are none, all rows."""
    found = combinations(table)
    return pd.concat(found.values()) if found else table


def with_memory(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `plain` and of the arms that copy from training examples, which is what any
    model that learns has to beat.
    """
    copying = [name for name, strategy in STRATEGIES.items() if strategy.recalls]
    shown = table.run.isin(plain(table).run) | table.strategy.isin(copying)
    return table[shown]


def left_out(table: pd.DataFrame) -> list[Arm]:
    """The training arms that are no part of the decomposition."""
    crossed = set()
    for part in combinations(table).values():
        crossed.update(part[part.condition.isin(["stripped", "full"])].trained)
    return [arm for arm in table.trained.unique() if arm not in crossed]


def sides(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Rows of `full` and of `stripped` on the seeds and folds that both have; None where there are
    none.
    """
    found = [rows[rows.condition == condition] for condition in ("full", "stripped")]
    runs = [pd.MultiIndex.from_frame(side[["seed", "fold"]]) for side in found]
    both = runs[0].intersection(runs[1])
    if both.empty:
        return None
    full, stripped = (side[run.isin(both)] for side, run in zip(found, runs, strict=True))
    return full, stripped


def effects(
    table: pd.DataFrame,
    measures: Iterable[str] = ("canonical", "name", "logp"),
    family: Mapping[str, Iterable[str]] | None = None,
    which: Iterable[str] = EFFECTS,
) -> pd.DataFrame:
    """Effects by measures, one row each; in points, or nats a token for `logp`.

    Args:
        table: of `tables.frame`.
        family: {"measures": [...], "effects": [...]}, as the params file declared it before the
            runs.
        which: of EFFECTS.

    Columns are the fields of `Effect`, and
        declared: whether the family names it.
        holm: p adjusted over the family: the declared rows, or, where nothing was declared, all
            rows. It is that of the t which made the interval, so that both know the same. Declared
            tests whose runs are not there yet are counted too.

    Raises:
        ValueError: the sides of an effect share no item, or hold out different folds.
    """
    rows = []
    for variant, part in combinations(table).items():
        for measure, effect in product(measures, which):
            rows.append(_effect(part, variant, effect, measure))
    columns = [field.name for field in fields(Effect)]
    found = pd.DataFrame([vars(row) for row in rows], columns=columns)
    return with_family(found, family)


def with_family(found: pd.DataFrame, family: Mapping[str, Iterable[str]] | None) -> pd.DataFrame:
    """A table of effects with `declared` and `holm`, see `effects`; p is nan where nothing was
    tested.
    """
    declared = family or {"measures": [], "effects": []}
    of_family = declared.get("effects", [])
    found["declared"] = found.measure.isin(declared["measures"]) & found.effect.isin(of_family)
    tested = found.declared | (not family)
    found["holm"] = np.nan
    tests = len(declared["measures"]) * len(of_family)
    found.loc[tested, "holm"] = holm(found.p[tested].tolist(), tests)
    return found


def _effect(table: pd.DataFrame, variant: Pairs, effect: str, measure: str) -> Effect:
    if effect == "same-prompt":
        table = table[table.same_prompt]
    contrast = CONTRASTS[effect]
    sides = {cell: _side(table, *cell) for cell in contrast}
    try:
        check_folds(list(sides.values()), f"{effect}: the runs to compare")
    except ValueError as error:
        if {train for train, _ in contrast} <= CROSSED:
            raise
        return Effect(variant, effect, measure, note=str(error))  # a control with folds of its own
    scores = {cell: by_cell(rows, measure) for cell, rows in sides.items()}
    if note := _missing(scores, effect, measure):
        return Effect(variant, effect, measure, note=note)
    # what all sides have, a column each; by place, for pandas would take a pair for two levels
    together = pd.concat(dict(enumerate(scores.values())), axis=1, join="inner")
    differences = together @ np.array(list(contrast.values()), float)
    weights = token_weights(table, differences.index, measure)
    found = estimate(differences, weights)
    is_trained = all(train != "none" for train, _ in contrast)
    alone = McNemar(0, 0, np.nan)
    if len(contrast) == 2 and measure != "logp":
        alone = mcnemar(*(together[place].to_numpy() > 0 for place in (0, 1)))
    highest = max(float(together[place].mean()) for place in together)
    index = {name: differences.index.get_level_values(name) for name in CELL}
    folds = int(sides[next(iter(contrast))].folds.iloc[0])
    wide = _corrected(differences, weights, folds)
    return Effect(
        variant,
        effect,
        measure,
        *found.interval,
        p=found.p if found.pairs >= FEW_RUNS else np.nan,
        pairs=found.pairs,
        covers=found.covers if is_trained else found.covers[:1],  # dialogues
        corrected_low=wide.low,
        corrected_high=wide.high,
        flip=sign_flip(differences.to_numpy(), index["dialogue_id"], weights),
        floor=measure != "logp" and highest < FLOOR,
        highest=highest,
        mcnemar=alone.p,
        left_only=alone.left_only,
        right_only=alone.right_only,
        items=len(_distinct(differences, ITEM)),
        dialogues=index["dialogue_id"].nunique(),
        seeds=index["seed"].nunique() if is_trained else 0,
        orders=index["order"].nunique() if is_trained else 0,
        folds=index["fold"][index["fold"] >= 0].nunique(),
        left_out=_left_out(scores, together),
    )


def _corrected(differences: pd.Series, weights: np.ndarray | None, folds: int) -> Interval:
    """Nadeau and Bengio's interval; nan where runs do not hold out folds of their own."""
    if differences.index.get_level_values("fold").nunique() < FEW_RUNS:
        return by_run.NOTHING
    return by_run.corrected(fold_means(differences, weights), folds)[0]


def score(table: pd.DataFrame, train: str, asked: str, measure: str) -> pd.Series:
    """Y[train, asked] by run and item (`CELL`), in points (nats a token for `logp`); empty where it
    was not measured. Train `none` has one seed and order, whatever the runs: there is one
    untrained model, asked about every fold.
    """
    return by_cell(_side(table, train, asked), measure)


def _side(table: pd.DataFrame, train: str, asked: str) -> pd.DataFrame:
    """The rows behind Y[train, asked]."""
    rows = table[table.eval_condition.isin(["stripped", "full"] if asked == "either" else [asked])]
    if train == "none":
        ours = rows.condition.isin(CROSSED)  # a control may have folds of its own
        rows = rows[(rows.stage == 0) & (ours | ~ours.any())]
        return rows.assign(seed=0, order=[()] * len(rows))
    return rows[rows["last"] & (rows.condition == train)]


def levels(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Y of every training and test prompt that was measured.

    Columns `train, asked, mean, low, high, n`, `n` being answers. `table` holds one of the
    `combinations`.
    """
    rows = []
    for train in ("none", *table.condition.unique()):
        for asked in table.eval_condition.unique():
            side = score(table, train, asked, measure)
            if len(side):
                estimate = interval(side, token_weights(table, side.index, measure))
                rows.append((train, asked, *estimate, len(side)))
    return pd.DataFrame(rows, columns=["train", "asked", "mean", "low", "high", "n"])


def _missing(scores: Mapping[tuple[str, str], pd.Series], effect: str, measure: str) -> str:
    """Why the sides cannot be compared, or nothing."""
    for (train, asked), side in scores.items():
        if side.empty and train == "none":
            return f"the untrained model was not asked with {asked} prompts"
        if side.empty:
            what = "about such calls" if asked == "either" else f"with {asked} prompts"
            novel = " about novel calls" if measure == "novel" else ""
            return f"no model trained on {train} prompts was asked {what}{novel}"
    if not set.intersection(*(_distinct(side, ITEM) for side in scores.values())):
        raise ValueError(
            f"{effect}: the runs to compare share no held-out item; give them one corpus and one "
            "split"
        )
    if not set.intersection(*(_distinct(side, RUN) for side in scores.values())):
        return "the runs to compare have no seed, block order and fold in common"
    return ""


def _left_out(scores: Mapping[tuple[str, str], pd.Series], together: pd.DataFrame) -> str:
    """What only some of the sides have, in words."""
    words = []
    for names in (RUN, ITEM):
        everything = set.union(*(_distinct(side, names) for side in scores.values()))
        rest = everything - _distinct(together, names)
        if rest and names == ITEM:
            words.append(f"{len(rest)} of {len(everything)} items")
        elif rest:
            seeds = ", ".join(map(str, sorted({seed for seed, *_ in rest})))
            of = f"{len(rest)} of {len(everything)}"
            words.append(f"{of} pairs of seed and block order (seed {seeds})")
    return " and ".join(words)


def _distinct(cells: pd.Series | pd.DataFrame, names: list[str]) -> set[tuple]:
    return set(cells.index.droplevel([name for name in CELL if name not in names]))
