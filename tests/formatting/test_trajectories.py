from dataclasses import replace

import pytest

from trajnb.formatting.calls import parse
from trajnb.formatting.conditions import CONDITIONS, History, messages
from trajnb.formatting.dialogue import Call, Dialogue, Turn
from trajnb.formatting.examples import build_examples
from trajnb.formatting.pairs import Wording
from trajnb.formatting.trajectories import (
    ARMS,
    Lesson,
    choose_lessons,
    equal_arms,
    trajectory_rows,
)

DOCUMENTS = ('{"name":"ls","description":"","parameters":{"a":{"type":"boolean"}}}',)
BEFORE = (
    Turn("user", "Where am I?"),
    Turn("api", "/home", Call("pwd")),
    Turn("user", "What is <here>?"),
)
FULL = Wording("full")


def lesson(task, *calls, author="student"):
    turns = (*BEFORE, *(Turn("api", f"answer {call}", parse(call)) for call in calls))
    targets = tuple(range(len(BEFORE), len(turns)))
    dialogue = Dialogue(task.partition("#")[0], "file_system", DOCUMENTS, turns, targets)
    return Lesson(task, author, dialogue)


TWO = lesson("d#1", "[ls()]", "[ls(a=True)]")
ONE = lesson("e#1", "[ls()]")


def test_a_trajectory_is_its_calls_and_an_end():
    rows = trajectory_rows(TWO, FULL)
    says = [row["completion"][0]["content"] for row in rows]
    assert says == ["API-Request: [ls()]", "API-Request: [ls(a=True)]", "API-Request: []"]
    assert [(row["step"], row["turn"], row["ordinal"], row["target"]) for row in rows] == [
        (0, 1, 1, "call"),
        (1, 1, 2, "call"),
        (2, 1, 3, "stop"),
    ]
    for place, row in enumerate(rows):
        history = History(DOCUMENTS, TWO.dialogue.turns[: len(BEFORE) + place], place + 1)
        assert row["prompt"] == messages(history, CONDITIONS["full"](history))
        assert (row["dialogue_id"], row["block"], row["split"]) == ("d", "file_system", "train")
        assert (row["task"], row["author"]) == ("d#1", "student")


@pytest.mark.parametrize("condition", ["full", "stripped", "requests", "stripped+values"])
def test_what_tools_answered_is_in_prompts_alone(condition):
    rows = trajectory_rows(TWO, Wording(condition))
    assert not any("answer" in str(row["completion"]) for row in rows)
    shown = ["answer" in row["prompt"][1]["content"] for row in rows]
    assert shown == ([False, True, True] if condition == "full" else [False] * 3)
    assert all(row["completion"][0]["role"] == "assistant" for row in rows)


@pytest.mark.parametrize("stops", [False, True])
def test_rows_of_the_reference_are_those_of_the_corpus(sample, stops):
    """What the gold arm learns of a turn is what SFT learns of it, in the same words."""
    examples = build_examples(sample, "full", "train", stops=stops)
    dialogue = next(one for one in sample.dialogues if one.id not in sample.held_out)
    users = [place for place, turn in enumerate(dialogue.turns) if turn.role == "user"]
    for number, start in enumerate(users):
        end = [*users, len(dialogue.turns)][number + 1]
        calls = [place for place in range(start + 1, end) if dialogue.turns[place].call]
        if not calls:
            continue
        last = dialogue.turns[: calls[-1] + 1]
        one = Lesson("t", "gold", replace(dialogue, turns=last, targets=tuple(calls)))
        rows = [row for row in trajectory_rows(one, FULL) if (row["target"] == "stop") is stops]
        same = [
            row for row in examples if row["dialogue_id"] == dialogue.id and row["turn"] == number
        ]
        assert len(rows) == len(same) > 0
        for row, other in zip(rows, same, strict=True):
            for name in row.keys() - {"step", "task", "author"}:
                assert row[name] == other[name], name


def test_a_trajectory_without_a_call_is_none():
    with pytest.raises(ValueError, match="task d#1 has no call: there is nothing to learn"):
        trajectory_rows(lesson("d#1"), FULL)


def names(lessons):
    return [(one.task, one.author, len(one.dialogue.targets)) for one in lessons]


def test_arms_are_what_they_are_called():
    repaired = [replace(ONE, author="oracle"), replace(TWO, author="oracle")]
    gold = {one.task: replace(one, author="gold") for one in (TWO, ONE)}
    other = lesson("f#1", "[ls()]")
    more = lesson("d#1", "[ls()]", "[ls()]", "[ls()]")
    given = {"kept": [TWO], "repaired": repaired, "gold": gold, "further": [other, more]}
    arms = {name: names(choose_lessons(name, **given)) for name in ARMS}
    assert arms == {
        "kept": [("d#1", "student", 2)],
        "kept+repaired": [("d#1", "student", 2), ("e#1", "oracle", 1), ("d#1", "oracle", 2)],
        "gold": [("d#1", "gold", 2), ("e#1", "gold", 1), ("d#1", "gold", 2)],
        "resampled": [("d#1", "student", 2), ("f#1", "student", 1), ("d#1", "student", 3)],
    }
    given["further"] = [other, more, ONE, ONE]
    assert len(choose_lessons("resampled", **given)) == 3, "one for each repair"
    given["further"] = [more]
    assert names(choose_lessons("resampled", **given))[1:] == [("d#1", "student", 3)]


def test_arms_have_as_many_examples():
    arms = equal_arms({"kept": [ONE], "kept+repaired": [ONE, TWO], "gold": [TWO]}, FULL)
    assert {name: len(arm.rows) for name, arm in arms.items()} == dict.fromkeys(arms, 5)
    assert {name: (arm.lessons, arm.distinct, arm.repeated) for name, arm in arms.items()} == {
        "kept": (1, 2, 3),
        "kept+repaired": (2, 5, 0),
        "gold": (1, 3, 2),
    }
    steps = [row["step"] for row in arms["kept"].rows]
    assert steps == [0, 1, 0, 1, 0]
    table = arms["kept"].dataset()
    assert len(table) == 5 and {"prompt", "completion", "task"} <= set(table.column_names)
    assert equal_arms({}, FULL) == {}
    for count, distinct in ((4, 3), (2, 2)):
        told = equal_arms({"gold": [TWO]}, FULL, examples=count)["gold"]
        assert (len(told.rows), told.distinct) == (count, distinct), "as many as another arm says"


def test_an_arm_with_nothing_to_learn_is_named():
    nothing = {"kept": [], "repaired": [], "gold": {}, "further": [ONE]}
    for name in ARMS:
        with pytest.raises(ValueError, match="has no trajectory to learn: sample more"):
            choose_lessons(name, **nothing)
    with pytest.raises(ValueError, match="unknown arm 'keep' \\(did you mean 'kept'"):
        choose_lessons("keep", **nothing)
    with pytest.raises(ValueError, match="arm 'gold' has no trajectory"):
        equal_arms({"gold": []}, FULL)
