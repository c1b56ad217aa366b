"""Studies whose truth is known: four cells of a crossing, two measures, calls that are right or not.

A call is right where a sum of normal effects is positive. Nothing differs between the four cells but
by chance, so every effect is truly zero: an interval should hold zero, and no test should find one.
All effects are drawn anew for each cell but those that make a call easy for everyone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t

# rows: training@stripped, training, prompt, interaction; columns: (trained, asked) stripped-stripped,
# stripped-full, full-stripped, full-full
CONTRASTS = np.array([[-1, 0, 1, 0], [-0.5, -0.5, 0.5, 0.5], [-0.5, 0.5, -0.5, 0.5], [1, -1, -1, 1]])
MUCH, LITTLE, NOT = 0.8, 0.2, 0.0
SEEDS = {"much": 0.5, "little": 0.1, "not": 0.0}
# items of 40 held-out dialogues, 229 in all, as in corpus bfcl
SIZES = (
    [2, 3, 4, 4, 5, 5, 6, 6, 7, 9]
    + [5, 6, 7, 7, 8, 8, 9, 9, 9, 10]
    + [3, 3, 3, 4, 5, 5, 5, 6, 6, 6]
    + [3, 3, 4, 5, 5, 6, 6, 7, 7, 8]
)


@dataclass(frozen=True)
class Regime:
    """Standard deviations of what differs, beside 0.45 for an item in a cell and 0.7 for noise."""

    dialogue: float
    seed: float
    fold: float = 0.0
    easy: float = -0.3
    """Where exact calls begin: -0.3 for about 42 %, -3 for about 2 %; right APIs begin 0.9 lower."""


def folds(rng, studies: int, runs: int, regime: Regime) -> np.ndarray:
    """Differences (8 tests, studies, runs): every run has a fold of 20 dialogues with 5 calls each."""
    shape = studies, runs, 20, 5
    common = _normal(rng, regime.dialogue, shape[:3] + (1,)) + _normal(rng, 0.8, shape)
    rates = []
    for _ in range(4):
        own = _normal(rng, 0.75 * regime.dialogue, shape[:3] + (1,)) + _normal(rng, 0.4, shape[:3] + (1,))
        own = own + _normal(rng, np.hypot(regime.seed, regime.fold), shape[:2] + (1, 1))
        easy = common + own + _normal(rng, np.hypot(0.45, 0.7), shape) + regime.easy
        rates.append([(easy + more > 0).mean((2, 3)) for more in (0, 0.9)])
    return np.concatenate(np.tensordot(CONTRASTS, np.array(rates), 1).swapaxes(0, 1))


def crossed(rng, studies: int, seeds: int, regime: Regime) -> np.ndarray:
    """Differences (8 tests, studies, seeds, 229 items): every seed has the same 40 dialogues."""
    of = np.repeat(np.arange(40), SIZES)
    items = len(of)
    common = _normal(rng, regime.dialogue, (studies, 1, 40))[..., of] + _normal(rng, 0.8, (studies, 1, items))
    right = []
    for _ in range(4):
        own = _normal(rng, 0.75 * regime.dialogue, (studies, 1, 40))
        own = (own + _normal(rng, 0.4, (studies, seeds, 40)))[..., of]
        own = own + _normal(rng, regime.seed, (studies, seeds, 1)) + _normal(rng, 0.45, (studies, 1, items))
        easy = common + own + _normal(rng, 0.7, (studies, seeds, items)) + regime.easy
        right.append([easy + more > 0 for more in (0, 0.9)])
    right = np.array(right, np.float32)
    return np.concatenate(np.tensordot(CONTRASTS.astype(np.float32), right, 1).swapaxes(0, 1))


def _normal(rng, deviation: float, shape: tuple) -> np.ndarray:
    return deviation * rng.standard_normal(shape, np.float32)


@dataclass(frozen=True)
class Variances:
    """Of the mean of `crossed` differences (...,): over dialogues, over seeds, over their interaction.

    What `resampling.spread` estimates by draws, in closed form for complete studies.
    """

    mean: np.ndarray
    dialogues: np.ndarray
    seeds: np.ndarray
    shared: np.ndarray

    @classmethod
    def of(cls, differences: np.ndarray) -> "Variances":
        seeds, items = differences.shape[-2:]
        mean = differences.mean((-2, -1), dtype=float)
        starts = np.concatenate([[0], np.cumsum(SIZES)[:-1]])
        centred = differences - mean[..., None, None]
        sums = np.add.reduceat(centred, starts, -1).astype(float) / (seeds * items)  # (..., seeds, 40)
        dialogues = 40 / 39 * (sums.sum(-2) ** 2).sum(-1)
        by_seed = seeds / (seeds - 1) * (sums.sum(-1) ** 2).sum(-1)
        alone = sums - sums.mean(-1, keepdims=True) - sums.mean(-2, keepdims=True)
        alone = alone + sums.mean((-2, -1), keepdims=True)
        shared = 40 / 39 * seeds / (seeds - 1) * (alone**2).sum((-2, -1))
        return cls(mean, dialogues, by_seed, shared)

    def added(self, seeds: int) -> tuple[np.ndarray, np.ndarray]:
        """Our rule: the sum and its degrees of freedom by Satterthwaite, three times the least at most."""
        total = self.dialogues + self.seeds
        with np.errstate(invalid="ignore"):
            degrees = total**2 / (self.dialogues**2 / 39 + self.seeds**2 / (seeds - 1))
        return total, np.minimum(degrees, 3 * (seeds - 1))

    def shared_taken_off(self, seeds: int) -> tuple[np.ndarray, np.ndarray]:
        """Not ours: less what the two share, but never below either."""
        least = np.maximum(self.dialogues, self.seeds)
        total = np.maximum(self.dialogues + self.seeds - self.shared, least)
        squares = self.dialogues**2 / 39 + self.seeds**2 / (seeds - 1)
        with np.errstate(invalid="ignore"):
            return total, total**2 / (squares + self.shared**2 / (39 * (seeds - 1)))

    def seeds_dropped(self, seeds: int) -> np.ndarray:
        """Not ours, half widths: seeds count only where they show beyond the interaction."""
        beyond = t.ppf(0.975, seeds - 1) ** 2 * self.seeds - 1.96**2 * self.shared
        square = t.ppf(0.975, 39) ** 2 * self.dialogues
        return np.sqrt(square + np.where(self.seeds > self.shared, beyond, 0))


def held(mean, total, degrees) -> np.ndarray:
    """Whether the 95 % interval holds zero."""
    return np.abs(mean) <= t.ppf(0.975, degrees) * np.sqrt(total)


def false_answers(p: np.ndarray) -> float:
    """Share of studies in which Holm finds anything: p values (8 tests, studies), nan for no test."""
    return float((8 * np.nan_to_num(p, nan=1.0).min(0) < 0.05).mean())
