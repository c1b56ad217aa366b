"""How a stage learns, as data: an `Objective`, whose properties everything else asks.

A strategy (`trajnb.strategies`) says which blocks a stage learns when; an objective says how it
learns them. The two are axes of their own: every strategy that trains goes with every objective.

A stage of objective `prefer` (after TP-LLaMA, arXiv 2406.07115) has four steps: supervised training
as any stage has; trees on the turn tasks of the stage's training dialogues; step-wise pairs from
them; training on preferences. The next stage begins where it ends. What is learnt from the pairs,
the `preference` says: an arm of the study, `pairs` being the paper's and all others its controls.

A stage of objective `repair` (after AutoTraj, arXiv 2601.23032) has six: supervised training;
candidates that the model draws for the turn tasks of the stage's training dialogues; repairs of
those that are wrong or poor; a reward model that learns which of two trajectories is better;
supervised training on trajectories, `lessons` says on which; and GRPO, `reward` says for what.
These two are the arms of such a study.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trajnb.known import check_known, unheeded_by


@dataclass(frozen=True)
class Objective:
    """One way in which a stage learns."""

    name: str
    words: str
    """What it is, for people."""
    heeds: tuple[str, ...] = ()
    """Parameters that shape runs of this objective and no others."""
    prefers: bool = False
    """After their supervised training its stages learn preferences."""
    repairs: bool = False
    """After their supervised training its stages learn from trajectories, repaired ones among
    them, and from what these earn.
    """

    @property
    def plays(self) -> bool:
        """Its stages have two ends, after their supervised training and after what else they learn,
        and are asked at both, turn tasks too.
        """
        return self.prefers or self.repairs


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

_LESSONS = ("lessons", "lesson_rate", "lesson_epochs", "lessons_per_step")
_CANDIDATES = ("candidates", "candidate_temperature", "extra_depth")
_QUALITY = (
    "quality",
    "quality_validity",
    "quality_schema",
    "quality_execution",
    "quality_economy",
    "quality_non_repetition",
    "all_kept",
    "best_kept",
    "repair_kept",
)
_REPAIRS = (
    "repairers",
    "attempts",
    "repair_model",
    "repair_revision",
    "endpoint_url",
    "endpoint_model",
)
_REWARD_MODEL = ("reward_pairs", "reward_rank", "reward_rate", "reward_epochs", "reward_held_out")
_GRPO = (
    "reward",
    "grpo_steps",
    "grpo_tasks",
    "group",
    "grpo_rate",
    "clip",
    "followed_tasks",
    "follow_every",
)

_OBJECTIVES = (  # in the order in which tables and figures show them
    Objective("sft", "supervised: the call that comes next"),
    Objective(
        "prefer",
        "supervised, then preferences between steps of trees",
        heeds=(*_TRAINING, *_TREES, *_PAIRS),
        prefers=True,
    ),
    Objective(
        "repair",
        "supervised, then repaired trajectories, a reward model and GRPO",
        heeds=(*_LESSONS, *_CANDIDATES, *_QUALITY, *_REPAIRS, *_REWARD_MODEL, *_GRPO),
        repairs=True,
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
    return unheeded_by(objective_of(parameters), _OBJECTIVES)
