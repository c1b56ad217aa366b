from dataclasses import replace

import pytest

from trajnb.formatting.conditions import (
    CONDITIONS,
    PLACEBOS,
    History,
    Line,
    lines,
    messages,
    paper_messages,
)
from trajnb.formatting.dialogue import Call, Turn

TURNS = (
    Turn("user", "List my files."),
    Turn("api", '["a.txt"]', Call("ls", {"a": True})),
    Turn("ai", "You have a.txt."),
    Turn("user", "Show it."),
    Turn("api", "hello", Call("cat", {"file_name": "a.txt"})),
)
OTHERS = (Turn("api", "12", Call("du")), Turn("api", "done", Call("rm", {"file_name": "b.txt"})))
HISTORY = History(('{"name": "ls"}', '{"name": "cat"}'), TURNS, 2, donated=OTHERS, needed=("a.txt", "42"))


def test_every_condition_marks_the_same_lines_and_leaves_the_history_alone():
    own = [(line.kind, line.text) for line in lines(HISTORY)]
    for name, condition in CONDITIONS.items():
        marked = condition(HISTORY)
        controls = [line for line in marked if (line.kind, line.text) not in own]
        assert [(line.kind, line.text) for line in marked if line not in controls] == own
        assert all(line.shown for line in controls), f"{name} hides what it has added itself"
        assert not controls or name in (*PLACEBOS, "stripped+values")
        assert marked == condition(HISTORY), f"{name} is not a pure function"
    assert HISTORY.turns == TURNS


@pytest.mark.parametrize(
    "name, kinds",
    [
        ("full", ["user", "request", "response", "ai", "user", "request", "response"]),
        ("stripped", ["user", "ai", "user"]),
        ("requests", ["user", "request", "ai", "user", "request"]),
        ("responses", ["user", "response", "ai", "user", "response"]),
        ("placebo", ["user", "request", "response", "ai", "user", "request", "response"]),
        ("stripped+values", ["user", "ai", "user", "values"]),
    ],
)
def test_what_a_condition_shows(name, kinds):
    assert [line.kind for line in CONDITIONS[name](HISTORY) if line.shown] == kinds


def test_the_prompt_word_for_word():
    system, user = messages(HISTORY, CONDITIONS["full"](HISTORY))
    assert system["role"] == "system" and system["content"].endswith('\n{"name": "ls"}\n{"name": "cat"}')
    assert user == {
        "role": "user",
        "content": (
            "User: List my files.\n"
            "API-Request: [ls(a=True)]\n"
            'API-Response: ["a.txt"]\n'
            "AI: You have a.txt.\n"
            "User: Show it.\n"
            "API-Request: [cat(file_name='a.txt')]\n"
            "API-Response: hello\n"
            "Generate API Request 2:"
        ),
    }


def test_the_cue_is_the_same_under_every_condition():
    cues = {
        messages(HISTORY, condition(HISTORY))[1]["content"].splitlines()[-1]
        for condition in CONDITIONS.values()
    }
    assert cues == {"Generate API Request 2:"}


def test_lines_know_their_user_turn():
    assert [line.turn for line in lines(HISTORY)] == [0, 0, 0, 0, 1, 1, 1]
    assert lines(History((), (Turn("ai", "Hello."),), 1)) == (Line("ai", "AI: Hello.", True, 0),)


def test_a_placebo_shows_the_calls_of_another_dialogue_and_none_of_its_own():
    _, user = messages(HISTORY, CONDITIONS["placebo"](HISTORY))
    assert user["content"] == (
        "User: List my files.\n"
        "API-Request: [du()]\n"
        "API-Response: 12\n"
        "AI: You have a.txt.\n"
        "User: Show it.\n"
        "API-Request: [rm(file_name='b.txt')]\n"
        "API-Response: done\n"
        "Generate API Request 2:"
    )
    with pytest.raises(ValueError, match="no other dialogue"):
        CONDITIONS["placebo"](replace(HISTORY, donated=OTHERS[:1]))


def test_needed_values_stand_in_one_line_or_in_none():
    condition = CONDITIONS["stripped+values"]
    assert condition(HISTORY)[-1] == Line("values", "Known values: a.txt, 42", True, 1)
    nothing = replace(HISTORY, needed=())
    assert condition(nothing) == CONDITIONS["stripped"](nothing)


@pytest.mark.parametrize("name", CONDITIONS)
def test_no_condition_counts_the_calls_under_the_plain_cue(name):
    asked = [replace(HISTORY, ordinal=ordinal) for ordinal in (1, 2, 3)]
    shown = CONDITIONS[name](HISTORY)
    assert len({str(messages(one, shown)) for one in asked}) == 3
    (prompt,) = {messages(one, shown, "plain")[1]["content"] for one in asked}
    assert prompt.splitlines()[-1] == "Generate API Request:"
    said = replace(HISTORY, ordinal=0)
    assert messages(said, shown, "plain") == messages(said, shown), "a response has no number"


@pytest.mark.parametrize(
    "name, lines",
    [
        ("full", ['API-Request: [ls(a=True)]->["a.txt"]', "API-Request: [cat(file_name='a.txt')]->hello"]),
        ("responses", ['API-Response: ["a.txt"]', "API-Response: hello"]),
        ("placebo", ["API-Request: [du()]->12", "API-Request: [rm(file_name='b.txt')]->done"]),
        ("stripped", []),
    ],
)
def test_the_form_of_the_paper_takes_every_condition(name, lines):
    _, user = paper_messages(HISTORY, CONDITIONS[name](HISTORY), name)
    assert [line for line in user["content"].splitlines() if line.startswith("API-")] == lines
