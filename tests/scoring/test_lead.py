"""The sentence at the top of a report names both sides, counts right, and claims no more than the rule."""

import pytest

from trajnb.records import read_study
from trajnb.scoring import crossing
from trajnb.scoring.lead import MOST_WORDS, counts_of, lead
from trajnb.scoring.overview import Plan
from trajnb.scoring.tables import frame

BOTH = {"eval_conditions": ["stripped", "full"]}


@pytest.fixture
def opened(tmp_path, write_run):
    """A function: runs (keyword arguments of `write_run`) -> their table and what stands first."""

    def open_study(*runs, plan=None):
        for number, run in enumerate(runs):
            write_run(tmp_path / f"{number:02}", dialogues=1, **run)
        plan = plan or Plan([], None)
        table = frame(read_study(tmp_path))
        return table, lead(table, crossing.effects(table, plan.measures(), plan.family), plan)

    return open_study


def test_two_arms_asked_as_they_were_trained(opened):
    table, first = opened({"condition": "stripped"}, {"condition": "full"})
    final = table[table["last"]].set_index(["dialogue_id", "step"])
    full, stripped = (final[final.condition == name].canonical for name in ("full", "stripped"))
    said = f"{full.sum()} of {len(full)} held-out calls exactly; on stripped, {stripped.sum()}"
    assert said in first.answer
    assert first.answer.endswith("One run each: this tells nothing about other seeds.")
    assert "learning or reading" in first.untold
    counts = first.counts
    assert counts.only_left == (full & ~stripped).sum() and counts.both == (full & stripped).sum()
    assert counts.only_right == (stripped & ~full).sum() and counts.calls == len(full)


def test_crossed_arms_are_held_against_each_other_at_one_test_prompt(opened):
    _, first = opened({"condition": "stripped"} | BOTH, {"condition": "full"} | BOTH)
    assert first.answer.startswith("Asked with stripped prompts, the model trained on full prompts")
    assert str(first.counts.left) == "full → stripped"
    assert str(first.counts.right) == "stripped → stripped"


def test_a_condition_of_ones_own_is_named(opened):
    conditions = ("stripped", "full", "current")
    _, first = opened(*({"condition": name} for name in conditions))
    assert "on current, " in first.answer and len(first.answer.split()) <= MOST_WORDS


def test_a_condition_of_ones_own_against_another_is_named(opened):
    _, first = opened({"condition": "full"}, {"condition": "current"})
    assert "full" in first.answer and "current" in first.answer


def test_one_training_stands_against_the_model_before_it(opened):
    table, first = opened({"condition": "full"})
    before = int(table[table.stage == 0].canonical.sum())
    assert f"before training, {before}." in first.answer and first.counts.right.is_untrained
    assert [str(counts.right) for counts in counts_of(table, "canonical")] == ["untrained"]


def test_an_interval_and_a_direction_stand_from_five_pairs_on(opened):
    runs = [
        {"condition": name, "seed": fold, "fold": fold, "folds": 5, **BOTH}
        for fold in range(5)
        for name in ("stripped", "full")
    ]
    _, first = opened(*runs)
    assert "95 % interval" in first.answer and "other seeds" not in first.answer
    assert first.answer.rstrip(".").split()[-1] in ("undecided", "higher", "lower")
    assert len(first.answer.split()) <= MOST_WORDS


def test_fewer_pairs_have_counts_alone(opened):
    runs = [{"condition": name, "seed": seed} for seed in range(4) for name in ("stripped", "full")]
    _, first = opened(*runs)
    assert "4 runs each: this tells nothing about other seeds." in first.answer
    assert "interval" not in first.answer and "points" not in first.answer


def test_the_declared_primary_measure_is_the_one_that_is_counted(opened):
    table, first = opened({"condition": "stripped"}, {"condition": "full"}, plan=Plan([], None, "novel"))
    assert first.measure == "novel" and "that are novel exactly" in first.answer
    assert first.counts.calls == table[table["last"] & (table.condition == "full")].novel.notna().sum()


def test_every_pair_that_was_asked_the_same_is_counted(opened):
    table, _ = opened({"condition": "stripped"} | BOTH, {"condition": "full"} | BOTH)
    found = counts_of(table, "canonical")
    assert len(found) == 6 and {counts.calls for counts in found} == {9}
