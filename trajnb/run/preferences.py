"""What a run is told whose objective prefers: the parameters of 05_prefer, typed and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trajnb.formatting.pairs import LABELS, SIBLINGS
from trajnb.known import check_known
from trajnb.objectives import Preference, objective_of, preference_of
from trajnb.run.settings import Settings, check_playable
from trajnb.world.rollout import ENDS
from trajnb.world.trees import DIVERSITY, SOURCES

_WORDS = {
    "tree_source": SOURCES,
    "ends": ENDS,
    "diversity": DIVERSITY,
    "pairs": LABELS,
    "siblings": SIBLINGS,
}
_ABOVE_ZERO = ("beta", "preference_rate", "temperature")
_AT_LEAST = {"preference_epochs": 1, "most_pairs": 0}
_AT_LEAST |= {"width": 1, "extra_depth": 1, "budget": 1, "back_up": 1}


@dataclass(frozen=True)
class PreferSettings(Settings):
    """The parameters of 05_prefer: all of 02_train, and those of trees, pairs and preferences."""

    notebook: ClassVar[str] = "05_prefer"
    learns_by: ClassVar[str] = "prefer"
    homes: ClassVar[str] = "preferences"
    afterwards: ClassVar[tuple[str, ...]] = (
        "preference",
        "beta",
        "preference_rate",
        "preference_epochs",
    )
    # preferences
    objective: str
    preference: str
    beta: float
    preference_rate: float
    preference_epochs: int
    # trees
    tree_source: str
    ends: str
    width: int
    extra_depth: int
    budget: int
    temperature: float
    back_up: int
    diversity: str
    # pairs
    pairs: str
    siblings: str
    most_pairs: int
    # places
    preferences_folder: str

    @classmethod
    def of(cls, values: Mapping) -> "PreferSettings":
        """As `Settings.of`.

        Raises:
            ValueError: also where nothing can be preferred, see `check_preferences`.
        """
        settings = super().of(values)
        check_preferences(values)
        return settings

    @property
    def learnt_from_pairs(self) -> Preference:
        """What is learnt from the pairs."""
        return preference_of(vars(self))

    @property
    def goes_on(self) -> bool:
        return bool(self.learnt_from_pairs.learns)

    @property
    def shared_folder(self) -> str:
        return self.preferences_folder


def check_preferences(parameters: Mapping) -> None:
    """Raise ValueError, with what to do, where a run whose objective prefers cannot grow trees or
    learn from them; nothing is checked of other runs.
    """
    if not objective_of(parameters).prefers:
        return
    check_playable(parameters)
    preference_of(parameters)
    for name, words in _WORDS.items():
        check_known(name, parameters[name], words)
    for name in _ABOVE_ZERO:
        if not parameters[name] > 0:
            raise ValueError(f"{name} is {parameters[name]}: it must be above 0")
    for name, least in _AT_LEAST.items():
        if parameters[name] < least:
            raise ValueError(f"{name} is {parameters[name]}: it must be at least {least}")
    if parameters["ends"] == "model" and not parameters["stop_targets"]:
        raise ValueError(
            "ends 'model' asks the model to end a turn, which it learns with stop_targets: true "
            "alone; set that, or ends: oracle"
        )
    if parameters["tree_source"] == "self" and parameters["width"] < 2:
        raise ValueError(
            f"width is {parameters['width']}: a tree that the model grows itself (tree_source: "
            "self) needs two replies to a state at least, or nothing fails beside what succeeds"
        )
