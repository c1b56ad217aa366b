import pytest

from trajnb.scoring.dialogues import KEYS, by_depth, measures, summary, table

GOLD = [["[cd(folder='a')]", "[ls(a=True)]"], [], ["[rm(file_name='x')]"]]


def row(*calls, turns=(True, True), **more):
    made = [{"turn": turn, "text": text, "response": "", "failed": failed} for turn, text, failed in calls]
    kept = {"dialogue_id": "d", "block": "b", "stage": 4, "train_condition": "full", "eval_condition": "full"}
    verdict = {"success": all(turns), "turns": list(turns), "progress": 1.0 if all(turns) else 0.5}
    return kept | {"ends": "oracle", "gold": GOLD, "calls": made} | verdict | more


PERFECT = row(
    (0, "API-Request: [cd(folder='a')]", False), (0, "[ls(a=True)]", False), (2, '[rm(file_name="x")]', False)
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
