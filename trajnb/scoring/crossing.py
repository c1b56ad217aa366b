"""What training taught and what the prompt shows, told apart.

Y[train, asked] is the final score of the model trained under one condition and asked with the prompts of
another; train `none` is the model before training. Where every adapter was asked with stripped and with full
prompts:

- `training@e` = Y[full, e] - Y[stripped, e]: what training on trajectories taught, at test prompt e;
  `training` is the mean over both e;
- `prompt@t` = Y[t, full] - Y[t, stripped]: what the prompt shows the model trained under t; `prompt` is the
  mean over t = stripped and full;
- `interaction` = training@full - training@stripped;
- `same-prompt` = the effect of training on the items whose prompts are identical in both conditions, which
  runs that were asked in their own condition only can tell too.

All of it on the items, seeds and orders that every side has, paired.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from trajnb.scoring.paired import CELL, ITEM, interval, labels, token_weights
from trajnb.scoring.stats import detectable, holm, mcnemar, sign_flip

# effect -> {(train, asked): weight}; asked `either`: stripped or full, the prompt being the same
CONTRASTS = {
    "training": {
        ("full", "stripped"): 0.5, ("stripped", "stripped"): -0.5,
        ("full", "full"): 0.5, ("stripped", "full"): -0.5,
    },
    "training@stripped": {("full", "stripped"): 1, ("stripped", "stripped"): -1},
    "training@full": {("full", "full"): 1, ("stripped", "full"): -1},
    "prompt": {
        ("stripped", "full"): 0.5, ("stripped", "stripped"): -0.5,
        ("full", "full"): 0.5, ("full", "stripped"): -0.5,
    },
    "prompt@none": {("none", "full"): 1, ("none", "stripped"): -1},
    "prompt@stripped": {("stripped", "full"): 1, ("stripped", "stripped"): -1},
    "prompt@full": {("full", "full"): 1, ("full", "stripped"): -1},
    "interaction": {
        ("full", "full"): 1, ("full", "stripped"): -1,
        ("stripped", "full"): -1, ("stripped", "stripped"): 1,
    },
    "same-prompt": {("full", "either"): 1, ("stripped", "either"): -1},
}  # fmt: skip
EFFECTS = tuple(CONTRASTS)
_UNKNOWN = dict.fromkeys(("mean", "low", "high", "p", "detectable", "mcnemar"), np.nan)
_NONE = dict.fromkeys(("left_only", "right_only", "items", "dialogues", "seeds", "orders"), 0)


def combinations(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows that can be crossed, by what sets them apart (`variant`): those of sequential runs where
    nothing else varies, or, where every run varies in something, those of each combination.
    """
    variants = dict(tuple(table[table.strategy == "sequential"].groupby("variant", sort=False)))
    return {"": variants[""]} if "" in variants else variants


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of all `combinations`; where there are none, all rows."""
    found = combinations(table)
    return pd.concat(found.values()) if found else table


def left_out(table: pd.DataFrame) -> list[str]:
    """The training arms that are no part of the decomposition."""
    parts = combinations(table).values()
    crossed = {arm for part in parts for arm in part[part.condition.isin(["stripped", "full"])].trained}
    return [arm for arm in table.trained.unique() if arm not in crossed]


def effects(
    table: pd.DataFrame,
    measures: Iterable[str] = ("canonical", "name", "logp"),
    family: Mapping[str, Iterable[str]] | None = None,
    which: Iterable[str] = EFFECTS,
) -> pd.DataFrame:
    """Effects by measures, one row each; in points, or nats a token for `logp`.

    Args:
        table: of `tables.frame`.
        family: {"measures": [...], "effects": [...]}, as the params file declared it before the runs.
        which: of EFFECTS.

    Columns:
        variant, effect, measure: what the row is about, see `combinations`.
        mean, low, high: the effect with its 95 % interval; `detectable`: what could have been found.
        p: of sign flips by dialogue; nan where there are too few items for a test.
        holm: p adjusted over the family: the `declared` rows, or, where nothing was declared, all rows.
        left_only, right_only, mcnemar: where two arms are compared, the answers right in one of them alone,
            and McNemar's p, which takes them for independent: a description.
        items, dialogues, seeds, orders: what it rests on; before training there are no seeds and orders.
        left_out: what only some of the sides have, in words.
        note: why the effect could not be measured, in words; such a row has no items.

    Raises:
        ValueError: the sides of an effect share no item.
    """
    rows = [
        {"variant": variant, "effect": effect, "measure": measure} | _effect(part, effect, measure)
        for variant, part in combinations(table).items()
        for measure in measures
        for effect in which
    ]
    columns = ["variant", "effect", "measure", *_UNKNOWN, *_NONE, "left_out", "note"]
    found = pd.DataFrame(rows, columns=columns)
    declared = family or {"measures": [], "effects": []}
    found["declared"] = found.measure.isin(declared["measures"]) & found.effect.isin(declared["effects"])
    tested = (found["items"] > 0) & (found.declared | (not family))
    found["holm"] = np.nan
    found.loc[tested, "holm"] = holm(found.p[tested].tolist())
    return found


def _effect(table: pd.DataFrame, effect: str, measure: str) -> dict:
    if effect == "same-prompt":
        table = table[table.same_prompt]
    contrast = CONTRASTS[effect]
    sides = {cell: score(table, *cell, measure) for cell in contrast}
    row = _UNKNOWN | _NONE | {"left_out": "", "note": _missing(sides, effect)}
    if row["note"]:
        return row
    # sides go by their place: pandas would take a pair for two levels of columns
    together = pd.concat(dict(enumerate(sides.values())), axis=1, join="inner")
    differences = together @ np.array(list(contrast.values()), float)
    dialogues, seeds, orders = labels(differences)
    weights = token_weights(table, differences.index, measure)
    estimate = interval(differences, weights)
    row |= estimate._asdict() | {"detectable": detectable(estimate), "left_out": _left_out(sides, together)}
    row |= {"p": sign_flip(differences.to_numpy(), dialogues, weights)}
    row |= {"items": len(_distinct(differences, ITEM)), "dialogues": dialogues.nunique()}
    if all(train != "none" for train, _ in contrast):
        row |= {"seeds": seeds.nunique(), "orders": orders.nunique()}
    if len(contrast) == 2 and measure != "logp":
        left, right = (together[place].to_numpy() > 0 for place in (0, 1))
        row |= dict(zip(("left_only", "right_only", "mcnemar"), mcnemar(left, right), strict=True))
    return row


def score(table: pd.DataFrame, train: str, asked: str, measure: str) -> pd.Series:
    """Y[train, asked] by seed, order and item (`CELL`), in points (nats a token for `logp`); empty where it
    was not measured. Train `none` has one seed and order, whatever the runs: there is one untrained model.
    """
    rows = table[table.eval_condition.isin(["stripped", "full"] if asked == "either" else [asked])]
    if train == "none":
        rows = rows[rows.stage == 0].assign(seed=0, order="")
    else:
        rows = rows[rows["last"] & (rows.condition == train)]
    return (1 if measure == "logp" else 100) * rows.groupby(CELL)[measure].mean().astype(float)


def levels(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Y of every training and test prompt that was measured: columns `train, asked, mean, low, high, n`, `n`
    being answers. `table` holds one of the `combinations`.
    """
    rows = []
    for train in ("none", *table.condition.unique()):
        for asked in table.eval_condition.unique():
            side = score(table, train, asked, measure)
            if len(side):
                estimate = interval(side, token_weights(table, side.index, measure))
                rows.append((train, asked, *estimate, len(side)))
    return pd.DataFrame(rows, columns=["train", "asked", "mean", "low", "high", "n"])


def _missing(sides: Mapping[tuple[str, str], pd.Series], effect: str) -> str:
    """Why the sides cannot be compared, or nothing."""
    for (train, asked), side in sides.items():
        if side.empty and train == "none":
            return f"the untrained model was not asked with {asked} prompts"
        if side.empty:
            what = "about such calls" if asked == "either" else f"with {asked} prompts"
            return f"no model trained on {train} prompts was asked {what}"
    if not set.intersection(*(_distinct(side, ITEM) for side in sides.values())):
        raise ValueError(
            f"{effect}: the runs to compare share no held-out item; give them one corpus and one split"
        )
    if not set.intersection(*(_distinct(side, ["seed", "order"]) for side in sides.values())):
        return "the runs to compare have no seed and block order in common"
    return ""


def _left_out(sides: Mapping[tuple[str, str], pd.Series], together: pd.DataFrame) -> str:
    """What only some of the sides have, in words."""
    words = []
    for names in (["seed", "order"], ITEM):
        everything = set.union(*(_distinct(side, names) for side in sides.values()))
        rest = everything - _distinct(together, names)
        if rest and names == ITEM:
            words.append(f"{len(rest)} of {len(everything)} items")
        elif rest:
            seeds = ", ".join(map(str, sorted({seed for seed, _ in rest})))
            words.append(f"{len(rest)} of {len(everything)} pairs of seed and block order (seed {seeds})")
    return " and ".join(words)


def _distinct(cells: pd.Series | pd.DataFrame, names: list[str]) -> set[tuple]:
    return set(cells.index.droplevel([name for name in CELL if name not in names]))
