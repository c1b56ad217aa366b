"""How far a result would move with other dialogues, seeds and orders, all of them crossed.

For studies without folds, where every seed is scored on the same dialogues (where runs hold out
dialogues of their own, see `scoring.by_run`). Neither is nested in the other, so each factor is
resampled independently of the others (Owen 2007, the pigeonhole bootstrap). Percentiles of such
resamples are no interval here: with few seeds they never leave the few means that were seen. The
resamples give variances instead, and these make an interval as in an analysis of variance with
crossed random effects (Clark 1973).

The variance that drawing dialogues gives and the one that drawing seeds gives both hold what the
two share, their interaction, so that the sum counts it twice. It is not taken off: a difference of
estimates can be nothing or less by chance, and an interval that then leaves the seeds out is narrow
just where nobody should believe it. The sum is never below either of its parts.

TABLE
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.stats import t

FEW_RUNS = 5
"""Below this many seeds (or orders) there is no word about other ones: they are taken as fixed. And
below this many run pairs nothing is answered, whatever an interval says.
"""


def half_width(
    statistic: Callable[..., np.ndarray],
    factors: Sequence[Sequence[int]],
    *,
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> np.ndarray:
    """Half the width of the interval for `statistic` over other levels of its factors than these.

    The t quantile of the degrees of freedom of `spread`, which takes the same factors and
    statistic.
    """
    variance, degrees = spread(statistic, factors, resamples=resamples, seed=seed)
    return t.ppf((1 + level) / 2, degrees) * np.sqrt(variance)


def spread(
    statistic: Callable[..., np.ndarray],
    factors: Sequence[Sequence[int]],
    *,
    resamples: int = 5000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The variance of `statistic` over other levels of its factors, and its degrees of freedom.

    `factors` are the numbers of levels of each factor, one for each of its strata, dialogues first:
    [(10, 10), (5,)] is dialogues of two blocks, drawn within their block, and five seeds. One level
    in each stratum makes a factor fixed, and so do fewer than FEW_RUNS levels of any but the
    first. `statistic` takes weights for each factor, (resamples, levels), or (1, levels) where all
    weigh the same, and returns (resamples or 1, ...); both results have the shape of the rest.
    Draws for which it is nan, because they hit missing cells only, are left out.

    1. A draw takes n - 1 of n levels with replacement. Drawing all n would give (n - 1) / n of the
       variance of a mean (Rao and Wu 1988): a fifth too little for five seeds.
    2. What drawing one factor changes holds its own effect and its interactions. The variances of
       all factors are added; nothing is taken off (see above).
    3. Degrees of freedom are Satterthwaite's (1946), those of a sum of mean squares, but at most
       three times those of the factor with fewest: they are an estimate too, and where seeds show
       little by chance they would be those of the dialogues.
    """
    rng = np.random.default_rng(seed)
    fixed = [np.ones((1, sum(strata))) for strata in factors]
    variance = np.zeros_like(statistic(*fixed)[0])
    squares = np.zeros_like(variance)  # of the parts, over their degrees of freedom
    most = np.inf
    for place, strata in enumerate(factors):
        if is_fixed(strata, first=place == 0):
            continue
        drawn = np.hstack([_draw(rng, levels, resamples) for levels in strata])
        values = statistic(*fixed[:place], drawn, *fixed[place + 1 :])
        part = np.nanvar(values, axis=0)
        variance = variance + part
        squares = squares + part**2 / (sum(strata) - len(strata))
        most = min(most, 3 * (sum(strata) - len(strata)))
    with np.errstate(invalid="ignore"):
        degrees = np.where(squares > 0, variance**2 / squares, 1)
    return variance, np.minimum(degrees, most)


def is_fixed(strata: Sequence[int], first: bool) -> bool:
    """Whether a factor with so many levels is taken as it is, and not as a sample of others."""
    return max(strata) == 1 or (not first and sum(strata) < FEW_RUNS)


def _draw(rng: np.random.Generator, levels: int, resamples: int) -> np.ndarray:
    """Weights (resamples, levels) of mean 1: how often each level was drawn."""
    if levels == 1:
        return np.ones((resamples, 1))
    counts = rng.multinomial(levels - 1, np.full(levels, 1 / levels), resamples)
    return counts * (levels / (levels - 1))


def codes(labels: Iterable) -> np.ndarray:
    """Labels (n,) of any hashable type as integers (n,) from 0, whatever the order of the rows."""
    labels = list(labels)
    number = {label: n for n, label in enumerate(sorted(set(labels), key=repr))}
    return np.array([number[label] for label in labels])


def run_codes(seeds: Sequence, orders: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Seeds and orders (n,) as integers; where a seed has one order only, the two are one factor."""
    seed, order = codes(seeds), codes(orders)
    pairs = len(set(zip(seed, order, strict=True)))
    if pairs == len(set(seed)):
        order = np.zeros_like(order)
    return seed, order
