import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajnb.formatting.calls import CallSyntaxError, parse
from trajnb.formatting.readings import READINGS, official, paper

CALL_LIKE = st.text(alphabet="[]()'\"{}=,\\ abB1.-:\n", max_size=60)
NESTED = "[A(who='['John', 'Jane']', day='2')]"


@pytest.mark.parametrize(
    "text, arguments",
    [
        ("[A(a='x', b=\"y z\", c=engage, d=[1, 2])]", dict(a="x", b="y z", c="engage", d="[1, 2]")),
        ("Sure: [A( a = 'x' )] and [B(b='y')]", {"a": "x", "b": "y"}),  # up to the last )] of the line
        (NESTED, {"who": "[", "day": "2"}),
        ("[A(name='John's', n=3.5, m=-1)]", {"name": "John", "n": "3"}),
        ("[A(a='x', b='')]", {"a": "x"}),
        ("[A(b='', a='x')]", {"b": "', a="}),
        ("[A(a=[1], b='x', c=[2])]", {"a": "[1], b='x', c=[2]"}),
        ("[A(a='x', a='y', b=='z')]", {"a": "y"}),
        ("[A(a='two\nlines')]\n[A(a='x')]", {"a": "x"}),
        ("[A('x', 3)]", {}),
    ],
)
def test_the_official_reading_has_the_faults_of_its_regular_expressions(text, arguments):
    call = official(text)
    assert (call.name, call.arguments, call.positional) == ("A", arguments, ())


@pytest.mark.parametrize(
    "text", ["", "A(a='x')", "[ A(a='x')]", "[A (a='x')]", "[A(a='x') ]", "[A(a='x'\n)]"]
)
def test_what_the_official_reading_refuses(text):
    with pytest.raises(CallSyntaxError):
        official(text)


@pytest.mark.parametrize(
    "text, arguments",
    [
        ("[ A(Place=' Rome ', b='')\n]", {"place": "rome", "b": ""}),
        ("[A(a=\"x\", b=3, c=[1], d = 'y', e='z')]", {"e": "z"}),
        (NESTED, {"who": "[", "day": "2"}),
        ("[A(a='two\nlines')] [B(b='y')]", {"a": "two\nlines"}),
        ("[A(a='(see [1)] there)', b='x')]", {}),
    ],
)
def test_the_paper_reads_single_quotes_only_and_folds_case(text, arguments):
    call = paper(text)
    assert (call.name, call.arguments, call.positional) == ("a", arguments, ())


@pytest.mark.parametrize("text", ["", "A(a='x')", "[A (a='x')]", "[A(a='x')", "[1A(a='x')]", "[A(a='x'] )"])
def test_what_the_paper_refuses(text):
    with pytest.raises(CallSyntaxError):
        paper(text)


@given(CALL_LIKE.map("[A(".__add__).map(lambda text: text + ")]") | CALL_LIKE | st.text())
def test_any_text_is_a_call_of_text_values_or_a_syntax_error(text):
    for read in READINGS.values():
        with suppress(CallSyntaxError):
            assert all(isinstance(value, str) for value in read(text).arguments.values())


@pytest.mark.parametrize(
    "unit", ["[", "[A(", "[A(a=", "a='", "a=[", "[ ", ") ", " ", "a", "[A(a='x')]", "[A(\n"]
)
def test_a_megabyte_is_read_in_under_a_second(unit):
    for read in READINGS.values():
        for start in ("", "[A("):
            began = time.perf_counter()
            with suppress(CallSyntaxError):
                read(start + unit * (1_000_000 // len(unit)))
            assert time.perf_counter() - began < 1, f"{read.__name__} is no longer linear"


@pytest.mark.parametrize("level, golds, nested", [(1, 389, 30), (2, 119, 10)])
def test_all_but_the_nested_golds_of_api_bank_are_read_as_they_are(api_bank_files, level, golds, nested):
    content = json.loads((api_bank_files / f"level-{level}-api.json").read_text("utf-8"))
    rows = [row["expected_output"] for row in content if row["id"] % 2 == 0]
    calls = [(parse(gold), official(gold), paper(gold)) for gold in rows]
    assert len(calls) == golds
    folded = [
        {key.lower(): value.lower().strip() for key, value in ours.arguments.items()} for ours, *_ in calls
    ]
    assert sum(theirs == ours for ours, theirs, _ in calls) == golds - nested
    assert (
        sum(call.arguments == args for (*_, call), args in zip(calls, folded, strict=True)) == golds - nested
    )


@pytest.mark.parametrize("name", ["un-lock", "math.lock", "$lock", "2.lock"])
@pytest.mark.parametrize("read", READINGS.values())
def test_no_reading_cuts_a_longer_name_to_its_last_word(read, name):
    with pytest.raises(CallSyntaxError):
        read(f"[{name}(door='a')]")
