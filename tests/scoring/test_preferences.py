"""Runs that learn preferences: what they changed, counted by hand, and when a direction may be said."""

import pytest

from trajnb import records
from trajnb.scoring import continual, matrices
from trajnb.scoring import preferences as scored


@pytest.fixture
def learnt(tmp_path, write_prefer_run):
    """A run that passes the first task of the block just learnt after its preferences, and nothing else."""
    order = ("file_system", "vehicle_control", "trading", "travel")

    def passes(block, turn, stage, moment):
        return turn == 0 and moment == "after" and stage > 0 and order[stage - 1] == block

    return records.read_run(write_prefer_run(tmp_path / "pairs", passes=passes))


def test_what_was_passed_before_and_after_is_counted_by_what_was_learnt(learnt):
    turns = scored.turns([learnt])
    greedy = turns[turns.search == "greedy"]
    table = scored.before_and_after(greedy, "passed").droplevel("arm")
    # three dialogues a block with two tasks each: 4 stages of one block, 6 pairs of earlier ones, 6 of later
    assert table.to_dict("index") == {
        ("just learnt", "before"): {"right": 0, "of": 24},
        ("just learnt", "after"): {"right": 12, "of": 24},
        ("learnt earlier", "before"): {"right": 0, "of": 36},
        ("learnt earlier", "after"): {"right": 0, "of": 36},
        ("not yet learnt", "before"): {"right": 0, "of": 36},
        ("not yet learnt", "after"): {"right": 0, "of": 36},
    }
    calls = scored.before_and_after(scored.calls([learnt]), "exact")
    assert calls.of.sum() == 2 * 4 * len(learnt.items)


def test_the_end_is_told_with_and_without_free_tasks_and_its_cost(learnt):
    table = scored.at_the_end(scored.turns([learnt])).droplevel("arm")
    greedy, tree = table.loc[("at the end", "greedy")], table.loc[("at the end", "tree")]
    assert (greedy["tasks"], greedy["passed"]) == (24, 3), "of travel, learnt last"
    assert (greedy["tasks, not free"], greedy["passed, not free"]) == (12, 3)
    assert (tree["passed"], tree["replies a task"], tree["invalid replies a task"]) == (24, 3, 1)
    assert table.loc[("before training", "greedy"), "passed"] == 0


def test_turn_tasks_go_through_the_metrics_of_next_calls(learnt):
    chains = scored.chains(scored.turns([learnt]))
    found = continual.intervals(chains, "passed")
    assert found["learning"].mean == 50 and found["average"].mean == pytest.approx(12.5)
    assert found["bwt"].mean == -50 and found["forgetting"].mean == 50
    matrix = matrices.matrix(chains, "passed")
    assert matrix.right.diagonal(-1).tolist() == [3, 3, 3, 3] and matrix.right.sum() == 12
    table = scored.metrics(scored.turns([learnt]), scored.calls([learnt]))
    assert list(table.columns) == list(continual.METRICS) and len(table) == 2


def test_what_was_learnt_from_is_summed_and_its_noise_told(learnt, tmp_path, write_prefer_run):
    more = records.read_run(write_prefer_run(tmp_path / "more", "more-sft"))
    table = scored.learnt_from([learnt, more])
    assert list(map(str, table.index)) == ["full, preference more-sft", "full, preference pairs"]
    row = table.loc[table.index[0]]
    assert (row["tasks"], row["pairs"], row["kind stop"], row["dropped harmless"]) == (16, 40, 24, 8)
    assert (row["harmless"], row["could be rejected"]) == (8, 48)
    assert list(scored.learnt_by_stage([learnt]).pairs) == [10, 10, 10, 10]
    stage = learnt.record.preferences["stages"][0]
    assert scored.label_noise(stage) == (2, 12)


def test_one_run_says_counts_and_no_direction(learnt, tmp_path, write_prefer_run):
    none = records.read_run(write_prefer_run(tmp_path / "none", "none"))
    said = scored.answers([learnt, none])
    (passed,) = [line for line in said if line.startswith("pairs minus none, turn tasks passed by one")]
    assert "greedy chain, at the end: cannot tell from 1 run" in passed
    assert passed.endswith("3 : 0 of 24 answers right on one side alone.")
    assert any(line.startswith("pairs, exact calls (canonical), what preferences added on the block") for line in said)


def test_five_tied_runs_say_a_direction_by_holm(tmp_path, write_prefer_run):
    runs = []
    for seed in range(5):
        tied = {"seed": seed, "fold": seed, "folds": 5}

        def passes(block, turn, stage, moment, seed=seed):
            return turn == 0 and (stage == 4 and moment == "after") and (seed or block != "travel")

        for name, which in (("pairs", passes), ("more-sft", lambda *_: False)):
            folder = write_prefer_run(tmp_path / f"{name}-{seed}", name, which, **tied)
            runs.append(records.read_run(folder))
    family = {"measures": ["passed"], "effects": ["more-sft", "random"]}
    found = scored.effects(scored.turns(runs), scored.calls(runs), family)
    row = found[found.declared].iloc[0]
    assert row.effect == "more-sft" and row.pairs == 5 and row.low > 0
    assert row.holm == 2 * row.p < 0.05, "the family's other test waits for its runs, and counts"
    first = scored.sentences(found)[0]
    assert "more-sft, turn tasks passed by one greedy chain, at the end: higher (+4" in first
    assert first.endswith("(declared, after Holm).") and not found[found.effect == "random"].size


def test_runs_without_preferences_say_nothing(tmp_path, write_run):
    run = records.read_run(write_run(tmp_path / "full"))
    assert run.record.preferences == {} and run.record.parameters["objective"] == "sft"
    assert scored.answers([run]) == [] and scored.turns([run]).empty
