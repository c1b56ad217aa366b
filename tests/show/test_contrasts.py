import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trajnb.records import read_study
from trajnb.scoring import cost, crossing, strata, tables
from trajnb.scoring.matrices import Difference
from trajnb.show import contrasts, plots


@pytest.fixture
def runs(tmp_path, write_run):
    both = {"eval_conditions": ["stripped", "full"], "dialogues": 2}
    for condition in ("stripped", "full"):
        write_run(tmp_path / condition, condition=condition, **both)
    write_run(tmp_path / "joint", strategy="joint", **both)
    return read_study(tmp_path)


def texts(figure: Figure) -> list[str]:
    figure.canvas.draw()
    found = [text.get_text() for ax in figure.axes for text in [*ax.texts, ax.title]]
    return found + [text.get_text() for legend in figure.legends for text in legend.texts]


def test_the_crossing_writes_every_level_beside_its_point(runs):
    (part,) = crossing.combinations(tables.frame(runs)).values()
    levels = crossing.levels(part, "name")
    figure = contrasts.crossing({"name": levels})
    notes = texts(figure)
    for row in levels.rename(columns={"mean": "level"}).itertuples():
        assert any(note.endswith(f"{row.level:.1f}") for note in notes), (row.train, row.asked)
    assert any(note.startswith("untrained ") for note in notes)
    colours = [container.lines[0].get_color() for container in figure.axes[0].containers]
    assert colours == [plots.CONDITION_COLOURS[train] for train in ("none", "stripped", "full")]


def test_points_without_intervals_or_partners_are_still_drawn():
    levels = pd.DataFrame(
        [("none", "stripped", 0.0), ("full", "full", 50.0)], columns=["train", "asked", "mean"]
    ).assign(low=np.nan, high=np.nan, n=3)
    assert "full  50.0" in texts(contrasts.crossing({"canonical": levels}))


@pytest.mark.parametrize("level", [0.0, 50.0])
def test_texts_that_would_overlap_are_moved_apart(level):
    levels = pd.DataFrame(
        [(train, "full", level) for train in ("none", "stripped", "full", "placebo")],
        columns=["train", "asked", "mean"],
    ).assign(low=level, high=level, n=3)
    figure = contrasts.crossing({"canonical": levels})
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 4
    inside = figure.axes[0].bbox
    assert all(inside.y0 < box.y1 and box.y0 < inside.y1 for box in boxes), (
        "what lies outside is not drawn"
    )
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_differences_are_signed_and_share_a_scale():
    points = np.array([[0, 0], [12.4, -3.6], [5, 1]])
    one = Difference((), "full", ("travel", "file_system"), points)
    figure = contrasts.differences(dict.fromkeys(("stripped", "full", "other"), one), "name")
    assert {"+12", "-4", "+0"} <= set(texts(figure))
    assert [ax.collections[0].get_clim() for ax in figure.axes[:3]] == [(-12.4, 12.4)] * 3


def test_the_forest_has_a_panel_per_effect_and_fills_what_may_be_said(runs):
    (part,) = crossing.combinations(tables.frame(runs)).values()
    found = strata.by_stratum(part, "name")
    figure = contrasts.forest(found, "name")
    assert [ax.get_title() for ax in figure.axes] == list(strata.DECOMPOSED)
    training = found[found.effect == "training@stripped"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == "all calls (18)" and len(labels) == len(training)
    assert not any(_filled(figure)), "one run pair says nothing, whatever its interval"
    sure = found.assign(low=1.0, high=3.0, p=0.01, pairs=5)
    sure.loc[sure.stratum == "novel gold call", "p"] = 0.2
    kept = [row.stratum != "novel gold call" for row in training.itertuples()]
    assert sorted(_filled(contrasts.forest(sure, "name"))) == sorted(kept)


def _filled(figure: Figure) -> list[bool]:
    """Of the dots of the first panel."""
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    return [dot.get_markerfacecolor() != "white" for dot in dots]


def test_cost_is_operations_where_all_records_have_them(runs):
    table = tables.frame(runs)
    returned = cost.returns(table, cost.cost(runs))
    figure = contrasts.cost_accuracy(returned, "canonical")
    assert [ax.get_title() for ax in figure.axes] == [
        "asked with stripped prompts",
        "asked with full prompts",
    ]
    assert "tokens" in figure.axes[0].get_xlabel() and {"full", "joint"} <= set(texts(figure))
    figure = contrasts.cost_accuracy(
        returned.assign(flops=[0.0, *[1e15] * (len(returned) - 1)]), "canonical"
    )
    assert "operations" in figure.axes[0].get_xlabel()
