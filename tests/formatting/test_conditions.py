import pytest

from trajnb.formatting.conditions import CONDITIONS, History, Line, lines, messages
from trajnb.formatting.dialogue import Call, Turn

TURNS = (
    Turn("user", "List my files."),
    Turn("api", '["a.txt"]', Call("ls", {"a": True})),
    Turn("ai", "You have a.txt."),
    Turn("user", "Show it."),
    Turn("api", "hello", Call("cat", {"file_name": "a.txt"})),
)
HISTORY = History(('{"name": "ls"}', '{"name": "cat"}'), TURNS, 2)


def test_every_condition_marks_the_same_lines_and_leaves_the_history_alone():
    for name, condition in CONDITIONS.items():
        marked = condition(HISTORY)
        assert [(line.kind, line.text) for line in marked] == [
            (line.kind, line.text) for line in lines(HISTORY)
        ]
        assert marked == condition(HISTORY), f"{name} is not a pure function"
    assert HISTORY.turns == TURNS


@pytest.mark.parametrize(
    "name, kinds",
    [
        ("full", ["user", "request", "response", "ai", "user", "request", "response"]),
        ("stripped", ["user", "ai", "user"]),
        ("requests", ["user", "request", "ai", "user", "request"]),
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
