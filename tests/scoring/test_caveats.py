from trajnb.scoring import crossing, tables
from trajnb.scoring.answers import FIRST
from trajnb.scoring.caveats import caveats, limits
from trajnb.scoring.overview import Plan
from trajnb.scoring.stats import FEW_CLUSTERS

FAMILY = {"measures": ["canonical"], "effects": list(FIRST)}


def test_few_seeds_and_late_declarations_are_said(crossed_table):
    def text(seeds, **more):
        table = crossed_table(seeds={"stripped": seeds, "full": seeds}, dialogues=FEW_CLUSTERS)
        return " ".join(caveats(table, crossing.effects(table, ["canonical"], FAMILY), **more))

    assert "One seed per arm:" in text([0])
    assert "3 run pairs where arms are compared: with fewer than 5 no question" in text([0, 1, 2])
    covered = (
        "Intervals speak about other dialogues and seeds; not about other block orders or training "
        "data."
    )
    assert text(range(5)) == covered
    late = {"family": FAMILY | {"declared": "2026-02-02T00:00:00+00:00"}}
    began = ["2026-02-01T00:00:00+00:00", "2026-02-03T00:00:00+00:00"]
    assert text(range(5), **late, started=began) == (
        f"{covered} 1 of 2 runs began before this study named its family of tests (2026-02-02)."
    )


def test_what_only_one_arm_has_is_said(crossed_table):
    table = crossed_table(seeds={"full": [0, 2], "stripped": [0, 1, 2]})
    text = " ".join(caveats(table, crossing.effects(table, ["canonical"])))
    assert "left out: 1 of 3 pairs of seed and block order (seed 1)." in text


def test_runs_are_warned_of_once(crossed_table):
    table = crossed_table(seeds={"full": range(6), "stripped": [0, 1]})
    text = " ".join(caveats(table, crossing.effects(table, ["canonical"])))
    assert text.count("run pairs where") == 1 and "2 run pairs where arms are compared" in text
    assert "speak about other dialogues, some about other seeds;" in text


def test_folds_say_what_their_intervals_speak_of(eight_runs):
    table = eight_runs(folds=8)
    text = " ".join(caveats(table, crossing.effects(table, ["canonical"], FAMILY)))
    assert "Student's t over them" in text and "neither speaks about other training sets" in text
    assert "Intervals speak about other dialogues and seeds; not about other block orders" in text


def test_the_floor_is_said(crossed_table):
    none = crossed_table().assign(canonical=False)
    text = " ".join(caveats(none, crossing.effects(none, ["canonical"])))
    assert "At the floor (no side comes to 5 % in some measure): training" in text


def test_few_dialogues_and_few_exact_calls_are_said(crossed_table):
    table = crossed_table()
    text = " ".join(caveats(table, crossing.effects(table, ["canonical"])))
    assert "rest on 8 dialogues" in text and "Exact calls are few" not in text
    none = table.assign(canonical=False)
    assert "Exact calls are few" in " ".join(caveats(none, crossing.effects(none, ["name"])))


def test_limits_are_what_a_study_says_nothing_about(read):
    runs = [read("a", condition="stripped"), read("b"), read("c", strategy="joint")]
    table = tables.frame(runs)
    found = crossing.effects(table)
    text = " ".join(said := limits(table, found, runs, Plan(["a", "b", "c", "d"], None)))
    assert "1 of 4 planned runs are missing." in text and "One block order" in text
    assert "Not every arm was asked with both prompts" in text
    assert "plain sequential runs" in text and "Next calls on recorded histories" in text
    assert said[-1].startswith("This is smollm2-135m on bfcl;")
    assert not set(said) & set(caveats(table, found))


def test_turns_that_were_cut_are_told(read):
    runs = [read("a", condition="stripped"), read("b")]
    table = tables.frame(runs)
    for run, cut in zip(runs, (0, 3), strict=True):
        run.record.cut_turns.update({"train": {"full": cut}, "held_out": {"full": 2 * cut}})
    told = limits(table, crossing.effects(table), runs, Plan([], None))
    assert (
        "Oldest user turns cut to fit max_length, all runs: training prompts 3 (full); "
        "held-out prompts 6 (full)." in told
    )


def test_limits_fall_away_with_what_was_done(read):
    both = {"eval_conditions": ["stripped", "full"]}
    order = ("travel", "trading", "vehicle_control", "file_system")
    runs = [read("a", condition="stripped", **both), read("b", **both)]
    runs.append(read("c", order=order, **both))
    (runs[0].folder / "rollouts.jsonl").touch()
    table = tables.frame(runs)
    said = limits(table, crossing.effects(table), runs, Plan([], None))
    assert len(said) == 2 and "a format that it never read" in said[0]
