import json
import time
from contextlib import suppress
from keyword import kwlist

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trajnb.formatting.calls import (
    LIMIT,
    MOST,
    CallSyntaxError,
    canonical,
    made_turn,
    opened_name,
    parse,
    parse_all,
    render,
    writable,
)
from trajnb.formatting.dialogue import Call, Turn

PLAIN = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True) | st.sampled_from(kwlist)
OPENAI = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)  # what its API takes as a function's name
MCP = st.from_regex(r"[A-Za-z0-9_./-]{1,128}", fullmatch=True)  # the specification's names of tools
ODD = st.text(alphabet="ab1_-. /:$@#'\"\\[](){}<>=,;é天🙂\n\u200b\xa0", max_size=12)
KEYS = PLAIN | ODD | st.text(max_size=12)  # JSON takes any text as a key, the empty one too
NAMES = PLAIN | OPENAI | MCP | KEYS.filter(bool)
SCALARS = st.text(max_size=30) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS |= st.booleans() | st.none() | st.text(alphabet="[]{}'\"\\,()=a ", max_size=12)
SCALARS |= st.lists(st.text(alphabet="ab'\"\\,=)] ", max_size=8), max_size=3).map(repr)  # text of a container
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CALLS = st.builds(
    Call, NAMES, st.dictionaries(KEYS, VALUES, max_size=4), st.lists(VALUES, max_size=2).map(tuple)
)
CALL_LIKE = st.text(alphabet="[]()'\"{}=,\\ ab1.-:\n", max_size=60)


@given(CALLS)
@example(Call("A", {"a": "['']"}))  # would read as [] where it stood unescaped
@example(Call("A", {"a": "['a', b='c']"}))
@example(Call("A", {"class": "a', b='c\""}))
@example(Call(",ls", {"": 1}))
@example(Call("API-Request:", {"API-Request: [b()]": "['x']"}))
@example(Call("ls(a='b')]", {"a', b": "['it's']"}))
@example(Call("'a'", {"'b'": 1, '"': 2}))
@example(Call("a\x00", {"b\x85": 1}))
def test_a_rendered_call_reads_back_as_itself_and_as_nothing_else(call):
    assert parse(render(call)) == call
    assert parse_all(render(call)) == (call,)


@given(
    CALLS,
    st.sampled_from(["", "Sure. ", "API-Request: ", "I use file(s):\n"]),
    st.text(max_size=20) | CALL_LIKE,
)
@example(Call("A", {"a": "['\"]"}), "", "\"',)")  # unescaped, its quotes would pair with those of the text
def test_text_around_a_bracketed_call_changes_nothing(call, before, after):
    assert parse(before + render(call) + after) == call


@given(st.text() | CALL_LIKE | CALL_LIKE.map("[A(a=".__add__) | CALL_LIKE.map("[A('".__add__))
@example("[a.b(a=1)]")
@example("[é(a=1)]")
def test_any_text_is_a_call_or_a_syntax_error(text):
    try:
        call = parse(text)
    except CallSyntaxError:
        return
    assert canonical(call) == canonical(call, [])
    assert parse_all(text)[0] == call and opened_name(text) == call.name
    assert parse(render(call)) == call, "what was read can be written and read again"
    assert made_turn(text, "x") == Turn("api", "x", call)


@pytest.mark.parametrize(
    "before, whole",
    [
        *[(mark, f"{mark}lock") for mark in ("un-", "math.", "os.path.", "é", "天", "$", "@", "un:", "un/")],
        *[(mark, f"{mark}lock") for mark in ("x=", "un,", "**", "2", "un+", "API-Requests:", "\u200b")],
        *[(mark, "lock") for mark in (" ", "\n", "\xa0", "(", "{", "<", "->", "'", '"', "`", "“", "（")],
        *[(mark, "lock") for mark in ("un -> ", "a]", "API-Request:", "Do: API-Request:", "API-Request: [")],
    ],
)
def test_a_name_is_read_whole(before, whole):
    for opening in (before, f"[{before}", f"API-Request: [{before}", f"I will do this:\n{before}"):
        text = f"{opening}lock(door='a')]"
        assert parse(text) == Call(whole, {"door": "a"}), text
        assert opened_name(text) == whole
        assert parse_all(f"[ls()] {text}")[-1].name == whole


def test_a_comma_between_calls_is_of_no_name():
    assert [call.name for call in parse_all("[ls(),cd(folder='a');pwd()]")] == ["ls", "cd", "pwd"]


@pytest.mark.parametrize(
    "text, name",
    [
        ("", None),
        ("No API is needed (now).", None),
        ("API-Request: [cd(folder='a', folder='b')]", "cd"),
        ("API-Request: [cd(folder='a", "cd"),
        ("I use file(s): [cd(folder=", "cd"),
        ("[un-lock(door=", "un-lock"),
    ],
)
def test_what_is_opened_is_known_where_it_cannot_be_read(text, name):
    assert opened_name(text) == name


@given(CALL_LIKE.map("[A(".__add__))
def test_there_are_calls_exactly_where_one_can_be_read(text):
    try:
        first = parse(text)
    except CallSyntaxError:
        assert parse_all(text) == ()
    else:
        assert parse_all(text)[0] == first


@pytest.mark.parametrize(
    "call, text",
    [
        (Call("A", {"a": "['John', 'Jane']", "n": 1}), "[A(a='['John', 'Jane']', n=1)]"),
        (Call("A", {"a": "[{'k': '1/2'}]"}), "[A(a='[{'k': '1/2'}]')]"),
        (Call("A", {"a": ["x"], "b": "it's", "c": "[1, 2]"}), "[A(a=['x'], b=\"it's\", c='[1, 2]')]"),
        (Call("A", {"a": "['']"}), "[A(a=\"['']\")]"),
        (Call("A", {"a": '["it\'s"]'}), "[A(a='[\"it\\'s\"]')]"),
        (Call("A", {"a": "['x']", "b": "['']"}), "[A(a=\"['x']\", b=\"['']\")]"),
    ],
)
def test_text_of_a_container_stands_unescaped_where_that_reads_back(call, text):
    assert render(call) == text
    assert parse(text) == call


@pytest.mark.parametrize(
    "call, text",
    [
        (Call("get-tide", {"port": "Brest"}), "[get-tide(port='Brest')]"),
        (Call("math.factorial", {"n": 5}), "[math.factorial(n=5)]"),
        (Call("mcp__sea-srv__get_tide"), "[mcp__sea-srv__get_tide()]"),
        (Call("server/get:tide"), "[server/get:tide()]"),
        (Call("天气", {"城市": "巴黎"}), "[天气(城市='巴黎')]"),
        (Call("2fa"), "[2fa()]"),
        (Call("A", {"port-name": 1, "$filter": 2, "@id": 3, "hub.mode": 4}), None),
        (Call("A", {"Hafen_ä": "x"}), "[A(Hafen_ä='x')]"),
        (Call("A", {"due date": 1, "2nd": 2, "a[]": 3, "": 4}), "[A('due date'=1, '2nd'=2, 'a[]'=3, ''=4)]"),
        (Call("get tide", {"it's": 1}), "['get tide'(\"it's\"=1)]"),
        (Call("get-"), "['get-'()]"),
        (Call("7"), "['7'()]"),
        (Call("file(s)"), "['file(s)'()]"),
        (Call("a\tb\n"), "['a\\tb\\n'()]"),
    ],
)
def test_any_text_is_a_name_quoted_where_it_would_not_be_read_whole(call, text):
    text = text or "[A(port-name=1, $filter=2, @id=3, hub.mode=4)]"
    assert render(call) == text
    for around in ("{}", "API-Request: {}", "I do this: {} and wait.", "{}\n[ls()]"):
        assert parse(around.format(text)) == call
        assert opened_name(around.format(text)) == call.name


def test_a_name_is_the_same_with_and_without_quotes():
    assert parse("['ls'('a'='x', \"b\"=2)]") == Call("ls", {"a": "x", "b": 2})
    assert parse("[A('a-b'=John's, c-d='it's')]") == Call("A", {"a-b": "John's", "c-d": "it's"})
    assert parse("[A(a=on, 'b c'='it's', d=2)]").arguments == {"a": "on", "b c": "it's", "d": 2}
    with pytest.raises(CallSyntaxError, match="argument a is given twice"):
        parse("[A(a=1, 'a'=2)]")


def test_a_call_of_nothing_is_not_written():
    with pytest.raises(ValueError, match="names no API"):
        render(Call(""))


@pytest.mark.parametrize(
    "call, reason",
    [
        (Call("write_file", {"text": "x" * LIMIT}), "'write_file' that .*: it takes 20,021 characters, over"),
        (Call("deep", {"a": json.loads("[" * 300 + "]" * 300)}), "'deep' that .* nested too deeply"),
        (Call("f", {"a": float("nan")}), "'f' that .* no text, finite number"),
        (Call(""), "names no API"),
    ],
)
def test_a_call_that_cannot_be_written_has_one_reason(call, reason):
    with pytest.raises(ValueError, match=reason):
        writable(call)
    assert writable(Call("$a b", {"$c d": [1]})) == Call("$a b", {"$c d": [1]})


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
        ("[cd(folder='a']", Call("cd", {"folder": "a"})),
        ("[A(a=[1, 2], b=x]\nNext I will wait.", Call("A", {"a": [1, 2], "b": "x"})),
        ("[A(a='x', b=2, )] is it", Call("A", {"a": "x", "b": 2})),
        ("[A('x', class='y', None=1)]", Call("A", {"class": "y", "None": 1}, ("x",))),
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
        ("[A(a='['x']', b=on,)]", {"a": "['x']", "b": "on"}),
        ("[A(a='['x']',)]", {"a": "['x']"}),
        ("[A(a='['x']']", {"a": "['x']"}),
        ("[A(name='John's'), B(name='Jane's')]", {"name": "John's"}),
        ("[A(a=1e999, b=..., c=[1e999])]", {"a": "1e999", "b": "...", "c": "[1e999]"}),
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
        "[cd(folder='a",
        "cd(folder='a'",
        "[cd(folder='a]",
        "[cd(folders=['a']",
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


def test_the_message_is_about_the_text_as_it_was_written():
    assert parse("[A(a=on, 'b c'='it's', d=2)]").arguments == {"a": "on", "b c": "it's", "d": 2}
    with pytest.raises(CallSyntaxError, match="argument a is given twice"):
        parse("[A(a='x', a='y')]")


def test_code_in_an_argument_stays_text():
    assert parse("cat(f=__import__('os').getpid())").arguments == {"f": "__import__('os').getpid()"}


@pytest.mark.parametrize(
    "text, names",
    [
        ("No API is needed.", []),
        ("[cd(folder='a'", []),
        ("[A(a='[B()]', b='C()')] file(s)", ["A"]),
        ("[A(a='['B()', 'C()']')]", ["A"]),
        ("[ls(), cd(folder='b'), ls()]", ["ls", "cd", "ls"]),
        ("API-Request: [ls()]->['a']\nUser: And (then)?\nAPI-Request: [cd(folder='a')]", ["ls", "cd"]),
        ("ls()\ncd(folder='a'\nmv(a=1, b=2)", ["ls", "mv"]),
        ("[A(a='['x']'), B(b='it's')]", ["A", "B"]),
        ("[ls()] " * 1000, ["ls"] * (1 + MOST)),
    ],
)
def test_calls_after_the_first_are_there_to_be_counted(text, names):
    assert [call.name for call in parse_all(text)] == names


@pytest.mark.parametrize("start", ["", "[A(", "[A(a=", "[A(a='", "[A(a=1, ", "[ls()]"])
@pytest.mark.parametrize(
    "unit", ["[", "(", "{", ")", "]", "'", '"', "\\'", "','", "' ", "1,", "-", "~", "a=", "A(", "[A(a='", " "]
    + ["a", "é", "a.", "1", "[a", "a ", ",", "API-Request:"]
    + ["['", '["', "['a'(", "'a'=", "'='", ",'", "$a-", "[A('a'="]
)
def test_a_megabyte_is_read_in_under_a_second(start, unit):
    text = start + unit * (1_000_000 // len(unit))
    for read in (parse, parse_all, opened_name):
        began = time.perf_counter()
        with suppress(CallSyntaxError):
            read(text)
        assert time.perf_counter() - began < 1, f"{read.__name__} is no longer linear"


@pytest.mark.parametrize("unit", ["[", "]", "[]", "[A(", "{[("])
def test_ten_megabytes_of_brackets_are_read_or_refused_at_once(unit):
    began = time.perf_counter()
    with suppress(CallSyntaxError):
        parse(unit * (10_000_000 // len(unit)))
    assert time.perf_counter() - began < 1


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


def test_every_target_of_bfcl_reads_back(bfcl):
    targets = [turn.call for dialogue in bfcl.dialogues for turn in dialogue.turns if turn.call]
    assert len(targets) == 1142
    for call in targets:
        assert parse(render(call)) == call
        assert parse(f"API-Request: {render(call)}\nAPI-Response: x") == call
        assert not call.positional, f"{render(call)} is not in keyword form"


@pytest.mark.parametrize("level, rows, golds, nested", [(1, 399, 389, 30), (2, 135, 119, 10)])
def test_every_gold_of_api_bank_reads_back_byte_for_byte(api_bank_files, level, rows, golds, nested):
    content = json.loads((api_bank_files / f"level-{level}-api.json").read_text("utf-8"))
    kept = [row for row in content if row["id"] % 2 == 0]  # an odd id repeats the even one after it
    assert (len(content), len(kept)) == (rows, golds)
    undocumented = 0
    for row in kept:
        call = parse(row["expected_output"])
        assert f"API-Request: {render(call)}" == row["expected_output"]
        assert parse_all(row["expected_output"]) == (call,)
        described = row["instruction"].partition("API descriptions:\n")[2].splitlines()
        documents = {doc["name"]: doc["input_parameters"] for doc in map(json.loads, filter(None, described))}
        undocumented += len(call.arguments.keys() - documents.get(call.name, call.arguments))
    assert sum("='[" in row["expected_output"] for row in kept) == nested
    assert undocumented == (8 if level == 1 else 0), (
        "beyond the 8 `device_id` of TimedSwitch, keys were invented"
    )
