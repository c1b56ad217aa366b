import pytest

from trajnb.formatting.dialogue import Call, Dialogue, Turn
from trajnb.scoring.dialogues import (
    HELD_AGAINST,
    KEYS,
    TIE_BF16,
    against_forced,
    by_depth,
    measures,
    summary,
    table,
    told,
)

GOLD = [["[cd(folder='a')]", "[ls(a=True)]"], [], ["[rm(file_name='x')]"]]


def row(*calls, turns=(True, True), **more):
    made = [
        {"turn": turn, "text": text, "response": "", "failed": failed}
        for turn, text, failed in calls
    ]
    kept = {"dialogue_id": "d", "block": "b", "stage": 4}
    kept |= {"train_condition": "full", "eval_condition": "full"}
    verdict = {"success": all(turns), "turns": list(turns), "progress": 1.0 if all(turns) else 0.5}
    return kept | {"ends": "oracle", "gold": GOLD, "calls": made} | verdict | more


PERFECT = row(
    (0, "API-Request: [cd(folder='a')]", False),
    (0, "[ls(a=True)]", False),
    (2, '[rm(file_name="x")]', False),
)


def test_the_reference_itself_is_perfect():
    found = measures(PERFECT, {})
    assert (found["success"], found["turns"], found["progress"], found["exact"]) == (1, 1, 1, 1)
    assert (found["made"], found["gold"], found["failed"]) == (3, 3, 0)
    assert (found["repeated identical call"], found["too few calls"]) == (0, 0)
    assert (found["trajectory match"], found["inclusion"], found["usage"]) == (1, 1, 1)
    assert found["recovered"] is None, "nothing failed"


def test_calls_are_compared_at_their_place_in_their_turn():
    late = row((0, "[ls(a=True)]", False), (2, "[rm(file_name='x')]", False))
    assert by_depth(late, {}) == [(0, False), (1, False), (2, True)]
    assert measures(late, {})["too few calls"] == 1


def test_recovery_is_a_call_that_works_after_one_that_fails_in_the_same_turn():
    tried = row(
        (0, "[cd(folder='b')]", True),
        (0, "[cd(folder='b')]", True),
        (0, "[cd(folder='a')]", False),
        (2, "no call at all", True),
    )
    found = measures(tried, {})
    assert found["failed"] == pytest.approx(3 / 4)
    assert found["recovered"] == pytest.approx(1 / 2), "of two failures with a call behind them"
    assert found["repeated identical call"] == 1
    assert found["too few calls"] == 1, "what cannot be read is no call of the last turn"


def test_no_calls_leave_no_share_to_tell():
    found = measures(row(turns=(False, False)), {})
    assert found["made"] == 0 and found["failed"] is None and found["exact"] == 0


def test_the_table_has_a_line_per_rollout_and_its_summary_counts_and_averages():
    lines = [PERFECT, row(turns=(False, True))]
    found = table([{**line, "figures": measures(line, {})} for line in lines])
    assert list(found.columns[:6]) == list(KEYS)
    assert list(found.success) == [1, 0] and list(found.turns) == [1, 0.5]
    (both,) = summary(found, ["eval_condition", "ends"]).to_dict("records")
    assert (both["dialogues"], both["made"], both["gold"]) == (2, 3, 6)
    assert (both["success"], both["turns"], both["failed"]) == (0.5, 0.75, 0), (
        "shares are means of those there"
    )


DIALOGUE = Dialogue(
    "d",
    "b",
    ("{}",),
    (
        Turn("user", "Go there and look."),
        Turn("api", "gone", Call("cd", {"folder": "a"})),
        Turn("api", "x, y", Call("ls", {"a": True})),
        Turn("user", "Thank you."),
        Turn("user", "Delete x."),
        Turn("api", "done", Call("rm", {"file_name": "x"})),
    ),
)
ANSWERS = ["API-Request: [cd(folder='a')]", "API-Request: [ls(a=True)]", "[rm(file_name='x')]"]
RESPONSES = ["gone", "x, y", "done"]


def predicted(texts=ANSWERS, **more):
    common = {"dialogue_id": "d", "stage": 4, "eval_condition": "full", "prompt_tokens": 9} | more
    return [common | {"step": step, "prediction": text} for step, text in enumerate(texts)]


def rolled(texts=ANSWERS, responses=RESPONSES, turns=(0, 0, 2), margin=0.5, **more):
    made = row(*((turn, text, False) for turn, text in zip(turns, texts, strict=True)), **more)
    calls = [
        {**call, "response": response, "margin": margin, "prompt_tokens": 9}
        for call, response in zip(made["calls"], responses, strict=True)
    ]
    return made | {"calls": calls}


def held_against(line, predictions, **more):
    found = against_forced([line], predictions, {"d": DIALOGUE}, **more)
    assert tuple(found.columns) == HELD_AGAINST
    return list(zip(found.step, found.found, strict=True))


def test_a_rollout_that_follows_the_reference_is_compared_at_every_call():
    assert held_against(rolled(), predicted()) == [(0, "same"), (1, "same"), (2, "same")]


@pytest.mark.parametrize(
    "change",
    [
        {"texts": [ANSWERS[0], "[ls(a='True')]", ANSWERS[2]]},  # the same call, written otherwise
        {"responses": ["gone", "x", "done"]},
    ],
    ids=["another text", "another response"],
)
def test_after_another_call_or_response_only_prompts_that_do_not_show_it_are_compared(change):
    line = rolled(**change)
    texts = [call["text"] for call in line["calls"]]
    assert held_against(line, predicted(texts)) == [(0, "same"), (1, "same")]
    under = {"eval_condition": "stripped"}
    stripped = held_against(line | under, predicted(texts, **under))
    assert [step for step, _ in stripped] == [0, 1, 2]


def test_the_same_call_with_other_spaces_leaves_the_same_prompt():
    texts = ["API-Request: [cd( folder = 'a' )] and more", *ANSWERS[1:]]
    assert held_against(rolled(texts), predicted(texts)) == [(0, "same"), (1, "same"), (2, "same")]


def test_another_answer_to_the_same_prompt_is_named():
    line = rolled(["[ls()]", *ANSWERS[1:]])
    found = against_forced([line], predicted(), {"d": DIALOGUE})
    (wrong,) = found[found.found == "differs"].itertuples()
    said = told(wrong)
    assert "dialogue d, full prompts, turns ended by oracle: call 1 of user turn 1 (step 0)" in said
    assert "'[ls()]'" in said and repr(ANSWERS[0]) in said


def test_close_logits_and_other_cuts_are_excepted_but_only_where_the_texts_differ():
    other = ["[ls()]", *ANSWERS[1:]]
    assert held_against(rolled(other, margin=9e-5), predicted())[0] == (0, "tie")
    assert held_against(rolled(other, margin=0.3), predicted(), tie=TIE_BF16)[0] == (0, "tie")
    assert held_against(rolled(other), predicted(prompt_tokens=7))[0] == (0, "cut")
    assert held_against(rolled(margin=9e-5), predicted(prompt_tokens=7))[0] == (0, "same")


def test_a_line_from_before_margins_were_kept_is_compared_without():
    line = rolled(["[ls()]", *ANSWERS[1:]])
    for call in line["calls"]:
        del call["margin"], call["prompt_tokens"]
    assert held_against(line, predicted())[0] == (0, "differs")


def test_nothing_is_compared_with_other_stages_and_conditions_or_where_no_item_stands():
    assert held_against(rolled(), predicted(eval_condition="stripped")) == []
    assert held_against(rolled(), predicted(stage=3)) == []
    # the model went on after the reference's last call of the turn, and said nothing in the last
    more = rolled([*ANSWERS[:2], "[pwd()]"], ["gone", "x, y", "/a"], (0, 0, 0), ends="model")
    assert held_against(more, predicted()) == [(0, "same"), (1, "same")]
    with pytest.raises(ValueError, match="d was rolled out, but the corpus does not hold it"):
        against_forced([rolled()], predicted(), {})
