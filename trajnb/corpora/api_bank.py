"""API-Bank as dialogues, from the publisher's files (Li et al., EMNLP 2023; MIT as its dataset card says).

A row is a prompt and what comes next. The files sample every dialogue many times, so dialogues are put
together again from rows whose prompts extend one another; whatever does not fit is counted, never hidden.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trajnb import hub
from trajnb.corpora import blocks as block_rules
from trajnb.formatting import documents
from trajnb.formatting.calls import REQUEST_PREFIX, CallSyntaxError, parse
from trajnb.formatting.dialogue import Dialogue, Turn
from trajnb.plain import parse_json

REPOSITORY = "liminghao1630/API-Bank"
REVISION = "12e8158b7628c168f07e8f31fbbe3445e99f44cf"
LEVELS = ("1", "2", "3")
FILES = {
    "test-data": {"1": "level-1-api.json", "2": "level-2-api.json", "3": "level-3-batch-inf.json"},
    "training-data": {level: f"lv{level}-train.json" for level in LEVELS},
}

_SEGMENT = re.compile(r"^(User|AI|API-Request|API): ?", re.MULTILINE)
_CUE = re.compile(r"\n?Generate (API Request|AI Response): ?\n?$")
_LABEL = re.compile(r"\[(\w+)\(")
_ROLES = {"User": "user", "AI": "ai"}


@dataclass(frozen=True)
class Row:
    """One row of a file, read: what stands before the target, and the target as a turn without response."""

    place: str  # file and index, to name it in messages
    key: str  # the dialogue it says it comes from; empty where files have no ids
    documents: tuple[str, ...]
    leading: tuple[str, ...]  # the lines of `input` that hold documents, as they are
    turns: tuple[Turn, ...]
    target: Turn  # an api turn without a call where the text holds none that can be read
    label: str  # the API that the target calls, or else the first one that the prompt calls; may be empty


def find_files(part: str, levels: Sequence[str], folder: str = "") -> list[Path]:
    """The files of some levels, from a folder that holds them (or the publisher's folder `part`), else from
    the hub.

    Raises:
        ValueError: an unknown part or level, a file that is missing, or a hub that does not answer.
    """
    if part not in FILES:
        raise ValueError(f"unknown part {part!r} of API-Bank; known: {', '.join(FILES)}")
    unknown = [level for level in levels if level not in LEVELS]
    if unknown or not levels or len(set(levels)) < len(levels):
        raise ValueError(f"levels must name some of {', '.join(LEVELS)}, each once, not {list(levels)}")
    names = [FILES[part][level] for level in levels]
    if not folder:
        return hub.fetch_files(REPOSITORY, REVISION, [f"{part}/{name}" for name in names])
    found = []
    for name in names:
        places = [Path(folder, name), Path(folder, part, name)]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise ValueError(
                f"{places[0]} is missing: corpus_path must hold the publisher's {part} files, which dataset "
                f"{REPOSITORY} of the hub has in its folder {part}; leave corpus_path empty to get them there"
            )
        found.append(file)
    return found


def read_rows(file: Path) -> list[Row]:
    """All rows of one file in order; ValueError, by file and row, where it has neither schema."""
    try:
        content = parse_json(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError(f"{file} must hold a list of rows")
    rows = []
    for index, raw in enumerate(content):
        try:
            rows.append(_row(raw, f"{file.name}[{index}]"))
        except ValueError as error:
            raise ValueError(f"{file}, row {index}: {error}") from None
        except (KeyError, TypeError, AttributeError):
            raise ValueError(
                f"{file}, row {index}: neither of the publisher's schemas (instruction, input and output or "
                f"expected_output, as text), but keys {', '.join(map(str, raw))}"
            ) from None
    return rows


def _row(raw: Mapping, place: str) -> Row:
    output = raw["expected_output"] if "expected_output" in raw else raw["output"]
    leading, text = _split_documents(raw["input"])
    described = leading or _split_documents(raw["instruction"].partition("API descriptions:\n")[2])[0]
    cue = _CUE.search(text)
    label = _LABEL.search(output) or _LABEL.search(text)
    return Row(
        place=place,
        key=_key(raw),
        documents=tuple(map(documents.write, documents.read(described))),
        leading=leading,
        turns=read_turns(text[: cue.start()] if cue else text),
        target=_target(output.strip(), cue is not None and cue[1] == "AI Response"),
        label=label[1] if label else "",
    )


def _key(raw: Mapping) -> str:
    """The dialogue that a row is of. Raises TypeError where it is no name."""
    key = raw.get("file") or raw.get("sample_id", "")
    if not isinstance(key, str | int):
        raise TypeError("file")
    return str(key)


def _target(text: str, wants_response: bool) -> Turn:
    if wants_response and not text.startswith(REQUEST_PREFIX):
        return Turn("ai", text.removeprefix("AI:").strip())
    try:
        return Turn("api", "", parse(text))
    except CallSyntaxError:
        return Turn("api", text)


def _split_documents(text: str) -> tuple[tuple[str, ...], str]:
    """The leading lines that are documents, and the rest."""
    lines, start = [], len(text) - len(text.lstrip("\n"))
    while text.startswith(("{", "["), start):
        end = text.find("\n", start)
        line = text[start : end if end >= 0 else len(text)]
        if not documents.is_document(line):
            break
        lines.append(line)
        start = end + 1 if end >= 0 else len(text)
    return tuple(lines), text[start:]


def read_turns(text: str) -> tuple[Turn, ...]:
    """The turns of a dialogue in the publisher's line format; a line without prefix continues the one before.

    A request line holds the call and, behind the first `)]->`, its response. One whose call cannot be read
    stays as text, with the role "api" and no call.
    """
    starts = list(_SEGMENT.finditer(text))
    if not starts:
        raise ValueError("no line of its dialogue begins with User:, AI: or API-Request:")
    turns = []
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        body = text[start.end() : following.start() if following else len(text)].strip("\n")
        if start[1] in _ROLES:
            turns.append(Turn(_ROLES[start[1]], body))
            continue
        head, arrow, response = body.partition(")]->")
        try:
            turns.append(Turn("api", response, parse(head + arrow[:2])))
        except CallSyntaxError:
            turns.append(Turn("api", body))
    return tuple(turns)


def rebuild(rows: Iterable[Row], account: dict) -> list[Dialogue]:
    """Dialogues from rows: a prompt that extends an earlier one, its target included, is the same dialogue.

    `account` counts what is dropped: duplicates (the publisher exports a prompt before and after a call) and
    rows whose call cannot be read. A row that starts in the middle of a dialogue, or contradicts the row
    before it, becomes a dialogue of its own and is named under "not_extending". Blocks are still empty.
    """
    families: dict[tuple, list[Row]] = {}
    dropped, seen = account["dropped"], set()
    for row in rows:
        same = repr((row.key, row.documents, row.turns, row.target))
        reason = "duplicate" if same in seen else ""
        if row.target.role == "api" and row.target.call is None:
            reason = "no readable call"
        if reason:
            dropped[reason] = dropped.get(reason, 0) + 1
            continue
        seen.add(same)
        # without ids, what was said before the first call tells dialogues apart
        opening = next((i for i, turn in enumerate(row.turns) if turn.role == "api"), len(row.turns))
        families.setdefault((row.key, () if row.key else row.turns[:opening]), []).append(row)
    dialogues, names = [], Counter()
    for (key, _), family in families.items():
        for chain in _chains(family, account):
            name = key.removesuffix(".jsonl") or chain[0].place
            names[name] += 1
            dialogues.append(_dialogue(name if names[name] == 1 else f"{name}#{names[name]}", chain))
    return dialogues


def _chains(family: list[Row], account: dict) -> list[list[Row]]:
    chains: list[list[Row]] = []
    for row in sorted(family, key=lambda row: len(row.turns)):
        chain = next((chain for chain in chains if _extends(row, chain[-1])), None)
        if chain is None:
            chains.append([row])
            if any(turn.role == "api" for turn in row.turns):
                account["not_extending"].append(row.place)
        else:
            chain.append(row)
    return chains


def _extends(row: Row, before: Row) -> bool:
    """Whether the prompt of `row` begins with that of `before` and its target."""
    place = len(before.turns)
    if len(row.turns) <= place or row.turns[:place] != before.turns:
        return False
    said, target = row.turns[place], before.target
    return (said.role, said.call) == (target.role, target.call) and (
        target.call is not None or said.text == target.text
    )


def _dialogue(name: str, chain: Sequence[Row]) -> Dialogue:
    """The longest row with its target as the last turn; the targets are the turns that rows ask for."""
    last = chain[-1]
    turns = (*last.turns, last.target)
    targets = tuple(len(row.turns) for row in chain)
    calls = tuple(place for place, turn in enumerate(turns) if turn.call)
    return Dialogue(name, "", last.documents, turns, None if targets == calls else targets)


def one_by_one(rows: Iterable[Row]) -> list[Dialogue]:
    """Every row as a dialogue of its own with one target and the documents of its `input`, as the paper
    takes them.
    """
    return [Dialogue(row.place, "", row.leading, (*row.turns, row.target), (len(row.turns),)) for row in rows]


def calls_in_speech(dialogues: Iterable[Dialogue]) -> int:
    """Lines of the assistant that hold a call: no condition hides them, for they are said."""
    return sum(turn.role == "ai" and bool(_LABEL.search(turn.text)) for d in dialogues for turn in d.turns)


def drop_unlabelled(rows: Sequence[Row], account: dict) -> list[Row]:
    """The rows that the paper keeps: those that call something, not ToolSearcher, of APIs with ten rows."""
    rare = block_rules.rare(row.label for row in rows)
    kept = []
    for row in rows:
        reason = "no call in prompt or target" if not row.label else ""
        if row.label == "ToolSearcher":
            reason = "ToolSearcher"
        elif row.label in rare and not reason:
            reason = "an API with fewer than ten rows"
        if reason:
            account["dropped"][reason] = account["dropped"].get(reason, 0) + 1
        else:
            kept.append(row)
    return kept
