"""BFCL v4 multi-turn base as dialogues: documents, executed calls, blocks, split.

Berkeley Function-Calling Leaderboard, Apache-2.0, from the pinned wheel of `trajnb.assets`. The user turns
and the calls that answer them are BFCL's; the responses come from executing these calls in its simulated
APIs. The variants of the data repeat the same calls, so the base is all that counts.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from trajnb.assets import fetch
from trajnb.formatting.calls import parse
from trajnb.formatting.dialogue import Dialogue, Turn
from trajnb.world.environment import MODULES, Environment

BLOCKS = {  # the class that all dialogues of a block involve -> the block
    "GorillaFileSystem": "file_system",
    "VehicleControlAPI": "vehicle_control",
    "TradingBot": "trading",
    "TravelAPI": "travel",
}
DOCUMENTS = ("used", "ten", "all")
HELD_OUT_EVERY, HELD_OUT_OFFSET = 5, 3  # every fifth dialogue of a block, in split order
_FILE = "BFCL_v4_multi_turn_base.json"


def build_bfcl(documents: str) -> tuple[tuple[Dialogue, ...], frozenset[str]]:
    """All 200 dialogues and the ids of the 40 held out. It takes under a second.

    The dialogues stand in split order: by block, then (side classes, number of calls, index), so that every
    fifth is a held-out set with the same mix of sides and lengths as the rest.

    Args:
        documents: which API documents a prompt shows: of the functions that the dialogue "used" (this leaks
            the answer set), of these and distractors of the involved classes up to "ten", or "all" of them.
    """
    data = fetch("bfcl") / "bfcl_eval" / "data"
    truth = {row["id"]: row["ground_truth"] for row in _read_rows(data / "possible_answer" / _FILE)}
    by_class = {
        name: [_slim(row) for row in _read_rows(data / "multi_turn_func_doc" / f"{module}.json")]
        for name, module in MODULES.items()
    }
    dialogues, held_out = [], set()
    for main_class, block in BLOCKS.items():
        rows = [row for row in _read_rows(data / _FILE) if main_class in row["involved_classes"]]
        rows.sort(key=lambda row: _split_key(row, truth[row["id"]]))
        held_out.update(row["id"] for row in rows[HELD_OUT_OFFSET::HELD_OUT_EVERY])
        for row in rows:
            turns = _execute(row, truth[row["id"]])
            classes = [name for name in MODULES if name in row["involved_classes"]]
            offered = [document for name in classes for document in by_class[name]]
            used = {turn.call.name for turn in turns if turn.call}
            shown = _choose_documents(row["id"], offered, used, documents)
            lines = tuple(json.dumps(document, separators=(",", ":")) for document in shown)
            dialogues.append(Dialogue(row["id"], block, lines, turns))
    return tuple(dialogues), frozenset(held_out)


def _split_key(row: Mapping, truth: Sequence[Sequence[str]]) -> tuple:
    side_classes = sorted(set(row["involved_classes"]) - set(BLOCKS))
    return side_classes, sum(map(len, truth)), int(row["id"].rpartition("_")[2])


def _execute(row: Mapping, truth: Sequence[Sequence[str]]) -> tuple[Turn, ...]:
    """The user turns and, after each, its calls (keyword form, in signature order) with their responses.

    Three user turns have no call (in dialogues 167 and 180); they stay, and no example comes of them.
    """
    environment = Environment(row["involved_classes"], row["initial_config"])
    turns = []
    for (message,), calls in zip(row["question"], truth, strict=True):
        turns.append(Turn("user", message["content"]))
        for text in calls:
            call = environment.bind(parse(text))
            response = environment.execute(call)
            if response.startswith("Error during execution"):
                raise ValueError(f"{row['id']}: the reference call {text} fails: {response}")
            turns.append(Turn("api", response, call))
    return tuple(turns)


def _choose_documents(
    dialogue_id: str, offered: Sequence[Mapping], used: set[str], documents: str
) -> list[Mapping]:
    """The documents to show, in the order of the classes' own lists, so that position says nothing."""
    shown = {document["name"] for document in offered}
    if documents == "used":
        shown = used
    elif documents == "ten":
        distractors = sorted(
            shown - used, key=lambda name: hashlib.sha256(f"{dialogue_id} {name}".encode()).hexdigest()
        )
        shown = used | set(distractors[: max(0, 10 - len(used))])
    return [document for document in offered if document["name"] in shown]


def _slim(document: Mapping) -> dict:
    """What a call needs to know, in 29 % fewer tokens: documents are most of every prompt.

    Left out are the introduction of the class, which each document repeats, the output schema, and the schema
    around the parameters: in all documents those required are those without a default.
    """
    description = document["description"].partition("Tool description: ")[2]
    parameters = document["parameters"]["properties"]
    return {"name": document["name"], "description": description, "parameters": parameters}


def _read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
