"""How a stage learns, as data: an `Objective`, whose properties everything else asks.

A strategy (`trajnb.strategies`) says which blocks a stage learns when; an objective says how it
learns them. The two are axes of their own: every strategy that trains goes with every objective.

A stage of objective `prefer` (after TP-LLaMA, arXiv 2406.07115) has four steps: supervised training
as any stage has; trees on the turn tasks of the stage's training dialogues; step-wise pairs from
them; training on preferences. The next stage begins where it ends. What is learnt from the pairs,
the `preference` says: an arm of the study, `pairs` being the paper's and all others its controls.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trajnb.known import check_known


@dataclass(frozen=True)
class Objective:
    """One way in which a stage learns."""

    name: str
    words: str
    """What it is, for people."""
    heeds: tuple[str, ...] = ()
    """Parameters that shape runs of this objective and no others."""
    prefers: bool = False
    """Its stages have two ends, before and after preferences, and ask turn tasks at both."""


@dataclass(frozen=True)
class Preference:
    """What a stage learns from its pairs."""

    name: str
    words: str
    """What it is, for people."""
    learns: str
    """`preferences`, by DPO; `chosen`, by supervised training on these sides alone; or nothing."""
    sides: str = "own"
    """Of a pair: its `own`, with the rejected side of another (`random`), or swapped (`flipped`)."""


_TREES = ("tree_source", "ends", "width", "extra_depth", "budget", "temperature", "back_up")
_PAIRS = ("diversity", "pairs", "siblings", "most_pairs")
_TRAINING = ("preference", "beta", "preference_rate", "preference_epochs")

_OBJECTIVES = (  # in the order in which tables and figures show them
    Objective("sft", "supervised: the call that comes next"),
    Objective(
        "prefer",
        "supervised, then preferences between steps of trees",
        heeds=(*_TRAINING, *_TREES, *_PAIRS),
        prefers=True,
    ),
)
OBJECTIVES: Mapping[str, Objective] = {one.name: one for one in _OBJECTIVES}
USUAL = _OBJECTIVES[0]
"""The objective of a run that names none."""

_PREFERENCES = (  # in the order in which tables and figures show them
    Preference("pairs", "DPO on step-wise pairs", "preferences"),
    Preference("more-sft", "supervised training on the chosen sides of the same pairs", "chosen"),
    Preference("random", "DPO with the rejected side of another pair", "preferences", "random"),
    Preference("flipped", "DPO with the sides swapped, which must hurt", "preferences", "flipped"),
    Preference("none", "nothing after supervised training", ""),
)
PREFERENCES: Mapping[str, Preference] = {one.name: one for one in _PREFERENCES}
MAIN = _PREFERENCES[0]
"""The one that the others are controls of."""


def objective_of(parameters: Mapping) -> Objective:
    """The objective of a run's parameters.

    Raises:
        ValueError: an unknown one.
    """
    name = parameters.get("objective", USUAL.name)
    check_known("objective", name, OBJECTIVES)
    return OBJECTIVES[name]


def preference_of(parameters: Mapping) -> Preference:
    """What a run whose objective prefers learns from its pairs.

    Raises:
        ValueError: an unknown one.
    """
    check_known("preference", parameters["preference"], PREFERENCES)
    return PREFERENCES[parameters["preference"]]


def unheeded(parameters: Mapping) -> set[str]:
    """The parameters that shape runs of other objectives only, and so do not shape this run."""
    own = objective_of(parameters)
    return {name for one in _OBJECTIVES for name in one.heeds if name not in own.heeds}
