"""The layouts of rows that are read: which keys a row has, and how it becomes messages and tools.

A layout is known by keys of a row that hold something, and where layouts share these, by how its messages
are written. Its function renames; what a message means `messages` reads. To read another layout, add a
function and a line to `LAYOUTS`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trajnb.corpora.values import get, parsed, within

LISTS = ("messages", "conversations", "conversation", "dialogue", "dialog", "trajectory")
"""What the list of messages is called."""
TOOLS = ("tools", "functions", "function", "available_tools")
"""What the list of tools is called."""
_TEMPLATE_MARKS = ("<|im_start|>", "<|start_header_id|>", "[INST]", "<start_of_turn>", "<|user|>")


@dataclass(frozen=True)
class Row:
    """A row of any layout, as the one reader takes it."""

    messages: object
    tools: object
    """As the row has them."""
    rest: dict
    """The other keys."""
    learnt_from: int = 0
    """How many messages stand before the first whose calls are learnt and asked for."""


@dataclass(frozen=True)
class Layout:
    """A way to write dialogues down."""

    name: str
    keys: tuple[str, ...]
    """All of them hold something."""
    has: Callable[[Mapping, "Marks"], bool]
    """Whether a row with these keys is of this layout and not of a later one."""
    read: Callable[[dict], Row]
    documented: str


@dataclass(frozen=True)
class Marks:
    """How the messages of a row are written."""

    roles: frozenset[str]
    keys: frozenset[str]
    parts: frozenset[str]
    """Types of the parts of contents."""
    tagged: bool
    """A text holds `<tool_call>`."""


NO_MARKS = Marks(frozenset(), frozenset(), frozenset(), False)


def layout_of(row: Mapping) -> Layout | None:
    """The layout of a row, None where it has the keys of none.

    Raises:
        ValueError: it has the keys of two.
    """
    held = {key for key, value in row.items() if value is not None}
    named = [key for key in LISTS if isinstance(row.get(key), list)]
    if len(named) > 1:
        raise ValueError(f"both {named[0]} and {named[1]} hold messages: leave one of them")
    kinds = [kind for kind in _KINDS if held.issuperset(kind) and (len(kind) > 1 or not named)]
    if named and kinds:
        raise ValueError(
            f"both {named[0]} and {' with '.join(kinds[0])} hold a dialogue: leave one of them"
        )
    if kinds:
        return next(layout for layout in LAYOUTS if layout.keys == kinds[0])
    key = next((key for key in LISTS if key in held), None)
    if key is None:
        return None
    marks = _marks(row[key]) if isinstance(row[key], list) else NO_MARKS
    return next(layout for layout in LAYOUTS if not layout.keys and layout.has(row, marks))


def known() -> str:
    """The layouts that are read, in words."""
    lists = f"a list of messages ({', '.join(LISTS[:3])})"
    return "; ".join([lists, *(" with ".join(kind) for kind in _KINDS)])


def _marks(messages: list) -> Marks:
    roles, keys, parts, tagged = set(), set(), set(), False
    for message in messages:
        if not isinstance(message, dict):
            continue
        keys |= message.keys()
        role = message.get("role", message.get("from"))
        roles.add(role if isinstance(role, str) else "")
        content = message.get("content", message.get("value"))
        if isinstance(content, str):
            tagged = tagged or "<tool_call>" in content
        elif isinstance(content, list):
            parts |= {str(part.get("type")) for part in content if isinstance(part, dict)}
    return Marks(frozenset(roles), frozenset(keys), frozenset(parts), tagged)


def _split(row: Mapping, *names: str) -> tuple[list, dict]:
    """The values of some keys, and the row without them."""
    return [row.get(name) for name in names], {k: v for k, v in row.items() if k not in names}


def _tools_and_rest(rest: dict) -> tuple[object, dict]:
    """The tools of a row, and the row without them.

    Raises:
        ValueError: two keys hold different tools.
    """
    found = {key: rest[key] for key in TOOLS if rest.get(key) not in (None, "", [])}
    values = [_bare(value) for value in found.values()]
    if any(value != values[0] for value in values):
        raise ValueError(f"{' and '.join(found)} hold different tools: leave one of them")
    tools = next(iter(found.values()), next((rest[key] for key in TOOLS if key in rest), None))
    return tools, {key: value for key, value in rest.items() if key not in TOOLS}


def _bare(tools: object) -> object:
    """Tools without their wrappers, to be compared."""
    if isinstance(tools, str):
        tools = parsed(tools)
    if not isinstance(tools, list):
        return tools
    return [one.get("function", one) if isinstance(one, dict) else one for one in tools]


def read_messages(row: dict) -> Row:
    """A list of messages, by whatever of the usual names, with `role` and `content` or `from` and `value`."""
    key = next((key for key in LISTS if row.get(key) is not None), "messages")
    (messages, system), rest = _split(row, key, "system")
    if isinstance(messages, str):
        with within(key):
            messages = parsed(messages)
    messages = get({key: messages}, key, list)
    if any(isinstance(message, dict) and "from" in message for message in messages):
        messages = [_from_sharegpt(message) for message in messages]
    if system:
        messages = [{"role": "system", "content": system}, *messages]
    tools, rest = _tools_and_rest(rest)
    return Row(messages, tools, rest)


def _from_sharegpt(message: object) -> object:
    if not isinstance(message, dict) or "from" not in message:
        return message
    renamed = {"from": "role", "value": "content"}
    return {renamed.get(key, key): value for key, value in message.items()}


def read_prompt_and_completion(row: dict) -> Row:
    """`prompt` and `completion`, both texts or both lists of messages. Only calls of the completion are
    learnt and asked for.
    """
    (prompt, completion), rest = _split(row, "prompt", "completion")
    before = _as_messages(prompt, "user", "prompt")
    tools, rest = _tools_and_rest(rest)
    after = _as_messages(completion, "assistant", "completion")
    return Row([*before, *after], tools, rest, len(before))


def _as_messages(value: object, role: str, key: str) -> list:
    if isinstance(value, str):
        if mark := next((mark for mark in _TEMPLATE_MARKS if mark in value), None):
            raise ValueError(f"{key} is a text that a chat template wrote ({mark!r}): give its messages")
        return [{"role": role, "content": value}]
    return [value] if isinstance(value, dict) else get({key: value}, key, list)


def read_instruction(row: dict) -> Row:
    """Alpaca's `instruction`, `input` and `output`, with a `history` of pairs and a `system` text."""
    (system, history, asked, given, answer), rest = _split(
        row, "system", "history", "instruction", "input", "output"
    )
    messages = [{"role": "system", "content": system}] if system else []
    for pair in history or []:
        before = zip(("user", "assistant"), pair, strict=False)
        messages += [{"role": role, "content": text} for role, text in before]
    if isinstance(asked, str) and isinstance(given, str) and given:
        asked = f"{asked}\n{given}"
    tools, rest = _tools_and_rest(rest)
    answer = _as_messages(answer, "assistant", "output")
    return Row([*messages, *_as_messages(asked, "user", "instruction"), *answer], tools, rest)


def read_query_and_answers(row: dict) -> Row:
    """xLAM's `query`, `tools` and `answers`, a list of calls or its JSON text."""
    (query, answers), rest = _split(row, "query", "answers")
    called = {"role": "assistant", "tool_calls": answers, "content": ""}
    tools, rest = _tools_and_rest(rest)
    return Row([{"role": "user", "content": query}, called], tools, rest)


def read_responses(row: dict) -> Row:
    """OpenAI's Responses: items of `input` and `output`, calls and results among them."""
    (before, after, instructions), rest = _split(row, "input", "output", "instructions")
    messages = _as_messages(before, "user", "input")
    messages = [*messages, *(_as_messages(after, "assistant", "output") if after else [])]
    if instructions:
        messages = [{"role": "system", "content": instructions}, *messages]
    tools, rest = _tools_and_rest(rest)
    return Row(messages, tools, rest)


def read_contents(row: dict) -> Row:
    """Gemini's `contents` with `parts`: `text`, `functionCall` and `functionResponse`."""
    (contents, system), rest = _split(row, "contents", "systemInstruction")
    messages = [{"role": "system", "content": _text_of(system)}] if system else []
    for content in get({"contents": contents}, "contents", list):
        role = "assistant" if get(content, "role", str, "user") == "model" else "user"
        parts = [_gemini_part(part) for part in get(content, "parts", list)]
        messages.append({"role": role, "content": parts})
    tools, rest = _tools_and_rest(rest)
    return Row(messages, tools, rest)


def _text_of(system: object) -> object:
    if not isinstance(system, dict):
        return system
    return "".join(get(part, "text", str, "") for part in get(system, "parts", list))


def _gemini_part(part: object) -> object:
    if not isinstance(part, dict):
        return part
    snake = {"function_call": "functionCall", "function_response": "functionResponse"}
    held = {snake.get(key, key): value for key, value in part.items() if value is not None}
    if isinstance(call := held.get("functionCall"), dict):
        return {"type": "tool_call", "value": call}
    if isinstance(result := held.get("functionResponse"), dict):
        ids = {"tool_call_id": result["id"]} if "id" in result else {}
        return {"type": "tool_result", "name": result.get("name"), "content": result.get("response")} | ids
    if "text" in held:
        return {"type": "reasoning" if held.get("thought") is True else "text", "text": held["text"]}
    return {"type": next(iter(held), "nothing")}


def read_system_and_chat(row: dict) -> Row:
    """Glaive's texts `system` and `chat`, whose lines begin with USER, ASSISTANT and FUNCTION RESPONSE."""
    (system, chat), rest = _split(row, "system", "chat")
    messages = [{"role": "system", "content": system}] if system else []
    marks = {"USER:": "user", "ASSISTANT:": "assistant", "FUNCTION RESPONSE:": "tool"}
    for line in get({"chat": chat}, "chat", str).split("\n"):
        mark = next((mark for mark in marks if line.lstrip().startswith(mark)), None)
        if mark:
            messages.append({"role": marks[mark], "content": line.lstrip().removeprefix(mark).strip()})
        elif messages and line.strip():
            messages[-1]["content"] = f"{messages[-1]['content']}\n{line}".strip()
    for message in messages:
        message["content"] = str(message["content"]).removesuffix("<|endoftext|>").strip()
    tools, rest = _tools_and_rest(rest)
    return Row([message for message in messages if message["content"]], tools, rest)


def read_bfcl(row: dict) -> Row:
    """BFCL's `question`, `function` and, from the file of answers, `ground_truth`: what may stand for
    each argument, of which the first is taken; the empty text says that it may be left out.
    """
    if row.get("involved_classes") is not None:
        raise ValueError("it is of BFCL's multi-turn files, which `corpus: bfcl` reads")
    (question, function, truth), rest = _split(row, "question", "function", "ground_truth")
    turns = get({"question": question}, "question", list)
    messages = [message for turn in turns for message in (turn if isinstance(turn, list) else [turn])]
    calls = []
    for call in truth or []:
        for name, arguments in (call.items() if isinstance(call, dict) else ()):
            chosen = {key: _chosen(values) for key, values in arguments.items()}
            kept = {key: value for key, value in chosen.items() if value is not _LEFT_OUT}
            calls.append({"name": name, "arguments": kept})
    if calls:
        messages = [*messages, {"role": "assistant", "tool_calls": calls}]
    return Row(messages, function, rest)


_LEFT_OUT = object()


def _chosen(alternatives: object) -> object:
    """The first of the values that may stand for an argument; in an object, each has alternatives."""
    if not isinstance(alternatives, list) or not alternatives:
        return alternatives
    first = alternatives[0]
    if first == "":
        return _LEFT_OUT if len(alternatives) > 1 else ""
    if isinstance(first, list):
        return [_members(one) if isinstance(one, dict) else one for one in first]
    return _members(first) if isinstance(first, dict) else first


def _members(value: dict) -> dict:
    chosen = {key: _chosen(inner) for key, inner in value.items()}
    return {key: inner for key, inner in chosen.items() if inner is not _LEFT_OUT}


def bfcl_answers(path: Path) -> dict[str, list]:
    """What BFCL's file of answers says, by id; it stands in `possible_answer` beside the questions.

    Raises:
        ValueError: it is not there, or not one of answers.
    """
    file = path.parent / "possible_answer" / path.name
    if not file.is_file():
        raise ValueError(
            f"{path} holds BFCL's questions without their calls: put the file of the same name from "
            f"its folder possible_answer at {file}"
        )
    try:
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
        return {str(row["id"]): row["ground_truth"] for row in rows}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file} holds no rows with id and ground_truth") from None


_TRL = "https://huggingface.co/docs/trl/dataset_formats"
_FACTORY = "https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md"
_ANTHROPIC_PARTS = frozenset(["tool_use", "tool_result"])


def _always(row: Mapping, marks: Marks) -> bool:
    return True


def _is_anthropic(row: Mapping, marks: Marks) -> bool:
    tools = row.get("tools")
    described = isinstance(tools, list) and any(isinstance(t, dict) and "input_schema" in t for t in tools)
    return bool(marks.parts & _ANTHROPIC_PARTS) or described


LAYOUTS = (
    Layout("BFCL, single turn", ("question", "function"), _always, read_bfcl,
           "https://github.com/ShishirPatil/gorilla/tree/main/berkeley-function-call-leaderboard"),
    Layout("xLAM", ("query", "answers"), _always, read_query_and_answers,
           "https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k"),
    Layout("prompt and completion", ("prompt", "completion"), _always, read_prompt_and_completion, _TRL),
    Layout("Alpaca", ("instruction", "output"), _always, read_instruction, _FACTORY),
    Layout("Gemini", ("contents",), _always, read_contents,
           "https://ai.google.dev/gemini-api/docs/function-calling"),
    Layout("Glaive", ("chat",), _always, read_system_and_chat,
           "https://huggingface.co/datasets/glaiveai/glaive-function-calling-v2"),
    Layout("OpenAI Responses", ("input",), _always, read_responses,
           "https://platform.openai.com/docs/guides/function-calling"),
    Layout("Anthropic messages", (), _is_anthropic, read_messages,
           "https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview"),
    Layout("Hermes text", (), lambda row, marks: marks.tagged, read_messages,
           "https://huggingface.co/datasets/NousResearch/hermes-function-calling-v1"),
    Layout("ShareGPT", (), lambda row, marks: "from" in marks.keys, read_messages, _FACTORY),
    Layout("ms-swift", (), lambda row, marks: bool(marks.roles & {"tool_call", "tool_response"}),
           read_messages, "https://swift.readthedocs.io/en/latest/Instruction/Agent-support.html"),
    Layout("OpenAI messages with functions", (),
           lambda row, marks: "function_call" in marks.keys or row.get("functions") is not None,
           read_messages, "https://platform.openai.com/docs/api-reference/chat"),
    Layout("OpenAI messages", (), _always, read_messages, _TRL),
)  # fmt: skip
"""Of those without keys, which hold a list of messages, the first that a row has."""

_KINDS = [layout.keys for layout in LAYOUTS if layout.keys]
