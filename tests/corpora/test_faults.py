"""Inputs of people who fine-tune on tool calls, as bug reports have them, in words of this project's own."""

import json

import pytest

from trajnb.corpora import jsonl
from trajnb.corpora.load import load_corpus
from trajnb.formatting.calls import parse, render
from trajnb.formatting.documents import apis_of
from trajnb.formatting.examples import build_examples, steps
from trajnb.scoring.score import score

ASKED = {"role": "user", "content": "Tides?"}


def tool(**properties):
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "type": "function",
        "function": {"name": "get_tide", "description": "Tide.", "parameters": schema},
    }


def calls(*arguments, name="get_tide", ids=()):
    made = [{"type": "function", "function": {"name": name, "arguments": one}} for one in arguments]
    for call, own in zip(made, ids, strict=False):
        call["id"] = own
    return {"role": "assistant", "content": None, "tool_calls": made}


@pytest.fixture
def write(tmp_path):
    """A function that writes rows to a file and returns its path."""

    def write(*rows):
        path = tmp_path / "own.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
        return str(path)

    return write


@pytest.fixture
def read(write):
    """A function that reads one row."""
    return lambda **row: jsonl.read_dialogues(write(row)).dialogues[0]


VALUES = {
    "big": 123456789012345678901234567890, "minus": -0.0, "f": 1.0, "i": 1, "e": 1e-9, "t": True, "s": "1",
    "zip": "02139", "nested": [[1, [2, {"a": [None, "x"]}]], []], "emoji": "🌊 \u200b é", "empty": "",
    "nl": "a\nb\t\"q\" 'q' \\", "obj": {"b-c": {"ü": 1}}, "code": "print('[look(x=1)]')", "list": "['a']",
    "true": "true", "html": "<script>alert(1)</script>", "dollar": "$x$",
}  # fmt: skip


@pytest.mark.parametrize("key", VALUES)
def test_values_are_the_same_as_object_and_as_text_and_read_back(read, key):
    arguments = {key: VALUES[key]}
    said = [calls(arguments), calls(json.dumps(arguments))]
    dialogue = read(tools=[tool(**{key: {}})], messages=[ASKED, *said])
    one, other = (turn.call for turn in dialogue.turns[1:])
    assert one == other == parse(render(one)) and repr(one.arguments) == repr(arguments)


def test_a_rich_schema_is_kept_and_read(read):
    properties = {
        "mode": {"enum": ["spring", "neap", None]},
        "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None},
        "opt": {"type": ["integer", "null"]},
        "at": {"$ref": "#/$defs/At"},
        "free": {"type": "object", "additionalProperties": {"type": "string"}},
        "const": {"const": 3},
        "truth": True,
    }
    rich = tool(**properties)
    rich["function"]["parameters"] |= {"required": ["at"], "$defs": {"At": {"type": "object"}}}
    given = {"at": {"lat": 48.4}, "when": None, "mode": None, "opt": None, "truth": False}
    dialogue = read(tools=[rich], messages=[ASKED, calls(given)])
    assert dialogue.turns[1].call.arguments == given
    document = json.loads(dialogue.documents[0])
    assert document["parameters"] == properties and document["$defs"] == {"At": {"type": "object"}}
    types = {
        one.name: (set(one.types), one.required) for one in apis_of(dialogue.documents)["get_tide"].parameters
    }
    assert types["opt"] == ({"integer", "null"}, False) and types["at"] == (set(), True)


def test_a_call_without_arrows_nulls_is_the_right_answer(write):
    padded = tool(port={"type": "string", "enum": None}, berth=None, knots=None)
    padded["function"]["parameters"]["required"] = ["port"]
    said = [ASKED, calls({"port": "Brest", "berth": None, "knots": None})]
    rows = [{"block": "sea", "held_out": side, "tools": [padded], "messages": said} for side in (False, True)]
    corpus = load_corpus("jsonl", corpus_path=write(*rows))
    (item,) = build_examples(corpus, "full", "held_out")
    assert (
        item["gold"] == "[get_tide(port='Brest')]"
        and score("[get_tide(port='Brest')]", item["gold"])["canonical"]
    )
    assert "null" not in item["prompt"][0]["content"]


def test_no_parallel_call_sees_a_response_of_another(read):
    results = [
        {"role": "tool", "tool_call_id": "a", "content": "see b.log"},
        {"role": "tool", "tool_call_id": "b", "content": "calm"},
    ]
    one, two = {"name": "a.log"}, {"name": "b.log"}
    together = [calls(one, two, ids="ab"), *results]
    apart = [calls(one, ids="a"), calls(two, ids="b"), *results]
    for messages in (together, apart):
        first, second = steps(read(messages=[ASKED, *messages]))
        assert [turn.text for turn in second.history.turns] == ["Tides?", ""]
        assert not second.history.needed, "b.log stands only in a response that is not there yet"


def test_parallel_results_out_of_order_find_their_calls(read):
    results = [{"role": "tool", "tool_call_id": one, "content": f"0{one}"} for one in "cab"]
    dialogue = read(messages=[ASKED, calls({"p": 1}, {"p": 2}, {"p": 3}, ids="abc"), *results])
    assert [turn.text for turn in dialogue.turns[1:]] == ["0a", "0b", "0c"]


def test_one_message_with_the_results_of_several_calls(read):
    told = [{"tool_call_id": f"call_{n}", "name": "get_tide", "content": f"{{'n': {n}}}"} for n in (1, 2)]
    message = {"role": "tool", "content": [{"type": "text", "value": json.dumps(told)}]}
    dialogue = read(messages=[ASKED, calls({"p": 1}, {"p": 2}), message])
    assert [turn.text for turn in dialogue.turns[1:]] == ["{'n': 1}", "{'n': 2}"]
    dialogue = read(messages=[ASKED, calls({"p": 1}, {"p": 2}), {"role": "tool", "content": "[1, 2]"}])
    assert [turn.text for turn in dialogue.turns[1:]] == ["[1, 2]", ""]


def test_dialogues_without_tools_with_others_and_begun_by_the_assistant(read):
    hello = {"role": "assistant", "content": "Welcome."}
    developer = {"role": "developer", "content": "Be brief."}
    dialogue = read(tools=[], messages=[developer, hello, calls({}), ASKED, calls({"port": "Brest"})])
    assert [turn.role for turn in dialogue.turns] == ["ai", "api", "user", "api"] and dialogue.documents == ()
    dialogue = read(tools=[tool()], messages=[ASKED, calls({}, name="get_tied")])
    assert dialogue.turns[1].call.name == "get_tied"


@pytest.mark.parametrize("said, gold", [("[un-lock(door='a')]", "[lock(door='a')]"),
                                        ("[math.factorial(n=5)]", "[factorial(n=5)]")])  # fmt: skip
def test_a_longer_name_is_another_function(said, gold):
    found = score(said, gold)
    assert not found["canonical"] and not found["name"] and score(gold, gold)["canonical"]


def test_a_value_that_is_too_long_has_one_reason(write):
    path = write({"messages": [ASKED, calls({"text": "tide\n" * 5_000})]})
    with pytest.raises(ValueError, match="cannot be written.*characters, over 20,000"):
        jsonl.read_dialogues(path)


def test_typos_of_held_out_hold_out_what_was_meant(write):
    rows = [
        {"id": f"d{n}", "block": "sea", "messages": [ASKED, calls({"n": n})], "heldout": n < 3, "split": "test" if n < 3 else "train"}
        for n in range(12)
    ]  # fmt: skip
    assert load_corpus("jsonl", corpus_path=write(*rows)).held_out == {"d0", "d1", "d2"}
