import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trajnb.formatting.conditions import CONDITIONS
from trajnb.records import read_study
from trajnb.scoring import tables
from trajnb.scoring.arms import Arm
from trajnb.scoring.errors import KINDS
from trajnb.scoring.matrices import Matrix
from trajnb.show import plots


@pytest.fixture
def table(tmp_path, write_run):
    for condition in ("stripped", "full"):
        for seed in (0, 1):
            write_run(tmp_path / f"{condition}-s{seed}", condition=condition, seed=seed)
    return tables.frame(read_study(tmp_path))


def texts(figure: Figure) -> str:
    figure.canvas.draw()
    found = [text.get_text() for ax in figure.axes for text in [*ax.texts, ax.title]]
    return "\n".join(
        found + [text.get_text() for legend in figure.legends for text in legend.texts]
    )


def test_conditions_keep_their_colour_and_no_two_arms_share_one():
    full = Arm("full")
    arms = [
        full,
        Arm("current"),
        Arm("stripped"),
        Arm("full", asked="stripped"),
        Arm("full", "joint"),
    ]
    palette = plots.colours(arms := [*arms, Arm("other")])
    assert palette[full] == plots.colours([full])[full] == plots.CONDITION_COLOURS["full"]
    assert len({palette[arm] for arm in arms}) == len(arms)
    own = Arm("full", asked="full")
    assert plots.colours([own])[own] == plots.CONDITION_COLOURS["full"]
    assert set(CONDITIONS) <= set(plots.CONDITION_COLOURS), (
        "a condition without a colour of its own"
    )


def test_changes_write_the_counts_beside_the_interval(table):
    headline = tables.headline(table)
    row = headline[(headline.arm == Arm("full")) & (headline.measure == "name")].iloc[0]
    assert f"{row.zero_right} → {row.final_right} of {row.n}" in texts(plots.changes(headline))


def test_changes_without_an_interval_still_show_the_change(table):
    headline = tables.headline(table).assign(low=np.nan, high=np.nan)
    assert "right API" in texts(plots.changes(headline))


def test_a_matrix_shows_percent_and_counts_in_the_order_learnt():
    right = np.array([[0, 1], [2, 1], [1, 4]])
    matrix = Matrix(("travel", "file_system"), right, np.array([4, 4]))
    figure = plots.matrices({"full": matrix}, "name")
    assert "50 %\n2/4" in texts(figure) and "100 %\n4/4" in texts(figure)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["travel", "file\nsystem"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "zero-shot",
        "1 · travel",
        "2 · file_system",
    ]


def test_a_matrix_of_all_blocks_at_once_has_two_rows():
    matrix = Matrix(("a", "b"), np.array([[0, 1], [2, 1]]), np.array([4, 4]))
    figure = plots.matrices({"joint": matrix}, "name")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "zero-shot",
        "at the end",
    ]


def test_curves_have_a_panel_per_block_and_a_line_per_run_and_arm(table):
    figure = plots.learning_curves(table, "canonical")
    assert tuple(ax.get_title() for ax in figure.axes) == table.order.iloc[0]
    assert len(figure.axes[0].lines) == 2 * (2 + 1)
    assert "stripped" in texts(figure)


def test_outcome_bars_hold_every_item(table):
    figure = plots.outcomes(table)
    widths = pd.Series([round(bar.get_width(), 6) for bar in figure.axes[0].patches])
    assert widths.sum() == pytest.approx(100 * 4)  # two arms, before and after


def test_overhead_is_read_against_the_cheapest():
    figure = plots.token_overhead(
        {"training tokens": pd.Series({Arm("stripped"): 100, Arm("full"): 125})}
    )
    assert "125  (+25%)" in texts(figure)


def test_error_kinds_have_a_bar_for_every_arm_and_stage():
    rows = [
        {"arm": arm, "stage": stage, "error": error}
        for stage in (0, 1)
        for arm in ("stripped", "full")
        for error in ("exact", "unparseable", "unparseable")
    ]
    (ax,) = plots.error_kinds(pd.DataFrame(rows)).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "stripped, zero-shot",
        "stripped, stage 1",
        "full, zero-shot",
        "full, stage 1",
    ]
    widths = [patch.get_width() for patch in ax.patches if patch.get_width()]
    assert widths == pytest.approx([100 / 3, 200 / 3] * 4)
    assert set(plots.KIND_COLOURS) == set(KINDS)


def test_what_was_not_asked_is_left_empty(tmp_path, write_run):
    whole = np.array([[0.0, 1], [2, np.nan], [1, 4]])
    figure = plots.matrices({"full": Matrix(("a", "b"), whole, np.array([4, 4]))}, "name")
    assert sum("/4" in line for line in texts(figure).splitlines()) == 5
    write_run(tmp_path / "ends", eval_stages="ends")
    write_run(tmp_path / "all", seed=1)
    table = tables.frame(read_study(tmp_path))
    table = table.assign(arm=Arm("full"), trained=Arm("full"))
    for place, ax in enumerate(plots.learning_curves(table, "name").axes, 1):
        for line in ax.lines:
            assert list(line.get_xdata()) == [0, *([place] if place < 4 else []), 4]
    ends = table[table.run == "ends"].assign(error="exact")
    (ax,) = plots.error_kinds(ends).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["full, zero-shot", "full, stage 4"]
