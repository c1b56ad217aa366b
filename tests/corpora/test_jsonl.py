import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajnb.corpora import files, jsonl
from trajnb.corpora.storage import dump, read_dialogues, write_dialogues
from trajnb.formatting.calls import parse, render
from trajnb.formatting.dialogue import Call, Turn
from trajnb.formatting.documents import apis_of

README = Path(__file__).parents[2] / "README.md"


def called(name="look", arguments=None, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments or {}}} | more


def assistant(*calls, **more):
    return {"role": "assistant", "tool_calls": list(calls)} | more


def tool(name="look", **more):
    return {"type": "function", "function": {"name": name} | more}


ASKED = {"role": "user", "content": "Look."}
PLAIN = {"messages": [ASKED, assistant(called())]}


def read_file(path):
    """Its dialogues, which are held out, and what was left out."""
    reading = jsonl.read_dialogues(str(path))
    return reading.dialogues, reading.held_out, reading.left_out


@pytest.fixture
def read(tmp_path):
    """A function that writes rows (or lines of bytes) to a file and reads it."""

    def read(*rows):
        path = tmp_path / "own.jsonl"
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        path.write_bytes(b"\n".join(lines) + b"\n")
        return read_file(path)

    return read


@pytest.fixture
def turns(read):
    """A function that reads one dialogue of these messages and returns its turns."""
    return lambda *messages: read({"messages": [ASKED, *messages]})[0][0].turns[1:]


def test_the_readmes_example_is_read(read):
    section = README.read_text("utf-8").partition("\n## Your own dialogues\n")[2].partition("\n## ")[0]
    row = json.loads(re.search(r"```json\n(.*?)```", section, re.DOTALL)[1])
    (dialogue,), held_out, left_out = read(row)
    assert (dialogue.id, dialogue.block, held_out) == (row["id"], row["block"], frozenset())
    assert [turn.role for turn in dialogue.turns] == ["user", "api", "ai"]
    assert dialogue.turns[1].call == Call("get_weather", {"city": "Oslo", "days": 1})
    assert dialogue.turns[1].text == '{"rain_mm": 4}'
    assert apis_of(dialogue.documents)["get_weather"].names == ("city", "days")
    assert set(left_out.values()) == {0}


def test_calls_of_one_message_are_made_together_and_stay_so_when_stored(read, tmp_path):
    messages = [assistant(called("a"), called("b")), assistant(called("c"), content="And now?")]
    dialogues, held_out, _ = read({"messages": [ASKED, *messages, assistant(called("d"))]})
    places = {turn.call.name: turn.together for turn in dialogues[0].turns if turn.call}
    assert places == {"a": False, "b": True, "c": False, "d": False}
    write_dialogues(tmp_path / "stored.jsonl", dialogues, held_out, "a test")
    stored, _ = read_dialogues(tmp_path / "stored.jsonl")
    assert [turn.together for turn in stored[0].turns] == [turn.together for turn in dialogues[0].turns]
    one_by_one = [replace(turn, together=False) for turn in dialogues[0].turns]
    apart = dump([replace(dialogues[0], turns=tuple(one_by_one))], held_out)
    assert dump(dialogues, held_out)[0].replace(", true]", "]") == apart[0], "other lines stay as they were"


def test_content_and_calls_become_turns_in_order(turns):
    calls = [called("a", {"x": 1}, id="1"), called("b", '{"y": [true, null]}', id="2")]
    said = turns(
        assistant(*calls, content="Two things."),
        {"role": "tool", "tool_call_id": "2", "content": "second"},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "first"}]},
        {"role": "assistant", "content": "Done."},
    )
    assert said == (
        Turn("ai", "Two things."),
        Turn("api", "first", Call("a", {"x": 1})),
        Turn("api", "second", Call("b", {"y": [True, None]})),
        Turn("ai", "Done."),
    )


def test_results_without_ids_go_by_name_and_then_by_order(turns):
    calls = assistant(called("a"), called("b"), called("a"))
    results = [{"role": "tool", "content": text} for text in ("first a", "second a")]
    said = turns(calls, {"role": "tool", "name": "b", "content": "b"}, *results)
    assert [turn.text for turn in said] == ["first a", "b", "second a"]


def test_a_call_without_a_result_has_an_empty_response(turns):
    said = turns(assistant(called("a")), ASKED, assistant(called("b")), {"role": "tool", "content": "b's"})
    assert [(turn.role, turn.text) for turn in said] == [("api", ""), ("user", "Look."), ("api", "b's")]


def test_documents_are_one_line_each_in_the_form_of_all_corpora(read):
    properties = {"a": {"$ref": "#/$defs/A"}, "b": {"type": "string", "description": "one\ntwo ä"}}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    some = tool("some", description="Some.", parameters=schema | {"required": ["b"], "$defs": {"A": {}}})
    every = tool("every", parameters=schema | {"required": ["b", "a"]})
    ((dialogue,), _, _) = read(PLAIN | {"tools": [some, every, tool("none")]})
    assert not any("\n" in document for document in dialogue.documents)
    partly = {"required": ["b"], "$defs": {"A": {}}}
    assert [json.loads(document) for document in dialogue.documents] == [
        {"name": "some", "description": "Some.", "parameters": properties} | partly,
        {"name": "every", "description": "", "parameters": properties},
        {"name": "none", "description": "", "parameters": {}},
    ]


def test_ids_blocks_and_sides_may_be_said(read):
    rows = [
        PLAIN,
        PLAIN | {"id": 7, "block": "mail", "held_out": True},
        PLAIN | {"id": None, "held_out": False},
    ]
    dialogues, held_out, _ = read(rows[0], b"", *rows[1:])
    assert [(d.id, d.block) for d in dialogues] == [("line-1", ""), ("7", "mail"), ("line-4", "")]
    assert held_out == {"7"}


def test_what_is_left_out_is_counted(read):
    system = {"role": "system", "content": "Be kind."}
    silent = {"messages": [system, ASKED, {"role": "assistant", "content": "Hello."}]}
    dialogues, _, left_out = read({"messages": [system, *PLAIN["messages"]]}, silent)
    assert [turn.role for turn in dialogues[0].turns] == ["user", "api"] and len(dialogues) == 1
    assert left_out == {"system_messages": 2, "dialogues_without_call": 1}


def test_what_is_read_can_be_stored(read, tmp_path):
    arguments = {"text": 'it\'s "so"\n\u2028', "class": [1.5, {"from": None}], "n": -3}
    dialogues, held_out, _ = read(b"\xef\xbb\xbf" + json.dumps(PLAIN).encode() + b"\r", {
        "held_out": True, "messages": [ASKED, assistant(called("look", arguments))], "tools": [tool()]
    })  # fmt: skip
    assert dialogues[1].turns[1].call.arguments == arguments
    write_dialogues(tmp_path / "stored.jsonl", dialogues, held_out, "test")
    assert read_dialogues(tmp_path / "stored.jsonl") == (dialogues, held_out)


@pytest.mark.parametrize(
    "name, key",
    [
        ("get-tide", "port-name"),
        ("sea.get_tide", "$filter"),
        ("mcp__sea-srv__get_tide", "Hafen_ä"),
        ("Get the tide", "two words"),
        ("exec(open('x').read())#", "__import__('os')"),  # a text like any other
        ("天气", ""),
    ],
)
def test_any_text_is_the_name_of_a_function_and_of_an_argument(read, name, key):
    schema = {"type": "object", "properties": {key: {"type": "string"}}}
    row = messages(assistant(called(name, {key: "Brest"}))) | {"tools": [tool(name, parameters=schema)]}
    ((dialogue,), _, _) = read(row)
    call = dialogue.turns[1].call
    assert call == Call(name, {key: "Brest"}) and parse(render(call)) == call
    assert apis_of(dialogue.documents)[name].names == (key,)


def messages(*rest):
    return {"messages": [ASKED, *rest]}


MALFORMED = {
    "not JSON: Expecting value at column 1": b"hello",
    "not UTF-8 at byte 3": b'{"\xff": 1}',
    "not a JSON object": [],
    "nested too deeply": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "message 1: it holds half of a surrogate pair": {"messages": [{"role": "user", "content": "\ud800"}]},
    "message 1: not an object": b'{"messages": [1e999]}',
    "message 2: tool call 1: .*: arguments.x is inf, which is no number": messages(
        assistant(called("look", '{"x": 1e999}'))
    ),
    "Exceeds the limit": b'{"messages": [' + b"1" * 5_000 + b"]}",
    "longer than 2,000,000 bytes": b'"' + b"x" * 4_500_000 + b'"',
    "messages is missing": {"id": "a"},
    "messages is empty": {"messages": []},
    "messages is not a list": {"messages": {"role": "user"}},
    "message 2: not an object": messages("hello"),
    "message 2: role is missing": messages({"content": "x"}),
    "message 2: unknown role 'robot': it is user, assistant, tool or": messages({"role": "robot"}),
    "message 2: content is missing": messages({"role": "user", "content": ""}),
    "message 2: content is not a text": messages({"role": "user", "content": 3}),
    "message 2: content has a part of type 'image_url'": messages(
        {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}
    ),
    "message 2: neither content nor tool_calls": messages({"role": "assistant", "content": None}),
    "message 2: a tool result without a call": messages({"role": "tool", "content": "x"}),
    "message 3: a tool result without a call": messages(
        assistant(called(id="1")), {"role": "tool", "content": "x", "tool_call_id": "2"}
    ),
    "message 4: a tool result without a call": messages(
        assistant(called()), ASKED, {"role": "tool", "content": "late"}
    ),
    "message 2: 101 tool calls, over 100": messages(assistant(*[called()] * 101)),
    "message 2: tool call 1: function is missing": messages(assistant({"nam": "look", "arguments": {}})),
    "message 2: tool call 1: type 'custom': only a function": messages(assistant(called(type="custom"))),
    "message 2: tool call 2: arguments: not a JSON object": messages(assistant(called(), called("a", "[1]"))),
    "message 2: tool call 1: arguments: not JSON": messages(assistant(called("look", "{'a': 1}"))),
    "message 2: tool call 1: arguments: arguments is not a text": messages(assistant(called("look", [1]))),
    "message 2: tool call 1: a call names no API": messages(assistant(called(""))),
    "message 2: tool call 1: .*'xxx": messages(assistant(called("x" * 100_000 + "-"))),
    "message 2: tool call 1: a call of 'look' that cannot be": messages(
        assistant(called("look", {"a": "x" * 30_000}))
    ),
    "tools is not a list": PLAIN | {"tools": {"look": {}}},
    "tool 1: function is missing": PLAIN | {"tools": [{"nam": "look", "parameters": {}}]},
    "tool 1: a call names no API": PLAIN | {"tools": [tool("")]},
    "tool 2: there are two of the name 'look'": PLAIN | {"tools": [tool(), tool()]},
    "tool 1: parameters is no JSON schema": PLAIN | {"tools": [tool(parameters={"city": {}})]},
    "id is neither a text nor a whole number": PLAIN | {"id": ["a"]},
    "held_out is not true or false": PLAIN | {"held_out": "yes"},
    r"block '\.\./up' is no name of at most 60": PLAIN | {"block": "../up"},
}


@pytest.mark.parametrize("message, row", MALFORMED.items(), ids=range(len(MALFORMED)))
def test_a_malformed_line_is_named(read, message, row):
    with pytest.raises(ValueError, match=rf"own\.jsonl: lines to mend: 1\nline 2: {message}") as raised:
        read(PLAIN, row, PLAIN)
    assert len(str(raised.value).splitlines()[1]) < 350  # whatever the line holds


def test_all_malformed_lines_are_named_or_counted(read):
    with pytest.raises(ValueError) as raised:
        read(PLAIN | {"id": "a"}, b"{", PLAIN, PLAIN | {"id": "a"}, *[b"{"] * 20)
    first, *lines, last = str(raised.value).splitlines()
    assert first.endswith("own.jsonl: lines to mend: 22") and last == "and 12 more"
    assert [line.split(":")[0] for line in lines] == ["line 2", *(f"line {n}" for n in range(4, 13))]
    assert lines[1] == "line 4: its id 'a' is also that of line 1"


def test_a_file_without_anything_to_learn_is_an_error(read, tmp_path):
    with pytest.raises(ValueError, match="holds no dialogue with a tool call"):
        read({"messages": [ASKED]})
    with pytest.raises(ValueError, match="holds no dialogue"):
        read(b"")
    for path in (tmp_path, tmp_path / "missing.jsonl"):
        with pytest.raises(ValueError, match=f"{path} is no file: corpus_path must name a file"):
            read_file(path)


def test_a_line_as_long_as_the_limit_is_read(read, monkeypatch):
    line = json.dumps(PLAIN).encode()
    monkeypatch.setattr(files, "ROW_LIMIT", len(line) + 1)  # with its line break
    assert len(read(line, line)[0]) == 2
    with pytest.raises(ValueError, match="line 2: longer than"):
        read(line, line + b" ", line)


WHOLE = {
    "id": "a", "block": "b", "held_out": False, "tools": [
        tool(description="x", parameters={"type": "object", "properties": {"p": {}}, "required": ["p"]})
    ],
    "messages": [ASKED, assistant(called(arguments={"p": 1}, id="1")), {"role": "tool", "tool_call_id": "1"}],
}  # fmt: skip
WORDS = (
    st.sampled_from(["system", "type", "text", "function", "arguments", "look", "{}", "[", "../x"])
    | st.text()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
)


def places(value, way=()):
    """The ways to all values within a JSON value."""
    yield way
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places(inner, (*way, key))


@settings(max_examples=200, deadline=None)
@given(way=st.sampled_from(list(places(WHOLE))), value=VALUES)
def test_any_value_anywhere_is_read_or_named(way, value):
    root = [json.loads(json.dumps(WHOLE))]
    holder = root
    for key in (0, *way)[:-1]:
        holder = holder[key]
    holder[(0, *way)[-1]] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "own.jsonl")
        path.write_text("\n".join(map(json.dumps, [PLAIN, *root])))
        try:
            dialogues, held_out, _ = read_file(path)
        except ValueError as error:
            assert re.search(r"lines to mend: 1\nline 2: ", str(error))
        else:
            write_dialogues(path, dialogues, held_out, "test")
            assert read_dialogues(path) == (dialogues, held_out)
