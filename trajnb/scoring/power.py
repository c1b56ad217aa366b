"""The smallest effect that a study of so many runs can find, reckoned before any of them runs.

The variances are assumptions: params files state them, with the value that follows.
"""

from math import sqrt

from scipy.optimize import brentq
from scipy.stats import nct, t

POWER = 0.8


def smallest_effect(
    runs: int,
    dialogues: float,
    between_dialogues: float = 14.0,
    between_seeds: float = 2.5,
    by_dialogue_and_seed: float = 12.0,
    counted: float = 1.0,
    tests: int = 1,
    level: float = 0.05,
) -> float:
    """The true effect that a t test over run pairs finds in 80 of 100 studies.

    Args:
        runs: run pairs, each with held-out dialogues of its own.
        dialogues: that each run holds out.
        between_dialogues, between_seeds, by_dialogue_and_seed: standard deviations of a paired
            difference, in points: of dialogues, of seeds (with order and fold), of both together.
            The defaults are of the size that small studies on both corpora showed (11 to 18, 1 to 3,
            12).
        counted: the share of the calls that the measure counts; fewer calls a dialogue spread its
            mean as fewer dialogues would.
        tests: in the family; the answer is for the hardest step of Holm's correction.

    Returns:
        Points (or the unit of the deviations).

    Raises:
        ValueError: fewer than two runs, which have no variance.
    """
    if runs < 2:
        raise ValueError(f"runs is {runs}: a test by run needs at least two")
    of_dialogues = (between_dialogues**2 + by_dialogue_and_seed**2) / (counted * dialogues)
    error = sqrt((of_dialogues + between_seeds**2) / runs)
    needed = t.ppf(1 - level / (2 * tests), runs - 1)

    def lacks(effect: float) -> float:
        return nct.sf(needed, runs - 1, effect) - POWER

    return error * brentq(lacks, 0.0, needed + 5)
