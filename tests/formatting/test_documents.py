import json
from pathlib import Path

import pytest

from trajnb.corpora.api_bank import read_rows
from trajnb.corpora.jsonl import read_dialogues
from trajnb.corpora.load import load_corpus
from trajnb.formatting import documents
from trajnb.formatting.documents import Api, Parameter, apis_of

PUBLISHED = Path(__file__).parents[3] / "shared" / "api-bank"
MV = {"name": "mv", "description": "Moves.", "parameters": {"source": {}, "destination": {}}}
PLAY = {"apiCode": "Play", "description": "Plays.", "parameters": {"song": {}}, "response": {}}
SEARCH = {"name": "Search", "input_parameters": {"keywords": {}}, "output_parameters": {}}


def one(document):
    """What is read of the only document."""
    (api,) = apis_of([json.dumps(document)]).values()
    return api


def parameter(name, *types, required=True):
    return Parameter(name, frozenset(types), required)


def test_parameter_names_come_from_all_forms_of_documents():
    lines = [documents.write(MV), json.dumps([PLAY, SEARCH])]
    assert {api.name: api.names for api in apis_of(lines).values()} == {
        "mv": ("source", "destination"),
        "Play": ("song",),
        "Search": ("keywords",),
    }


def test_the_common_form_is_read_as_it_is():
    assert list(documents.read([documents.write(MV)])) == [MV]


@pytest.mark.parametrize("line", ["", "User: hello", "{", '{"a": 1}', "[1, 2]", '"text"', "[" * 100_000])
def test_other_lines_are_no_documents(line):
    assert not documents.is_document(line)


def test_bfcls_documents_require_what_has_no_default(sample):
    (dialogue,) = (d for d in sample.dialogues if d.id == "multi_turn_base_38")
    assert list(apis_of(dialogue.documents).values()) == [
        Api("cd", (parameter("folder", "string"),)),
        Api("ls", (parameter("a", "boolean", required=False),)),
        Api("rm", (parameter("file_name", "string"),)),
        Api("rmdir", (parameter("dir_name", "string"),)),
    ]


@pytest.mark.parametrize("key, name", [("input_parameters", "name"), ("parameters", "apiCode")])
def test_both_schemas_of_api_bank_require_all_arguments(tmp_path, key, name):
    about = {"attendees": {"type": "list(str)"}, "count": {"type": "int"}, "on": {"type": "bool"}}
    document = json.dumps({name: "AddMeeting", "description": "Adds.", key: about})
    test_data = {"instruction": f"Do.\nAPI descriptions:\n{document}", "input": "User: Hi.\n"}
    training_data = {"instruction": "Do.", "input": f"{document}\nUser: Hi.\n"}
    file = tmp_path / "rows.json"
    file.write_text(
        json.dumps([row | {"output": "API-Request: [A()]"} for row in (test_data, training_data)])
    )
    wanted = (parameter("attendees", "array"), parameter("count", "integer"), parameter("on", "boolean"))
    for row in read_rows(file):
        assert apis_of(row.documents) == {"AddMeeting": Api("AddMeeting", wanted)}


def test_tools_of_ones_own_say_what_they_require(tmp_path):
    properties = {"city": {"type": "string"}, "days": {"type": "integer"}}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object"} | schema}}
        for name, schema in (
            ("some", {"properties": properties, "required": ["city"]}),
            ("every", {"properties": properties, "required": ["city", "days"]}),
            ("none", {"properties": properties}),
            ("without", {}),
        )
    ]
    call = {"type": "function", "function": {"name": "some", "arguments": {"city": "Oslo"}}}
    messages = [{"role": "user", "content": "Look."}, {"role": "assistant", "tool_calls": [call]}]
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps({"messages": messages, "tools": tools}))
    apis = apis_of(read_dialogues(str(file)).dialogues[0].documents)
    assert {name: [p.required for p in api.parameters] for name, api in apis.items()} == {
        "some": [True, False],
        "every": [True, True],
        "none": [False, False],
        "without": [],
    }
    assert apis["some"].names == ("city", "days")


@pytest.mark.parametrize(
    "schema, types",
    [
        ({"type": "float"}, {"number"}),
        ({"type": "dict", "properties": {}}, {"object"}),
        ({"type": "List[str]"}, {"array"}),
        ({"type": "str (YYYY-MM-DD)"}, {"string"}),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"integer", "null"}),
        ({"oneOf": [{"type": "number"}, {"type": "string"}]}, {"number", "string"}),
        # what is not said, or not in words known here, may be anything
        ({}, set()),
        ({"type": "any"}, set()),
        ({"type": "int or str"}, set()),
        ({"type": ["string", "date"]}, set()),
        ({"type": 3}, set()),
        ({"$ref": "#/$defs/City"}, set()),
        ({"anyOf": [{"$ref": "#/$defs/City"}, {"type": "null"}]}, set()),
        ({"anyOf": 3}, set()),
        ("a song", set()),
        (None, set()),
    ],
)
def test_types_are_said_in_many_ways(schema, types):
    assert one({"name": "Play", "parameters": {"song": schema}}).parameters == (parameter("song", *types),)


@pytest.mark.parametrize("parameters", [None, {}, [{"name": "song"}], "none"])
def test_a_document_may_describe_no_arguments(parameters):
    assert one({"name": "Play", "parameters": parameters}) == Api("Play", ())


def agrees(call, apis):
    """Whether a call in keyword form gives all that its document requires and nothing else."""
    required = {p.name for p in apis[call.name].parameters if p.required}
    return required <= call.arguments.keys() <= set(apis[call.name].names)


def calls(corpus):
    return [(d, d.turns[place].call) for d in corpus.dialogues for place in d.places]


def test_all_calls_of_bfcl_agree_with_their_documents(bfcl):
    assert all(agrees(call, apis_of(dialogue.documents)) for dialogue, call in calls(bfcl))


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="API-Bank's files are not at hand")
def test_the_calls_of_api_bank_that_contradict_their_documents_are_known():
    corpus = load_corpus("api-bank", documents="used", corpus_path=str(PUBLISHED), levels=["1"])
    invented = [
        (call.name, name)
        for dialogue, call in calls(corpus)
        for name in call.arguments.keys() - set(apis_of(dialogue.documents)[call.name].names)
    ]
    assert len(invented) == 8 and {name for _, name in invented} == {"device_id"}
