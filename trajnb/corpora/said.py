"""Calls, results and tools that stand in text: what a model's chat template writes, kept as a message.

Read are objects of JSON between tags such as `<tool_call>` and behind marks such as `[TOOL_CALLS]`, and a
text that is nothing but calls, as JSON or in this project's grammar. A text that opens a call in a way that
is not read here is refused, for to pass it over would lose the call.
"""

import json
import re
from collections.abc import Collection, Iterator

from trajnb.corpora.tools import Written, looks_like_calls, looks_like_tool, read_calls
from trajnb.corpora.values import Notes, parsed
from trajnb.formatting.calls import CallSyntaxError, parse_all

_MAY_OPEN = re.compile(r"[<\[{]|Action:")
_TAGGED = re.compile(
    r"<(tool_call|tool_calls|function_call|function_calls|functioncall|tool_use)>(.*?)(?:</\1>|(?=<\1>)|\Z)",
    re.DOTALL,
)
_MARKED = re.compile(r"(?:\[TOOL_CALLS\]|<\|python_tag\|>|<\|tool_calls?\|>)(.*)", re.DOTALL)
_FENCED = re.compile(r"```(?:json|tool_call|tool_code)?\s*\n(.*?)\n?\s*```", re.DOTALL).fullmatch
_BRACKETED = re.compile(r"\[\s*([\w.-]+)\(.*\)\s*\]", re.DOTALL).fullmatch
_ONE_OF_LIST = re.compile(r"(?:^\[|\)\s*,)\s*[\w.-]+\(")
_OPENS_CALL = re.compile(
    r"<tool_call|<function_call|<functioncall|<function=|<invoke name=|<tool_use|<\|tool_call|\[TOOL_CALLS\]"
    r"|<\|python_tag\|>|<｜tool|^Action:.*\n+Action Input:",
    re.MULTILINE,
)
_END = re.compile(r"<\|(?:endoftext|im_end|eot_id|eom_id)\|>|</s>")
_QUOTED_ARGUMENTS = re.compile(r"(\"arguments\"\s*:\s*)'(.*)'(\s*\})\s*", re.DOTALL).search  # of Glaive
_RESULT = re.compile(r"\s*<tool_response>(.*?)</tool_response>\s*", re.DOTALL)
_TOOLS = re.compile(r"<tools>(.*?)</tools>", re.DOTALL).search
MOST_STARTS = 500  # places of a system text at which a tool is looked for


def calls_in_text(text: str, known: Collection[str], notes: Notes) -> tuple[str, list[Written]]:
    """What a text of the assistant says beside its calls, and these.

    Args:
        known: names of the dialogue's tools; where there are any, a bracketed text counts as a call only
            if it calls these.

    Raises:
        ValueError: it opens a call that cannot be read.
    """
    if not _MAY_OPEN.search(text):
        return text, []
    said, calls = text, []
    if tagged := list(_TAGGED.finditer(text)):
        said = _TAGGED.sub("", text)
        calls = [call for match in tagged for call in _read(match[2], notes)]
    elif marked := _MARKED.search(text):
        said, calls = text[: marked.start()], _read(marked[1], notes)
    else:
        fenced = _FENCED(text.strip())
        whole = fenced[1] if fenced else text.strip()
        if whole[:1] in ("{", "[") and (calls := _whole(whole, known, notes)):
            said = ""
    if _OPENS_CALL.search(said):
        opened = _OPENS_CALL.search(said)[0][:20]
        raise ValueError(f"its text opens a call, {opened!r}, in a form that is not read: write tool_calls")
    if calls:
        notes.read_as["calls_in_text"] += len(calls)
        said = _END.sub("", said).strip()
    return said, calls


def results_in_text(text: str) -> list[str]:
    """The texts between `<tool_response>` tags, where a text is nothing but these."""
    if "<tool_response>" not in text:
        return []
    results = [match[1].strip() for match in _RESULT.finditer(text)]
    return results if not _RESULT.sub("", text).strip() else []


def tools_in_text(text: str) -> list[dict]:
    """The tools that a system text describes in JSON, between `<tools>` tags where it has these."""
    tagged = _TOOLS(text)
    return list(_tools(tagged[1] if tagged else text))


def _tools(text: str) -> Iterator[dict]:
    decoder, position = json.JSONDecoder(), 0
    for _ in range(MOST_STARTS):
        starts = [place for place in (text.find("{", position), text.find("[", position)) if place >= 0]
        if not starts:
            return
        try:
            value, position = decoder.raw_decode(text, min(starts))
        except (ValueError, RecursionError):
            position = min(starts) + 1
            continue
        yield from filter(looks_like_tool, value if isinstance(value, list) else [value])


def _read(text: str, notes: Notes) -> list[Written]:
    """The calls of a text that holds nothing else: JSON values, one behind another."""
    text = _END.sub("", text).strip().strip(";").strip()
    if quoted := _QUOTED_ARGUMENTS(text):
        rest = text[: quoted.start()], quoted[1], json.dumps(quoted[2]), quoted[3], text[quoted.end() :]
        text = "".join(rest)
    if not looks_like_calls(value := _values(text)):
        raise ValueError("its text opens a call that is no object with name and arguments: write tool_calls")
    return read_calls(value, notes)


def _values(text: str) -> object:
    """One JSON value, or the list of those that stand on lines of their own."""
    try:
        return parsed(text)
    except ValueError:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [parsed(line) for line in lines]


def _whole(text: str, known: Collection[str], notes: Notes) -> list[Written]:
    """The calls that a text is, none where it is something else."""
    if opened := _BRACKETED(text):
        return _bracketed(text, opened[1], known)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return read_calls(value, notes) if looks_like_calls(value) else []


def _bracketed(text: str, first: str, known: Collection[str]) -> list[Written]:
    if known and first not in known:
        return []
    try:
        calls = parse_all(text)
    except CallSyntaxError:
        calls = ()
    if len(calls) != len(_ONE_OF_LIST.findall(text)) or any(call.positional for call in calls):
        raise ValueError(f"its text opens a call of {first[:60]!r} that cannot be read: write tool_calls")
    return [Written(None, call.name, call.arguments) for call in calls]
