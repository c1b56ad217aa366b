import json
from types import SimpleNamespace

import numpy as np
import pytest

from trajnb.scoring import tables


@pytest.fixture
def read(tmp_path, write_run):
    """Writes a run and reads it the plain way (trajnb.study.records has its own tests)."""

    def write_and_read(name, **settings):
        folder = write_run(tmp_path / name, **settings)
        rows = {
            part: [json.loads(line) for line in (folder / f"{part}.jsonl").read_text("utf-8").splitlines()]
            for part in ("items", "predictions")
        }
        return SimpleNamespace(folder=folder, record=json.loads((folder / "record.json").read_text()), **rows)

    return write_and_read


def test_the_headline_counts_what_the_matrix_counts(read):
    runs = [read("a", condition="stripped"), read("b", condition="full")]
    headline = tables.headline(tables.frame(runs))
    assert list(headline.arm.unique()) == ["stripped", "full"]
    for run, arm in zip(runs, ("stripped", "full"), strict=True):
        counts = run.record["matrix"][arm]
        for measure in ("canonical", "string", "name", "parsed"):
            row = headline[(headline.arm == arm) & (headline.measure == measure)].iloc[0]
            assert row.zero_right == sum(counts[measure][0])
            assert row.final_right == sum(counts[measure][-1])
            assert row.n == sum(run.record["items"])
            assert row.change == pytest.approx(row.final - row.zero)
            assert row.low <= row.change <= row.high
        row = headline[(headline.arm == arm) & (headline.measure == "logp")].iloc[0]
        assert row.final == pytest.approx(-sum(counts["gold_nll"][-1]) / (20 * row.n))
        assert row.change == pytest.approx(row.final - row.zero)


def test_seeds_and_orders_share_an_arm_and_anything_else_sets_apart(read):
    order = ("travel", "trading", "vehicle_control", "file_system")
    runs = [read("a", seed=0), read("b", seed=1, order=order)]
    table = tables.frame(runs)
    assert list(table.arm.unique()) == ["full"]
    row = tables.headline(table).iloc[0]
    assert row.runs == 2 and row.n == 2 * sum(runs[0].record["items"])
    other = tables.frame([*runs, read("c", lora_rank=64)])
    assert sorted(other.arm.unique()) == ["full, lora_rank 64", "full, lora_rank None"]


def test_crossed_evaluation_is_part_of_the_arm(read):
    runs = [read("a", condition="stripped", eval_conditions=["stripped", "full"]), read("b")]
    assert list(tables.frame(runs).arm.unique()) == ["stripped → stripped", "stripped → full", "full → full"]


def test_the_gain_of_a_gap_is_what_training_added(read):
    table = tables.frame([read("a", condition="stripped"), read("b", condition="full")])
    zero, final, gain = (
        tables.gap(table, "full", "stripped", "name", when) for when in ("zero", "final", "gain")
    )
    assert gain.mean == pytest.approx(final.mean - zero.mean)
    assert gain.low <= gain.mean <= gain.high
    back = tables.gap(table, "stripped", "full", "name", "final")
    assert back.mean == pytest.approx(-final.mean)


def test_one_dialogue_gives_counts_but_no_interval(read):
    run = read("a")
    only = run.predictions[0]["dialogue_id"]
    run.predictions = [row for row in run.predictions if row["dialogue_id"] == only]
    headline = tables.headline(tables.frame([run]))
    assert np.isnan(headline[["low", "high"]]).all(axis=None) and headline.dialogues.eq(1).all()


def test_predictions_without_items_are_an_error_that_names_the_first(read):
    run = read("a")
    run.items = run.items[1:]
    with pytest.raises(ValueError, match="multi_turn_base_0 step 0"):
        tables.frame([run])


def test_the_published_figures_come_with_their_source():
    paper = tables.paper()
    assert "2605.09734" in paper["paper"] and "sagnikc395" in paper["source"]
    exact = {arm: np.mean(rows[-1]) for arm, rows in paper["full_percent"]["exact"].items()}
    assert exact == pytest.approx({"A": 39.2, "B": 56.9}, abs=0.05)
    assert tables.published("stripped", "stripped")["canonical"] == pytest.approx((8.6, 39.2), abs=0.05)
    assert tables.published("full", "full")["name"] == pytest.approx((66.4, 74.3), abs=0.05)
    assert np.isnan(tables.published("full", "stripped")["name"]).all()


def test_readings_differ_where_the_texts_give_them_reason_to(read):
    run = read("a", condition="stripped", eval_conditions=["stripped", "full"])
    texts = [
        ("[f(a='x')]", "[f(a='x')]", True),
        ("[f(a='x')]", "API-Request: [F(a='X')]", False),  # only the paper folds case
        ("[f(a='x')]", 'f(a="x")', True),  # only trajnb reads it
        ("[f(a='['x', 'y']')]", "[f(a='['z']')]", False),  # both others cut it to a bracket
        ("[f(a=3.5)]", "[f(a=3)]", False),  # one cuts the number, one does not see it
        ("f(a='x')", "f(a='x')", True),  # a gold that only trajnb reads
    ]
    last = [row for row in run.predictions if row["stage"] == 4 and row["eval_condition"] == "stripped"]
    for item, row, (gold, prediction, exact) in zip(run.items, last, texts, strict=False):
        assert (item["dialogue_id"], item["step"]) == (row["dialogue_id"], row["step"])
        item["gold"], row["prediction"] = gold, prediction
        row |= {"canonical": exact, "parsed": True}
    kept = {(item["dialogue_id"], item["step"]) for item in run.items[: len(texts)]}
    run.predictions = [row for row in run.predictions if (row["dialogue_id"], row["step"]) in kept]
    shown = tables.by_reading(tables.frame([run]))
    assert list(shown.index.get_level_values("arm").unique()) == ["stripped → stripped"], "own condition only"
    columns = ["calls", "exact", "no call", "unread golds", "gained", "lost"]
    assert shown[columns].to_numpy().tolist() == [[6, 3, 0, 0, 0, 0], [6, 3, 2, 1, 2, 2], [6, 4, 2, 1, 3, 2]]
    assert shown.percent.tolist() == pytest.approx([50, 50, 400 / 6])


def test_gold_is_exact_under_every_reading_that_reads_it(read):
    table = tables.frame([read("a"), read("b", condition="stripped")])
    table = table.assign(prediction=table.gold, canonical=True, parsed=True)
    shown = tables.by_reading(table)
    assert len(shown) == 6 and (shown.exact == shown.calls).all() and shown["unread golds"].eq(0).all()
    assert tables.by_reading(table.assign(condition="requests")).empty, "no arm asked in its own condition"


def test_a_verdict_for_each_of_the_papers_figures(read):
    right = read("a", condition="full", tamper=lambda row: row.update(prediction="[ls()]"))
    items = {(item["dialogue_id"], item["step"]): item["gold"] for item in right.items}
    for row in right.predictions:
        row["prediction"] = items[row["dialogue_id"], row["step"]].upper()  # the paper folds case
        row["name"] = False
    shown = tables.verdicts(tables.frame([right, read("b", condition="requests")]))
    assert len(shown) == 10 and set(shown.index.get_level_values("condition")) == {"B"}
    assert shown.ours["B", "exact"].to_numpy() == pytest.approx(100) and shown.ours["B", "name"].eq(0).all()
    assert shown.verdict.eq("does not").all()
    assert shown.paper["B", "exact", "mean"] == pytest.approx(56.9, abs=0.05)
