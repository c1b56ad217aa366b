"""How far a result would move with other dialogues, seeds and orders, all of them crossed.

Every seed is scored on the same dialogues, so neither is nested in the other: each factor is resampled
independently of the others (Owen 2007, the pigeonhole bootstrap). Percentiles of such resamples are no
interval here: with three seeds they never leave the three means that were seen, and where seeds and dialogues
are drawn together their interaction is counted three times. The resamples give variances instead, and these
make an interval as in an analysis of variance with crossed random effects (Clark 1973).
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import numpy as np
from scipy.stats import norm, t

# Coverage of the 95 % interval of a mean, in percent of 2000 simulated studies of the size of
# params/bfcl.yaml: 229 calls in 40 dialogues, one order. The slow tests of tests/scoring/test_stats.py
# measure it again.
#
#   what seeds add to the error                     3 seeds   5 seeds   3 seeds, only dialogues drawn
#   nothing                                            96        96         91
#   a quarter of what dialogues add                    97        96         89
#   as much as dialogues                               96        96         84
#   ten times as much                                  96        96         43
#   as much as their interaction, dialogues half       94        96         79
#   differences of right calls, nothing to much       95-97     94-96      51-92
#
# Percentiles of draws of both would be at 97, 96 and 82 in the first, third and fourth row.
# It leaves 93 to 97 with three seeds that matter where dialogues and items are all alike, down to 92 (five
# seeds: 95); with three seeds that interact with nothing, up to 97.7; where blocks differ more than their
# dialogues do, 98 and 99, because a mean over all takes blocks for chance; with orders beside seeds, up to
# 98.5; and with two seeds that matter, 88 to 93.


def half_width(
    statistic: Callable[..., np.ndarray],
    factors: Sequence[Sequence[int]],
    *,
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> np.ndarray:
    """Half the width of the interval for `statistic` over other levels of its factors than these.

    `factors` are the numbers of levels of each factor, one for each of its strata, the factor with most
    levels first: [(10, 10), (3,)] is dialogues of two blocks, drawn within their block, and three seeds. One
    level in each stratum makes a factor fixed. `statistic` takes weights for each factor, (resamples,
    levels), or (1, levels) where all weigh the same, and returns (resamples or 1, ...); the half width has
    the shape of the rest. Draws for which it is nan, because they hit missing cells only, are left out.

    1. A draw takes n - 1 of n levels with replacement. Drawing all n would give (n - 1) / n of the variance
       of a mean (Rao and Wu 1988): a third too little for three seeds.
    2. What drawing one factor changes holds its own effect and its interactions. What drawing two changes,
       beyond what either does alone, is what they share. Each factor adds its own variance less what is
       shared with those before it, and nothing where that is not positive.
    3. Each variance has the t quantile of its own degrees of freedom, and half widths add in squares (Zou and
       Donner 2008). What is shared is taken off with the normal quantile, which is the smaller: too little is
       taken off rather than too much.
    """
    rng = np.random.default_rng(seed)
    drawn = [np.hstack([_draw(rng, levels, resamples) for levels in strata]) for strata in factors]
    fixed = [np.ones((1, sum(strata))) for strata in factors]
    free = [f for f, strata in enumerate(factors) if max(strata) > 1]

    changes = {}  # what drawing these factors together changes, beyond what fewer of them do
    for subset in (s for size in range(len(free) + 1) for s in combinations(free, size)):
        values = statistic(*(drawn[f] if f in subset else fixed[f] for f in range(len(factors))))
        changes[subset] = values - sum(changes[s] for s in changes if set(s) < set(subset))
    variance = {subset: np.nanvar(change, axis=0) for subset, change in changes.items()}

    square = np.zeros_like(variance[()])
    for position, f in enumerate(free):
        own, shared = variance[f,], 0.0
        for size in range(1, position + 1):
            for others in combinations(free[:position], size):
                shared = shared - (-1) ** size * variance[*others, f]
        quantile = t.ppf((1 + level) / 2, sum(factors[f]) - len(factors[f]))
        beyond = quantile**2 * own - norm.ppf((1 + level) / 2) ** 2 * shared
        square += np.where(own > shared, beyond, 0)
    return np.sqrt(square)


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
    """Seeds and orders (n,) as integers; where every seed has an order of its own, the two are one factor."""
    seed, order = codes(seeds), codes(orders)
    pairs = len(set(zip(seed, order, strict=True)))
    if pairs == len(set(seed)) == len(set(order)):
        order = np.zeros_like(order)
    return seed, order
