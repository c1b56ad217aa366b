import numpy as np
import pandas as pd
import pytest

from trajnb.scoring import paired, tables
from trajnb.scoring.arms import Arm, arms_of, in_order
from trajnb.scoring.score import has_holes
from trajnb.show.results import headline_html


def test_the_headline_counts_what_the_matrix_counts(read):
    runs = [read("a", condition="stripped"), read("b", condition="full")]
    headline = tables.headline(tables.frame(runs))
    assert list(map(str, headline.arm.unique())) == ["stripped", "full"]
    for run, arm in zip(runs, ("stripped", "full"), strict=True):
        counts = run.record.matrix[arm]
        for measure in ("canonical", "string", "name", "parsed"):
            row = headline[(headline.arm == Arm(arm)) & (headline.measure == measure)].iloc[0]
            assert row.zero_right == sum(counts[measure][0])
            assert row.final_right == sum(counts[measure][-1])
            assert row.n == sum(run.record.items)
            assert row.change == pytest.approx(row.final - row.zero)
            assert row.low <= row.change <= row.high
        row = headline[(headline.arm == Arm(arm)) & (headline.measure == "logp")].iloc[0]
        assert row.final == pytest.approx(-sum(counts["gold_nll"][-1]) / (20 * row.n))
        assert row.change == pytest.approx(row.final - row.zero)


def test_an_arm_without_probabilities_has_every_other_measure(read):
    def copied(row):
        row["gold_nll"] = None

    runs = [read("a"), read("b", strategy="lookup", tamper=copied)]
    counts = runs[1].record.matrix["full"]
    assert counts["gold_nll"] == [[None] * 4] * 2 and not has_holes(runs[1].record.matrix)
    found = tables.headline(tables.frame(runs))
    strategies = [arm.strategy for arm in found.arm]
    headline = found.set_index([pd.Index(strategies), "measure"])
    row = headline.loc["lookup", "logp"]
    assert row[["zero", "final", "change", "low", "high"]].isna().all()
    assert headline.loc["lookup", "canonical"].final_right == sum(counts["canonical"][-1])
    plain = tables.headline(tables.frame(runs[:1])).set_index("measure").loc["logp"]
    same = headline.loc["sequential", "logp"]
    assert (same.zero, same.final, same.change) == (plain.zero, plain.final, plain.change)
    page = headline_html(found)
    assert page.count("gold log-likelihood") == 1 and "nan" not in page, "of the model's arm alone"


def test_seeds_and_orders_share_an_arm_and_anything_else_sets_apart(read):
    order = ("travel", "trading", "vehicle_control", "file_system")
    runs = [read("a", seed=0), read("b", seed=1, order=order)]
    table = tables.frame(runs)
    assert list(map(str, table.arm.unique())) == ["full"]
    row = tables.headline(table).iloc[0]
    assert row.runs == 2 and row.n == 2 * sum(runs[0].record.items)
    assert row.calls == sum(runs[0].record.items), "both ask the same"
    apart = tables.headline(table.assign(dialogue_id=table.dialogue_id + table.run)).iloc[0]
    assert apart.calls == apart.n == row.n, "and here none the same"
    other = tables.frame([*runs, read("c", lora_rank=64)])
    assert sorted(map(str, other.arm.unique())) == ["full", "full, lora_rank 64"]


def test_crossed_evaluation_is_part_of_the_arm(read):
    runs = [read("a", condition="stripped", eval_conditions=["stripped", "full"]), read("b")]
    named = list(map(str, tables.frame(runs).arm.unique()))
    assert named == ["stripped → stripped", "stripped → full", "full → full"]


def test_what_is_plain_is_not_written_and_what_is_not_heeded_does_not_count():
    plain = {"condition": "full", "strategy": "sequential", "match_tokens": "", "fresh_ids": False}
    heard = {"replay_share": 0.1, "shots": 3}
    found = arms_of(
        [
            {"condition": "full"},  # an older record
            plain | heard,
            plain | {"replay_share": 0.5, "shots": 9},
            plain | {"condition": "stripped", "match_tokens": "full"},
            plain | {"fresh_ids": True},
            plain | heard | {"strategy": "joint"},
            plain | heard | {"strategy": "replay"},
            plain | heard | {"strategy": "replay", "replay_share": 0.5},
            plain | heard | {"strategy": "few-shot"},
        ]
    )
    assert list(map(str, found)) == [
        "full",
        "full",
        "full",
        "stripped, match_tokens full",
        "full, fresh_ids True",
        "full, strategy joint",
        "full, strategy replay, replay_share 0.1",
        "full, strategy replay, replay_share 0.5",
        "full, strategy few-shot",
    ]


def test_the_final_stage_is_that_of_the_strategy(read):
    runs = [
        read(strategy, strategy=strategy)
        for strategy in ("sequential", "joint", "independent", "few-shot")
    ]
    table = tables.frame(runs)
    final = table[table["last"]].groupby("strategy").stage.unique().map(sorted)
    assert final.to_dict() == {
        "sequential": [4],
        "joint": [1],
        "few-shot": [1],
        "independent": [1, 2, 3, 4],
    }
    own = table[table["last"] & (table.strategy == "independent")]
    order = runs[0].record.blocks
    assert (own.stage == own.block.map({block: i for i, block in enumerate(order, 1)})).all()
    assert table[table.strategy == "few-shot"].learnt.isna().all()
    assert (table.groupby("strategy")["last"].sum() == sum(runs[0].record.items)).all()


def test_the_papers_prompts_are_never_the_same(read):
    table = tables.frame([read("a"), read("b", condition="stripped", prompt_format="paper")])
    assert table.groupby("run").same_prompt.any().to_dict() == {"a": True, "b": False}


def test_plain_runs_come_first_and_stripped_ones_before_others(read):
    runs = [
        read("a", strategy="joint"),
        read("b"),
        read("c", condition="stripped", match_tokens="full"),
        read("d", condition="stripped"),
    ]
    assert [run.folder.name for run in in_order(runs)] == ["d", "b", "c", "a"]


def test_one_dialogue_gives_counts_but_no_interval(read):
    run = read("a")
    only = run.predictions[0]["dialogue_id"]
    run.predictions[:] = [row for row in run.predictions if row["dialogue_id"] == only]
    headline = tables.headline(tables.frame([run]))
    assert np.isnan(headline[["low", "high"]]).all(axis=None) and headline.dialogues.eq(1).all()


def test_predictions_without_items_are_an_error_that_names_the_first(read):
    run = read("a")
    run.items[:] = run.items[1:]
    with pytest.raises(ValueError, match="multi_turn_base_0 step 0"):
        tables.frame([run])


def test_a_run_says_which_fold_it_holds_out(read):
    runs = [read("a", fold=3, folds=10), read("b", fold=4, folds=10)]
    table = tables.frame(runs)
    assert set(zip(table.run, table.fold, table.folds, strict=True)) == {("a", 3, 10), ("b", 4, 10)}
    older = tables.frame([read("c")])
    assert older.fold.eq(-1).all() and older.folds.eq(1).all()


def test_runs_of_one_arm_deal_dialogues_alike(read):
    runs = [read("a", fold=3, folds=10), read("b", fold=3, folds=5), read("c")]
    with pytest.raises(ValueError, match="runs of full hold .*10 folds, 5 folds, the corpus's own"):
        tables.frame(runs)


def test_novel_calls_are_measured_on_targets_that_training_did_not_show(read):
    run = read("a")
    table = tables.frame([run])
    novel = table[~table.seen_target]
    assert table[table.seen_target].novel.isna().all()
    assert (novel.novel == novel.canonical).all()
    row = tables.headline(table).set_index("measure").loc["novel"]
    final = novel[novel["last"]]
    assert row.n == len(final) == sum(not item["seen_target"] for item in run.items)
    assert row.final_right == final.canonical.sum()
    assert row.final == pytest.approx(100 * final.canonical.mean())


def test_exact_novel_names_and_likelihood_lead_the_headline(read):
    first = list(tables.headline(tables.frame([read("a")])).measure[:4])
    assert first == ["canonical", "novel", "name", "logp"]


def test_what_copies_has_no_likelihood(read):
    run = read("a")
    for row in run.predictions:
        row["gold_nll"] = None
    headline = tables.headline(tables.frame([run])).set_index("measure")
    assert np.isnan(float(headline.loc["logp", "final"])) and headline.loc["logp", "n"] == 0
    assert headline.loc["name", "final"] >= 0
    both = tables.frame([run, read("b", condition="stripped")])
    assert both.logp.isna().sum() == len(run.predictions)
    compared = paired.comparisons(both)
    assert set(compared.measure) == {"canonical", "name"} and compared["mean"].notna().all()
