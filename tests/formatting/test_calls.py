import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajnb.formatting.calls import LIMIT, CallSyntaxError, canonical, parameter_names, parse, render
from trajnb.formatting.dialogue import Call

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
SCALARS = st.text(max_size=30) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS |= st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CALLS = st.builds(
    Call, NAMES, st.dictionaries(NAMES, VALUES, max_size=4), st.lists(VALUES, max_size=2).map(tuple)
)
CALL_LIKE = st.text(alphabet="[]()'\"{}=,\\ ab1.-:\n", max_size=60)


@given(CALLS)
def test_a_rendered_call_reads_back_as_itself(call):
    assert parse(render(call)) == call


@given(CALLS, st.sampled_from(["", "Sure. ", "API-Request: ", "I use file(s):\n"]), st.text(max_size=20))
def test_text_around_a_bracketed_call_changes_nothing(call, before, after):
    assert parse(before + render(call) + after) == call


@given(st.text() | CALL_LIKE | CALL_LIKE.map("[A(a=".__add__) | CALL_LIKE.map("[A('".__add__))
def test_any_text_is_a_call_or_a_syntax_error(text):
    try:
        call = parse(text)
    except CallSyntaxError:
        return
    assert canonical(call) == canonical(call, [])


@pytest.mark.parametrize(
    "text, call",
    [
        ("[ls()]", Call("ls")),
        ('[cd(folder="a")]', Call("cd", {"folder": "a"})),
        ("[A(s='3', i=3, f=-3.5, t=True, n=None)]", Call("A", dict(s="3", i=3, f=-3.5, t=True, n=None))),
        ("[A(tags=['#a', '#b'], d={'k': (1, 2)})]", Call("A", dict(tags=["#a", "#b"], d={"k": (1, 2)}))),
        ("[sort('final.pdf')]", Call("sort", {}, ("final.pdf",))),
        ("[A(x='it\\'s', y=\"it's\")]", Call("A", {"x": "it's", "y": "it's"})),
        ("ls(a=True)", Call("ls", {"a": True})),
        ("API-Request: [ls()]->[]\nAPI-Request: [cd(folder='b')]", Call("ls")),
        ("[ls(), cd(folder='b')]", Call("ls")),
        ("Of these file(s) I list all: [ls(a=True)]", Call("ls", {"a": True})),
        ("Then ls(a=True) will do", Call("ls", {"a": True})),
        ("[cd(folder='a')", Call("cd", {"folder": "a"})),
        ("[A( b = 1 ,\n c = 2 )]", Call("A", {"b": 1, "c": 2})),
    ],
)
def test_python_syntax(text, call):
    assert parse(text) == call


@pytest.mark.parametrize(
    "text, arguments",
    [  # API-Bank's golds and what models make of them
        ("[AddMeeting(attendees='['John', 'Jane']')]", {"attendees": "['John', 'Jane']"}),
        (
            "[Record(health_data='[{'name': 'blood_pressure', 'value': '120/80'}]', user_id='7')]",
            {"health_data": "[{'name': 'blood_pressure', 'value': '120/80'}]", "user_id": "7"},
        ),
        ("[A(name='John's', place='Jane's')]", {"name": "John's", "place": "Jane's"}),
        ("[A(text='say 'hi' (or 'ho')', n=2)]", {"text": "say 'hi' (or 'ho')", "n": 2}),
        ("[A(text='two\nlines')]", {"text": "two\nlines"}),
        ("[A(a='x', 'y')]", {"a": "x', 'y"}),
        ("[A(mode=engage, on=true, off=null, id=007)]", dict(mode="engage", on=True, off=None, id="007")),
        ("[A(a=f(1, 2), b=)]", {"a": "f(1, 2)", "b": ""}),
    ],
)
def test_text_that_is_not_python(text, arguments):
    assert parse(text).arguments == arguments


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No API is needed.",
        "[]",
        "[cd(folder='a'",
        "[cd(folder='a']",
        "[cd(folder='a",
        "[A(a=1, a=2)]",
        "[A(**{'a': 1})]",
        "[A(*[1, 2])]",
        "(exit)()",
        "file(s)",
        "[A(exit())]",
        "[A('x' * 10 ** 9)]",
        "\0[A(\0)]",
    ],
)
def test_what_is_no_call_is_a_syntax_error(text):
    with pytest.raises(CallSyntaxError):
        parse(text)


def test_code_in_an_argument_stays_text():
    assert parse("cat(f=__import__('os').getpid())").arguments == {"f": "__import__('os').getpid()"}


@pytest.mark.parametrize("start", ["", "[A(", "[A(a=", "[A(a='", "[A(a=1, "])
@pytest.mark.parametrize(
    "unit", ["[", "(", "{", ")", "'", '"', "\\'", "','", "-", "~", "a=", "A(", "[A(a='", " "]
)
def test_a_megabyte_is_read_in_under_a_second(start, unit):
    text = start + unit * (1_000_000 // len(unit))
    began = time.perf_counter()
    with suppress(CallSyntaxError):
        parse(text)
    assert time.perf_counter() - began < 1, "parse is no longer linear"


def test_a_call_beyond_the_limit_is_not_read():
    with pytest.raises(CallSyntaxError, match="is never closed"):
        parse(f"[echo(content='{'a' * LIMIT}')]")


def test_canonical_is_free_of_order_quotes_and_types():
    left = parse("[A(a='1', b=2.0, c=['x', 3], d='{\\'k\\': 1}')]")
    right = parse('[A(d={"k": 1}, c="[\'x\', 3.0]", b=2, a=1)]')
    assert canonical(left) == canonical(right)
    assert hash(canonical(left)) == hash(canonical(right))


@pytest.mark.parametrize(
    "one, other",
    [
        ("[A(a=1)]", "[B(a=1)]"),
        ("[A(a=1)]", "[A(b=1)]"),
        ("[A(a=1)]", "[A(a=1, b=1)]"),
        ("[A(a=1)]", "[A(a=True)]"),
        ("[A(a=[1, 2])]", "[A(a=[2, 1])]"),
        ("[A(a='x')]", "[A(a='X')]"),
        ("[A(a='')]", "[A()]"),
        ("[A(a=None)]", "[A()]"),
        ("[A(1)]", "[A(a=1)]"),
    ],
)
def test_canonical_tells_different_calls_apart(one, other):
    assert canonical(parse(one)) != canonical(parse(other))


def test_positional_arguments_are_bound_by_the_documented_order():
    call = parse("[mv('a', destination='b')]")
    assert canonical(call, ["source", "destination"]) == canonical(parse("[mv(source='a', destination='b')]"))
    twice = parse("[mv('a', source='b')]")
    assert canonical(twice, ["source"]) != canonical(parse("[mv(source='b')]")), "a value must not vanish"


def test_parameter_names_come_from_the_documents():
    document = '{"name": "mv", "parameters": {"source": {}, "destination": {}}}'
    assert parameter_names([document]) == {"mv": ["source", "destination"]}


def test_every_target_of_bfcl_reads_back(bfcl):
    targets = [turn.call for dialogue in bfcl.dialogues for turn in dialogue.turns if turn.call]
    assert len(targets) == 1142
    for call in targets:
        assert parse(render(call)) == call
        assert parse(f"API-Request: {render(call)}\nAPI-Response: x") == call
        assert not call.positional, f"{render(call)} is not in keyword form"
