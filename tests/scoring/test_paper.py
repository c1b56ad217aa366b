import numpy as np
import pytest

from trajnb.scoring import paper, tables


def test_the_published_figures_come_with_their_source():
    published = paper.results()
    assert "2605.09734" in published["paper"] and "sagnikc395" in published["source"]
    exact = {arm: np.mean(rows[-1]) for arm, rows in published["full_percent"]["exact"].items()}
    assert exact == pytest.approx({"A": 39.2, "B": 56.9}, abs=0.05)
    assert paper.zero_and_final("stripped", "stripped")["canonical"] == pytest.approx(
        (8.6, 39.2), abs=0.05
    )
    assert paper.zero_and_final("full", "full")["name"] == pytest.approx((66.4, 74.3), abs=0.05)
    assert np.isnan(paper.zero_and_final("full", "stripped")["name"]).all()


def test_the_published_figures_decomposed_as_far_as_they_go():
    gaps, sentences = paper.gaps()
    assert gaps.loc["exact call (canonical)"].tolist() == pytest.approx(
        [15.6, 15.6, 0.0, 17.7], abs=0.05
    )
    assert "+15.6 points before training" in sentences[0] and "(+17.7 on all)" in sentences[0]
    assert "added 0.0 to the gap" in sentences[0] and "cannot be separated" in sentences[1]


def test_each_of_the_papers_figures_is_reproduced_or_not(read):
    right = read("a", condition="full", tamper=lambda row: row.update(prediction="[ls()]"))
    items = {(item["dialogue_id"], item["step"]): item["gold"] for item in right.items}
    for row in right.predictions:
        row["prediction"] = items[row["dialogue_id"], row["step"]].upper()  # the paper folds case
        row["name"] = False
    shown = paper.reproduced(tables.frame([right, read("b", condition="requests")]))
    assert len(shown) == 10 and set(shown.index.get_level_values("condition")) == {"B"}
    assert (
        shown.ours["B", "exact"].to_numpy() == pytest.approx(100)
        and shown.ours["B", "name"].eq(0).all()
    )
    assert shown.reproduced.eq("does not").all()
    assert shown.paper["B", "exact", "mean"] == pytest.approx(56.9, abs=0.05)


def test_its_outcomes_are_all_its_held_out_calls():
    counts = paper.outcomes()
    assert counts.sum(axis=1).to_dict() == {"stripped": 440, "full": 440}
    assert counts.loc["full"].tolist() == [251, 76, 12, 101]


def test_its_metrics_are_percent_of_its_sampled_matrices():
    metrics = paper.metrics()
    assert list(metrics) == [
        (name, arm) for name in ("name", "exact") for arm in ("stripped", "full")
    ]
    assert metrics["exact", "stripped"]["average"] == pytest.approx(38.3, abs=0.051)


def test_full_read_a_quarter_more_tokens():
    assert paper.token_overhead() == pytest.approx(2_324_314 / 1_857_169 - 1)


def test_row_counts_name_what_differs():
    published = paper.results()
    sides, tokens = {}, {"stripped": {}, "full": {}}
    for place, block in enumerate("abcd"):
        sides[block] = {
            "train_dialogues": published["train_rows"][place],
            "held_out_dialogues": published["held_out_rows"][place],
        }
        for condition, arm in paper.ARM.items():
            tokens[condition][block] = published["train_tokens_one_pass"][arm][place]
    table, differ = paper.row_counts(sides, tokens)
    assert differ == [] and list(table.index) == list("abcd") and "tokens B, paper" in table
    tokens["full"]["c"] += 1
    assert paper.row_counts(sides, tokens)[1] == ["tokens B"]


def test_runs_of_its_recipe_are_those_of_its_prompts(read):
    runs = [read("a"), read("b", prompt_format="paper")]
    assert paper.of_its_recipe(runs) == ["b"]
