"""The data of the page of rollouts: calls aligned with the reference, failures, records without texts."""

import pytest

from trajnb.files import read_lines, write_lines
from trajnb.keeping import keep
from trajnb.records import read_study
from trajnb.show.aligning import aligned
from trajnb.show.rollouts import has_rollouts, rollouts_data


def made(*texts):
    return [{"text": f"API-Request: {text}", "response": "ok", "failed": False} for text in texts]


def words(gold, **arms):
    return [
        {name: entry[-1] if name else entry[0] for name, entry in slot.items()}
        for slot in aligned(gold, {name: made(*texts) for name, texts in arms.items()})
    ]


A, B, C = "[a(x=1)]", "[b(y='2')]", "[c()]"


def test_calls_that_are_the_same_stand_beside_the_reference():
    assert words([A, B], full=[A, B]) == [{"": A, "full": "same"}, {"": B, "full": "same"}]
    assert words([A], full=["[a(x='1')]"]) == [{"": A, "full": "same"}]


def test_a_call_that_was_left_out_is_missing_and_does_not_shift_the_others():
    assert [slot["full"] for slot in words([A, B, C], full=[A, C])] == ["same", "missing", "same"]
    assert [slot["full"] for slot in words([A, B], full=[])] == ["missing", "missing"]


def test_a_call_too_many_is_extra():
    assert words([A], full=[A, B]) == [{"": A, "full": "same"}, {"full": "extra"}]
    assert words([A], full=[B, A]) == [{"full": "extra"}, {"": A, "full": "same"}]
    assert words([], full=[A]) == [{"full": "extra"}]


def test_another_call_differs():
    assert words([A, B], full=[A, C]) == [{"": A, "full": "same"}, {"": B, "full": "differs"}]
    assert words([A], full=["\n\n\n or"]) == [{"": A, "full": "differs"}]


def test_arms_share_the_slots_of_the_reference():
    slots = words([A, B], full=[A, B], stripped=[C, A, B])
    assert slots == [
        {"stripped": "extra"},
        {"": A, "full": "same", "stripped": "same"},
        {"": B, "full": "same", "stripped": "same"},
    ]


@pytest.fixture
def played(tmp_path, write_run):
    """A study with rollouts of one dialogue under both ends."""
    for condition in ("stripped", "full"):
        folder = write_run(tmp_path / "runs" / f"{condition}-s0", condition=condition, dialogues=1)
        lines = []
        for ends in ("oracle", "model"):
            lines.append({
                "dialogue_id": "multi_turn_base_0", "block": "file_system", "success": False,
                "turns": [True, False], "progress": 0.5, "cut": 0, "ends": ends, "stage": 4,
                "train_condition": condition, "eval_condition": condition, "figures": {"made": 2},
                "gold": [[A], [], [B]],
                "calls": [one | {"turn": turn} for turn, one in zip((0, 2), made(A, C), strict=True)],
            })  # fmt: skip
        write_lines(folder / "rollouts.jsonl", lines)
    return tmp_path


def test_arms_and_both_ends_stand_side_by_side(played):
    data = rollouts_data(read_study(played), {})
    names = [arm["name"] for arm in data["arms"]]
    ways = ["stripped", "stripped, ends turns itself", "full", "full, ends turns itself"]
    assert names == ways
    (row,) = data["rows"]
    assert row["arms"] == ["✓✗"] * 4
    assert [turn["passed"][0] for turn in row["turns"]] == [True, None, False]
    assert [len(turn["slots"]) for turn in row["turns"]] == [1, 0, 1]
    assert "What users say is not shown" in data["notes"][0]


def test_records_without_texts_show_which_turns_succeed(played):
    keep(played, played / "kept", scores_only=True)
    runs = read_study(played / "kept")
    assert has_rollouts(runs) and "calls" not in read_lines(runs[0].folder / "rollouts.jsonl")[0]
    data = rollouts_data(runs, {})
    (row,) = data["rows"]
    assert row["arms"] == ["✓✗"] * 4 and row["turns"] == []
    assert data["texts"] == []
