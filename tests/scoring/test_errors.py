import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajnb.assets import AssetError
from trajnb.corpora.load import load_corpus
from trajnb.formatting.calls import LIMIT, parse, render
from trajnb.formatting.dialogue import Call
from trajnb.formatting.documents import apis_of
from trajnb.records import read_study
from trajnb.scoring.errors import KINDS, inclusion, kind, rollout_errors, trajectory_match, usage
from trajnb.scoring.score import outcome, score

REPORT = Path(__file__).parents[2] / "reports" / "quick"
# one API in the words of each corpus: a text, a whole number, a number, a list, and what may be left out
ABOUT = {
    "bfcl": {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "price": {"type": "float"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "loud": {"type": "boolean", "default": False},
    },
    "api-bank": {
        "name": {"type": "str"},
        "count": {"type": "int"},
        "price": {"type": "float"},
        "tags": {"type": "list(str)"},
        "loud": {"type": "bool"},
    },
    "jsonl": {
        "name": {"type": "string"},
        "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "price": {"type": "number"},
        "tags": {"type": ["array", "null"]},
        "loud": {"type": "boolean"},
    },
}
DOCUMENTS = {
    "bfcl": {"name": "play", "parameters": ABOUT["bfcl"]},
    "API-Bank's test data": {"name": "play", "input_parameters": ABOUT["api-bank"]},
    "API-Bank's training data": {"apiCode": "play", "parameters": ABOUT["api-bank"]},
    "jsonl": {"name": "play", "parameters": ABOUT["jsonl"], "required": ["name", "count"]},
}
GOLD = "[play(name='Help', count=3, price=9, tags=['a', 'b'])]"


def apis(shape):
    return apis_of([json.dumps(DOCUMENTS[shape]), json.dumps({"name": "stop", "parameters": {}})])


@pytest.mark.parametrize("shape", DOCUMENTS)
@pytest.mark.parametrize(
    "prediction, word",
    [
        (GOLD, "exact"),
        (f"Sure! API-Request: {GOLD} and more", "exact"),
        ("[play(tags=\"['a', 'b']\", price='9.0', count=3.0, name=\"Help\")]", "exact"),
        ("[play('Help', 3, 9, ['a', 'b'])]", "exact"),
        ("", "unparseable"),
        ("I would play Help.", "unparseable"),
        ("[play(name='Help'", "unparseable"),
        ("[play(name='Help', name='Help')]", "unparseable"),
        ("[pause(name='Help')]", "invented function"),
        ("[Play(name='Help', count=3, price=9, tags=['a', 'b'])]", "invented function"),
        ("[stop()]", "valid but wrong API"),
        ("[stop(name='Help')]", "valid but wrong API"),
        ("[play(song='Help', count=3, price=9, tags=['a', 'b'])]", "invented argument"),
        (GOLD.replace("tags", "Tags"), "invented argument"),
        ("[play('Help', 3, 9, ['a', 'b'], True, 7)]", "invented argument"),
        ("[play('Help', name='Help')]", "invented argument"),
        ("[play(song='Help', count='many')]", "invented argument"),  # the first that is wrong
        (GOLD.replace("3", "'many'"), "wrong type"),
        (GOLD.replace("3", "3.5"), "wrong type"),
        (GOLD.replace("3", "True"), "wrong type"),
        (GOLD.replace("'Help'", "7"), "wrong type"),
        (GOLD.replace("'Help'", "['Help']"), "wrong type"),
        (GOLD.replace("'Help'", "None"), "wrong type"),
        (GOLD.replace("9", "'cheap'"), "wrong type"),
        (GOLD.replace("['a', 'b']", "'a, b'"), "wrong type"),
        (GOLD.replace("['a', 'b']", "{'a': 'b'}"), "wrong type"),
        (GOLD.replace(")]", ", loud=1)]"), "wrong type"),
        ("[play('Help', 'many', 9, ['a', 'b'])]", "wrong type"),
        ("[play(name='Yesterday', count='many')]", "wrong type"),
        (GOLD.replace("Help", "Yesterday"), "wrong or missing value"),
        (GOLD.replace("Help", "7"), "wrong or missing value"),
        (GOLD.replace("3", "'4'"), "wrong or missing value"),
        (GOLD.replace("3", "4.0"), "wrong or missing value"),
        (GOLD.replace("9", "9.5"), "wrong or missing value"),
        (GOLD.replace("['a', 'b']", "[]"), "wrong or missing value"),
        (GOLD.replace("['a', 'b']", "'[1]'"), "wrong or missing value"),
        (GOLD.replace(")]", ", loud='true')]"), "wrong or missing value"),
        (GOLD.replace("count=3, ", ""), "wrong or missing value"),
        ("[play()]", "wrong or missing value"),
    ],
)
def test_the_first_thing_that_is_wrong(shape, prediction, word):
    assert kind(prediction, GOLD, apis(shape)) == word


def test_every_kind_is_known_by_these_tests():
    marks = test_the_first_thing_that_is_wrong.pytestmark
    words = [word for mark in marks if "word" in mark.args[0] for _, word in mark.args[1]]
    assert tuple(dict.fromkeys(words)) == KINDS


def test_none_stands_for_what_is_not_required():
    prediction = GOLD.replace(")]", ", loud=None)]")
    words = {shape: kind(prediction, GOLD, apis(shape)) for shape in DOCUMENTS}
    assert words == {
        "bfcl": "wrong or missing value",
        "API-Bank's test data": "wrong type",
        "API-Bank's training data": "wrong type",
        "jsonl": "wrong or missing value",
    }


@pytest.mark.parametrize(
    "prediction, gold, word",
    [
        # an argument that no document names, and a type that none allows, as some golds of API-Bank and BFCL
        ("[play(device_id='2')]", "[play(device_id='1')]", "wrong or missing value"),
        ("[play(count='ticket_002')]", "[play(count='ticket_001')]", "wrong or missing value"),
        ("[play(count=['ticket_001'])]", "[play(count='ticket_001')]", "wrong type"),
        ("[play(name=94017)]", "[play(name='94016')]", "wrong or missing value"),
        # an API without a document: found by searching, as in API-Bank's second level
        ("[Found(a='1')]", "[Found(a=1)]", "exact"),
        ("[Found(a=[2])]", "[Found(a=1)]", "wrong or missing value"),
        ("[Found(b=1)]", "[Found(a=1)]", "invented argument"),
        ("[Found(1)]", "[Found(a=1)]", "invented argument"),
        ("[Found(2)]", "[Found(1)]", "wrong or missing value"),
    ],
)
def test_what_the_gold_does_is_never_held_against_a_prediction(prediction, gold, word):
    assert kind(prediction, gold, apis("bfcl")) == word


def test_a_gold_without_a_call_is_an_error_that_shows_it():
    with pytest.raises(ValueError, match="nothing here"):
        kind(GOLD, "nothing here")


ITEMS = [
    (render(turn.call), apis_of(dialogue.documents))
    for dialogue in load_corpus("sample", documents="used").dialogues
    for turn in dialogue.turns
    if turn.call
]
NOT_OF_TYPE = {"string": ["a"], "array": 1, "object": 1, "number": "a", "integer": "a", "boolean": "a"}


@pytest.mark.parametrize("gold, documented", ITEMS)
def test_every_gold_is_exact_and_so_is_its_positional_form(gold, documented):
    call = parse(gold)
    assert kind(gold, gold, documented) == "exact"
    if tuple(call.arguments) == documented[call.name].names[: len(call.arguments)]:
        assert kind(render(Call(call.name, {}, tuple(call.arguments.values()))), gold, documented) == "exact"


def rename(call, documented, draw):
    return Call(draw(st.from_regex(r"[a-z]{1,9}_?", fullmatch=True).filter(lambda n: n not in documented)))


def choose_another_api(call, documented, draw):
    others = [name for name in documented if name != call.name]
    return Call(draw(st.sampled_from(others)), call.arguments) if others else None


def add_an_argument(call, documented, draw):
    name = draw(st.from_regex(r"[a-z]{1,9}", fullmatch=True))
    return None if name in documented[call.name].names else Call(call.name, call.arguments | {name: 1})


def change_a_type(call, documented, draw):
    if not documented[call.name].parameters:
        return None
    parameter = draw(st.sampled_from(documented[call.name].parameters))
    (declared,) = parameter.types
    return Call(call.name, call.arguments | {parameter.name: NOT_OF_TYPE[declared]})


def change_or_drop_a_value(call, documented, draw):
    if not call.arguments:
        return None
    name = draw(st.sampled_from(list(call.arguments)))
    value = call.arguments[name]
    if draw(st.booleans()):
        return Call(call.name, {key: value for key, value in call.arguments.items() if key != name})
    other = {bool: not value, str: f"{value}x", list: [*value, 1] if isinstance(value, list) else None}
    changed = other[type(value)] if type(value) in other else value + 1
    return Call(call.name, call.arguments | {name: changed})


MUTATIONS = {
    "invented function": rename,
    "valid but wrong API": choose_another_api,
    "invented argument": add_an_argument,
    "wrong type": change_a_type,
    "wrong or missing value": change_or_drop_a_value,
}


@given(st.sampled_from(ITEMS), st.sampled_from(list(MUTATIONS)), st.data())
def test_a_changed_gold_is_of_the_kind_of_the_change(item, word, data):
    gold, documented = item
    changed = MUTATIONS[word](parse(gold), documented, data.draw)
    if changed:
        assert kind(render(changed), gold, documented) == word


@given(st.sampled_from(ITEMS), st.data())
def test_of_several_changes_the_earliest_check_counts(item, data):
    gold, documented = item
    words = data.draw(st.lists(st.sampled_from(list(MUTATIONS)[2:]), min_size=1, unique=True))
    call = parse(gold)
    for word in sorted(words, key=KINDS.index, reverse=True):
        changed = MUTATIONS[word](call, documented, data.draw)
        if changed is None:
            return
        call = changed
    assert kind(render(call), gold, documented) == min(words, key=KINDS.index)


def agrees_with_score(word, scores):
    """Whether a kind says what the scores say: exact, right API, any call."""
    of_kind = {"exact": "exact", "unparseable": "no call"}
    of_kind |= dict.fromkeys(KINDS[2:4], "other API") | dict.fromkeys(KINDS[4:], "other arguments")
    return of_kind[word] == outcome(scores)


CALL_LIKE = st.text(alphabet="[]()'\"{}=,\\ ab1.-:\n", max_size=60)
ANSWERS = st.text() | CALL_LIKE | CALL_LIKE.map("[play(".__add__) | CALL_LIKE.map("[play(count=".__add__)


@given(ANSWERS, st.sampled_from([GOLD, "[play(count='a')]", "[a(b=1)]"]), st.sampled_from(list(DOCUMENTS)))
def test_any_text_has_a_kind_that_agrees_with_its_scores(prediction, gold, shape):
    documented = apis(shape)
    names = {name: api.names for name, api in documented.items()}
    assert agrees_with_score(kind(prediction, gold, documented), score(prediction, gold, names))


@pytest.mark.parametrize(
    "text",
    [
        "[play(name=" + "[" * 10_000_000,
        "[play(count='" + "9" * 10_000_000,
        f"[play(tags=[{','.join(['1'] * (LIMIT // 2 - 10))}])]",
        "[play(" + ",".join(f"a{i}={i}" for i in range(LIMIT // 12)) + ")]",
        f"[play(count={'9' * (LIMIT - 100)})]",
        f"[play(name='{'[' * 5_000}{']' * 5_000}')]",
        f"[play(count={'-' * 9_000}1)]",
    ],
)
def test_long_texts_take_little_time(text):
    began = time.monotonic()
    assert kind(text, GOLD, apis("bfcl")) in KINDS
    assert time.monotonic() - began < 2


def calls(*texts):
    return [parse(text) for text in texts]


UP, LS, PWD = "[cd(folder='..')]", "[ls()]", "[pwd()]"


@pytest.mark.parametrize(
    "made, gold, repeated, few",
    [
        ([UP, LS], [UP, LS], 0, 0),
        ([UP, UP, LS], [UP, UP, LS], 0, 0),  # the gold repeats it too
        ([UP, UP, UP], [UP, UP, LS], 1, 0),
        ([LS, PWD, LS, LS], [PWD], 2, 0),
        (["[cd('..')]", '[cd(folder="..")]'], [LS, PWD], 1, 0),  # one call, however it is written
        (["[cd(folder='a')]", UP], [LS, PWD], 0, 0),
        ([LS], [UP, LS, PWD], 0, 2),
        ([LS, LS], [UP, LS, PWD], 1, 1),
        ([], [LS], 0, 1),
        ([LS], [], 0, 0),
        ([], [], 0, 0),
    ],
)
def test_errors_that_only_a_whole_dialogue_has(made, gold, repeated, few):
    documented = apis_of([json.dumps({"name": "cd", "parameters": {"folder": {"type": "string"}}})])
    found = rollout_errors(calls(*made), calls(*gold), documented)
    assert found == {"repeated identical call": repeated, "too few calls": few}


@pytest.mark.parametrize(
    "made, gold, match, included, used",
    [
        ([UP, LS], [UP, LS], True, 1, 1),
        (["[cd(folder='a')]", LS], [UP, LS], True, 1, 1 / 2),
        ([LS, UP], [UP, LS], False, 1, 1),  # order is for the match alone
        ([UP, LS, PWD], [UP, LS], False, 1, 1),
        ([LS, "[rm(file_name='a')]"], [UP, LS, PWD], False, 1 / 3, 1),
        ([UP], [UP, UP], False, 1 / 2, 1),  # a repetition is one more
        ([UP, "[cd(folder='a')]"], [UP, UP], True, 1, 1 / 2),
        (["[cd(folder='a')]", UP], [UP, "[cd(folder='a')]"], True, 1, 1),
        (["[ls(a=True)]"], [LS], True, 1, 0),
        ([PWD], [LS], False, 0, math.nan),
        ([], [LS], False, 0, math.nan),
        ([], [], True, math.nan, math.nan),
    ],
)
def test_traject_benchs_measures(made, gold, match, included, used):
    made, gold = calls(*made), calls(*gold)
    assert trajectory_match(made, gold) is match
    assert inclusion(made, gold) == pytest.approx(included, nan_ok=True)
    assert usage(made, gold) == pytest.approx(used, nan_ok=True)


def test_usage_binds_positional_arguments_by_the_documents():
    documented = apis_of([json.dumps({"name": "cd", "parameters": {"folder": {"type": "string"}}})])
    assert usage(calls("[cd('..')]"), calls(UP), documented) == 1
    assert usage(calls("[cd('..')]"), calls(UP)) == 0


@pytest.mark.slow
def test_kinds_of_the_committed_predictions_agree_with_their_recorded_scores():
    for run in read_study(REPORT):
        settings = ("corpus", "documents", "train_dialogues", "held_out_dialogues")
        name, *values = (run.record.parameters[key] for key in settings)
        try:
            corpus = load_corpus(name, **dict(zip(settings[1:], values, strict=True)))
        except AssetError as error:
            pytest.skip(f"the bfcl wheel is not to be had: {error}")
        documented = {dialogue.id: apis_of(dialogue.documents) for dialogue in corpus.dialogues}
        golds = {(item["dialogue_id"], item["step"]): item["gold"] for item in run.items}
        for row in run.predictions:
            gold = golds[row["dialogue_id"], row["step"]]
            word = kind(row["prediction"], gold, documented[row["dialogue_id"]])
            assert agrees_with_score(word, row), (row["prediction"], gold, word)


@pytest.mark.parametrize("name", ["un-play", "math.play", "éplay", "$play", "x=play", "2play"])
def test_a_longer_name_is_an_invented_function_and_never_its_last_word(name):
    text = GOLD.replace("play", name)
    for known in ({}, apis_of([json.dumps(DOCUMENTS["bfcl"])])):
        assert kind(text, GOLD, known) == "invented function"
    scores = score(text, GOLD)
    assert scores["parsed"] and not (scores["name"] or scores["canonical"] or scores["opened_name"])
