"""Continual-learning figures from a score matrix, each written from its definition, and their intervals.

`R` is a (T, T) array: R[i, j] is the score (a rate, 0 to 1 or in percent) on the j-th block learnt, measured
after learning block i. `b` is the (T,) row measured before any training, in the same prompt condition. Both
may be stacks, (..., T, T) and (..., T), and then a figure is an array (...,).
Figures that compare blocks are nan for a single block. The authors' released codes differ from these
definitions in places (GEM divides by T; some maxima include the last row), so the tests hold ours against the
published figures of arXiv 2605.09734, recomputed from their matrices.
"""

import numpy as np
import pandas as pd

from trajnb.scoring.resampling import half_width, run_codes
from trajnb.scoring.stats import Interval

FIGURES = ("average", "learning", "bwt", "fwt", "forgetting", "aulc")


def average_accuracy(R) -> float:
    """Mean over blocks after the last one was learnt."""
    return _square(R)[..., -1, :].mean(-1)


def learning_accuracy(R) -> float:
    """Mean over blocks, each measured right after it was learnt."""
    return _own(_square(R)).mean(-1)


def bwt(R) -> float:
    """Backward transfer (Lopez-Paz and Ranzato 2017): what later blocks did to earlier ones."""
    R = _square(R)
    return _mean(R[..., -1, :-1] - _own(R)[..., :-1])


def fwt(R, b) -> float:
    """Forward transfer: what earlier blocks did for one not yet learnt, against zero-shot."""
    R = _square(R)
    return _mean(np.diagonal(R, 1, -2, -1) - np.asarray(b, float)[..., 1:])


def forgetting(R) -> float:
    """Best score at any earlier stage minus the final one (Chaudhry 2018); may be negative."""
    R = _square(R)
    return _mean(R[..., :-1, :-1].max(axis=-2, initial=-np.inf) - R[..., -1, :-1])


def aulc(R) -> float:
    """Area under a block's curve from its own stage to the end (trapezoid, per stage), mean of blocks."""
    R = _square(R)
    curves = [R[..., j:, j] for j in range(R.shape[-1])]
    areas = [np.trapezoid(c) / (c.shape[-1] - 1) if c.shape[-1] > 1 else c[..., 0] for c in curves]
    return np.mean(areas, axis=0)


def intransigence(R, joint) -> float:
    """What learning in sequence held back (Chaudhry 2018): the scores `joint` (T,) of a model trained on all
    blocks at once, minus those of each block right after it was learnt, mean of blocks; may be negative."""
    return (np.asarray(joint, float) - _own(_square(R))).mean(-1)


def figures(R, b) -> dict[str, float]:
    """All of FIGURES at once."""
    values = (average_accuracy(R), learning_accuracy(R), bwt(R), fwt(R, b), forgetting(R), aulc(R))
    return dict(zip(FIGURES, values, strict=True))


def intervals(
    rows: pd.DataFrame, measure: str, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """FIGURES of one arm with their intervals, in percent (nats a token for `logp`).

    `rows` are those of one arm in `trajnb.scoring.tables.frame`, all stages and any number of runs. Each
    figure is that of a run (or of the runs that share seed and order), in its own block order, averaged over
    runs. Dialogues are drawn within their block (the blocks are fixed), seeds and orders as in
    `crossed_bootstrap`. nan for low and high where a block has fewer than two dialogues, nan throughout for
    figures that a single block does not have. A stage without a block's items is a ValueError. Forgetting
    takes the maximum of noisy scores and so is a little too high, in every draw as in the matrix itself.
    """
    return _intervals([rows], measure, level=level, resamples=resamples, seed=seed)


def difference_intervals(
    left: pd.DataFrame,
    right: pd.DataFrame,
    measure: str,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """FIGURES of arm `left` minus those of arm `right`, in points (nats a token for `logp`).

    Paired by (seed, order) and item: what only one arm has is left out, and runs and dialogues are drawn for
    both at once. Arms without a run or an item in common are a ValueError.
    """
    for key in (["seed", "order"], ["dialogue_id", "step"]):
        left = left.merge(right[key].drop_duplicates(), on=key)
        right = right.merge(left[key].drop_duplicates(), on=key)
        if left.empty:
            raise ValueError(f"the arms have no ({', '.join(key)}) in common: there is nothing to pair")
    return _intervals([left, right], measure, level=level, resamples=resamples, seed=seed)


def _intervals(arms: list[pd.DataFrame], measure: str, **settings) -> dict[str, Interval]:
    """Of the only arm, or of the first minus the second; `settings` are those of `half_width`."""
    runs = list(dict.fromkeys(zip(arms[0].seed, arms[0].order, strict=True)))
    seed_of, order_of = run_codes(*zip(*runs, strict=True))
    dialogues = arms[0][["block", "dialogue_id"]].drop_duplicates().sort_values(["block", "dialogue_id"])
    cells = [_cells(arm, measure, runs, list(dialogues.dialogue_id)) for arm in arms]

    def means(by_dialogue, by_seed, by_order):
        left, *right = [_per_run(*part, by_dialogue) for part in cells]
        by_run = (by_seed[:, seed_of] * by_order[:, order_of])[:, :, None]
        with np.errstate(invalid="ignore"):  # a draw may hit missing cells only
            return ((left - sum(right)) * by_run).sum(1) / by_run.sum(1)

    factors = [tuple(dialogues.groupby("block").size()), (seed_of.max() + 1,), (order_of.max() + 1,)]
    mean = means(*(np.ones((1, sum(strata))) for strata in factors))[0]
    known, half = ~np.isnan(mean), np.full(len(FIGURES), np.nan)
    if min(factors[0]) > 1:
        half[known] = half_width(lambda *weights: means(*weights)[:, known], factors, **settings)
    low, high = mean - half, mean + half
    if len(arms) == 1 and measure != "logp":  # a rate is not below 0 or above 100 %, whatever t says
        rates = np.isin(FIGURES, ("average", "learning", "aulc"))
        low[rates], high[rates] = low[rates].clip(0), high[rates].clip(max=100)
    bounds = zip(mean.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Interval(*bound) for name, bound in zip(FIGURES, bounds, strict=True)}


def _cells(rows: pd.DataFrame, measure: str, runs: list, dialogues: list) -> tuple[np.ndarray, np.ndarray]:
    """Summed scores and their weights, (dialogues, runs, T + 1 stages, T blocks in the order of the run)."""
    if rows.arm.nunique() > 1:
        raise ValueError(f"rows of several arms ({', '.join(rows.arm.unique())}): figures are those of one")
    run = {pair: number for number, pair in enumerate(runs)}
    blocks = {order: order.split(" > ") for _, order in runs}
    shape = len(dialogues), len(runs), 1 + rows.block.nunique(), rows.block.nunique()
    index = (
        rows.dialogue_id.map({name: number for number, name in enumerate(dialogues)}),
        [run[pair] for pair in zip(rows.seed, rows.order, strict=True)],
        rows.stage,
        [blocks[order].index(block) for order, block in zip(rows.order, rows.block, strict=True)],
    )
    cells = np.ravel_multi_index(index, shape)
    # a log-likelihood is a mean over tokens, as a perplexity is, not over calls of unequal length
    scale, weights = (1, rows.gold_tokens) if measure == "logp" else (100, np.ones(len(rows)))
    sums, sizes = (
        np.bincount(cells, amounts, np.prod(shape)).reshape(shape)
        for amounts in (scale * weights * rows[measure], weights)
    )
    for r, stage, block in np.argwhere(sizes.sum(0) == 0)[:1]:
        seed, order = runs[r]
        raise ValueError(
            f"seed {seed}, order {order}: no rows of {blocks[order][block]} at stage {stage}; figures need "
            f"every block at every stage from 0 to {len(blocks[order])}"
        )
    return sums, sizes


def _per_run(sums: np.ndarray, sizes: np.ndarray, by_dialogue: np.ndarray) -> np.ndarray:
    """FIGURES of each run, (resamples, runs, figures), with the dialogues so weighted."""
    with np.errstate(invalid="ignore"):
        rates = np.tensordot(by_dialogue, sums, 1) / np.tensordot(by_dialogue, sizes, 1)
    return np.stack(list(figures(rates[..., 1:, :], rates[..., 0, :]).values()), axis=-1)


def _square(R) -> np.ndarray:
    R = np.asarray(R, float)
    if R.ndim < 2 or R.shape[-1] != R.shape[-2] or not R.size:
        raise ValueError(f"R has shape {R.shape}, not (T, T); leave the zero-shot row out, it is passed as b")
    return R


def _own(R: np.ndarray) -> np.ndarray:
    """Each block right after it was learnt."""
    return np.diagonal(R, 0, -2, -1)


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)[()]
