import json

import pytest

from trajnb.formatting import documents

MV = {"name": "mv", "description": "Moves.", "parameters": {"source": {}, "destination": {}}}
PLAY = {"apiCode": "Play", "description": "Plays.", "parameters": {"song": {}}, "response": {}}
SEARCH = {"name": "Search", "input_parameters": {"keywords": {}}, "output_parameters": {}}


def test_parameter_names_come_from_all_forms_of_documents():
    lines = [documents.write(MV), json.dumps([PLAY, SEARCH])]
    assert documents.parameter_names(lines) == {
        "mv": ["source", "destination"],
        "Play": ["song"],
        "Search": ["keywords"],
    }


def test_the_common_form_is_read_as_it_is():
    assert list(documents.read([documents.write(MV)])) == [MV]


@pytest.mark.parametrize("line", ["", "User: hello", "{", '{"a": 1}', "[1, 2]", '"text"', "[" * 100_000])
def test_other_lines_are_no_documents(line):
    assert not documents.is_document(line)
