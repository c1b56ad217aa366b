import re

import pytest

from trajnb.formatting.conditions import CONDITIONS
from trajnb.corpora.load import load_corpus
from trajnb.formatting.dialogue import Call, Dialogue, Turn
from trajnb.formatting.examples import donors
from trajnb.show.view import show_conditions, show_supervised

ATTACK = "<script>alert(\"x\")</script><img src=x onerror='alert(1)'>&amp;"


@pytest.fixture
def hostile():
    call = Call("echo", {"content": ATTACK})
    turns = (Turn("user", ATTACK), Turn("api", ATTACK, call), Turn("user", ATTACK), Turn("api", ATTACK, call))
    return Dialogue(ATTACK, ATTACK, (ATTACK,), turns)


def hidden_lines(html):
    return re.findall(r'<div class="line (\w+) hidden">', html)


def test_all_text_is_escaped(hostile):
    more = {ATTACK: CONDITIONS["full"]}
    for html in (
        show_conditions(hostile, 1, CONDITIONS | more).data,
        show_supervised([ATTACK, ATTACK], [False, True]).data,
    ):
        body = html.partition("</style>")[2]
        assert set(re.findall(r"<(/?\w+)", body)) <= {"div", "/div", "span", "/span", "b", "/b"}
        assert "onerror=&#x27;" in body and "&amp;amp;" in body


def test_every_condition_has_a_column_and_strikes_what_it_hides():
    dialogues = load_corpus("sample", documents="used").dialogues
    dialogue = dialogues[0]
    html = show_conditions(dialogue, 2, donor=donors(dialogues)[dialogue.id]).data
    columns = html.split('<div class="column">')[1:]
    assert len(columns) == len(CONDITIONS)
    for name, column in zip(CONDITIONS, columns, strict=True):
        assert (
            f"<b>{name}</b>" in column and "Generate API Request" in column and 'class="line gold"' in column
        )
    by_name = dict(zip(CONDITIONS, columns, strict=True))
    assert hidden_lines(by_name["full"]) == []
    assert set(hidden_lines(by_name["requests"])) == {"response"}
    assert set(hidden_lines(by_name["stripped"])) == {"request", "response"}


def test_without_a_donor_no_placebo_is_drawn(hostile):
    assert "<b>placebo</b>" not in show_conditions(hostile, 1).data


def test_a_new_condition_needs_nothing_here(hostile):
    html = show_conditions(hostile, 0, {"mine": CONDITIONS["full"]}).data
    assert html.count('<div class="column">') == 1 and "<b>mine</b>" in html


def test_a_step_that_is_not_there_is_named(hostile):
    with pytest.raises(ValueError, match="has no step 7; they run from 0 to 1"):
        show_conditions(hostile, 7)


def test_supervised_tokens_are_marked_and_long_prompts_shortened():
    tokens = [f"p{i} " for i in range(1000)] + ["api", "-", "call"]
    html = show_supervised(tokens, [False] * 1000 + [True] * 3, around=10).data
    marked = html.partition('<span class="supervised">')[2]
    assert re.findall(r">([^<]+)</span>", marked) == ["api", "-", "call"]
    assert "990 tokens not shown" in html and "p990 " in html and "p989 " not in html


def test_nothing_is_cut_out_of_what_is_supervised():
    html = show_supervised(["a"] * 50, [True] * 50, around=3).data
    assert html.count('class="token"') == 50 and "not shown" not in html


def test_lengths_must_agree():
    with pytest.raises(ValueError):
        show_supervised(["a"], [True, False])
