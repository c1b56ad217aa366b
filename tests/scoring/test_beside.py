import json

import pytest

from trajnb.scoring import beside
from trajnb.scoring.arms import Arm
from trajnb.world.unpassable import UNPASSABLE


def write(run, name, rows):
    (run.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def stop(stage, right):
    """A line of stops.jsonl."""
    where = {"dialogue_id": "d", "step": 0, "block": "b", "stage": stage}
    asked = {"train_condition": "full", "eval_condition": "full"}
    return where | asked | {"prediction": "[]", "canonical": right}


def test_what_no_run_measured_is_empty(read):
    runs = [read("a")]
    assert beside.played(runs).empty and beside.stops(runs).empty


def test_played_dialogues_are_summed_by_arm(read):
    runs = [read("a"), read("b", condition="stripped")]
    of = {"block": "b", "stage": 4, "train_condition": "full", "eval_condition": "full", "ends": "model"}
    names = ("multi_turn_base_1", sorted(UNPASSABLE)[0])
    rows = [
        {**of, "dialogue_id": name, "success": right, "turns": [right], "progress": float(right),
         "cut": 0, "figures": {"made": 3}}
        for name, right in zip(names, (True, False), strict=True)
    ]
    write(runs[0], "rollouts.jsonl", rows)
    (row,) = beside.played(runs).reset_index().to_dict("records")
    assert row["arm"] == Arm("full") and (row["dialogues"], row["made"]) == (2, 6)
    assert (row["success"], row["success, passable"]) == (0.5, 1.0)


def test_stops_are_percent_by_arm_and_stage(read):
    runs = [read("a"), read("b", condition="stripped")]
    rows = [stop(*one) for one in ((0, False), (0, False), (4, True), (4, False))]
    write(runs[0], "stops.jsonl", rows)
    found = beside.stops(runs)
    assert found.loc[(Arm("full"), "full")].tolist() == pytest.approx([0, 50])


def test_a_stage_that_was_asked_about_some_turns_has_no_percent_of_stops(read):
    runs = [read("a", eval_stages="ends")]
    rows = [stop(stage, True) for stage in (1, 2, 3, 3)]
    write(runs[0], "stops.jsonl", rows)
    assert beside.stops(runs).loc[(Arm("full"), "full")].dropna().to_dict() == {3: 100}
