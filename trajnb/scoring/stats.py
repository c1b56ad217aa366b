"""Intervals and tests that respect dialogues and seeds, and sentences that say no more than they do."""

from collections.abc import Sequence
from math import isnan
from typing import NamedTuple

import numpy as np
from scipy.stats import permutation_test, t
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from trajnb.scoring.resampling import FEW_RUNS, codes, run_codes, spread
from trajnb.words import counted

# Below this many dialogues a report says that the interval is too narrow. Simulated coverage of the 95 %
# interval, normal effects of dialogues and of their 3 to 7 calls, 2000 trials: 81 % with 4 dialogues, 90 %
# with 8, 92 % with 12, 93 % with 20, 95 % with 80 (tests/scoring/test_stats.py repeats a part of it).
FEW_CLUSTERS = 20
SIGNIFICANT = 0.05


class Interval(NamedTuple):
    """A mean and its interval; low and high are nan where the data cannot give one."""

    mean: float
    low: float
    high: float


class Estimate(NamedTuple):
    """A mean, its interval, and what the two may be read for."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided, of no difference, from the same spread as the interval; nan where there is none."""
    pairs: int
    """Run pairs that count: of distinct folds, or, where all have the same dialogues, of distinct
    seeds (runs, where nothing is paired)."""
    covers: tuple[str, ...]
    """Of `dialogues`, `seeds` and `orders`: those of which the interval knows other ones."""

    @property
    def interval(self) -> Interval:
        return Interval(self.mean, self.low, self.high)


def direction(estimate: Estimate) -> int:
    """1 where a result may be called higher, -1 lower, 0 where nothing of the sort may be said.

    The one rule for every sentence and mark: at least FEW_RUNS run pairs, an interval without zero,
    and p below SIGNIFICANT. Takes anything with `mean, low, high, p` and `pairs`.
    """
    sure = estimate.pairs >= FEW_RUNS and estimate.p < SIGNIFICANT
    if not sure or not (estimate.low > 0 or estimate.high < 0):
        return 0
    return 1 if estimate.mean > 0 else -1


def clustered_bootstrap(
    values: Sequence[float],
    clusters: Sequence,
    weights: Sequence[float] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the (weighted) mean of `values` (n,), resampling whole `clusters` (n,).

    Calls of one dialogue share their documents, user and history, so dialogues are drawn with replacement,
    not calls (Field and Welsh 2007). The mean of a draw is sum(w * v) / sum(w) over its calls. Fewer than two
    clusters give nan for low and high, no values give nan throughout: one dialogue says nothing about others.
    """
    values = np.asarray(values, float)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, float)
    if not len(values) == len(clusters) == len(weights):
        raise ValueError(
            f"{len(values)} values, {len(clusters)} clusters, {len(weights)} weights: not one each"
        )
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, weights * values)
    sizes = np.bincount(index, weights)
    mean = float(sums.sum() / sizes.sum())
    if len(names) < 2:
        return Interval(mean, float("nan"), float("nan"))
    draws = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), resamples
    )
    low, high = np.quantile(draws @ sums / (draws @ sizes), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def crossed_bootstrap(
    values: Sequence[float],
    dialogues: Sequence,
    seeds: Sequence,
    orders: Sequence,
    weights: Sequence[float] | None = None,
    **settings,
) -> Interval:
    """The interval of `crossed_test`, which takes the same."""
    return crossed_test(values, dialogues, seeds, orders, weights, **settings)[0]


def crossed_test(
    values: Sequence[float],
    dialogues: Sequence,
    seeds: Sequence,
    orders: Sequence,
    weights: Sequence[float] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> tuple[Interval, float]:
    """The (weighted) mean of `values` (n,) with an interval for other dialogues, seeds and orders than
    these, and the two-sided p of no difference by the same t.

    One value a run and item, most often a paired difference of two arms; `dialogues`, `seeds` and `orders`
    (n,) are labels. The three are resampled independently, items stay in their dialogue. How resamples become
    an interval, and how often it holds the truth, stands in `scoring.resampling`. Cells may be missing. Fewer
    than `resampling.FEW_RUNS` seeds or orders are taken as fixed: the interval then says nothing of others.
    Where every seed has one order only, the two are one factor. Fewer than two dialogues, or no
    spread at all, give nan for low, high and p, no values nan throughout; p is 1 where no value differs from
    zero.
    """
    values = np.asarray(values, float)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, float)
    if not len(values) == len(dialogues) == len(seeds) == len(orders) == len(weights):
        raise ValueError(
            f"{len(values)} values, {len(dialogues)} dialogues, {len(seeds)} seeds, {len(orders)} orders, "
            f"{len(weights)} weights: not one each"
        )
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan")), float("nan")
    mean = float(weights @ values / weights.sum())
    index = codes(dialogues), *run_codes(seeds, orders)
    shape = tuple(int(code.max()) + 1 for code in index)
    if shape[0] < 2:
        return Interval(mean, float("nan"), float("nan")), float("nan")
    if not values.any():
        return Interval(0.0, 0.0, 0.0), 1.0
    cells = np.ravel_multi_index(index, shape)
    sums, sizes = (
        np.bincount(cells, amounts, np.prod(shape)).reshape(shape[0], -1)
        for amounts in (weights * values, weights)
    )

    def means(by_dialogue, by_seed, by_order):
        by_run = (by_seed[:, :, None] * by_order[:, None, :]).reshape(-1, sums.shape[1])
        with np.errstate(invalid="ignore"):  # a draw may hit missing cells only
            return ((by_dialogue @ sums) * by_run).sum(1) / ((by_dialogue @ sizes) * by_run).sum(1)

    factors = [(levels,) for levels in shape]
    variance, degrees = spread(means, factors, resamples=resamples, seed=seed)
    error = float(np.sqrt(variance))
    if error <= 1e-9 * np.abs(values).max():  # all alike but for rounding: no spread that others have
        return Interval(mean, float("nan"), float("nan")), float("nan")
    half = t.ppf((1 + level) / 2, degrees) * error
    p = float(2 * t.sf(abs(mean) / error, degrees))
    return Interval(mean, float(mean - half), float(mean + half)), p


def sign_flip(
    values: Sequence[float],
    dialogues: Sequence,
    weights: Sequence[float] | None = None,
    *,
    flips: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p value of no difference: if the arms were alike, any dialogue could have the other sign.

    `values` (n,) are paired differences, summed (times `weights`) within `dialogues` (n,) over seeds and
    items. All flips are tried where there are at most `flips` of them, else that many at random, the one
    observed counted among them (Phipson and Smyth 2010). It speaks about other dialogues, given these runs,
    and takes their differences to be as far on either side of zero, so that it is description: with few and
    skewed dialogues (a fifth of them far on one side) it is below .05 in 26 % with 6 of them, 11 % with 10,
    8 % with 20, where nothing is true (2000 to 4000 simulated studies).

    1.0 where no value differs from zero. nan where too few dialogues differ: with fewer than six, even all of
    them on one side give more than 0.05, so there is no test.
    """
    values = np.asarray(values, float)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, float)
    if not len(values) == len(dialogues) == len(weights):
        raise ValueError(
            f"{len(values)} values, {len(dialogues)} dialogues, {len(weights)} weights: not one each"
        )
    if not len(values):
        return float("nan")
    sums = np.bincount(codes(dialogues), weights * values)
    sums = sums[sums != 0]  # the sign of a zero changes nothing
    if not values.any():
        return 1.0
    if 2 * 0.5 ** len(sums) > 0.05:
        return float("nan")
    test = permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=flips, rng=seed)
    return float(test.pvalue)


def holm(p_values: Sequence[float], tests: int = 0) -> list[float]:
    """p values of one family, adjusted by Holm's step-down; nan stays nan and is not of the family.

    `tests` is how many a family was declared to have: those that cannot be made yet count as though
    their p were 1, so that no answer of a study half run is lost when the rest has been.
    """
    adjusted = np.array(p_values, float)
    known = ~np.isnan(adjusted)
    if count := int(known.sum()):
        waiting = [1.0] * max(0, tests - count)
        adjusted[known] = multipletests([*adjusted[known], *waiting], method="holm")[1][:count]
    return adjusted.tolist()


class McNemar(NamedTuple):
    """How many items only one of two arms has right, and the exact p value of as many on either side."""

    left_only: int
    right_only: int
    p: float


def mcnemar(left: Sequence[bool], right: Sequence[bool]) -> McNemar:
    """Counts of items (n,) that only one arm has right. Its p value is description: it takes calls of one
    dialogue as independent, and so overstates what they show."""
    left, right = np.asarray(left, bool), np.asarray(right, bool)
    if left.shape != right.shape:
        raise ValueError(f"{len(left)} items on the left, {len(right)} on the right: not the same items")
    left_only, right_only = int((left & ~right).sum()), int((right & ~left).sum())
    if not left_only + right_only:
        return McNemar(0, 0, 1.0)
    table = [[(left & right).sum(), left_only], [right_only, (~left & ~right).sum()]]
    return McNemar(left_only, right_only, float(contingency_tables.mcnemar(table, exact=True).pvalue))


def reading(what: str, change: Estimate, unit: str = "points", digits: int = 1) -> str:
    """One sentence on a change or gap: its direction only where `direction` allows one."""
    amount = f"{change.mean:+z.{digits}f} {unit}"
    if isnan(change.mean):
        return f"{what}: no items, so nothing to read."
    if isnan(change.low):
        return f"{what}: {amount}, without a spread to judge it by, so there is nothing to conclude."
    if change.low == change.high == 0:
        return f"{what}: not one item differs."
    span = f"95 % interval {change.low:+z.{digits}f} to {change.high:+z.{digits}f}"
    if change.pairs < FEW_RUNS:
        return f"{what}: cannot tell from {runs_words(change.pairs)} ({amount}, {span} over dialogues alone)."
    if sign := direction(change):
        return f"{what}: {'higher' if sign > 0 else 'lower'} ({amount}, {span}; {p_words(change.p)})."
    return f"{what}: cannot tell ({amount}, {span}; {p_words(change.p)})."


def runs_words(count: int) -> str:
    """For people: `1 run`, `4 runs`."""
    return counted(count, "run")


def p_words(p: float) -> str:
    """For people: `p = 0.031`, `p < 0.001`."""
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
