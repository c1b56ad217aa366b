"""A user's own dialogues: JSON lines of chat messages with tool calls, as TRL and the OpenAI API write them.

The file is not trusted: a line has a largest size, names that go into calls and paths are checked, and every
malformed line is counted and named.
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from reprlib import repr as excerpt

from trajnb.formatting import documents
from trajnb.formatting.calls import writable
from trajnb.formatting.dialogue import Call, Dialogue, Turn

LINE_LIMIT = 2_000_000  # bytes; the longest dialogue of bfcl has 18,000, with all its documents
MOST_CALLS = 100  # of one assistant message
NAMED = 10  # malformed lines that a message says more of than their number

_IS_BLOCK = re.compile(r"\w[\w-]{0,59}").fullmatch
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
_REQUIRED = object()


def read_jsonl(path: Path) -> tuple[tuple[Dialogue, ...], frozenset[str], dict[str, int]]:
    """The dialogues of a file, the ids of those that say `held_out`, and counts of what was left out.

    One object a line: `messages`, `tools` and, where wanted, `id` (else line-N), `block` (else "") and
    `held_out` (else false). An assistant message is an ai turn, if it has content, and an api turn per tool
    call; calls of one message are made `together`, before any of them is answered. A tool message is the
    response of the first call of that message that has none and agrees in `tool_call_id` and `name`, as far
    as both say them; a call without a result has the response "". Left out are system messages, since a
    prompt has an instruction of its own, and dialogues without a tool call.

    Raises:
        ValueError: there is no such file, or lines of it are malformed: by number, and what is wrong.
    """
    dialogues: list[Dialogue] = []
    held_out: set[str] = set()
    left_out = Counter(system_messages=0, dialogues_without_call=0)
    line_of: dict[str, int] = {}
    wrong: list[str] = []
    for number, line in _lines(path):
        try:
            row = _object(line)
            dialogue = _dialogue(row, number)
            if line_of.setdefault(dialogue.id, number) != number:
                raise ValueError(f"its id {excerpt(dialogue.id)} is also that of line {line_of[dialogue.id]}")
            is_held_out = _get(row, "held_out", bool, False)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:300]
            wrong.append(f"line {number}: {reason}" if len(wrong) < NAMED else "")
            continue
        left_out["system_messages"] += sum(map(_is_system, row["messages"]))
        if not any(turn.call for turn in dialogue.turns):
            left_out["dialogues_without_call"] += 1
            continue
        dialogues.append(dialogue)
        if is_held_out:
            held_out.add(dialogue.id)
    if wrong:
        more = [f"and {len(wrong) - NAMED} more"] if len(wrong) > NAMED else []
        raise ValueError("\n".join([f"{path}: lines to mend: {len(wrong)}", *wrong[:NAMED], *more]))
    if not dialogues:
        raise ValueError(f"{path} holds no dialogue with a tool call: there is nothing to learn from it")
    return tuple(dialogues), frozenset(held_out), dict(left_out)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every line that is not blank; of one that is too long, its beginning."""
    if not path.is_file():
        raise ValueError(f"{path} is no file: corpus_path must name a file of JSON lines")
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(LINE_LIMIT + 1):
            number += 1
            rest = line
            while len(rest) > LINE_LIMIT and not rest.endswith(b"\n"):
                rest = file.readline(LINE_LIMIT + 1)
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # Windows writes one
            if line.strip():
                yield number, line


def _object(text: bytes | str) -> dict:
    """A JSON object that can be written again: all of it text, all of its numbers finite."""
    if len(text) > LINE_LIMIT:
        raise ValueError(f"longer than {LINE_LIMIT:,} bytes")
    try:
        value = json.loads(text.decode() if isinstance(text, bytes) else text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start + 1}") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair (\\ud800 to \\udfff), which is no text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _dialogue(row: Mapping, number: int) -> Dialogue:
    name = f"line-{number}" if row.get("id") is None else row["id"]
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        raise ValueError("id is neither a text nor a whole number")
    block = _get(row, "block", str, "")
    if block and not _IS_BLOCK(block):  # a run names folders for its blocks
        raise ValueError(f"block {excerpt(block)} is no name of at most 60 letters, digits, _ and -")
    described: dict[str, str] = {}
    for position, tool in enumerate(_get(row, "tools", list, ()), 1):
        with _within(f"tool {position}"):
            api, document = _document(tool)
            if api in described:
                raise ValueError(f"there are two of the name {excerpt(api)}")
            described[api] = document
    return Dialogue(str(name), block, tuple(described.values()), _turns(_get(row, "messages", list)))


def _turns(messages: Sequence) -> tuple[Turn, ...]:
    if not messages:
        raise ValueError("messages is empty")
    turns: list[Turn] = []
    waiting: list[tuple[int, object]] = []  # calls of the last assistant message without result: place, id
    for position, message in enumerate(messages, 1):
        with _within(f"message {position}"):
            role = _get(message, "role", str)
            text = _text(message)
            if role == "tool":
                place = _take(waiting, message, turns)
                turns[place] = replace(turns[place], text=text)
            elif role == "user":
                if not text:
                    raise ValueError("content is missing")
                waiting = []
                turns.append(Turn("user", text))
            elif role == "assistant":
                calls = _get(message, "tool_calls", list, ())
                if not text and not calls:
                    raise ValueError("neither content nor tool_calls")
                if len(calls) > MOST_CALLS:
                    raise ValueError(f"{len(calls)} tool calls, over {MOST_CALLS}")
                waiting = []
                turns += [Turn("ai", text)] if text else []
                for index, call in enumerate(calls, 1):
                    with _within(f"tool call {index}"):
                        waiting.append((len(turns), _get(call, "id", str, None)))
                        turns.append(Turn("api", "", _call(call), together=index > 1))
            elif not _is_system(message):
                raise ValueError(f"unknown role {excerpt(role)}: it is user, assistant, tool or system")
    return tuple(turns)


def _is_system(message: Mapping) -> bool:
    return message["role"] in ("system", "developer")


def _text(message: Mapping) -> str:
    """The content: a text, or a list of parts, all of them text."""
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            if _get(part, "type", str) != "text":
                raise ValueError(f"content has a part of type {excerpt(part['type'])}: only text is read")
        return "".join(_get(part, "text", str) for part in content)
    return _get(message, "content", str, "")


def _take(waiting: list[tuple[int, object]], message: Mapping, turns: Sequence[Turn]) -> int:
    """The place of the call that a tool message answers, which then waits no longer."""
    said_id, said_name = _get(message, "tool_call_id", str, None), _get(message, "name", str, None)
    for index, (place, call_id) in enumerate(waiting):
        same_id = None in (said_id, call_id) or said_id == call_id
        if same_id and said_name in (None, turns[place].call.name):
            del waiting[index]
            return place
    raise ValueError("a tool result without a call in the assistant message before it")


def _call(tool_call: Mapping) -> Call:
    function = _function(tool_call)
    arguments = function.get("arguments")
    with _within("arguments"):  # an object, or the text of one
        if not isinstance(arguments, dict):
            arguments = _object(_get(function, "arguments", str))
    return writable(Call(_get(function, "name", str), arguments))


def _document(tool: Mapping) -> tuple[str, str]:
    """Name and document of an API, in the form that all corpora share: of the schema of an object, its
    properties, the names of the required ones unless all are, and definitions that properties refer to.
    """
    function = _function(tool)
    name = writable(Call(_get(function, "name", str))).name
    schema = _get(function, "parameters", dict, {})
    if schema and schema.get("type") != "object":
        raise ValueError("parameters is no JSON schema of type object")
    properties = _get(schema, "properties", dict, {})
    required = {key for key in _get(schema, "required", list, ()) if isinstance(key, str)}
    document = {"name": name, "description": _get(function, "description", str, ""), "parameters": properties}
    if not properties.keys() <= required:
        document["required"] = [key for key in properties if key in required]
    document |= {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return name, documents.write(document)


def _function(holder: Mapping) -> Mapping:
    if (kind := _get(holder, "type", str, "function")) != "function":
        raise ValueError(f"type {excerpt(kind)}: only a function can be called")
    return _get(holder, "function", dict)


def _get(holder: object, key: str, kind: type, default: object = _REQUIRED):
    """A value of an object of the file by its type; `default` where it is missing or null."""
    if not isinstance(holder, dict):
        raise ValueError("not an object")
    value = holder.get(key)
    if value is None and default is not _REQUIRED:
        return default
    if not isinstance(value, kind):
        raise ValueError(f"{key} is missing" if value is None else f"{key} is not {_KINDS[kind]}")
    return value


@contextmanager
def _within(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
