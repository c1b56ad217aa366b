"""How far a result would move with other runs, where runs hold out dialogues of their own (folds).

A run pair is two runs of equal seed, fold, order and variant that differ in one condition; it gives
one difference. Every pair has dialogues, a seed and most often an order that no other pair has, so
what dialogues, seeds and folds add to the error is in the spread of these differences, and
Student's t over them is the whole analysis.

How often the 95 % interval holds the truth, in percent of 4000 simulated studies whose runs have
folds of 20 dialogues with 5 calls each, right or not, over the eight tests of a family (four
effects, two measures), and in how many studies of nothing Holm finds something in the family. Each
range is over nine regimes: the other two of dialogues, seeds and folds mattering much, little and
not (measured by tests/scoring/simulated.py; the slow tests of tests/scoring/test_by_run.py repeat
it).

                             exact calls about 42 %          about 2 %
    runs                     holds         false             holds         false
       5  dialogues much     94.7 - 95.0   4.0 - 5.4         95.1 - 96.0   2.3 - 4.8
       5  dialogues little   94.7 - 95.1   3.7 - 5.0         95.2 - 96.8   2.0 - 4.7
       5  dialogues not      94.7 - 95.1   3.7 - 5.3         95.6 - 96.9   1.8 - 4.9
       5  seeds much         95.0 - 95.1   3.7 - 4.4         95.5 - 96.9   1.8 - 3.4
       5  seeds not          94.7 - 95.1   3.8 - 5.4         95.1 - 96.4   2.2 - 4.9
       5  folds much         95.0 - 95.1   3.7 - 4.4         95.5 - 96.9   1.8 - 3.4
       5  folds not          94.7 - 95.1   3.8 - 5.4         95.1 - 96.4   2.2 - 4.9
      10  dialogues much     95.0 - 95.1   2.8 - 4.6         95.1 - 95.4   2.8 - 3.9
      10  dialogues little   94.9 - 95.2   3.4 - 5.0         95.0 - 95.9   2.0 - 4.2
      10  dialogues not      95.0 - 95.1   3.1 - 4.3         95.2 - 95.9   2.0 - 4.0
      10  seeds much         95.0 - 95.1   2.8 - 3.5         95.3 - 95.9   2.0 - 3.0
      10  seeds not          95.0 - 95.2   3.0 - 5.0         95.0 - 95.7   2.5 - 4.2
      10  folds much         95.0 - 95.1   2.8 - 3.5         95.3 - 95.9   2.0 - 3.0
      10  folds not          95.0 - 95.2   3.0 - 5.0         95.0 - 95.7   2.5 - 4.2

A single test holds between 93.9 and 98.5, the latter with five runs and calls that are seldom
right. In these studies runs share no training data. Real runs do, which no spread between them can
show: the interval speaks about other dialogues, seeds and folds of this corpus, not about other
training sets, and neither does the corrected one.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t

from trajnb.scoring.resampling import codes
from trajnb.scoring.stats import Interval

NOTHING = Interval(np.nan, np.nan, np.nan)


def differences(
    values: Sequence[float],
    runs: Sequence,
    folds: Sequence,
    weights: Sequence[float] | None = None,
) -> np.ndarray:
    """One difference for each fold, (folds,), from the paired differences of items, `values` (n,).

    `runs` and `folds` (n,) are labels. Within a run the (weighted) mean of its items, within a fold
    the mean of its runs: a fold that recurs holds out the same dialogues again, so its pairs are no
    new evidence about others and count as one.
    """
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    run, fold = codes(runs), codes(folds)
    means = np.bincount(run, weights * np.asarray(values, float)) / np.bincount(run, weights)
    _, first = np.unique(run, return_index=True)
    own = fold[first]  # the fold of each run
    return np.bincount(own, means) / np.bincount(own)


def student(found: np.ndarray, *, level: float = 0.95) -> tuple[Interval, float]:
    """The mean of `found` (folds,), its t interval, and the two-sided p of no difference.

    n - 1 degrees of freedom. Where all are zero the interval is 0 to 0 and p is 1. nan for interval
    and p with fewer than two folds, and where all are the same but not zero: a spread of nothing is
    no spread that other runs would have.
    """
    return _interval(found, 1 / max(len(found), 1), level)


def corrected(found: np.ndarray, folds: int, *, level: float = 0.95) -> tuple[Interval, float]:
    """The same with the variance of Nadeau and Bengio (2003) for runs that share training data.

    Any two of them learnt most of the same dialogues, so their differences are not independent, and
    the variance of the mean is taken for (1 / n + n_test / n_train) times that of a run instead of
    1 / n. With dialogues dealt into `folds`, n_test / n_train is 1 / (folds - 1). A heuristic: the
    true correlation cannot be known from folds of one corpus (Bengio and Grandvalet 2004).
    """
    return _interval(found, 1 / max(len(found), 1) + 1 / (folds - 1), level)


def _interval(found: np.ndarray, factor: float, level: float) -> tuple[Interval, float]:
    """`factor` times the variance of one difference is that of their mean."""
    found = np.asarray(found, float)
    if not len(found):
        return NOTHING, np.nan
    mean = float(found.mean())
    if not found.any():
        return (Interval(0.0, 0.0, 0.0), 1.0) if len(found) > 1 else (NOTHING, np.nan)
    if len(found) < 2 or np.ptp(found) <= 1e-9 * np.abs(found).max():
        return Interval(mean, np.nan, np.nan), np.nan
    error, degrees = np.sqrt(factor * found.var(ddof=1)), len(found) - 1
    half = t.ppf((1 + level) / 2, degrees) * error
    p = 2 * t.sf(abs(mean) / error, degrees)
    return Interval(mean, float(mean - half), float(mean + half)), float(p)
