"""What a played turn is worth: one function for training and evaluation.

A reward model has its say among successes only, and by less than a success is worth, so that it can
never pay to fail.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from trajnb.formatting.replies import FAILED, KINDS, REFUSED, STOP
from trajnb.known import check_known

REWARDS = ("outcome", "outcome+rm", "outcome+length", "outcome+noise")
"""What is added to the outcome: nothing; the reward model's score; in its place that of the
regression on length; or the model's scores handed to the wrong episodes.
"""
INVALID = -1.0
BONUS = 0.2
"""The most that a score adds to a success, which itself is worth 1."""


def reward(outcome: float, kinds: Sequence[str], z: float | None = None) -> float:
    """What an episode is worth: -1 where any of its replies was unreadable or refused, else its
    outcome and, where that is above 0, up to 0.2 more for its score.

    Args:
        outcome: from 0 to 1, by execution.
        kinds: what came of each of its replies, see `replies.KINDS`.
        z: its score, standardised on training candidates; None without a reward model.

    Raises:
        ValueError: no reply, an unknown kind, an outcome outside of [0, 1], a score that is NaN.
    """
    if not kinds:
        raise ValueError("there is no reply: an episode has at least one, if only `[]`")
    for kind in kinds:
        check_known("kind", kind, KINDS)
    if not 0 <= outcome <= 1:  # NaN is not either
        raise ValueError(f"outcome is {outcome}: give a number from 0 (failure) to 1 (success)")
    if z is not None and math.isnan(z):
        raise ValueError("a score is NaN: the reward model gave none for this episode")
    if REFUSED in kinds:
        return INVALID
    if z is None or outcome == 0:
        return outcome
    return outcome + BONUS * share(z)


def share(z: float) -> float:
    """The logistic function, from 0 to 1: how much of `BONUS` a standardised score earns."""
    return 0.5 * (1 + math.tanh(z / 2))  # does not overflow


@dataclass(frozen=True)
class Standard:
    """What scores are measured against: those of training candidates."""

    mean: float
    deviation: float
    """With n - 1; 0 where all were alike, and then every score is an average one."""

    def z(self, score: float) -> float:
        return (score - self.mean) / self.deviation if self.deviation else 0.0


def standard(scores: Sequence[float]) -> Standard:
    """Raises ValueError for fewer than two scores."""
    if len(scores) < 2:
        raise ValueError(
            f"{len(scores)} scores have no spread: standardise on two training candidates or more"
        )
    return Standard(fmean(scores), stdev(scores))


@dataclass(frozen=True)
class Figures:
    """What is known of a trajectory without a reward model."""

    task: str
    dialogue_id: str
    author: str
    """Who made it: `student`, the policy itself, or the name of a repairer."""
    outcome: float
    kinds: tuple[str, ...]
    """What came of its replies, see `replies.KINDS`."""
    characters: int
    """Of its replies as written, without what they were answered."""
    logp: float | None = None
    """Of its replies under the policy, nats; None where it was not asked."""

    @property
    def calls(self) -> int:
        """Its replies but `[]`."""
        return len(self.kinds) - self.kinds.count(STOP)

    @property
    def failed(self) -> int:
        """Calls that told of an error or were not carried out."""
        return self.kinds.count(FAILED) + self.kinds.count(REFUSED)

    @property
    def invalid(self) -> bool:
        return REFUSED in self.kinds


def shuffled(scores: Sequence[float], seed: int) -> list[float]:
    """The scores handed to the wrong episodes: the same values in a seeded order."""
    return random.Random(seed).sample(list(scores), len(scores))


def summary(
    episodes: Sequence[Figures], zs: Sequence[float] | None = None
) -> dict[str, float | None]:
    """Means over episodes, with which training and evaluation are followed: over-optimised is what
    gains in score and not in outcome.

    Args:
        zs: their standardised scores; without them `score` and `gap` are None.
    """
    outcome = fmean(one.outcome for one in episodes)
    score = None if zs is None else fmean(map(share, zs))
    return {
        "outcome": outcome,
        "score": score,  # from 0 to 1, as in the reward
        "gap": None if score is None else score - outcome,
        "calls": fmean(one.calls for one in episodes),
        "characters": fmean(one.characters for one in episodes),
        "invalid": fmean(one.invalid for one in episodes),
    }
