"""Dialogues as JSON lines: how a built corpus is cached and how the sample is shipped.

The first line says where the dialogues come from and holds the hash of all the others.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from trajnb.formatting.calls import parse, render
from trajnb.formatting.dialogue import Dialogue, Turn


def write_dialogues(path: Path, dialogues: Iterable[Dialogue], held_out: Iterable[str], source: str) -> None:
    """Write atomically: another process sees the whole file or none."""
    lines = dump(dialogues, held_out)
    header = json.dumps({"source": source, "sha256": content_hash(lines)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        fresh = Path(temporary, path.name)
        fresh.write_text("\n".join([header, *lines]) + "\n", "utf-8", newline="\n")
        os.replace(fresh, path)


def read_dialogues(path: Path) -> tuple[tuple[Dialogue, ...], frozenset[str]]:
    """The dialogues, and the ids of those held out.

    Raises:
        ValueError: the content does not have the hash that the first line gives.
    """
    try:
        header, *lines = path.read_text("utf-8").rstrip("\n").split("\n")
        intact = json.loads(header)["sha256"] == content_hash(lines)
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise ValueError(f"{path} is damaged: its content does not have the hash in its first line")
    rows = [json.loads(line) for line in lines]
    held_out = frozenset(row["id"] for row in rows if row["held_out"])
    return tuple(map(_dialogue, rows)), held_out


def dump(dialogues: Iterable[Dialogue], held_out: Iterable[str]) -> list[str]:
    """One line of JSON per dialogue; an api turn is [role, response, call], and `true` where it is
    made together with the one before it.
    """
    held_out = set(held_out)
    return [
        json.dumps(
            {
                "id": dialogue.id,
                "block": dialogue.block,
                "held_out": dialogue.id in held_out,
                "documents": dialogue.documents,
                "turns": [_listed(turn) for turn in dialogue.turns],
            }
            | ({} if dialogue.targets is None else {"targets": dialogue.targets}),
            ensure_ascii=False,
        )
        for dialogue in dialogues
    ]


def content_hash(lines: Iterable[str]) -> str:
    """sha256 of the lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _listed(turn: Turn) -> list:
    if turn.call is None:
        return [turn.role, turn.text]
    return [turn.role, turn.text, render(turn.call), *([True] if turn.together else [])]


def _dialogue(row: Mapping) -> Dialogue:
    turns = tuple(_turn(*turn) for turn in row["turns"])
    targets = tuple(row["targets"]) if "targets" in row else None
    return Dialogue(row["id"], row["block"], tuple(row["documents"]), turns, targets)


def _turn(role: str, text: str, call: str | None = None, together: bool = False) -> Turn:
    return Turn(role, text, parse(call) if call else None, together=together)
