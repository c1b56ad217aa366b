"""Records in a notebook: tables of all of them, and the page of items in a frame."""

import pytest

from trajnb import explore
from trajnb.machine import ROOT
from trajnb.show.report import render_notebook


@pytest.fixture(scope="module")
def quick():
    return explore.open(ROOT / "reports" / "quick")


def test_tables_hold_all_that_was_recorded(quick):
    predictions = quick.predictions
    assert len(quick.runs) == 2 and len(predictions) == sum(len(run.predictions) for run in quick.kept)
    assert len(quick.items) == sum(len(run.items) for run in quick.kept)
    final = predictions[predictions["last"] & predictions.canonical.astype(bool)]
    assert dict(final.run.value_counts()) == {
        run.folder.name: sum(map(sum, [next(iter(run.record.matrix.values()))["canonical"][-1]]))
        for run in quick.kept
    }
    assert len(quick.rollouts) == 16 and set(quick.rollouts.run) == set(quick.runs.index)


def test_what_is_chosen_is_counted_beside_the_frame(quick):
    final = quick.predictions[quick.predictions["last"]].set_index(["condition", "dialogue_id", "step"])
    right = final.canonical.astype(bool)
    wanted = int((right["full"] & ~right["stripped"]).sum())
    page = quick.browse(right="full", wrong="stripped")
    assert page.counts == f"{wanted} of 37 items: full right, stripped wrong"
    assert page.counts in page._repr_html_() and 'sandbox="allow-scripts allow-downloads"' in page.frame


@pytest.mark.parametrize(
    "chosen, said",
    [({"right": "fuller"}, "fuller"), ({"block": "nowhere"}, "nowhere"), ({"blocks": "trading"}, "blocks")],
)
def test_what_is_not_there_cannot_be_chosen(quick, chosen, said):
    with pytest.raises(ValueError, match=said):
        quick.browse(**chosen)


def test_a_folder_without_runs_or_one_run_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no finished run"):
        explore.open(tmp_path)
    with pytest.raises(ValueError, match="in two of these folders"):
        explore.open(ROOT / "reports" / "quick", ROOT / "reports" / "quick")


def test_the_frame_works_in_a_rendered_notebook(quick, tmp_path, watched):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    page = quick.browse(right="full", wrong="stripped")
    output = new_output("display_data", {"text/html": page._repr_html_()})
    nbformat.write(new_notebook(cells=[new_code_cell("", outputs=[output])]), tmp_path / "a.ipynb")
    render_notebook(tmp_path / "a.ipynb", tmp_path / "a.html")
    shown = watched().open(tmp_path / "a.html")
    inside = shown.frame_locator("iframe")
    inside.locator("body[data-ready]").wait_for()
    assert inside.locator("#tally").inner_text() == page.counts.partition(" items")[0]
    inside.locator("#list > button").nth(1).click()
    assert inside.locator("#reader h2").inner_text()
    assert page.counts in shown.inner_text("body")


def test_a_page_can_be_kept_as_a_file(quick, tmp_path, watched):
    kept = quick.browse(block="trading").save(tmp_path / "items.html")
    page = watched().open(kept)
    assert page.locator("#list > button").count() == (quick.items.block == "trading").sum() / 2
