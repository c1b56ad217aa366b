"""Continual-learning figures from a score matrix, each written from its definition.

`R` is a (T, T) array: R[i, j] is the score (a rate, 0 to 1 or in percent) on the j-th block learnt, measured
after learning block i. `b` is the (T,) row measured before any training, in the same prompt condition.
Figures that compare blocks are nan for a single block. The authors' released codes differ from these
definitions in places (GEM divides by T; some maxima include the last row), so the tests hold ours against the
published figures of arXiv 2605.09734, recomputed from their matrices.
"""

import numpy as np

FIGURES = ("average", "learning", "bwt", "fwt", "forgetting", "aulc")


def average_accuracy(R) -> float:
    """Mean over blocks after the last one was learnt."""
    return float(_square(R)[-1].mean())


def learning_accuracy(R) -> float:
    """Mean over blocks, each measured right after it was learnt."""
    return float(np.diag(_square(R)).mean())


def bwt(R) -> float:
    """Backward transfer (Lopez-Paz and Ranzato 2017): what later blocks did to earlier ones."""
    R = _square(R)
    return _mean(R[-1, :-1] - np.diag(R)[:-1])


def fwt(R, b) -> float:
    """Forward transfer: what earlier blocks did for one not yet learnt, against zero-shot."""
    R = _square(R)
    return _mean(np.diag(R, k=1) - np.asarray(b, float)[1:])


def forgetting(R) -> float:
    """Best score at any earlier stage minus the final one (Chaudhry 2018); may be negative."""
    R = _square(R)
    return _mean(R[:-1, :-1].max(axis=0) - R[-1, :-1]) if len(R) > 1 else float("nan")


def aulc(R) -> float:
    """Area under a block's curve from its own stage to the end (trapezoid, per stage), mean of blocks."""
    R = _square(R)
    curves = [R[j:, j] for j in range(len(R))]
    return float(np.mean([np.trapezoid(c) / (len(c) - 1) if len(c) > 1 else c[0] for c in curves]))


def figures(R, b) -> dict[str, float]:
    """All of FIGURES at once."""
    values = (average_accuracy(R), learning_accuracy(R), bwt(R), fwt(R, b), forgetting(R), aulc(R))
    return dict(zip(FIGURES, values, strict=True))


def _square(R) -> np.ndarray:
    R = np.asarray(R, float)
    if R.ndim != 2 or R.shape[0] != R.shape[1] or not R.size:
        raise ValueError(f"R has shape {R.shape}, not (T, T); leave the zero-shot row out, it is passed as b")
    return R


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
