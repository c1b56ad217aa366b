import numpy as np
import pandas as pd
import pytest

from trajnb.records import read_study
from trajnb.scoring import baselines, cost, overview, paired, strata, tables
from trajnb.scoring.arms import Arm, in_order
from trajnb.show import details

BOTH = {"eval_conditions": ["stripped", "full"], "dialogues": 2}


@pytest.fixture
def runs(tmp_path, write_run):
    for condition in ("stripped", "full"):
        write_run(tmp_path / condition, condition=condition, **BOTH)
    write_run(tmp_path / "joint", strategy="joint", **BOTH)
    return in_order(read_study(tmp_path))


@pytest.fixture
def table(runs):
    return tables.frame(runs)


def test_what_all_runs_have_alike_stands_once(runs):
    html = details.overview_html(overview.overview(runs))
    assert html.count("an invented machine") == 1 and html.count("2026-01-02 10:05") == 3


def test_foreign_text_is_escaped(tmp_path, write_run):
    write_run(tmp_path / "a", condition="<b>")
    write_run(tmp_path / "c", condition="stripped")
    runs = read_study(tmp_path)
    table = tables.frame(runs)
    for html in (
        details.overview_html(overview.overview(runs)),
        details.comparisons_html(paired.comparisons(table)),
        details.metrics_html({"name": baselines.baselines(table, "name")}),
    ):
        assert "<b>" not in html and "&lt;b&gt;" in html


def test_comparisons_stand_in_words(table):
    html = details.comparisons_html(paired.comparisons(table))
    assert "full minus stripped" in html and "right API" in html and "at the end" in html


def test_the_papers_metrics_stand_below_ours(table):
    html = details.metrics_html({"name": baselines.baselines(table, "name")})
    assert html.index("full, strategy joint") < html.index("paper, name (another model and corpus)")
    assert "BWT" in html and "intransigence" in html and "38.3" in html


def test_differences_are_signed_and_their_variant_is_named(table):
    html = details.differences_html({"name": baselines.differences(table, "name")})
    assert "sequential" in html and "forgetting" in html and "+" in html


def test_costs_say_what_older_records_do_not(runs, table):
    costs = cost.cost(runs)
    shown = details.costs_table(costs)
    assert shown.loc[Arm("full"), "total"] == "37,000" and shown.loc[Arm("full"), "steps"] == "nan"
    returned = details.returns_table(cost.returns(table, costs))
    assert list(returned.columns) == ["exact, %", "per million tokens", "added per million"]


def test_returns_of_what_is_not_trained_are_a_dash():
    row = {"trained": Arm("full", "few-shot"), "asked": "full", "mean": 12.0}
    row |= {"per_million": np.nan, "added_per_million": np.nan}
    assert details.returns_table(pd.DataFrame([row])).iloc[0].tolist() == ["12.0", "–", "–"]


def test_strata_have_a_column_an_arm(table):
    scores = strata.scores(table, "name")
    shown = details.strata_table(scores)
    arm = Arm("full", asked="full")
    before, end = scores.loc["all calls", [(arm, "zero"), (arm, "final")]]
    assert shown.loc["all calls", "full → full"] == f"{before:.0f} → {end:.0f}"
    assert list(shown.columns[:3]) == ["items", "dialogues", "ceiling"]
