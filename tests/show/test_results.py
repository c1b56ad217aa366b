import time

import numpy as np
import pandas as pd
import pytest

from trajnb.scoring import crossing, tables
from trajnb.scoring.stats import Interval
from trajnb.show import results


@pytest.fixture
def found(tmp_path, write_run):
    from trajnb.records import read_study

    for condition in ("stripped", "full"):
        write_run(tmp_path / condition, condition=condition, eval_conditions=["stripped", "full"])
    return crossing.effects(tables.frame(read_study(tmp_path)), ["name"])


def test_an_effect_is_coloured_by_the_rule_for_sentences(found):
    assert 'class="n up"' not in (one := results.effects_html(found))
    assert 'class="n unclear"' in one and "<td" in one
    sure = found.assign(low=1.0, high=3.0, mean=2.0, p=0.01, holm=0.01, pairs=5)
    assert 'class="n up"' in results.effects_html(sure)
    assert 'class="n up"' not in results.effects_html(sure.assign(pairs=4))
    assert 'class="n down"' in results.effects_html(sure.assign(mean=-2.0, low=-3.0, high=-1.0))


def test_a_declared_effect_is_coloured_by_holm(found):
    sure = found.assign(low=1.0, high=3.0, mean=2.0, p=0.01, holm=0.2, pairs=5, declared=True)
    assert 'class="n up"' not in results.effects_html(sure)


def test_the_corrected_interval_and_what_is_covered_stand_beside(found):
    wide = found.assign(corrected_low=-4.0, corrected_high=8.5, covers=[("dialogues", "seeds")] * 10)
    html = results.effects_html(wide)
    assert "<small>-4.0 to +8.5</small>" in html and "dialogues, seeds" in html
    assert results.effects_html(found.assign(floor=True)).count("floor") == (found["items"] > 0).sum()


def test_the_headline_marks_what_may_be_said_and_leaves_out_what_is_not_measured(read_headline):
    assert "▲" not in results.headline_html(read_headline)
    sure = read_headline.assign(low=1.0, high=3.0, change=2.0, p=0.01, pairs=5)
    assert results.headline_html(sure).count("▲") == len(sure)
    none = read_headline.assign(
        final=read_headline.final.where(read_headline.measure != "logp", np.nan)
    )
    assert "gold log-likelihood" not in results.headline_html(none)


def test_a_terminal_gets_a_line_for_each_arm(read_headline):
    lines = results.headline_lines(read_headline)
    arms = read_headline.arm.unique()
    assert len(lines) == 1 + len(arms)
    row = next(read_headline[read_headline.measure == "canonical"].itertuples())
    assert f"{row.zero:.1f} → {row.final:.1f} % of {row.n}" in lines[1]
    more = pd.concat([read_headline, read_headline.assign(arm="another")])
    shown = results.headline_lines(more, most=len(arms))
    assert shown == [*lines, "... and 1 more, see the report"]
    assert results.headline_lines(read_headline[:0]) == []


@pytest.fixture
def read_headline(tmp_path, write_run):
    from trajnb.records import read_run

    return tables.headline(tables.frame([read_run(write_run(tmp_path / "a"))]))


def test_a_table_of_intervals_claims_nothing():
    table = pd.DataFrame({"<b>": [Interval(4.0, 1.0, 7.0), np.nan]})
    html = results.intervals_html(table)
    assert "+4.0 <small>+1.0 to +7.0</small>" in html and "▲" not in html and "&lt;b&gt;" in html


def test_long_answers_are_marked_in_time():
    from trajnb.show.results import _marked

    gold, said = (" ".join(f"{word}{n}" for n in range(1500)) for word in "ab")
    began = time.process_time()
    marked = _marked(gold, f"{said}<script>")
    assert time.process_time() - began < 5, "70 s before"
    assert marked.endswith("&lt;script&gt;") and "<mark>b0" in marked
