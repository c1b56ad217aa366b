"""A user's own dialogues: rows of chat messages with tool calls, in the layouts that the ecosystem writes.

`files` unpacks rows, `layouts` tells messages and tools, `tools` and `turns` read these. Nothing is lost in
silence: what is malformed is an error that names it, or where that is wanted left out and counted; every key
that is not read is counted by name.
"""

import difflib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from reprlib import repr as excerpt

from trajnb.corpora import layouts
from trajnb.corpora.files import read_rows
from trajnb.corpora.layouts import Layout
from trajnb.corpora.said import tools_in_text
from trajnb.corpora.tools import Tool, read_tools
from trajnb.corpora.turns import to_turns
from trajnb.corpora.values import Notes, get
from trajnb.formatting.dialogue import Dialogue
from trajnb.known import nearest

NAMED = 10  # malformed rows that a message says more of than their number
KEPT_TOOLS = 1000  # lists of tools of which the reading is kept
REASONS = 20  # kinds of malformed rows that are counted apart
OWN_KEYS = ("id", "block", "held_out", "split")
"""Keys of a row, beside its messages and tools, that are read in every layout."""
SIDES = {
    **dict.fromkeys(("train", "training"), False),
    **dict.fromkeys(
        ("test", "testing", "held_out", "heldout", "eval", "evaluation", "validation", "valid", "val", "dev"),
        True,
    ),
}
"""What `split` may say -> whether that is held out."""

_IS_BLOCK = re.compile(r"\w[\w-]{0,59}").fullmatch
_PLACE = re.compile(r"\b(?:message|tool call|tool|object) \d+: ")
_SAYS_SIDE = ("subset", "partition", "fold", "set", "side", "istest", "istrain", "isheldout", "holdout")


@dataclass(frozen=True)
class Reading:
    """What a file holds."""

    dialogues: tuple[Dialogue, ...]
    held_out: frozenset[str]
    """Ids of the dialogues that say so."""
    left_out: dict[str, int]
    """What has no place in a dialogue, by kind: how often."""
    account: dict
    """What else is to be said: `packing`, `layouts`, and where there is any `keys_not_read`, `read_as` and
    `unusable`.
    """


def read_dialogues(path: str, *, field: str = "block", skip_unusable: bool = False) -> Reading:
    """The dialogues of a file, or of a dataset of the hub.

    Beside messages and tools a row may have `id` (else its place, as line-N), `block`, or another `field`
    to take that from (else ""), and a side: `held_out` or `split`. Left out are system messages, since a
    prompt has an instruction of its own, and dialogues without a tool call.

    Args:
        skip_unusable: leave out, and count by reason, rows that cannot be used; else they are an error.

    Raises:
        ValueError: there is no such file, or rows of it are malformed: by place, and what is wrong.
    """
    found = read_rows(path)
    reader = _Reader(field)
    rows = 0
    for place, row in found.rows:
        rows += 1
        try:
            if isinstance(row, ValueError):
                raise row
            reader.read(place, row, path)
        except (ValueError, RecursionError) as error:
            reader.refuse(place, "nested too deeply" if isinstance(error, RecursionError) else str(error))
    if reader.refused and not (skip_unusable and reader.dialogues):
        raise ValueError(_what_to_mend(path, rows, reader))
    if not reader.dialogues:
        raise ValueError(f"{path} holds no dialogue with a tool call: there is nothing to learn from it")
    account = {"packing": found.packing, "layouts": dict(reader.layouts.most_common())}
    more = {"keys_not_read": reader.notes.keys, "read_as": reader.notes.read_as}
    more["unusable"] = reader.reasons
    account |= {name: dict(counts.most_common()) for name, counts in more.items() if counts}
    return Reading(
        tuple(reader.dialogues), frozenset(reader.held_out), dict(reader.notes.left_out), account
    )


class _Reader:
    """The dialogues so far, and what was counted on the way."""

    def __init__(self, field: str):
        self.field = field
        self.dialogues: list[Dialogue] = []
        self.held_out: set[str] = set()
        self.notes = Notes(left_out=Counter(system_messages=0, dialogues_without_call=0))
        self.layouts: Counter[str] = Counter()
        self.place_of: dict[str, str] = {}
        self.value_of: dict[str, object] = {}
        self.refused: list[str] = []
        self.reasons: Counter[str] = Counter()
        self.last: Layout | None = None
        self.tools: dict[str, tuple[dict[str, Tool], Notes]] = {}
        self.answers: Mapping[str, list] | None = None

    def refuse(self, place: str, reason: str) -> None:
        """Count a row that cannot be used; the first ones are named."""
        reason = reason[:300]
        self.refused.append(f"{place}: {reason}" if len(self.refused) < NAMED else "")
        kind = re.sub(r"\d[\d,.]*", "N", _PLACE.sub("", reason))
        known = kind in self.reasons or len(self.reasons) < REASONS
        self.reasons[kind if known else "other reasons"] += 1

    def read(self, place: str, row: dict, path: str) -> None:
        """Add the dialogue of a row; ValueError where it is malformed."""
        layout = layouts.layout_of(row) or self.last
        if layout is None:
            said = ", ".join(map(str, row))[:200]
            raise ValueError(f"its keys are {said}: no layout that is read has them")
        self.last = layout
        self.layouts[layout.name] += 1
        if layout.read is layouts.read_bfcl and row.get("ground_truth") is None:
            if self.answers is None:
                self.answers = layouts.bfcl_answers(Path(path).expanduser())
            row = row | {"ground_truth": self.answers.get(str(row.get("id")))}
        notes = Notes()
        row_read = layout.read(row)
        tools, messages = self._tools(row_read, notes)
        dialogue, held_out = _dialogue(row_read, tools, messages, place, self.field, notes)
        if self.place_of.setdefault(dialogue.id, place) != place:
            raise ValueError(f"its id {excerpt(dialogue.id)} is also that of {self.place_of[dialogue.id]}")
        self.notes.update(notes)
        if self.field != "block":
            said = row.get(self.field)
            if self.value_of.setdefault(dialogue.block, said) != said:
                raise ValueError(f"{self.field} {excerpt(said)} gives a block that another one gives too")
        if not any(dialogue.turns[place].call for place in dialogue.places):
            self.notes.left_out["dialogues_without_call"] += 1
            return
        self.dialogues.append(dialogue)
        if held_out:
            self.held_out.add(dialogue.id)


    def _tools(self, row: layouts.Row, notes: Notes) -> tuple[dict[str, Tool], object]:
        """The tools and messages of a row; of tools that many rows have, the first reading is kept."""
        if not row.tools:
            return _tools(row, notes)
        key = row.tools if isinstance(row.tools, str) else json.dumps(row.tools, default=str)
        if key not in self.tools:
            counted = Notes()
            if len(self.tools) >= KEPT_TOOLS:
                self.tools.clear()
            self.tools[key] = read_tools(row.tools, counted), counted
        tools, counted = self.tools[key]
        notes.update(counted)
        return (tools, row.messages) if tools else _tools(row, notes)


def _what_to_mend(path: str, rows: int, reader: _Reader) -> str:
    """One sentence on the file, where all of its rows have the same reason; else the rows."""
    refused = reader.refused
    first = refused[0].partition(": ")[2]
    if not reader.layouts and first.startswith("its keys are"):
        return f"{path}: {first}; these are read: {layouts.known()}; see params/README.md"
    if not reader.layouts and first.startswith("not JSON"):
        return f"{path}: {refused[0]}; read are JSON lines, a JSON array, either in gzip, and parquet"
    if len(refused) == rows > 1 and len(reader.reasons) == 1:
        layout = reader.last
        what = f"; their layout is {layout.name}, see {layout.documented}" if layout else ""
        return f"{path}: none of its {rows} rows can be read, the first for: {first}{what}"
    more = [f"and {len(refused) - NAMED} more"] if len(refused) > NAMED else []
    return "\n".join([f"{path}: lines to mend: {len(refused)}", *refused[:NAMED], *more])


def _dialogue(
    row: layouts.Row,
    tools: Mapping[str, Tool],
    messages: object,
    place: str,
    field: str,
    notes: Notes,
) -> tuple[Dialogue, bool]:
    """The dialogue of a row, and whether it is held out."""
    name = place.replace(" ", "-").replace(",", "") if row.rest.get("id") is None else row.rest["id"]
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        raise ValueError("id is neither a text nor a whole number")
    held_out = _is_held_out(row.rest, field, notes)
    block = _block(row.rest, field)
    turns, origins = to_turns(get({"messages": messages}, "messages", list), tools, notes)
    places = [place for place, turn in enumerate(turns) if turn.call]
    learnt = [place for place in places if origins[place] > row.learnt_from]
    targets = None if learnt == places else tuple(learnt)
    described = tuple(tool.document for tool in tools.values())
    return Dialogue(str(name), block, described, turns, targets), held_out


def _tools(row: layouts.Row, notes: Notes) -> tuple[dict[str, Tool], object]:
    """The tools of a row, or where it has none those of its system messages; and its messages."""
    tools, messages = read_tools(row.tools, notes), row.messages
    if tools or not isinstance(messages, list):
        return tools, messages
    told = [m for m in messages[:3] if isinstance(m, dict) and m.get("role") in ("system", "developer")]
    for key in ("tools", "functions"):
        if held := next((message[key] for message in told if message.get(key)), None):
            return read_tools(held, notes), [_without(message, key) for message in messages]
    texts = [message["content"] for message in told if isinstance(message.get("content"), str)]
    found = [tool for text in texts for tool in tools_in_text(text)]
    notes.read_as.update({"tools_in_system_text": len(found)} if found else {})
    return read_tools(found, notes), messages


def _without(message: object, key: str) -> object:
    return {k: v for k, v in message.items() if k != key} if isinstance(message, dict) else message


def _block(rest: Mapping, field: str) -> str:
    """The block that a row names; a run names folders for its blocks."""
    if field == "block":
        block = get(rest, "block", str, "")
        if block and not _IS_BLOCK(block):
            raise ValueError(f"block {excerpt(block)} is no name of at most 60 letters, digits, _ and -")
        return block
    value = rest.get(field)
    if value is None:
        known = ["one", "clusters", "semantic", *map(str, rest)]
        raise ValueError(
            f"{field} is missing, which blocks takes each row's block from{nearest(field, known)}; its other "
            f"keys: {', '.join(map(str, rest))[:100] or 'none'}"
        )
    if not isinstance(value, str | int):
        raise ValueError(f"{field} is neither a text nor a whole number, so no block has its name")
    name = re.sub(r"[^\w-]+", "_", str(value)).strip("_-")[:60]
    if not name:
        raise ValueError(f"{field} {excerpt(value)} has no letter or digit that could name a block")
    return name


def _is_held_out(rest: Mapping, field: str, notes: Notes) -> bool:
    """What a row says of its side; the keys that are not read are counted."""
    said: dict[str, bool] = {}
    for key, value in rest.items():
        if value is None or key in ("id", field):
            continue
        kind = _kind_of_key(key)
        if kind == "held_out":
            said[key] = get(rest, key, bool)
        elif kind == "split":
            word = value.strip().lower().replace("-", "_") if isinstance(value, str) else ""
            word = word if word in SIDES else word.partition("_")[0]  # train_sft
            if word not in SIDES:
                raise ValueError(
                    f"{key} is {excerpt(value)}, where train or test is known: rename it, if it says no side"
                )
            said[key] = SIDES[word]
        elif kind == "side":
            raise ValueError(
                f"its key {excerpt(key)} looks as if it said what is held out: call it held_out (true or "
                "false) or split (train or test), or take it out"
            )
        elif key != "block" or field != "block":
            notes.keys[key] += 1
    if len(set(said.values())) > 1:
        raise ValueError(f"{' and '.join(said)} contradict each other")
    return any(said.values())


@lru_cache(1000)
def _kind_of_key(key: str) -> str:
    """ "held_out", "split", "side" of a key that nearly is one of these, else ""."""
    letters = "".join(filter(str.isalpha, key.lower()))
    if letters in ("heldout", "split"):
        return {"heldout": "held_out"}.get(letters, letters)
    near = difflib.get_close_matches(letters, ["heldout", "split", "holdout"], cutoff=0.8)
    return "side" if near or letters in _SAYS_SIDE else ""
