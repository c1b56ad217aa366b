"""Every layout, and every writing within one, is brought to the same dialogue."""

import copy
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajnb.corpora import jsonl, layouts
from trajnb.formatting.dialogue import Call, Turn
from trajnb.formatting.documents import apis_of

SCHEMA = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
BARE = {"name": "get_tide", "description": "Tide at a port.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": BARE}
ASKED = {"role": "user", "content": "Tide at Brest?"}
CALLED = {"name": "get_tide", "arguments": {"port": "Brest"}}
ANSWERED = {"role": "assistant", "content": "At 05:12."}
TURNS = (
    Turn("user", "Tide at Brest?"),
    Turn("api", "05:12", Call("get_tide", {"port": "Brest"})),
    Turn("ai", "At 05:12."),
)


def calling(*calls, **more):
    return {"role": "assistant", "content": None, "tool_calls": list(calls)} | more


def got(text="05:12", **more):
    return {"role": "tool", "content": text} | more


def wrapped(call=CALLED, **more):
    return {"type": "function", "function": call} | more


MESSAGES = [ASKED, calling(wrapped(id="c1")), got(tool_call_id="c1"), ANSWERED]
OPENAI = {"tools": [TOOL], "messages": MESSAGES}
SHAREGPT = [
    {"from": "human", "value": "Tide at Brest?"},
    {"from": "function_call", "value": json.dumps(CALLED)},
    {"from": "observation", "value": "05:12"},
    {"from": "gpt", "value": "At 05:12."},
]
TAGGED = f"<tool_call>\n{json.dumps(CALLED)}\n</tool_call>"
HERMES_SYSTEM = f"You call functions. <tools>\n{json.dumps(TOOL)}\n</tools> Answer in <tool_call> tags."
ANTHROPIC = {
    "system": "Be brief.",
    "tools": [{"name": "get_tide", "description": "Tide at a port.", "input_schema": SCHEMA}],
    "messages": [
        ASKED,
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "get_tide", "input": {"port": "Brest"}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "05:12"}]}
            ],
        },
        ANSWERED,
    ],
}
WHOLE = {  # name in the account -> rows that all hold the same dialogue
    "OpenAI messages": [
        OPENAI,
        OPENAI | {"tools": json.dumps([TOOL])},
        OPENAI | {"tools": [BARE]},
        OPENAI | {"tools": [{"type": "function", **BARE}]},
        OPENAI | {"tools": [json.dumps(TOOL)]},
        {"tools": [TOOL], "conversations": MESSAGES},
        OPENAI | {"messages": json.dumps(MESSAGES)},
        OPENAI | {"messages": [ASKED, calling(CALLED), got(), ANSWERED]},
    ],
    "OpenAI messages with functions": [
        {
            "functions": [BARE],
            "messages": [
                ASKED,
                {"role": "assistant", "content": None, "function_call": wrapped()["function"]},
                {"role": "function", "name": "get_tide", "content": "05:12"},
                ANSWERED,
            ],
        },
        {"functions": [BARE], **OPENAI},
    ],
    "ShareGPT": [
        {"conversations": SHAREGPT, "tools": json.dumps([BARE])},
        {"conversations": SHAREGPT, "tools": [TOOL]},
        {"conversations": SHAREGPT, "system": "Be brief.", "tools": json.dumps([BARE])},
    ],
    "ms-swift": [
        {
            "tools": json.dumps([TOOL]),
            "messages": [
                ASKED,
                {"role": "tool_call", "content": json.dumps(CALLED)},
                {"role": "tool_response", "content": "05:12"},
                ANSWERED,
            ],
        }
    ],
    "Hermes text": [
        {
            "conversations": [
                {"from": "system", "value": HERMES_SYSTEM},
                SHAREGPT[0],
                {"from": "gpt", "value": TAGGED},
                {"from": "tool", "value": "<tool_response>\n05:12\n</tool_response>"},
                SHAREGPT[3],
            ]
        },
        OPENAI | {"messages": [ASKED, {"role": "assistant", "content": TAGGED}, got(), ANSWERED]},
        {
            "tools": [TOOL],
            "messages": [
                ASKED,
                {"role": "assistant", "content": TAGGED},
                {
                    "role": "user",
                    "content": '<tool_response>{"name": "get_tide", "content": "05:12"}</tool_response>',
                },
                ANSWERED,
            ],
        },
    ],
    "Anthropic messages": [ANTHROPIC],
    "prompt and completion": [
        {"tools": [TOOL], "prompt": [ASKED], "completion": MESSAGES[1:]},
    ],
    "OpenAI Responses": [
        {
            "tools": [{"type": "function", **BARE}],
            "input": [
                ASKED,
                {"type": "reasoning", "id": "rs_1", "summary": []},
                {
                    "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "get_tide",
                    "arguments": '{"port": "Brest"}',
                },
                {"type": "function_call_output", "call_id": "c1", "output": "05:12"},
                {"role": "assistant", "content": [{"type": "output_text", "text": "At 05:12."}]},
            ],
        }
    ],
    "Gemini": [
        {
            "tools": [{"functionDeclarations": [BARE | {"parameters": SCHEMA | {"type": "OBJECT"}}]}],
            "contents": [
                {"role": "user", "parts": [{"text": "Tide at Brest?"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "get_tide", "args": {"port": "Brest"}}}]},
                {
                    "role": "user",
                    "parts": [{"functionResponse": {"name": "get_tide", "response": "05:12"}}],
                },
                {"role": "model", "parts": [{"text": "At 05:12."}]},
            ],
        }
    ],
    "Glaive": [
        {
            "system": f"SYSTEM: You have these functions. Use them if required -\n{json.dumps(BARE, indent=1)}\n",
            "chat": "USER: Tide at Brest?\n\n\nASSISTANT: <functioncall> "
            '{"name": "get_tide", "arguments": \'{"port": "Brest"}\'} <|endoftext|>\n\n\n'
            "FUNCTION RESPONSE: 05:12\n\n\nASSISTANT: At 05:12. <|endoftext|>",
        }
    ],
}  # fmt: skip
ASKED_ONCE = {  # those that end with the call
    "xLAM": [
        {
            "query": "Tide at Brest?",
            "answers": json.dumps([CALLED]),
            "tools": json.dumps([BARE | {"parameters": {"port": {"type": "str", "description": "where"}}}]),
        }
    ],
    "Alpaca": [
        {"instruction": "Tide at Brest?", "input": "", "output": json.dumps(CALLED), "tools": [TOOL]},
        {"instruction": "Tide at", "input": "Brest?", "output": TAGGED, "tools": [TOOL]},
    ],
    "prompt and completion": [
        {"prompt": "Tide at Brest?", "completion": "[get_tide(port='Brest')]", "tools": [TOOL]},
        {"prompt": "Tide at Brest?", "completion": f"```json\n{json.dumps(CALLED)}\n```", "tools": [TOOL]},
    ],
    "BFCL, single turn": [
        {
            "id": "simple_0", "question": [[ASKED]], "function": [BARE | {"parameters": SCHEMA | {"type": "dict"}}],
            "ground_truth": [{"get_tide": {"port": ["Brest", "brest"], "unit": ["", "m"]}}],
        }
    ],
}  # fmt: skip


def cases(table):
    return [
        pytest.param(name, row, id=f"{name} {number}")
        for name, rows in table.items()
        for number, row in enumerate(rows)
    ]


@pytest.fixture
def read(tmp_path):
    """A function that writes rows to a file and returns its reading."""

    def read(*rows, **settings):
        path = tmp_path / "own.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
        return jsonl.read_dialogues(str(path), **settings)

    return read


@pytest.fixture
def turns(read):
    """A function that reads one dialogue of these messages and returns its turns behind the first."""
    return lambda *messages, tools=(TOOL,): (
        read({"tools": list(tools), "messages": [ASKED, *messages]}).dialogues[0].turns[1:]
    )


@pytest.mark.parametrize("name, row", cases(WHOLE))
def test_a_layout_is_named_and_gives_the_same_dialogue(read, name, row):
    reading = read(row)
    assert reading.account["layouts"] == {name: 1}
    (dialogue,) = reading.dialogues
    assert dialogue.turns == TURNS and dialogue.targets is None
    api = apis_of(dialogue.documents)["get_tide"]
    assert api.names == ("port",) and api.parameters[0].required
    assert api.parameters[0].types == {"string"}


@pytest.mark.parametrize("name, row", cases(ASKED_ONCE))
def test_a_row_of_one_call_is_read(read, name, row):
    reading = read(row)
    assert reading.account["layouts"] == {name: 1}
    user, call = reading.dialogues[0].turns
    assert user.text.split() == ["Tide", "at", "Brest?"]
    assert call.call == Call("get_tide", {"port": "Brest"}) and call.text == ""
    assert apis_of(reading.dialogues[0].documents)["get_tide"].parameters[0].required


@pytest.mark.parametrize("row", [row for rows in WHOLE.values() for row in rows][::3])
def test_rows_padded_by_arrow_are_of_the_same_layout(read, row):
    padded = row | dict.fromkeys(["prompt", "completion", "chat", "contents", "split", "held_out", "id"])
    assert read(row | padded | row).dialogues == read(row).dialogues


def test_two_layouts_in_one_row_and_none_are_refused(read):
    with pytest.raises(ValueError, match="both messages and conversations hold messages: leave one"):
        read(OPENAI | {"conversations": SHAREGPT}, OPENAI)
    with pytest.raises(ValueError, match="both messages and prompt with completion hold a dialogue"):
        read(OPENAI | {"prompt": "a", "completion": "b"}, OPENAI)
    with pytest.raises(
        ValueError, match=r"own\.jsonl: its keys are text, label: no layout .*; these are read: .*README"
    ) as error:
        read({"text": "a", "label": 1}, {"text": "b", "label": 2})
    assert "\n" not in str(error.value)


def test_every_layout_says_where_it_is_documented():
    assert all(layout.documented.startswith("https://") for layout in layouts.LAYOUTS)
    assert {*WHOLE, *ASKED_ONCE} == {layout.name for layout in layouts.LAYOUTS}


def test_one_sentence_on_the_file_where_all_rows_have_the_same_fault(read):
    row = {"tools": [TOOL], "messages": [{"role": "user", "content": [{"type": "image"}]}, *MESSAGES[1:]]}
    with pytest.raises(ValueError) as error:
        read(row, row, row)
    assert (
        "none of its 3 rows can be read, the first for: message 1: content has a part of type 'image'"
        in str(error.value)
    )
    assert "OpenAI messages, see https://" in str(error.value) and "\n" not in str(error.value)


def test_bfcl_questions_find_their_calls_in_the_file_of_answers(tmp_path):
    question = {"id": "parallel_0", "question": [[ASKED]], "function": [BARE]}
    file = tmp_path / "BFCL_v4_parallel.json"
    file.write_text(json.dumps(question) + "\n")
    with pytest.raises(
        ValueError, match="BFCL's questions without their calls: put the file of the same name"
    ):
        jsonl.read_dialogues(str(file))
    answers = tmp_path / "possible_answer" / file.name
    answers.parent.mkdir()
    truth = [
        {"get_tide": {"port": ["Brest"], "at": [{"day": [1, 2], "hour": [""]}]}},
        {"get_tide": {"port": ["Dover"]}},
    ]
    answers.write_text(json.dumps({"id": "parallel_0", "ground_truth": truth}) + "\n")
    turns = jsonl.read_dialogues(str(file)).dialogues[0].turns
    assert [turn.call.arguments for turn in turns[1:]] == [
        {"port": "Brest", "at": {"day": 1, "hour": ""}},
        {"port": "Dover"},
    ]
    assert [turn.together for turn in turns[1:]] == [False, True]


def test_only_calls_of_a_completion_are_learnt(read):
    second = calling(wrapped({"name": "get_tide", "arguments": {"port": "Dover"}}))
    row = {"tools": [TOOL], "prompt": [*MESSAGES, ASKED], "completion": [second]}
    (dialogue,) = read(row).dialogues
    assert [dialogue.turns[place].call.arguments["port"] for place in dialogue.targets] == ["Dover"]
    reading = read(row, {"tools": [TOOL], "prompt": MESSAGES, "completion": [ANSWERED]})
    assert reading.left_out["dialogues_without_call"] == 1


PACKED = {
    "JSON lines": lambda rows: "\n".join(map(json.dumps, rows)).encode(),
    "JSON lines, gzip": lambda rows: gzip.compress("\n".join(map(json.dumps, rows)).encode()),
    "JSON array": lambda rows: json.dumps(rows, indent=1).encode(),
    "JSON array, gzip": lambda rows: gzip.compress(b"\xef\xbb\xbf" + json.dumps(rows).encode()),
    "JSON values": lambda rows: "\n".join(json.dumps(row, indent=2) for row in rows).encode(),
}


@pytest.mark.parametrize("packing", PACKED)
def test_packings_hold_the_same_rows(tmp_path, packing):
    rows = [OPENAI | {"id": f"ä{number}"} for number in range(300)]
    path = tmp_path / "own.data"
    path.write_bytes(PACKED[packing](rows))
    reading = jsonl.read_dialogues(str(path))
    assert reading.account["packing"] == packing
    assert [d.id for d in reading.dialogues] == [row["id"] for row in rows]
    assert all(d.turns == TURNS for d in reading.dialogues)


def test_rows_of_one_line_and_rows_within_an_object_are_read(tmp_path):
    path = tmp_path / "own.json"
    for text in (json.dumps(OPENAI) * 2, json.dumps({"data": [OPENAI, OPENAI]}, indent=1)):
        path.write_text(text)
        assert len(jsonl.read_dialogues(str(path)).dialogues) == 2


@pytest.mark.parametrize(
    "content, message",
    [
        (b"PK\x03\x04...", "is a zip archive: unpack it"),
        ("{}".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        (gzip.compress(json.dumps(OPENAI).encode())[:-20], "is damaged"),
        (b"id,question\n1,what\n", "own.data: line 1: not JSON: .*; read are JSON lines, a JSON array"),
        (b'[{"messages": []}, {"messages": [}]', "item 2: not JSON: .*; nothing behind it can be read"),
        (b'[[{"role": "user"}]]', "item 1: not a JSON object"),
        (b"[" + b'"x", ' * 2_000 + b"]", "none of its 2000 rows can be read"),
        (b'[{"a": "' + b"x" * 2_100_000, "longer than 2,000,000 bytes"),
        (b"[" * 100_000, "nested too deeply|not JSON"),
    ],
)  # fmt: skip
def test_what_is_packed_otherwise_is_named(tmp_path, content, message):
    path = tmp_path / "own.data"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        jsonl.read_dialogues(str(path))
    assert len(str(error.value)) < 1500


def test_parquet_is_read_through_datasets_and_its_nulls_are_nothing(tmp_path):
    datasets = pytest.importorskip("datasets")
    wind = {"name": "get_wind", "arguments": {"knots": 12}}
    other = {"type": "function", "function": {"name": "get_wind", "parameters": {
        "type": "object", "properties": {"knots": {"type": "number"}}, "required": ["knots"]}}}  # fmt: skip
    rows = [
        OPENAI,
        {"tools": [TOOL, other], "messages": [ASKED, calling(wrapped(wind)), got("NW"), ANSWERED]},
    ]
    path = tmp_path / "own.parquet"
    datasets.Dataset.from_list(copy.deepcopy(rows)).to_parquet(str(path))
    reading = jsonl.read_dialogues(str(path))
    assert reading.account["packing"] == "parquet"
    assert [d.turns[1].call for d in reading.dialogues] == [
        Call("get_tide", {"port": "Brest"}),
        Call("get_wind", {"knots": 12}),
    ]
    assert reading.left_out["null_arguments"] == 2 and reading.left_out["null_parameters"] > 0
    apis = apis_of(reading.dialogues[1].documents)
    assert (apis["get_tide"].names, apis["get_wind"].names) == (("port",), ("knots",))
    assert "null" not in "".join(reading.dialogues[1].documents)


# writings of messages and calls


@pytest.mark.parametrize(
    "call, arguments",
    [
        (wrapped({"name": "get_tide", "arguments": '{"port": "Brest"}'}), {"port": "Brest"}),
        (wrapped({"name": "get_tide", "arguments": json.dumps('{"port": "Brest"}')}), {"port": "Brest"}),
        (wrapped({"name": "get_tide", "arguments": ""}), {}),
        (wrapped({"name": "get_tide", "arguments": None}), {}),
        (wrapped({"name": "get_tide", "arguments": "null"}), {}),
        (wrapped({"name": "get_tide"}), {}),
        (wrapped({"name": "get_tide", "args": {"port": "Brest"}}), {"port": "Brest"}),
        ({"id": "c", "name": "get_tide", "input": {"port": "Brest"}}, {"port": "Brest"}),
        ({"id": "c", "name": "get_tide", "parameters": {"port": "Brest"}}, {"port": "Brest"}),
        (json.dumps(CALLED), {"port": "Brest"}),
    ],
)
def test_one_call_has_several_writings(turns, call, arguments):
    assert turns(calling(call))[0].call == Call("get_tide", arguments)


@pytest.mark.parametrize("key", ["tool_call", "toolCalls", "function_call", "function_calls", "tool-calls"])
def test_calls_under_a_key_beside_content_are_read(turns, key):
    said = turns({"role": "assistant", "content": "Let me look.", key: CALLED})
    assert [turn.role for turn in said] == ["ai", "api"]
    assert turns({"role": "assistant", "content": "Let me look.", key: json.dumps(CALLED)}) == said


@pytest.mark.parametrize(
    "message, reason",
    [
        (
            {"role": "assistant", "content": "x", "action": CALLED},
            "key 'action' holds what looks like a call",
        ),
        ({"role": "user", "content": "x", "tool_calls": [CALLED]}, "role user and holds calls"),
        (calling(CALLED, function_call=CALLED), "its calls stand under two keys"),
        (calling(CALLED, content=TAGGED), "its calls stand in its text and beside it"),
        ({"role": "assistant", "content": "<function=get_tide>"}, "opens a call, '<function='"),
        ({"role": "assistant", "content": "Action: get_tide\nAction Input: {}"}, "opens a call"),
        ({"role": "assistant", "content": "<tool_call>get the tide</tool_call>"}, "not JSON"),
        ({"role": "assistant", "content": "[get_tide('Brest')]"}, "call of 'get_tide' that cannot be read"),
        ({"role": "assistant", "content": "[TOOL_CALLS] nothing"}, "not JSON"),
    ],
)
def test_what_carries_a_call_is_never_passed_over(read, message, reason):
    row = {"tools": [TOOL], "messages": [ASKED, message]}
    with pytest.raises(ValueError, match=reason):
        read(OPENAI, row)


@pytest.mark.parametrize(
    "text",
    [
        f"[TOOL_CALLS] [{json.dumps(CALLED)}]",
        f"<|python_tag|>{json.dumps({'name': 'get_tide', 'parameters': {'port': 'Brest'}})}<|eom_id|>",
        json.dumps([CALLED]),
        "[get_tide(port='Brest')]",
        f"<tool_call>[{json.dumps(CALLED)}]</tool_call>",
        f"<tool_call>{json.dumps(CALLED)}",
    ],
)
def test_a_call_in_text_is_read_and_counted(read, text):
    reading = read(OPENAI, {"tools": [TOOL], "messages": [ASKED, {"role": "assistant", "content": text}]})
    assert reading.dialogues[1].turns[1].call == Call("get_tide", {"port": "Brest"})
    assert reading.account["read_as"] == {"calls_in_text": 1}


@pytest.mark.parametrize(
    "text",
    [
        "See [1](https://a.b).",
        '{"tide": "05:12"}',
        "[note(see below)]",
        "Use <b>get_tide</b>.",
        "[]",
        "a < b",
    ],
)
def test_text_that_is_no_call_stays_text(turns, text):
    assert turns({"role": "assistant", "content": text}, calling(CALLED))[0] == Turn("ai", text)


def test_parts_of_content_are_read_by_their_type(read):
    parts = [
        {"type": "reasoning", "value": "I need the tide."},
        {"type": "text", "value": "One moment."},
        {"type": "tool_call", "value": json.dumps(CALLED)},
    ]
    user = {"role": "user", "content": [{"type": "text", "value": "Tide at Brest?"}]}
    result = got([{"type": "text", "value": "05:12"}])
    reading = read({"tools": [TOOL], "messages": [user, {"role": "assistant", "content": parts}, result]})
    assert reading.dialogues[0].turns == (TURNS[0], Turn("ai", "One moment."), TURNS[1])
    assert reading.left_out["reasoning"] == 1


@pytest.mark.parametrize(
    "content, text",
    [
        ({"time": "05:12"}, '{"time": "05:12"}'),
        ([1, 2], "[1, 2]"),
        (7, "7"),
        (False, "false"),
        (None, ""),
        ([{"type": "restaurant", "name": "Ty"}], '[{"type": "restaurant", "name": "Ty"}]'),
        ([{"type": "text", "text": "05"}, {"type": "text", "text": ":12"}], "05:12"),
    ],
)
def test_any_value_is_what_a_tool_may_say(turns, content, text):
    assert turns(calling(CALLED), got(content))[0].text == text


@pytest.mark.parametrize("role", ["model", "gpt", "Assistant", "bot"])
def test_other_words_for_a_role(turns, role):
    assert turns(calling(CALLED), {"role": role, "content": "Hi."})[1] == Turn("ai", "Hi.")


def test_an_assistant_that_says_nothing_is_no_turn(read):
    empty = [{"role": "assistant", "content": ""}, {"role": "assistant", "content": None, "tool_calls": []}]
    reading = read(OPENAI | {"messages": [ASKED, *empty, *MESSAGES[1:]]})
    assert reading.dialogues[0].turns == TURNS and reading.left_out["empty_messages"] == 2


def test_a_result_finds_its_call_by_id_wherever_it_stands(turns):
    other = {"name": "get_tide", "arguments": {"port": "Dover"}}
    one, two = calling(wrapped(id="a")), calling(wrapped(other, id="b"))
    results = got("06:40", tool_call_id="b"), got("05:12", tool_call_id="a")
    for between in ([], [{"role": "assistant", "content": "One moment."}]):
        said = [turn for turn in turns(one, *between, two, *results) if turn.call]
        assert [(turn.text, turn.together) for turn in said] == [("05:12", False), ("06:40", True)]
    said = turns(one, {"role": "assistant", "content": "One moment."}, results[1])
    assert said == (TURNS[1], Turn("ai", "One moment."))
    said = turns(one, {"role": "user", "content": "Hurry."}, results[1])
    assert said == (TURNS[1], Turn("user", "Hurry."))


def test_results_without_ids_belong_to_calls_that_follow_one_another(read, turns):
    other = {"name": "get_tide", "arguments": {"port": "Dover"}}
    said = turns(calling(CALLED), calling(other), got("05:12"), got("06:40"))
    assert [(turn.text, turn.together) for turn in said] == [("05:12", False), ("06:40", True)]
    said = turns(calling(CALLED), calling(other), got("06:40"))
    assert [(turn.text, turn.together) for turn in said] == [("", False), ("06:40", False)]
    with pytest.raises(ValueError, match="message 6: a tool result without a call"):
        read(OPENAI, OPENAI | {"messages": [ASKED, *[calling(CALLED)] * 3, got("1"), got("2")]})


def test_ids_that_come_again_are_no_matter(turns):
    first, second = calling(wrapped(id="c")), calling(wrapped(id="c"))
    said = turns(first, got("1", tool_call_id="c"), second, got("2", tool_call_id="c"))
    assert [turn.text for turn in said] == ["1", "2"] and not said[1].together


# schemas


@pytest.mark.parametrize(
    "schema, required",
    [
        (SCHEMA | {"type": "dict"}, True),
        (SCHEMA | {"type": ["object", "null"]}, True),
        ({key: SCHEMA[key] for key in ("properties", "required")}, True),
        (json.dumps(SCHEMA), True),
        ({"port": {"type": "string"}}, True),
        ({"port": {"type": "str, optional"}}, False),
        ({"$ref": "#/$defs/Args", "$defs": {"Args": SCHEMA}}, True),
    ],
)
def test_one_schema_has_several_dialects(read, schema, required):
    (dialogue,) = read(
        OPENAI | {"tools": [{"type": "function", "function": BARE | {"parameters": schema}}]}
    ).dialogues
    (parameter,) = apis_of(dialogue.documents)["get_tide"].parameters
    assert parameter.name == "port" and parameter.required is required


@pytest.mark.parametrize("schema", [{"type": "object"}, {}, None, {"type": "object", "properties": None}])
def test_no_properties_are_no_parameters(read, schema):
    (dialogue,) = read(
        OPENAI | {"tools": [{"type": "function", "function": BARE | {"parameters": schema}}]}
    ).dialogues
    assert apis_of(dialogue.documents)["get_tide"].names == ()


@pytest.mark.parametrize("schema", [{"type": "array", "items": {}}, {"type": "string"}, [], 3])
def test_another_schema_is_refused(read, schema):
    with pytest.raises(ValueError, match="tool 1: parameters is no JSON schema of type object"):
        read(OPENAI, OPENAI | {"tools": [{"type": "function", "function": BARE | {"parameters": schema}}]})


def test_nulls_that_arrow_put_there_are_nothing(read):
    properties = {
        "port": {"type": "string", "enum": None},
        "berth": None,
        "opt": {"type": ["integer", "null"], "default": None},
        "when": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "any": {},
        "in": {"type": "object", "properties": {"a": {"type": "integer"}, "b": None}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "free": {"type": "object"},
    }
    given = {
        "port": "Brest", "berth": None, "knots": None, "opt": None, "when": None, "any": None,
        "in": {"a": 1, "b": None}, "list": [{"a": None}, {"a": 2}], "free": {"x": None},
    }  # fmt: skip
    tool = BARE | {"parameters": SCHEMA | {"properties": properties}}
    reading = read({"tools": [tool], "messages": [ASKED, calling({"name": "get_tide", "arguments": given})]})
    (dialogue,) = reading.dialogues
    assert dialogue.turns[1].call.arguments == {
        "port": "Brest", "opt": None, "when": None, "any": None, "in": {"a": 1},
        "list": [{}, {"a": 2}], "free": {"x": None},
    }  # fmt: skip
    document = json.loads(dialogue.documents[0])
    assert document["parameters"]["port"] == {"type": "string"} and "berth" not in document["parameters"]
    assert document["parameters"]["opt"] == properties["opt"]
    assert reading.left_out["null_parameters"] == 2 and reading.left_out["null_arguments"] == 4


def test_nulls_of_an_api_that_is_not_described_stay(read):
    row = {"messages": [ASKED, calling({"name": "get_tide", "arguments": {"port": None}})]}
    assert read(row).dialogues[0].turns[1].call.arguments == {"port": None}


NAMES = st.sampled_from(["port", "berth", "knots", "day"])
VALUES = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.lists(st.integers(), max_size=2))


@settings(max_examples=60)
@given(calls=st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=4))
def test_padding_all_calls_of_a_file_changes_nothing(tmp_path_factory, calls):
    path = tmp_path_factory.mktemp("padded") / "own.jsonl"
    keys = sorted({key for call in calls for key in call})

    def rows(pad):
        for call in calls:
            properties = {key: {"type": "string"} for key in call}
            padding = dict.fromkeys(keys) if pad else {}
            schema = {"type": "object", "properties": padding | properties, "required": sorted(call)}
            called = {"name": "f", "arguments": padding | call}
            yield {"tools": [{"name": "f", "parameters": schema}], "messages": [ASKED, calling(called)]}

    readings = []
    for pad in (False, True):
        path.write_text("\n".join(map(json.dumps, rows(pad))))
        readings.append(jsonl.read_dialogues(str(path)))
    plain, padded = ([d.turns[1].call for d in reading.dialogues] for reading in readings)
    assert plain == padded


# keys, sides, rows that cannot be used


def test_every_key_that_is_not_read_is_counted(read):
    message = ASKED | {"weight": 0, "name": "me", "refusal": None}
    call = wrapped(id="c1", index=0)
    row = {"meta": {"score": 1}, "source": "x", "tools": [TOOL | {"strict": True}], "empty": None}
    reading = read(row | {"messages": [message, calling(call), MESSAGES[2] | {"artifact": 1}]})
    assert reading.account["keys_not_read"] == {
        "meta": 1, "source": 1, "messages.weight": 1, "messages.name": 1, "tool_calls.index": 1,
        "messages.artifact": 1, "tools.strict": 1,
    }  # fmt: skip
    assert "keys_not_read" not in read(OPENAI).account


def test_a_number_that_json_has_not_matters_only_where_it_is_read(read):
    reading = read(OPENAI | {"meta": {"score": float("nan")}})
    assert reading.account["keys_not_read"] == {"meta": 1}
    bad = {"name": "get_tide", "arguments": {"port": ["Brest", {"x": float("inf")}]}}
    with pytest.raises(ValueError, match=r"message 2: tool call 1: .*arguments.port\[1\].x is inf"):
        read(OPENAI, OPENAI | {"messages": [ASKED, calling(bad)]})


@pytest.mark.parametrize(
    "said, held_out",
    [
        ({"split": "test"}, True), ({"split": "Train"}, False), ({"split": "validation"}, True),
        ({"heldout": True}, True), ({"held-out": False}, False), ({"heldOut": True, "split": "test"}, True),
    ],
)  # fmt: skip
def test_a_side_is_read_however_it_is_said(read, said, held_out):
    assert bool(read(OPENAI | said).held_out) is held_out


@pytest.mark.parametrize(
    "said, message",
    [
        ({"split": "part-3"}, "split is 'part-3', where train or test is known"),
        ({"hold_out": True}, "key 'hold_out' looks as if it said what is held out"),
        ({"held_ot": True}, "key 'held_ot' looks as if"),
        ({"subset": "test"}, "key 'subset' looks as if"),
        ({"heldout": True, "split": "train"}, "heldout and split contradict each other"),
        ({"held_out": "yes"}, "held_out is not true or false"),
    ],
)
def test_what_nearly_says_a_side_is_refused(read, said, message):
    with pytest.raises(ValueError, match=message):
        read(OPENAI, OPENAI | said)


def test_unusable_rows_are_left_out_and_counted_where_that_is_wanted(read):
    image = OPENAI | {"messages": [{"role": "user", "content": [{"type": "image"}]}, *MESSAGES[1:]]}
    long = OPENAI | {"messages": [ASKED, calling({"name": "write", "arguments": {"text": "x" * 25_000}})]}
    rows = [OPENAI | {"id": "a"}, image, OPENAI | {"id": "b"}, long, image, OPENAI | {"id": "a"}]
    with pytest.raises(ValueError, match="lines to mend: 4\nline 2: message 1: .*image"):
        read(*rows)
    reading = read(*rows, skip_unusable=True)
    assert [d.id for d in reading.dialogues] == ["a", "b"]
    assert sum(reading.account["unusable"].values()) == 4
    assert {reason[:20] for reason in reading.account["unusable"]} == {
        "content has a part o", "a call of 'write' th", "its id 'a' is also t",
    }  # fmt: skip
    with pytest.raises(ValueError, match="none of its 2 rows can be read"):
        read(image, image, skip_unusable=True)


# any dialogue, in every layout

SAID = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<[{`"), min_size=1).filter(
    str.strip
)
STEPS = st.lists(
    st.tuples(SAID, st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), SAID, SAID),
    min_size=1,
    max_size=3,
)


def in_openai(steps):
    for number, (asked, arguments, result, answer) in enumerate(steps):
        yield {"role": "user", "content": asked}
        yield calling(wrapped({"name": "f", "arguments": arguments}, id=f"c{number}"))
        yield got(result, tool_call_id=f"c{number}")
        yield {"role": "assistant", "content": answer}


def in_sharegpt(steps):
    for asked, arguments, result, answer in steps:
        yield {"from": "human", "value": asked}
        yield {"from": "function_call", "value": json.dumps({"name": "f", "arguments": arguments})}
        yield {"from": "observation", "value": result}
        yield {"from": "gpt", "value": answer}


def in_hermes(steps):
    for asked, arguments, result, answer in steps:
        call = json.dumps({"name": "f", "arguments": arguments})
        yield {"role": "user", "content": asked}
        yield {"role": "assistant", "content": f"<tool_call>{call}</tool_call>"}
        yield got(f"<tool_response>{json.dumps({'name': 'f', 'content': result})}</tool_response>")
        yield {"role": "assistant", "content": answer}


def in_anthropic(steps):
    for number, (asked, arguments, result, answer) in enumerate(steps):
        call = {"type": "tool_use", "id": f"t{number}", "name": "f", "input": arguments}
        yield {"role": "user", "content": [{"type": "text", "text": asked}]}
        yield {"role": "assistant", "content": [call]}
        yield {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": f"t{number}", "content": result}],
        }
        yield {"role": "assistant", "content": [{"type": "text", "text": answer}]}


def in_responses(steps):
    for number, (asked, arguments, result, answer) in enumerate(steps):
        call = {
            "type": "function_call",
            "call_id": f"c{number}",
            "name": "f",
            "arguments": json.dumps(arguments),
        }
        yield {"role": "user", "content": [{"type": "input_text", "text": asked}]}
        yield call
        yield {"type": "function_call_output", "call_id": f"c{number}", "output": result}
        yield {"role": "assistant", "content": [{"type": "output_text", "text": answer}]}


@settings(max_examples=60)
@given(steps=STEPS)
def test_any_dialogue_is_the_same_in_every_layout(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("layouts") / "own.jsonl"
    rows = [
        {"messages": list(in_openai(steps))},
        {"conversations": list(in_sharegpt(steps))},
        {"messages": list(in_hermes(steps))},
        {"messages": list(in_anthropic(steps))},
        {"input": list(in_responses(steps))},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    first, *others = [dialogue.turns for dialogue in jsonl.read_dialogues(str(path)).dialogues]
    assert len(others) == 4 and all(turns == first for turns in others)
    assert [turn.call.arguments for turn in first if turn.call] == [arguments for _, arguments, _, _ in steps]
    assert [turn.text for turn in first if turn.call] == [result for _, _, result, _ in steps]
