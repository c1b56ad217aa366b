import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trajnb.scoring import crossing, tables
from trajnb.scoring.arms import words


def by_effect(found: pd.DataFrame, column: str, measure: str = "canonical") -> dict:
    return found[found.measure == measure].set_index("effect")[column].to_dict()


def test_known_effects_are_recovered_to_the_point(eight_runs):
    placebo = {("placebo", "stripped"): 2, ("placebo", "full"): 5}
    table = eight_runs(placebo, trains=("stripped", "full", "placebo"))
    found = crossing.effects(table)
    assert list(found.effect.unique()) == list(crossing.EFFECTS)
    means = by_effect(found, "mean")
    assert {name: pytest.approx(mean) for name, mean in means.items()} == {
        "training": 25,
        "training@stripped": 10,
        "training@full": 40,
        "prompt": 25,
        "prompt@none": 20,
        "prompt@stripped": 10,
        "prompt@full": 40,
        "interaction": 30,
        "same-prompt": means["same-prompt"],
        "content": 30,
    }
    nats = by_effect(found, "mean", "logp")
    assert nats["training"] == pytest.approx(0.25) and nats["interaction"] == pytest.approx(0.3)
    differ = found[found.low.notna()]  # what is alike in every run has no interval
    assert set(found[found.low.isna()].effect) == {"prompt@none"}
    assert (differ.low <= differ["mean"]).all() and (differ["mean"] <= differ.high).all()


def test_the_effect_on_identical_prompts_is_that_of_their_items(crossed_table):
    table = crossed_table()
    final = table[table["last"] & table.same_prompt]
    sides = final.groupby("condition").canonical.mean()
    row = crossing.effects(table, ["canonical"], which=["same-prompt"]).iloc[0]
    assert row["mean"] == pytest.approx(100 * (sides["full"] - sides["stripped"]))
    assert row["items"] == 16 and row.dialogues == 8


def test_two_arms_are_described_by_what_one_of_them_has_right_alone(crossed_table):
    found = crossing.effects(crossed_table(), ["canonical"])
    rows = found.set_index("effect")
    assert tuple(rows.loc["training@full", ["left_only", "right_only"]]) == (
        2 * 8 * 4,
        0,
    )  # two seeds
    assert rows.loc["training@full", "mcnemar"] < 0.001
    assert np.isnan(rows.loc[["training", "interaction"], "mcnemar"].astype(float)).all()


def test_counts_say_what_an_effect_rests_on(crossed_table):
    rows = crossing.effects(crossed_table(), ["canonical"]).set_index("effect")
    assert rows["items"].pop("content") == 0, "there is no placebo"
    rows = rows.drop("content")
    assert (rows["items"].drop("same-prompt") == 80).all() and (rows.dialogues == 8).all()
    assert rows.loc["training", "seeds"] == 2 and rows.loc["training", "orders"] == 1
    assert rows.loc["prompt@none", "seeds"] == 0, "before training there is no seed"


def test_holm_corrects_the_declared_family_and_nothing_else(eight_runs):
    family = {
        "measures": ["canonical"],
        "effects": ["training", "prompt"],
        "declared": "2026-01-01",
    }
    table = eight_runs()
    found = crossing.effects(table, family=family)
    assert found[found.declared][["effect", "measure"]].to_numpy().tolist() == [
        ["training", "canonical"],
        ["prompt", "canonical"],
    ]
    assert found[~found.declared].holm.isna().all()
    least, most = sorted(found[found.declared].p)
    assert sorted(found[found.declared].holm) == pytest.approx([2 * least, max(2 * least, most)])
    everything = crossing.effects(table)
    assert not everything.declared.any() and (everything.holm > everything.p).any()


def test_fewer_than_five_runs_are_no_test_and_dialogues_are_flipped_as_a_description(crossed_table):
    few = {"stripped": range(4), "full": range(4)}
    found = crossing.effects(crossed_table(seeds=few), ["canonical"])
    found = found[found["items"] > 0]
    assert found.p.isna().all() and found.holm.isna().all() and found["mean"].notna().all()
    assert set(found.covers) == {("dialogues",)} and found.flip.notna().any()
    assert crossing.effects(crossed_table(dialogues=3), ["canonical"]).flip.isna().all()


def test_five_seeds_on_the_same_dialogues_are_crossed_with_them(eight_runs):
    rows = crossing.effects(eight_runs(), ["canonical"]).set_index("effect")
    row = rows.loc["training@full"]
    assert row.pairs == 8 and row.covers == ("dialogues", "seeds") and row.folds == 0
    assert row.p < 0.001 and np.isnan(row.corrected_low)
    assert rows.loc["prompt@none"].covers == ("dialogues",), "before training there is no seed"
    assert rows.loc["prompt@none"].pairs == 1


def test_runs_of_distinct_folds_are_students_t(eight_runs):
    table = eight_runs(folds=8)
    row = crossing.effects(table, ["canonical"]).set_index("effect").loc["training@full"]
    by_run = [50, 30] * 4  # full with full prompts is a call better or worse, in turn
    low, high = stats.ttest_1samp(by_run, 0).confidence_interval()
    assert (row["mean"], row.low, row.high) == pytest.approx((40, low, high))
    assert row.p == pytest.approx(stats.ttest_1samp(by_run, 0).pvalue)
    assert row.pairs == row.folds == 8 and row.dialogues == 64 and row["items"] == 640
    wider = np.sqrt(1 / 8 + 1 / 7) / np.sqrt(1 / 8)
    assert (row.corrected_high - 40) / (row.high - 40) == pytest.approx(wider)


def test_a_fold_that_recurs_counts_once(eight_runs):
    table = eight_runs(folds=4)  # runs s and s + 4 hold out the same dialogues
    few = crossing.effects(table, ["canonical"]).set_index("effect").loc["training@stripped"]
    assert few.pairs == 4 and np.isnan(few.p), "eight pairs, but four folds"
    assert few.covers == ("dialogues",)


def test_pairs_are_of_one_fold(crossed_table):
    table = crossed_table(seeds={"full": range(8), "stripped": range(4, 12)}, folds=16)
    row = crossing.effects(table, ["canonical"], which=["training"]).iloc[0]
    assert row.folds == 4 and row.left_out.startswith("8 of 12 pairs")


def test_runs_of_other_folds_are_not_compared_item_by_item(crossed_table):
    table = crossed_table(seeds={"full": [0, 1], "stripped": [2, 3]}, folds=5)
    words = r"different dialogues \(fold 0, 1 of 5 against fold 2, 3 of 5\).*equal fold"
    with pytest.raises(ValueError, match=words):
        crossing.effects(table, ["canonical"], which=["training"])
    apart = [
        crossed_table(trains=["full"], folds=5),
        crossed_table(trains=["stripped"]),
    ]
    with pytest.raises(ValueError, match="against the corpus's own split"):
        crossing.effects(pd.concat(apart), ["canonical"], which=["training@stripped"])


def test_a_control_with_folds_of_its_own_leaves_the_crossing_alone(eight_runs, crossed_table):
    right = {("none", "stripped"): 0, ("none", "full"): 2}
    placebo = {("placebo", "stripped"): 2, ("placebo", "full"): 5}
    control = crossed_table(right | placebo, {}, {"placebo": range(5)}, trains=["placebo"], folds=5)
    rows = crossing.effects(pd.concat([eight_runs(folds=8), control]), ["canonical"])
    rows = rows.set_index("effect")
    assert "0, 1, 2, 3, 4, 5, 6, 7 of 8 against fold 0, 1, 2, 3, 4 of 5" in rows.note["content"]
    assert rows.loc["training@full", "mean"] == pytest.approx(40)
    assert rows.loc["prompt@none", "pairs"] == 8, "of the crossing's own folds"


def test_novel_calls_are_those_that_training_did_not_show(eight_runs):
    table = eight_runs()
    novel = crossing.effects(table, ["novel"]).set_index("effect")
    exact = crossing.effects(table[~table.seen_target], ["canonical"]).set_index("effect")
    for column in ("mean", "low", "high", "p", "items"):
        pd.testing.assert_series_equal(novel[column], exact[column])
    assert novel.loc["training@full", "items"] == 60
    seen = crossing.effects(table.assign(novel=np.nan), ["novel"])
    assert (seen["items"] == 0).all() and "novel calls" in seen.note.iloc[0]


def test_under_five_percent_on_every_side_is_the_floor(crossed_table):
    none = dict.fromkeys(plain_cells(), 0)
    rows = crossing.effects(crossed_table(none), ["canonical", "logp"]).set_index("effect")
    assert rows[rows.measure == "canonical"].floor.drop("content").all()
    assert not rows[rows.measure == "logp"].floor.any()
    assert not crossing.effects(crossed_table(), ["canonical"]).floor.any()


def test_identical_arms_differ_in_nothing(crossed_table):
    right = dict.fromkeys(
        [(a, b) for a in ("none", "stripped", "full") for b in ("stripped", "full")], 5
    )
    found = crossing.effects(crossed_table(right), ["canonical"])
    found = found[found["items"] > 0]
    assert (found[["mean", "low", "high"]] == 0).all(axis=None) and (found.flip == 1).all()


def test_items_of_one_side_only_are_left_out_and_counted(crossed_table):
    table = crossed_table()
    gone = (table.condition == "full") & (table.dialogue_id == "d0") & (table.step < 5)
    found = crossing.effects(table[~gone], ["canonical"], which=["training"]).iloc[0]
    assert found["items"] == 75 and found.left_out == "5 of 80 items"


def test_memory_stands_beside_what_is_plain(read):
    runs = [read("a"), read("b", strategy="lookup"), read("c", strategy="joint")]
    table = tables.frame(runs)
    assert set(crossing.plain(table).run) == {"a"}
    assert set(crossing.with_memory(table).run) == {"a", "b"}


def test_arms_without_a_common_item_are_an_error(crossed_table):
    table = crossed_table()
    table.loc[table.condition == "full", "dialogue_id"] += " of another corpus"
    with pytest.raises(ValueError, match="share no held-out item.*one corpus"):
        crossing.effects(table)


def test_a_seed_that_failed_in_one_arm_is_left_out_and_named(crossed_table):
    table = crossed_table(seeds={"full": [0, 2], "stripped": [0, 1, 2]})
    found = crossing.effects(table, ["canonical"], which=["training", "prompt@stripped"])
    training, prompt = found.itertuples()
    assert training.seeds == 2
    assert training.left_out == "1 of 3 pairs of seed and block order (seed 1)"
    assert prompt.seeds == 3 and prompt.left_out == ""


def test_arms_without_a_common_seed_are_not_compared(crossed_table):
    found = crossing.effects(crossed_table(seeds={"full": [0], "stripped": [1]}), ["canonical"])
    rows = found.set_index("effect")
    assert "no seed" in rows.loc["training", "note"] and rows.loc["training", "items"] == 0
    assert np.isnan(rows.loc["training", "mean"]) and rows.loc["prompt@full", "items"] == 80


def test_arms_asked_in_their_own_condition_only_tell_little_and_why(crossed_table):
    table = crossed_table(asked={"stripped": ["stripped"], "full": ["full"]})
    found = crossing.effects(table, ["canonical"]).set_index("effect")
    assert set(found[found["items"] > 0].index) == {"prompt@none", "same-prompt"}
    note = "no model trained on full prompts was asked with stripped prompts"
    assert found.loc["training", "note"] == note


def test_only_plain_arms_enter(crossed_table):
    plain = crossed_table()
    others = [
        crossed_table(dict.fromkeys(plain_cells(), 9), strategy="joint"),
        crossed_table(dict.fromkeys(plain_cells(), 9), variant=(("fresh_ids", True),)),
    ]
    table = pd.concat([plain, *others], ignore_index=True)
    found, expected = (crossing.effects(rows, ["canonical"]) for rows in (table, plain))
    pd.testing.assert_frame_equal(found, expected)
    assert list(map(str, crossing.left_out(table))) == [
        f"{condition}, {what}"
        for what in ("strategy joint", "fresh_ids True")
        for condition in ("stripped", "full")
    ]


def test_where_every_run_varies_in_something_each_combination_is_crossed(crossed_table):
    slow, fast = (crossed_table(variant=(("learning_rate", rate),)) for rate in (1e-4, 3e-4))
    found = crossing.effects(
        pd.concat([slow, fast], ignore_index=True), ["canonical"], which=["training"]
    )
    assert [words(variant) for variant in found.variant] == [
        "learning_rate 0.0001",
        "learning_rate 0.0003",
    ]
    assert found["mean"].tolist() == pytest.approx([25, 25])
    assert crossing.left_out(pd.concat([slow, fast])) == []


def test_no_sequential_run_leaves_nothing_to_cross(crossed_table):
    table = crossed_table(strategy="joint")
    assert crossing.combinations(table) == {} and crossing.effects(table).empty
    assert len(crossing.left_out(table)) == 2


def test_levels_are_those_of_the_cells(crossed_table):
    levels = crossing.levels(crossed_table(), "canonical").set_index(["train", "asked"])
    assert levels["mean"].unstack().loc[
        ["none", "stripped", "full"], ["stripped", "full"]
    ].to_numpy() == (pytest.approx(np.array([[0, 20], [30, 40], [40, 80]])))
    assert levels.n["none", "full"] == 80 and levels.n["full", "full"] == 160


def plain_cells():
    return [
        (train, asked) for train in ("none", "stripped", "full") for asked in ("stripped", "full")
    ]
