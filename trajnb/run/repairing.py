"""What a run is told whose objective repairs: the parameters of 06_repair, typed and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trajnb.formatting.trajectories import ARMS
from trajnb.known import check_known
from trajnb.objectives import objective_of
from trajnb.run.endpoint import Endpoint, check_key
from trajnb.run.settings import Settings, check_playable
from trajnb.scoring.quality import FORMS, TERMS, Rule
from trajnb.scoring.reward import REWARDS
from trajnb.world.candidates import Sampling
from trajnb.world.repair import Repairing
from trajnb.world.repairers import REPAIRERS

REWARD_PAIRS = ("outcome", "repair", "both")
"""What a reward model learns from: a success before a failure of its task, a repair before what it
repairs, or both.
"""
_LESSONS = ("lessons", "lesson_rate", "lesson_epochs", "lessons_per_step")
_GRPO = ("reward", "grpo_steps", "grpo_tasks", "group", "grpo_rate", "clip")
_WORDS = {"lessons": ARMS, "reward_pairs": REWARD_PAIRS, "reward": REWARDS, "quality": FORMS}
_ABOVE_ZERO = ("lesson_rate", "candidate_temperature", "reward_rate", "grpo_rate")
_AT_LEAST = {"lesson_epochs": 1, "lessons_per_step": 1, "candidates": 1, "extra_depth": 1}
_AT_LEAST |= {"attempts": 1, "reward_rank": 1, "reward_epochs": 0}
_AT_LEAST |= {"grpo_steps": 0, "grpo_tasks": 1, "followed_tasks": 0, "follow_every": 1}
_WITHIN = ("reward_held_out", "clip")


@dataclass(frozen=True)
class RepairSettings(Settings):
    """The parameters of 06_repair: all of 02_train, and those of candidates, repairs and rewards."""

    notebook: ClassVar[str] = "06_repair"
    learns_by: ClassVar[str] = "repair"
    homes: ClassVar[str] = "repair"
    afterwards: ClassVar[tuple[str, ...]] = (*_LESSONS, *_GRPO, "followed_tasks", "follow_every")
    # trajectories that are learnt
    objective: str
    lessons: str
    lesson_rate: float
    lesson_epochs: int
    lessons_per_step: int
    # candidates
    candidates: int
    candidate_temperature: float
    extra_depth: int
    # quality
    quality: str
    quality_validity: float
    quality_schema: float
    quality_execution: float
    quality_economy: float
    quality_non_repetition: float
    all_kept: float
    best_kept: float
    repair_kept: float
    # repairs
    repairers: list[str]
    attempts: int
    repair_model: str
    repair_revision: str
    endpoint_url: str
    endpoint_model: str
    # reward model
    reward_pairs: str
    reward_rank: int
    reward_rate: float
    reward_epochs: int
    reward_held_out: float
    # GRPO
    reward: str
    grpo_steps: int
    grpo_tasks: int
    group: int
    grpo_rate: float
    clip: float
    followed_tasks: int
    follow_every: int
    # places
    repair_folder: str

    @classmethod
    def of(cls, values: Mapping) -> "RepairSettings":
        """As `Settings.of`.

        Raises:
            ValueError: also where nothing can be repaired, see `check_repairs`.
        """
        settings = super().of(values)
        check_repairs(vars(settings))
        return settings

    @property
    def goes_on(self) -> bool:
        return True

    @property
    def shared_folder(self) -> str:
        return self.repair_folder

    @property
    def sampling(self) -> Sampling:
        """How candidates are drawn."""
        return Sampling(self.candidates, self.candidate_temperature, self.extra_depth)

    @property
    def rule(self) -> Rule:
        """What is good enough to be kept."""
        return rule_of(vars(self))

    @property
    def repairing(self) -> Repairing:
        """How repairs are made."""
        return Repairing(self.attempts, self.candidate_temperature)

    @property
    def endpoint(self) -> Endpoint:
        """Who repairs behind a URL."""
        return Endpoint(self.endpoint_url, self.endpoint_model, self.max_new_tokens)


def rule_of(parameters: Mapping) -> Rule:
    """The rule of quality; ValueError where it is none."""
    kept = {name: parameters[name] for name in ("all_kept", "best_kept", "repair_kept")}
    weights = {name: parameters[f"quality_{name}"] for name in TERMS}
    return Rule(form=parameters["quality"], **weights, **kept)


def check_repairs(parameters: Mapping) -> None:
    """Raise ValueError, with what to do, where a run whose objective repairs cannot draw candidates,
    repair them or learn from them; nothing is checked of other runs.
    """
    if not objective_of(parameters).repairs:
        return
    check_playable(parameters)
    for name, words in _WORDS.items():
        check_known(name, parameters[name], words)
    _check_numbers(parameters)
    if not parameters["stop_targets"]:
        raise ValueError(
            "objective 'repair' asks the model to end its turns, which it learns with "
            "stop_targets: true alone; set that"
        )
    rule_of(parameters)
    _check_repairers(parameters)
    if parameters["reward"] != "outcome" and not parameters["reward_epochs"]:
        raise ValueError(
            f"reward is {parameters['reward']!r}, but with reward_epochs 0 there is no reward "
            "model to give scores: raise it, or use 'outcome'"
        )


def _check_numbers(parameters: Mapping) -> None:
    for name in _ABOVE_ZERO:
        if not parameters[name] > 0:
            raise ValueError(f"{name} is {parameters[name]}: it must be above 0")
    for name, least in _AT_LEAST.items():
        if parameters[name] < least:
            raise ValueError(f"{name} is {parameters[name]}: it must be at least {least}")
    for name in _WITHIN:
        if not 0 < parameters[name] < 1:
            raise ValueError(f"{name} is {parameters[name]}: give a number between 0 and 1")
    if parameters["group"] < 2:
        raise ValueError(
            f"group is {parameters['group']}: an episode is compared with others of its task, so "
            "use 2 or more"
        )


def _check_repairers(parameters: Mapping) -> None:
    names = parameters["repairers"]
    for name in names:
        check_known("repairer", name, REPAIRERS)
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"repairers is {names}: name at least one of {', '.join(REPAIRERS)}, each once"
        )
    if "model" in names and not parameters["repair_model"]:
        raise ValueError("the repairer 'model' needs repair_model: an asset, a hub id or a folder")
    if "endpoint" in names:
        if not parameters["endpoint_url"]:
            raise ValueError("the repairer 'endpoint' needs endpoint_url and endpoint_model")
        check_key(Endpoint(parameters["endpoint_url"], parameters["endpoint_model"]))
