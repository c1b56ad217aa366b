import os

import pytest
from world.answers import CORRUPTIONS, answers, as_python, reference

from trajnb.corpora.bfcl import scenarios
from trajnb.corpora.load import load_corpus
from trajnb.formatting.calls import render
from trajnb.formatting.dialogue import Call, Dialogue, Turn
from trajnb.world.rule import Played, Verdict, judge, play, reference_calls
from trajnb.world.sandbox import Sandbox

STATE, OTHER = {"A": {"n": 1}}, {"A": {"n": 2}}


def verdict(*turns):
    """Of turns written as (the reference's responses, its state, the answer's responses, its state)."""
    wanted = [Played(tuple(responses), state) for responses, state, _, _ in turns]
    given = [Played(tuple(responses), state) for _, _, responses, state in turns]
    return judge(wanted, given).turns


@pytest.mark.parametrize(
    "turns, expected",
    [
        ([("ab", STATE, "ab", STATE)], [True]),
        ([("ab", STATE, "ba", STATE)], [True]),  # in any order
        ([("ab", STATE, "abc", STATE)], [True]),  # more is free
        ([("ab", STATE, "ab", OTHER)], [False]),  # unless it changes the state
        ([("ab", STATE, "a", STATE)], [False]),
        ([("aa", STATE, "a", STATE)], [False]),  # as often
        ([("a", STATE, "", STATE)], [False]),  # no call at all
        ([("a", STATE, "a", STATE), ("a", STATE, "b", STATE)], [True, True]),  # it was asked before
        ([("a", STATE, "ab", STATE), ("b", STATE, "", STATE)], [True, False]),  # but a call there must be
        ([("a", STATE, "b", STATE), ("b", STATE, "a", STATE)], [False, True]),  # too late for its own turn
        ([("", STATE, "", STATE), ("a", STATE, "a", STATE)], [True]),  # a turn that asks for nothing
        ([("", STATE, "x", OTHER), ("a", STATE, "a", STATE)], [True]),  # is not judged
        ([("", STATE, "a", STATE), ("a", STATE, "b", STATE)], [True]),  # though its responses count
        ([("a", STATE, "a", OTHER), ("b", OTHER, "b", OTHER)], [False, True]),  # it recovers
    ],
)
def test_turns_are_judged_as_bfcl_does(turns, expected):
    assert verdict(*turns) == tuple(expected)


def test_success_and_progress():
    assert Verdict((True, True)).success and Verdict((True, True)).progress == 1
    assert not Verdict((True, False, True, True)).success
    assert Verdict((True, False, True, True)).progress == 0.25
    assert Verdict((False, True)).progress == 0


def test_an_answer_of_other_turns_is_an_error():
    with pytest.raises(ValueError, match="an answer of 1 turns cannot answer a dialogue of 2"):
        judge([Played((), {})] * 2, [Played((), {})])


def test_reference_calls_stand_by_user_turn():
    one, two = Call("cat", {"file_name": "a"}), Call("ls")
    turns = [Turn("user", "Both."), Turn("api", "x", one), Turn("api", "y", two), Turn("user", "Thanks.")]
    dialogue = Dialogue("d", "b", (), (*turns, Turn("user", "Again."), Turn("api", "y", two)))
    assert reference_calls(dialogue) == (("[cat(file_name='a')]", "[ls()]"), (), ("[ls()]",))


@pytest.mark.parametrize("fresh_ids", [False, True])
def test_all_true_dialogues_succeed(sandbox, fresh_ids):
    dialogues, worlds = load_corpus("bfcl", fresh_ids=fresh_ids).dialogues, scenarios(fresh_ids)
    successes = 0
    for dialogue in dialogues:
        calls = reference_calls(dialogue)
        wanted = play(sandbox, worlds[dialogue.id], calls)
        responses = [turn.text for turn in dialogue.turns if turn.call]
        assert [text for turn in wanted for text in turn.responses] == responses, "those of the corpus"
        successes += judge(wanted, play(sandbox, worlds[dialogue.id], calls)).success
    assert successes == len(dialogues) == 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the official checker forks for every answer")
@pytest.mark.parametrize(
    "step, each",
    [(20, 40), pytest.param(1, 50, marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_no_disagreement_with_the_official_checker(bfcl, worlds, step, each, capsys):
    from world.official import check  # not where there is no `fork`

    asked, ours, kinds = [], [], []
    with Sandbox() as sandbox:
        for dialogue in bfcl.dialogues[::step]:
            world, truth = worlds[dialogue.id], reference(dialogue)
            wanted = play(sandbox, world, reference_calls(dialogue))
            for kind, answer in answers(dialogue, bfcl.dialogues, each):
                given = play(sandbox, world, [[render(call) for call in turn] for turn in answer])
                ours.append(judge(wanted, given))
                kinds.append((dialogue.id, kind))
                asked.append(
                    {
                        "id": dialogue.id,
                        "involved_classes": world[0],
                        "initial_config": world[1],
                        "truth": [list(map(as_python, turn)) for turn in truth],
                        "answer": [list(map(as_python, turn)) for turn in answer],
                    }
                )
    theirs = check(asked)
    disagreements = [
        (kind, one, official)
        for kind, one, official, answer in zip(kinds, ours, theirs, asked, strict=True)
        if (one.success, first_failure(one, answer["truth"])) != (official["valid"], official["turn"])
    ]
    assert not disagreements, disagreements[:3]
    valid = sum(official["valid"] for official in theirs)
    assert 0.2 < valid / len(theirs) < 0.6, "both verdicts are common"
    with capsys.disabled():
        print(f"\n{len(theirs)} answers, {valid} of them valid: {len(disagreements)} disagreements")


def first_failure(verdict, truth):
    """The place of the first failing turn among all turns, where BFCL's checker stops."""
    judged = [place for place, calls in enumerate(truth) if calls]
    return next((place for place, ok in zip(judged, verdict.turns, strict=True) if not ok), None)


def test_every_corruption_is_tried(bfcl):
    tried = {kind for kind, _ in answers(bfcl.dialogues[0], bfcl.dialogues, len(CORRUPTIONS) + 1)}
    assert tried == {"true", *CORRUPTIONS}
