"""What a run is told, whatever its objective: which settings are its own, and what it refuses."""

from collections.abc import Mapping

from trajnb.objectives import objective_of
from trajnb.run.preferences import PreferSettings, check_preferences
from trajnb.run.repairing import RepairSettings, check_repairs
from trajnb.run.settings import Settings

_SETTINGS = {kind.learns_by: kind for kind in (Settings, PreferSettings, RepairSettings)}


def settings_class(parameters: Mapping) -> type[Settings]:
    """The settings of a run with these parameters, by its objective."""
    return _SETTINGS[objective_of(parameters).name]


def check_objective(parameters: Mapping) -> None:
    """Raise ValueError, with what to do, where a run cannot learn by its objective."""
    check_preferences(parameters)
    check_repairs(parameters)
