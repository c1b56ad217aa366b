"""The messages of a user's dialogue in the writings that the ecosystem has.

Layouts name keys; what a message means is the same in all of them: somebody says something, the assistant
calls tools, results come back. Here all writings of that are read, so a file may mix them.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from reprlib import repr as excerpt

from trajnb.corpora.said import calls_in_text, results_in_text
from trajnb.corpora.tools import Written, looks_like_calls, read_calls
from trajnb.corpora.values import Notes, as_text, encodable, get, parsed, unread

MOST_CALLS = 100  # of one message
ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "function_response": "tool",
    "ipython": "tool",
    "function_call": "call",
    "tool_call": "call",
    "system": "system",
    "developer": "system",
}
_ITEMS = {  # items of OpenAI's Responses, which have a type where messages have a role -> the role
    "function_call": "call",
    "function_call_output": "tool",
    "reasoning": "thought",
}
_SAID = ("text", "input_text", "output_text")
_THOUGHT = ("reasoning", "thinking", "redacted_thinking", "thought")
_CALLED = ("tool_call", "tool_use", "function_call")
_GOT = ("tool_result", "tool_response", "function_call_output")
_MEDIA = ("image", "image_url", "input_image", "audio", "input_audio", "video", "file", "document")
_CALL_KEYS = ("toolcalls", "toolcall", "functioncalls", "functioncall")  # in small letters alone
_PART_TEXTS = ("text", "value", "content")
_RESULT_IDS = ("tool_call_id", "tool_use_id", "call_id")
_GOT_KEYS = ("content", "output", "result", "value")
_READ = frozenset(["role", "content"])
_READ_OF_RESULT = frozenset([*_READ, *_RESULT_IDS, *_GOT_KEYS, "name", "type", "is_error"])


@dataclass(frozen=True)
class Result:
    """What a call got."""

    id: str | None
    name: str | None
    text: str


@dataclass(frozen=True)
class Message:
    """One message, whatever it was written like: its results come first, then its text, then its calls."""

    role: str
    """user, assistant, tool or system."""
    text: str = ""
    calls: tuple[Written, ...] = ()
    results: tuple[Result, ...] = ()
    empty: bool = False
    """It says on purpose that it holds nothing."""


def read_message(raw: object, known: Collection[str], notes: Notes) -> Message:
    """A message of any of the writings; `known` are the names of the dialogue's tools.

    Raises:
        ValueError: what is malformed or not read.
    """
    if isinstance(raw, dict) and raw.get("role") is None and raw.get("type") in tuple(_ITEMS):
        return _read_item(raw, _ITEMS[raw["type"]], notes)
    role = get(raw, "role", str)
    kind = ROLES.get(role) or ROLES.get(role.strip().lower().replace("-", "_"))
    if kind == "assistant":
        return _read_assistant(raw, known, notes)
    if kind == "call":
        unread(raw, _READ, "messages.", notes)
        return Message("assistant", calls=tuple(_of_call_role(raw.get("content"), notes)))
    if kind == "tool":
        unread(raw, _READ_OF_RESULT, "messages.", notes)
        return Message("tool", results=tuple(_results(raw)))
    if kind is None:
        raise ValueError(f"unknown role {excerpt(role)}: it is user, assistant, tool or system")
    text, calls, results = _content(raw, kind, notes)
    if _calls_of_keys(raw, notes) or calls:
        raise ValueError(f"it has the role {role} and holds calls, which only the assistant makes")
    if found := results_in_text(text) if kind == "user" else []:
        return Message("tool", results=tuple(map(_tagged_result, found)))
    return Message(kind, text, results=tuple(results))


def _read_item(raw: dict, kind: str, notes: Notes) -> Message:
    """An item of OpenAI's Responses that is no message."""
    if kind == "thought":
        notes.left_out["reasoning"] += 1
        return Message("assistant", empty=True)
    if kind == "call":
        return Message("assistant", calls=tuple(read_calls(raw, notes)))
    unread(raw, _READ_OF_RESULT, "messages.", notes)
    return Message("tool", results=tuple(_results(raw)))


def _read_assistant(raw: dict, known: Collection[str], notes: Notes) -> Message:
    text, calls, results = _content(raw, "assistant", notes)
    if of_keys := _calls_of_keys(raw, notes):
        if calls:
            raise ValueError("its calls stand in its content and beside it: leave one of them")
        calls = of_keys
    in_text = []
    if text:
        text, in_text = calls_in_text(text, known, notes)
    if calls and in_text:
        raise ValueError("its calls stand in its text and beside it: leave one of them")
    calls = calls or in_text
    if len(calls) > MOST_CALLS:
        raise ValueError(f"{len(calls)} tool calls, over {MOST_CALLS}")
    said_to_be_empty = isinstance(raw.get("content"), str | list) or raw.get("tool_calls") == []
    empty = not text.strip() and not calls
    if empty and not said_to_be_empty:
        raise ValueError("neither content nor tool_calls")
    return Message("assistant", text, tuple(calls), tuple(results), empty)


def _of_call_role(content: object, notes: Notes) -> list[Written]:
    """The calls of a message whose role says that it holds nothing else."""
    if content is None or content == "":
        raise ValueError("content is missing")
    if isinstance(content, str) and content.lstrip().startswith("<"):
        _, calls = calls_in_text(content, (), notes)
    else:
        calls = read_calls(content, notes)
    return calls


def _content(raw: dict, role: str, notes: Notes) -> tuple[str, list[Written], list[Result]]:
    """Text, calls and results of a content: a text or a list of parts."""
    content = raw.get("content")
    if not isinstance(content, list):
        return encodable(get(raw, "content", str, "")), [], []
    said: list[str] = []
    calls: list[Written] = []
    results: list[Result] = []
    for part in content:
        kind = "text" if isinstance(part, str) else get(part, "type", str)
        if kind in _SAID:
            said.append(_said_by(part))
        elif kind in _THOUGHT:
            notes.left_out["reasoning"] += 1
        elif kind in _CALLED:
            written = next((part[key] for key in (*_PART_TEXTS, kind) if part.get(key)), part)
            calls += read_calls(written, notes)
        elif kind in _GOT:
            results += _results(part)
        else:
            raise ValueError(f"content has a part of type {excerpt(kind)}: only text is read")
    return "".join(said), calls, results


def _said_by(part: str | dict) -> str:
    if isinstance(part, str):
        return encodable(part)
    key = next((key for key in _PART_TEXTS if part.get(key) is not None), "text")
    return encodable(get(part, key, str))


def _calls_of_keys(raw: dict, notes: Notes) -> list[Written]:
    """The calls of a message's own keys; the other keys that are not read are counted."""
    calls: list[Written] = []
    for key, value in raw.items():
        if key in _READ or value is None:
            continue
        if key == "tool_calls" and not isinstance(value, list | dict | str):
            raise ValueError("tool_calls is not a list")
        if key == "tool_calls" or "".join(filter(str.isalpha, key.lower())) in _CALL_KEYS:
            found = read_calls(value, notes) if value else []
            if calls and found:
                raise ValueError("its calls stand under two keys: leave one of them")
            calls = calls or found
        elif looks_like_calls(value):
            raise ValueError(f"its key {excerpt(key)} holds what looks like a call: write tool_calls")
        else:
            notes.keys[f"messages.{key}"] += 1
    return calls


def _results(raw: dict) -> list[Result]:
    """What calls got, from a message of the tool or a part of one; its content may be any value."""
    said_id = next((get(raw, key, str) for key in _RESULT_IDS if raw.get(key) is not None), None)
    name = get(raw, "name", str, None)
    content = next((raw[key] for key in _GOT_KEYS if raw.get(key) is not None), None)
    if isinstance(content, str) and (found := results_in_text(content)):
        return [replace(_tagged_result(one), id=said_id) for one in found]
    return [Result(said_id, name, _result_text(content))]


def _result_text(content: object) -> str:
    """A text, parts of text as one, and any other value as JSON."""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return as_text(content)
    kinds = [part.get("type") for part in content]
    if found := next((kind for kind in kinds if kind in _MEDIA), None):
        raise ValueError(f"content has a part of type {excerpt(found)}: only text is read")
    if not content or any(kind not in _SAID for kind in kinds):
        return as_text(content)
    return "".join(map(_said_by, content))


def _tagged_result(text: str) -> Result:
    """What stands between `<tool_response>` tags: often an object that names the tool."""
    try:
        value = parsed(text)
    except ValueError:
        return Result(None, None, encodable(text))
    if isinstance(value, dict) and isinstance(value.get("name"), str) and "content" in value:
        return Result(None, value["name"], as_text(value["content"]))
    return Result(None, None, encodable(text))


def told_apart(result: Result) -> list[Result]:
    """The results of several calls that stand in one message as a list of objects that say whose they are;
    else the one result.
    """
    if result.id or result.name or not result.text.lstrip().startswith("["):
        return [result]
    try:
        value = parsed(result.text)
    except ValueError:
        return [result]
    whose = ("tool_call_id", "name")
    if not all(isinstance(one, dict) and "content" in one and one.keys() & set(whose) for one in value):
        return [result]
    return [Result(None, get(one, "name", str, None), as_text(one["content"])) for one in value]
