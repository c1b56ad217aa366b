"""Calls whose API another block learns too, and what placebos give away."""

from dataclasses import replace

import pytest

from trajnb.scoring import continual, overlap, tables
from trajnb.scoring.matrices import matrix
from trajnb.show import details


@pytest.fixture
def table(read):
    """Of one run; every block's last call, and no other, has an API that another block learns."""
    rows = tables.frame([read("a")])
    last = rows.groupby("block").step.transform("max")
    return rows.assign(shared_api=rows.step == last)


def test_shares_by_block(table):
    found = overlap.shared_apis(table)
    items = table.drop_duplicates(["dialogue_id", "step"])
    assert found.calls["all"] == len(items) and found.shared["all"] == items.shared_api.sum() > 0
    assert found.drop("all").calls.sum() == found.calls["all"]
    assert (found.percent == 100 * found.shared / found.calls).all()


def test_transfer_with_and_without_the_shared_calls_is_that_of_the_matrices(table):
    found = overlap.transfer(table, "name").set_index(["calls", "metric"])["mean"]
    for calls, rows in ((overlap.ALL, table), (overlap.ALONE, table[~table.shared_api])):
        percent = matrix(rows, "name").percent[1:]
        assert found[calls, "bwt"] == pytest.approx(continual.bwt(percent))
        assert found[calls, "forgetting"] == pytest.approx(continual.forgetting(percent))
    assert found[overlap.ALL, "bwt"] != found[overlap.ALONE, "bwt"]
    shown = details.transfer_html({"name": overlap.transfer(table, "name")})
    assert "BWT" in shown and overlap.ALONE in shown and "learning" not in shown


def test_why_it_cannot_be_had(table):
    assert overlap.unknown(table) == ""
    for reason, spoilt in (
        ("before items said", table.assign(shared_api=None)),
        ("Of travel every", table.assign(shared_api=table.shared_api | (table.block == "travel"))),
    ):
        assert reason in overlap.unknown(spoilt)
        with pytest.raises(ValueError, match=reason):
            overlap.transfer(spoilt, "name")


def test_leaks_are_told_in_counts_and_percent(read):
    run = read("p", condition="placebo")
    assert overlap.placebo_leaks([run]).empty
    counts = {"later": 8, "named": 2, "needing": 0, "told": 0}
    run = replace(run, record=replace(run.record, leaks={"placebo": counts}))
    (row,) = overlap.placebo_leaks([run, read("q")]).itertuples()
    assert row[0] == (run.folder.name, "placebo") and row[1:5] == (8, 2, 0, 0)
    assert row[5] == 25.0 and row[6] != row[6], "no call needs anything"


def test_exact_given_parse(read):
    table = tables.frame([read("a")])
    found = tables.given_parse(table)
    last = table[table["last"]]
    final = found.iloc[1]
    assert final["can be read"] == last.parsed.sum() and final["exact"] == last.canonical.sum()
    assert final["exact given parse, %"] == pytest.approx(100 * last[last.parsed].canonical.mean())
    assert final["open with the right API"] >= final["right API"]
    unread = table.assign(parsed=False, canonical=False)
    assert tables.given_parse(unread)["exact given parse, %"].isna().all()
