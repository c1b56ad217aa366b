"""What repair learnt from and changed, on invented runs."""

import pytest

from trajnb.records import read_run
from trajnb.scoring import preferences, repairs, tables
from trajnb.scoring.length import MODEL


@pytest.fixture
def study(tmp_path, write_repair_run, write_prefer_run, write_run):
    """A run of each arm; the main one passes the first turn of every dialogue after its stages."""

    def read(**more):
        folder = write_repair_run(tmp_path / f"r{len(list(tmp_path.iterdir()))}", **more)
        return read_run(folder)

    def passes(block, turn, stage, moment):
        return turn == 0 and moment == "after"

    return [
        read(passes=passes), *(read(lessons=name) for name in ("kept", "gold", "resampled")),
        *(read(reward=name) for name in ("outcome+rm", "outcome+length", "outcome+noise")),
    ]  # fmt: skip


def test_counts_are_summed_over_runs_by_stage(study):
    table = repairs.candidates_by_stage(study[:2])
    assert len(table) == 4 and (table.candidates == 24).all() and (table["mixed tasks"] == 4).all()
    assert (table[["kept", "low", "wrong"]].sum(axis=1) == table.distinct).all()
    assert repairs.lessons_by_stage(study[:2]).loc["travel"].to_dict() == {
        "trajectories": 10, "examples": 24, "distinct": 24, "repeated repairs": 2, "steps": 4,
    }  # fmt: skip


def test_acceptance_is_by_repairer_and_kind_and_says_who_reads_gold(study):
    table = repairs.acceptance(study[:1]).set_index(["repairer", "failure"])
    assert table.loc["resample", "all"][["repaired", "accepted"]].tolist() == [24, 8]
    assert table.loc["resample", "not done"].accepted == 0 and table.loc["resample", "all"].edits == 2.5
    assert table["reads gold"].groupby("repairer").any().to_dict() == {"oracle": True, "resample": False}
    assert table.loc["oracle", "all"].accepted == table.loc["oracle", "all"].repaired


def test_accuracies_are_pooled_over_stages_with_intervals_over_dialogues(study, tmp_path, write_repair_run):
    table = repairs.accuracies(study[:1]).set_index(["kind", "name"])
    own = table.loc["outcome", MODEL]
    assert (own.pairs, own.dialogues) == (12, 2) and own.right.mean == pytest.approx(2 / 3)
    assert own.right.low < own.right.mean < own.right.high and own.ahead is None
    calls = table.loc["outcome", "calls"]
    assert calls.right.mean == pytest.approx(2 / 3) and calls.ahead.mean == pytest.approx(0)
    assert not calls.beaten
    said = repairs.verdict(repairs.accuracies(study[:1]))
    assert "A success before a failure: The reward model knows no more than length" in said
    perfect = read_run(write_repair_run(tmp_path / "perfect", right=(1, 1, 1, 1)))
    assert repairs.accuracies([perfect]).right[0].mean == 1
    assert repairs.accuracies([]).empty and "nothing can be said" in repairs.verdict(repairs.accuracies([]))


def test_grpo_is_told_step_by_step(study):
    steps, followed = repairs.grpo_steps(study[:1]), repairs.followed(study[:1])
    assert list(steps.step) == [1, 2] * 4 and set(steps.earned) == {"outcome"}
    assert repairs.effectless(steps) == (
        "24 of 32 groups (75%) had no effect: all their episodes earned the same."
    )
    assert list(followed.taken.unique()) == [0, 2] and len(followed) == 16
    assert followed[(followed.side == "held_out") & (followed.taken == 2)].score.unique() == [0.7]


def test_every_arm_is_held_against_the_main_one(study):
    turns, calls = preferences.turns(study), preferences.calls(study)
    family = {"measures": ["passed"], "effects": ["kept", "gold", "resampled", "outcome+rm"]}
    found = repairs.effects(turns, calls, family)
    passed = found[found.measure == "passed"].set_index("effect")
    assert list(passed.index) == list(repairs.EFFECTS)
    assert (passed["mean"] == 50).all(), "one of two tasks of every dialogue"
    assert passed.declared.sum() == 4 and (passed.right_only == 0).all() and (passed.left_only > 0).all()
    exact = found[found.measure == "exact"]
    assert not exact.declared.any()
    said = repairs.answers(study, family)
    assert said[0].startswith("kept+repaired minus kept, turn tasks passed by one greedy chain, at the end")
    assert any(text.startswith("outcome minus outcome+rm, turn tasks") for text in said)
    assert "what repair added on the block just learnt" in " ".join(said)
    assert "nothing to conclude. 12 : 0 of 24 answers" in said[0] and "declared, after Holm" in said[0]


def test_the_stream_is_told_by_objective(study, tmp_path, write_prefer_run, write_run):
    runs = [
        study[0], read_run(write_prefer_run(tmp_path / "prefer")),
        read_run(write_run(tmp_path / "sft", objective="sft")),
    ]  # fmt: skip
    table = repairs.by_objective(tables.frame(runs))
    objectives = ("", ", objective prefer", ", objective repair")
    assert sorted(table.index) == [f"full{words}" for words in objectives]
    assert {"forgetting", "average"} <= set(table.columns)
    assert repairs.by_objective(tables.frame(study)).empty, "one objective is no comparison"


def test_runs_that_do_not_repair_say_nothing_of_it(tmp_path, write_prefer_run):
    run = read_run(write_prefer_run(tmp_path / "prefer"))
    assert repairs.answers([run]) == [] and repairs.repairing([run]) == []
    assert repairs.candidates_by_stage([run]).empty and repairs.acceptance([run]).empty
    assert repairs.grpo_steps([run]).empty and repairs.followed([run]).empty
