"""Whether a reward model knows more than length: figures that need no model, on the same pairs.

Where a reward model does not beat them on dialogues that it has not learnt from, it knows no more
than they do.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from trajnb.scoring.reward import Figures
from trajnb.scoring.stats import FEW_CLUSTERS, Interval, clustered_bootstrap
from trajnb.words import counted

LENGTHS = ("calls", "characters", "failed calls", "regression")
"""The baselines that are no more than length."""

MODEL, BLIND = "reward model", "reward model, shown another task"
"""What is held against these; and the same where it cannot know what was asked for."""

Pairs = Sequence[tuple[int, int]]
"""Of trajectories to one task, by their places: the better one, the worse one."""


def outcome_pairs(trajectories: Sequence[Figures]) -> list[tuple[int, int]]:
    """Every success of a task before every failure of it; of graded outcomes the higher one."""
    places: dict[str, list[int]] = {}
    for place, one in enumerate(trajectories):
        places.setdefault(one.task, []).append(place)
    pairs = []
    for group in places.values():
        for better in group:
            for worse in group:
                if trajectories[better].outcome > trajectories[worse].outcome:
                    pairs.append((better, worse))
    return pairs


def apart(dialogue_ids: Sequence[str], held_out: float, seed: int) -> set[str]:
    """The dialogues that a reward model does not learn from: a seeded share of them, at least one
    on either side. Raises ValueError for fewer than two dialogues and a share outside of (0, 1).
    """
    names = sorted(set(dialogue_ids))
    if len(names) < 2:
        raise ValueError(
            f"there are trajectories of {len(names)} dialogue: a reward model is tested on other "
            "dialogues than it learns from, so that two are needed"
        )
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}: give a share of the dialogues, such as 0.25")
    count = min(max(1, round(held_out * len(names))), len(names) - 1)
    return set(random.Random(seed).sample(names, count))


@dataclass(frozen=True)
class Regression:
    """A logistic regression on length: what each figure adds to the log-odds of being the better
    one of two.
    """

    calls: float
    characters: float
    failed: float

    def score(self, one: Figures) -> float:
        weighed = self.calls * one.calls + self.characters * one.characters
        return weighed + self.failed * one.failed


def fit(trajectories: Sequence[Figures], pairs: Pairs) -> Regression:
    """The regression on pairs: of what the better one has more than the worse one. Raises
    ValueError where there is no pair.
    """
    from sklearn.linear_model import LogisticRegression

    _need(pairs)
    table = np.array([[one.calls, one.characters, one.failed] for one in trajectories], float)
    better, worse = np.array(pairs).T
    gains = table[better] - table[worse]  # (pairs, 3)
    scale = np.sqrt((gains**2).mean(0))
    scale[scale == 0] = 1
    rows = gains / scale
    model = LogisticRegression(fit_intercept=False)  # neither of two comes first
    model.fit(np.vstack([rows, -rows]), np.repeat([1, 0], len(rows)))
    return Regression(*(model.coef_[0] / scale).tolist())


def baselines(
    learnt: Sequence[Figures], learnt_pairs: Pairs, trajectories: Sequence[Figures]
) -> dict[str, list[float]]:
    """Scores of `trajectories` by what needs no reward model, by name. Calls, characters and failed
    calls count in the direction that is right more often on the pairs that the reward model learnt
    from, the regression is fitted on them; a likelier trajectory is better, and a repairer's before
    the policy's.

    Raises:
        ValueError: there is no pair to learn from, or `trajectories` have dialogues in common with
            those that were learnt.
    """
    _need(learnt_pairs)
    both = {one.dialogue_id for one in learnt} & {one.dialogue_id for one in trajectories}
    if both:
        raise ValueError(
            f"dialogue {min(both)} is learnt from and tested on: split trajectories by dialogue"
        )
    regression = fit(learnt, learnt_pairs)
    names = {"calls": "calls", "characters": "characters", "failed calls": "failed"}
    scores = {}
    for name, field in names.items():
        before = [float(getattr(one, field)) for one in learnt]
        sign = 1.0 if fmean(rights(before, learnt_pairs)) >= 0.5 else -1.0
        scores[name] = [sign * getattr(one, field) for one in trajectories]
    scores["regression"] = [regression.score(one) for one in trajectories]
    if all(one.logp is not None for one in trajectories):
        scores["log-probability"] = [one.logp for one in trajectories]
    scores["author"] = [float(one.author != "student") for one in trajectories]
    return scores


def _need(pairs: Pairs) -> None:
    if not pairs:
        raise ValueError(
            "there is no pair to learn from: no task has a better and a worse trajectory; sample "
            "more candidates, at a higher temperature, or add repairs"
        )


def rights(scores: Sequence[float], pairs: Pairs) -> list[float]:
    """For every pair whether scores put the better one first: 1, 0, or 0.5 for equal ones."""
    found = []
    for better, worse in pairs:
        gap = scores[better] - scores[worse]
        found.append(0.5 if gap == 0 else float(gap > 0))
    return found


@dataclass(frozen=True)
class Accuracy:
    """How often scores put the better one of two first."""

    right: Interval
    """Share of the pairs, an equal score half, with an interval for other dialogues."""
    ahead: Interval | None
    """How much higher the reward model's share is on the same pairs; None of itself."""

    @property
    def beaten(self) -> bool:
        """Whether the reward model is above, as far as these dialogues can tell."""
        return self.ahead is not None and self.ahead.low > 0  # not where there is no interval


def accuracies(
    model: Sequence[float],
    beside: Mapping[str, Sequence[float]],
    trajectories: Sequence[Figures],
    pairs: Pairs,
) -> dict[str, Accuracy]:
    """Of the `reward model` and of each baseline, on held-out pairs; dialogues are resampled."""
    dialogues = [trajectories[better].dialogue_id for better, _ in pairs]
    others = {name: rights(scores, pairs) for name, scores in beside.items()}
    return accuracies_of({MODEL: rights(model, pairs)} | others, dialogues)


def accuracies_of(
    right: Mapping[str, Sequence[float]], dialogues: Sequence[str]
) -> dict[str, Accuracy]:
    """The same of what `rights` says of each pair, by name, the reward model's among them, and of the
    dialogue of each pair.
    """
    own = right[MODEL]
    found = {MODEL: Accuracy(clustered_bootstrap(own, dialogues), None)}
    for name, theirs in right.items():
        if name == MODEL:
            continue
        gaps = [left - right for left, right in zip(own, theirs, strict=True)]
        found[name] = Accuracy(
            clustered_bootstrap(theirs, dialogues), clustered_bootstrap(gaps, dialogues)
        )
    return found


def verdict(found: Mapping[str, Accuracy], trajectories: Sequence[Figures], pairs: Pairs) -> str:
    """What the accuracies say, see `verdict_of`."""
    dialogues = {trajectories[better].dialogue_id for better, _ in pairs}
    return verdict_of(found, len(pairs), len(dialogues))


def verdict_of(found: Mapping[str, Accuracy], pairs: int, dialogues: int) -> str:
    """What the accuracies of so many pairs of so many dialogues say, in a sentence or two: `no more
    than length` unless the reward model is above every baseline that is a length.
    """
    if not pairs:
        return "There is no held-out pair, so nothing can be said of the reward model."
    own = found[MODEL].right
    level = [name for name, one in found.items() if one.ahead is not None and not one.beaten]
    if set(level) & set(LENGTHS):
        knows = "no more than length"
    elif level:
        knows = f"more than length, but no more than {', '.join(level)}"
    else:
        knows = "more than length"
    text = (
        f"The reward model knows {knows}: it is right in {own.mean:.1%} of {pairs} held-out "
        f"pairs of {counted(dialogues, 'dialogue')} ({_span(own)})"
    )
    if level:
        beside = [f"{name} ({found[name].right.mean:.1%})" for name in level]
        text += f", not surely above {', '.join(beside)}"
    few = f" With fewer than {FEW_CLUSTERS} dialogues intervals are too narrow."
    return f"{text}.{few if dialogues < FEW_CLUSTERS else ''}"


def _span(interval: Interval) -> str:
    if math.isnan(interval.low):
        return "without an interval"
    return f"95 % interval {interval.low:.1%} to {interval.high:.1%}"
