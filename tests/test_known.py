import pytest

from trajnb.formatting.dialogue import CorpusChoice
from trajnb.known import as_kind, given


@pytest.mark.parametrize(
    "kind, value, read",
    [  # what papermill makes of `-p name value`
        ("list[str]", '["stripped", "full"]', ["stripped", "full"]),
        ("list[str]", "[stripped, full]", ["stripped", "full"]),
        ("list[str]", "[1, 2]", ["1", "2"]),
        ("list[str]", "[]", []),
        ("list[str]", ("1", "2"), ["1", "2"]),
        ("bool", "true", True),
        ("bool", "false", False),
        ("bool", True, True),
        ("float", "2e-4", 2e-4),
        ("float", 1, 1.0),
        ("int", "3", 3),
        ("str", "[a]", "[a]"),
        ("str", "", ""),
    ],
)
def test_a_parameter_given_as_text_is_read(kind, value, read):
    found = given("name", value, kind)
    assert found == read and type(found) is type(read)


@pytest.mark.parametrize(
    "kind, value, said",
    [
        ("list[str]", "stripped", "name must be list[str], not str 'stripped'; papermill is told it with -y "
         "'name: [one, another]'"),
        ("list[str]", "[a, [b]]", "name must be list[str], not str '[a, [b]]'; papermill is told it with -y "
         "'name: [one, another]'"),
        ("list[str]", "[a", "name must be list[str], not str '[a'; papermill is told it with -y "
         "'name: [one, another]'"),
        ("list[str]", None, "name must be list[str], not NoneType None; papermill is told it with -y "
         "'name: [one, another]'"),
        ("bool", "maybe", "name must be bool, not str 'maybe'"),
        ("bool", 1, "name must be bool, not int 1"),
        ("int", 1.5, "name must be int, not float 1.5"),
        ("int", True, "name must be int, not bool True"),
        ("float", "nan", "name must be float, not str 'nan'"),
        ("str", 5, "name must be str, not int 5; papermill is told it with -r name TEXT"),
    ],
)  # fmt: skip
def test_a_parameter_of_another_type_is_refused_in_words(kind, value, said):
    with pytest.raises(ValueError) as error:
        given("name", value, kind)
    assert str(error.value) == said
    assert as_kind(value, kind) is None


def test_a_choice_of_a_corpus_is_read_from_texts_too():
    choice = CorpusChoice.of({"corpus": "sample", "levels": '["1"]', "fresh_ids": "false", "fold": "2"})
    assert choice == CorpusChoice("sample", levels=("1",), fold=2)
    with pytest.raises(ValueError, match="fresh_ids must be bool, not str 'no way'"):
        CorpusChoice.of({"corpus": "sample", "fresh_ids": "no way"})
