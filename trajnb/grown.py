"""What stages left of the way on which they learnt: trees of replies (`trees.jsonl`), and candidates
beside their repairs (`candidates.jsonl`, `repairs.jsonl`).

They lie in the homes of stages, of a run or shared by the runs of a study, see `run.homes`; kept
records have them compressed, at the same place beside them.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict

from trajnb.files import present, read_lines
from trajnb.schema import Run

TREES, CANDIDATES, REPAIRS = "trees.jsonl", "candidates.jsonl", "repairs.jsonl"
_OF_RUNS = ("runs", "records")
"""Folders of runs: what lies beside one, their study's runs share."""


class Move(TypedDict):
    """A reply and what it got; there is more, see `world.candidates.Move`."""

    form: str
    response: str
    kind: str


class Node(Move):
    """A reply in a tree, see `world.trees.Node`."""

    parent: int
    draw: int
    won: bool | None
    on_path: bool
    harmless: bool | None


class Tree(TypedDict):
    """A line of `trees.jsonl`, see `world.trees.Tree`."""

    task: str
    block: str
    source: str
    nodes: list[Node]
    won: bool


class Trajectory(TypedDict):
    """A line of `candidates.jsonl`, see `world.candidates.Trajectory`."""

    task: str
    block: str
    number: int
    moves: list[Move]
    won: bool


class Repair(TypedDict):
    """A line of `repairs.jsonl`, see `world.repair.Repair`."""

    task: str
    number: int
    repairer: str
    failure: str
    attempts: list[Trajectory]
    accepted: bool
    edits: int
    reads_gold: bool


KINDS = {TREES: Tree, CANDIDATES: Trajectory, REPAIRS: Repair}


def homes(runs: Iterable[Run]) -> list[tuple[str, Path]]:
    """The homes of stages, each with a name for people: the run's and the stage's."""
    folders: dict[Path, str] = {}
    for run in runs:
        folders[run.folder] = run.folder.name
        if run.folder.parent.name in _OF_RUNS:
            folders[run.folder.parent.parent] = "shared by arms"
    found: dict[Path, str] = {}
    for folder, whose in folders.items():
        for path in sorted(folder.glob("*/*/*")):
            if path.name.removesuffix(".gz") in (TREES, REPAIRS):
                found.setdefault(path.parent, f"{whose}, {path.parent.name}")
    return [(name, home) for home, name in found.items()]


def read_grown(home: Path) -> dict[str, list[dict]]:
    """The lines of a stage's home, by file, see `KINDS`; empty for a file that is not there.

    Raises:
        ValueError: a file is damaged.
    """
    return {name: _lines(home / name, kind) for name, kind in KINDS.items()}


def _lines(path: Path, kind: type) -> list[dict]:
    path = present(path)
    return read_lines(path, kind) if os.path.lexists(path) else []


def kept_as(runs: Iterable[Run], study: Path) -> Iterator[tuple[Path, list[dict]]]:
    """All files of the homes of a study, read and checked, each with its path beside kept records."""
    for _, home in homes(runs):
        if not home.is_relative_to(study):  # of a folder of runs alone, what lies beside it
            continue
        place = home.relative_to(study)
        if place.parts[0] == "runs":
            place = Path("records", *place.parts[1:])
        for name, lines in read_grown(home).items():
            if lines:
                yield place / f"{name}.gz", lines
