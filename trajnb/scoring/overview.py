"""What was run: the runs of a study in a table, and which of those planned are there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from trajnb.known import check_known
from trajnb.machine import CHANGED
from trajnb.records import Run, read_about
from trajnb.schema import About
from trajnb.scoring import preferences, repairs
from trajnb.scoring.arms import arms_of
from trajnb.scoring.crossing import EFFECTS
from trajnb.scoring.paired import ITEM
from trajnb.scoring.score import MEASURES

_VERSIONS = ("torch", "transformers", "peft")
_TELLING = (
    "arm",
    "seed",
    "training tokens",
    "seconds training",
    "evaluating",
    "peak memory, GB",
    "finished",
)
"""Columns that are shown even where all runs have the same there."""


@dataclass(frozen=True)
class Plan:
    """What study.yaml says was to be run; nothing of it where there is no such file."""

    runs: list[str]
    family: dict | None
    primary: str = ""
    """The measure that decides, a key of `score.MEASURES` or of `preferences.MEASURES`."""
    smallest_effect: float | None = None
    """What it was planned to find, in points (nats a token for `logp`)."""

    def missing(self, runs: Sequence[Run]) -> list[str]:
        """The planned runs that are not among these."""
        there = {run.folder.name for run in runs}
        return [name for name in self.runs if name not in there]

    def measures(self) -> list[str]:
        """What effects of conditions are computed for: the declared measures, the primary one first,
        and those that every page shows.
        """
        declared = (self.family or {}).get("measures", [])
        first = [self.primary] if self.primary else []
        wanted = [*first, *declared, "canonical", "novel", "name", "logp"]
        return [name for name in dict.fromkeys(wanted) if name in MEASURES]

    def declaration(self) -> list[str]:
        """What the params file declared as decisive, in a sentence; nothing where it did not."""
        if not self.primary:
            return []
        title = (MEASURES | preferences.MEASURES)[self.primary][0]
        said = f"Declared in the params file: the primary measure is {title}"
        if self.smallest_effect is not None:
            size = f"{self.smallest_effect:g} {'nats' if self.primary == 'logp' else 'points'}"
            said += f", and {size} the smallest effect that it was planned to find"
        return [f"{said}. All other measures stand beside it."]

    def words(self, runs: Sequence[Run]) -> str:
        """Whether all planned runs are there."""
        if not self.runs:
            return (
                "A folder of records without study.yaml: which runs were planned cannot be checked "
                "here."
            )
        missing = self.missing(runs)
        if not missing:
            return f"All {len(self.runs)} planned runs are here."
        count = f"{len(missing)} of {len(self.runs)} runs are not finished and not here"
        return "\n  ".join([f"This study is unfinished: {count}:", *missing])


def plan_of(folder: Path) -> Plan:
    """The plan of a study folder."""
    about = read_about(folder)
    _check_words(about)
    return Plan(
        list(about.get("runs", [])),
        about.get("family"),
        about.get("primary", ""),
        about.get("smallest_effect"),
    )


def _check_words(about: About) -> None:
    """Raise ValueError for a measure or an effect that nobody knows."""
    family = about.get("family") or {}
    for measure in [about["primary"]] if about.get("primary") else []:
        check_known("primary", measure, MEASURES | preferences.MEASURES)
    for measure in family.get("measures", []):
        check_known("measure of the family", measure, MEASURES | preferences.MEASURES)
    for effect in family.get("effects", []):
        check_known("effect of the family", effect, [*EFFECTS, *preferences.EFFECTS, *repairs.EFFECTS])


def overview(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run, by its name, for people: all columns are texts but the arm and the seed."""
    arms = arms_of([run.record.parameters for run in runs])
    rows = {run.folder.name: _row(run) for run in runs}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.insert(0, "arm", arms)
    return table


def _row(run: Run) -> dict:
    record = run.record
    versions = [f"{name} {number}" for name, number in record.versions.items() if name in _VERSIONS]
    changed = CHANGED if record.git_commit.endswith(CHANGED) else ""
    return {
        "seed": record.parameters["seed"],
        "blocks in the order learnt": ", ".join(record.blocks),
        "evaluated under": ", ".join(record.matrix),
        "training tokens": f"{record.tokens['train_total']:,}",
        "seconds training": f"{record.seconds['train']:,.0f}",
        "evaluating": f"{record.seconds['evaluate']:,.0f}",
        "peak memory, GB": f"{record.peak_memory_mb / 1000:.1f}",
        "model": record.model["id"],
        "corpus": f"{record.corpus['name']} {record.corpus['hash'][:8]}",
        "versions": ", ".join(versions),
        "machine": record.machine,
        "finished": record.finished[:16].replace("T", " "),
        "commit": record.git_commit[:8] + changed,
    }


def shared(table: pd.DataFrame) -> dict[str, str]:
    """Column -> value that all runs of an `overview` have, but for what is always shown."""
    alike = [name for name in table if name not in _TELLING and table[name].nunique() == 1]
    return {name: str(table[name].iloc[0]) for name in alike}


@dataclass(frozen=True)
class Asked:
    """What the runs were asked."""

    items: int
    """Different ones, of all runs together."""
    dialogues: int
    alike: bool
    """All runs that hold out the same were asked for the same calls."""
    folds: int
    """How many parts of the dialogues are held out, each by other runs."""

    def words(self) -> str:
        """Whether runs can be held against each other item by item."""
        if not self.alike:
            return "RUNS WERE ASKED FOR DIFFERENT CALLS."
        if self.folds == 1:
            return "All runs were asked for the same calls."
        return f"{self.folds} folds are held out; all runs of a fold were asked for the same calls."


def items_of(table: pd.DataFrame) -> Asked:
    """What the runs of `tables.frame` were asked."""
    sets = {
        key: frozenset(map(tuple, rows[ITEM].to_numpy()))
        for key, rows in table.groupby(["fold", "run"])
    }
    folds = {number for number, _ in sets}
    return Asked(
        len(set.union(*map(set, sets.values()))),
        table.dialogue_id.nunique(),
        len({(number, items) for (number, _), items in sets.items()}) == len(folds),
        len(folds),
    )
