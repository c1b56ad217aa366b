"""BFCL v4 multi-turn base as dialogues: documents, executed calls, blocks, split.

Berkeley Function-Calling Leaderboard, Apache-2.0, from the pinned wheel of `trajnb.assets`. The user turns
and the calls that answer them are BFCL's; the responses come from executing these calls in its simulated
APIs. The variants of the data repeat the same calls, so the base is all that counts.

The dialogues start from the same seeds and counters: whoever books first gets booking '3426812', which a
model can then know by heart. As a control, `fresh_ids` gives every dialogue ids of its own.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from trajnb.assets import fetch
from trajnb.formatting.calls import parse, render
from trajnb.formatting.dialogue import Call, Dialogue, Turn
from trajnb.world.environment import MODULES, Environment

BLOCKS = {  # the class that all dialogues of a block involve -> the block
    "GorillaFileSystem": "file_system",
    "VehicleControlAPI": "vehicle_control",
    "TradingBot": "trading",
    "TravelAPI": "travel",
}
DOCUMENTS = ("used", "ten", "all")
HELD_OUT_EVERY, HELD_OUT_OFFSET = 5, 3  # every fifth dialogue of a block, in split order
ID_SOURCES = {  # class -> the setting that its ids come from: a seed, or the number of the next one
    "TradingBot": "order_counter",
    "TravelAPI": "random_seed",
    "MessageAPI": "random_seed",
    "TwitterAPI": "tweet_counter",
    "TicketAPI": "ticket_counter",
}
_FILE = "BFCL_v4_multi_turn_base.json"


def build_bfcl(documents: str, fresh_ids: bool = False) -> tuple[tuple[Dialogue, ...], frozenset[str]]:
    """All 200 dialogues and the ids of the 40 held out. It takes under a second.

    The dialogues stand in split order: by block, then (side classes, number of calls, index), so that every
    fifth is a held-out set with the same mix of sides and lengths as the rest.

    Args:
        documents: which API documents a prompt shows: of the functions that the dialogue "used" (this leaks
            the answer set), of these and distractors of the involved classes up to "ten", or "all" of them.
        fresh_ids: every dialogue in a world with seeds and counters of its own, see `scenarios`; the ids that
            its responses then give stand in the calls that follow them. What users say stays as it is.
    """
    data = fetch("bfcl") / "bfcl_eval" / "data"
    fresh = scenarios(fresh_ids=True)
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
            if fresh_ids:
                turns = _in_fresh_world(turns, Environment(*fresh[row["id"]]))
            classes = [name for name in MODULES if name in row["involved_classes"]]
            offered = [document for name in classes for document in by_class[name]]
            used = {turn.call.name for turn in turns if turn.call}
            shown = _choose_documents(row["id"], offered, used, documents)
            lines = tuple(json.dumps(document, separators=(",", ":")) for document in shown)
            dialogues.append(Dialogue(row["id"], block, lines, turns))
    return tuple(dialogues), frozenset(held_out)


def scenarios(fresh_ids: bool = False) -> dict[str, tuple[list[str], dict]]:
    """What the `Environment` of a dialogue is made of, by the dialogue's id: classes and configuration.

    With `fresh_ids` what ids come from (`ID_SOURCES`) is drawn from a hash of the dialogue's id. Left as they
    are: ids in the configurations, which users know, the numbers of new contacts, which count users, and the
    seeds of temperatures and times: a user who sweats must not read of frost.
    """
    found = {}
    for row in _read_rows(fetch("bfcl") / "bfcl_eval" / "data" / _FILE):
        classes, config = row["involved_classes"], row["initial_config"]
        if fresh_ids:
            own = {
                name: {**config.get(name, {}), ID_SOURCES[name]: _draw(row["id"], name)}
                for name in classes
                if name in ID_SOURCES
            }
            config = config | own
        found[row["id"]] = (classes, config)
    return found


def _draw(dialogue_id: str, class_name: str) -> int:
    """A number of five digits, as BFCL's orders have, above the orders and posts that are there already."""
    digest = hashlib.sha256(f"{dialogue_id} {class_name}".encode()).hexdigest()
    return 20_000 + int(digest, 16) % 70_000


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


def _in_fresh_world(turns: Sequence[Turn], environment: Environment) -> tuple[Turn, ...]:
    """The same turns executed in another world: where an old response gave an id, the new one's is used."""
    new_ids: dict[object, object] = {}  # old id -> new id
    fresh = []
    for turn in turns:
        if turn.call:
            arguments = {
                name: new_ids.get(value, value) if _is_id(name) else value
                for name, value in turn.call.arguments.items()
            }
            call = Call(turn.call.name, arguments)
            response = environment.execute(call)
            for old, new in zip(_ids(turn.text), _ids(response), strict=True):
                if new_ids.setdefault(old, new) != new:
                    raise ValueError(f"{render(call)}: {old!r} would be {new_ids[old]!r} and {new!r}")
            turn = Turn("api", response, call)
        fresh.append(turn)
    return tuple(fresh)


def _ids(response: str) -> list:
    """The ids that a response gives, in the order of its text."""
    found = []

    def collect(pairs: list[tuple[str, object]]) -> dict:
        found.extend(value for key, value in pairs if _is_id(key) and not isinstance(value, dict))
        return dict(pairs)

    try:
        json.loads(response, object_pairs_hook=collect)
    except ValueError:  # not every response is JSON, but every one that gives an id
        return []
    return found


def _is_id(name: str) -> bool:
    """Whether an argument or a key of a response holds an id: `id`, `order_id`, `access_token`."""
    return name.rpartition("_")[2] in ("id", "token")


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
