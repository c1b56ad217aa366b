"""Repairs as HTML and figures: all that a model or an API says is escaped."""

import matplotlib.figure
import pytest

from trajnb.records import read_run
from trajnb.scoring import repairs as counted
from trajnb.scoring import tables
from trajnb.show import repairs as shown
from trajnb.world.repairers import FAILURES

ATTACK = "<script>alert(1)</script><img src=x onerror='alert(1)'>"
BAD = {"form": ATTACK, "text": ATTACK, "response": ATTACK, "kind": "refused", "cut": True}
GOOD = {"form": "[pwd()]", "text": "[pwd()]", "response": "/", "kind": "executed", "cut": False}
END = {"form": "[]", "text": "[]", "response": "", "kind": "stop", "cut": False}


def candidate(number, *moves, won=False):
    named = {"task": "d#0", "block": "b", "author": "student", "number": number}
    return named | {"moves": list(moves), "won": won}


def repair(number, *moves, accepted=True, repairer="resample", edits=1, **more):
    attempt = candidate(number, *moves, won=accepted)
    return {
        "task": "d#0", "number": number, "repairer": repairer, "failure": "refused", "attempts": [attempt],
        "accepted": accepted, "edits": edits, "reads_gold": repairer == "oracle",
    } | more  # fmt: skip


def test_a_repair_stands_beside_what_it_repairs():
    html = shown.show_repair(candidate(2, BAD, END), repair(2, GOOD, END), "Where <am> I?").data
    body = html.partition("</style>")[2]
    assert "<script" not in body and "<img" not in body and "&lt;script&gt;" in body
    assert "Where &lt;am&gt; I?" in body and "a call could not be carried out" in body
    assert "<b>candidate 2</b> ✗ fails" in body and "✓ succeeds" in body and "not carried out, cut" in body
    assert "which reads the reference" not in body
    gold = shown.show_repair(candidate(2, BAD), repair(2, GOOD, repairer="oracle")).data
    assert "<b>repaired by oracle</b>, which reads the reference" in gold


def test_the_repair_that_is_shown_was_accepted_and_changes_most():
    candidates = [candidate(number, BAD, END) for number in (1, 2, 3)]
    made = [
        repair(1, GOOD, accepted=False, edits=9), repair(2, GOOD, edits=1), repair(3, GOOD, edits=4),
        repair(1, GOOD, repairer="oracle", edits=8),
    ]  # fmt: skip
    bad, best = shown.one_repair(candidates, made)
    assert (bad["number"], best["edits"]) == (3, 4)
    assert shown.one_repair(candidates, made[:1]) is None


def test_every_kind_of_failure_has_words():
    assert set(shown.FAILURES) == set(FAILURES)


@pytest.fixture
def runs(tmp_path, write_repair_run):
    return [read_run(write_repair_run(tmp_path / name, lessons=name)) for name in ("kept", "kept+repaired")]


def test_the_section_of_a_study_has_its_figures_and_marks_the_oracle(runs):
    html = shown.section_html(runs)
    for words in ("Repaired trajectories", "yes, an upper bound", "no more than length", "had no effect"):
        assert words in html, words
    figures = shown.figures(runs)
    assert len(figures) == 4 and all(isinstance(one, matplotlib.figure.Figure) for one in figures)
    titles = [ax.get_title() for figure in figures for ax in figure.axes]
    assert "oracle (reads gold)" in titles and "resample" in titles and "held-out dialogues" in titles
    assert "a success before a failure\n24 pairs of 2 dialogues" in titles


def test_nothing_is_shown_where_nothing_repairs(tmp_path, write_prefer_run):
    run = read_run(write_prefer_run(tmp_path / "prefer"))
    assert shown.section_html([run]) == "" and shown.figures([run]) == []
    assert shown.stream_html(tables.frame([run])) == ""


def test_the_stream_is_shown_where_objectives_differ(runs, tmp_path, write_prefer_run):
    both = [*runs, read_run(write_prefer_run(tmp_path / "prefer"))]
    html = shown.stream_html(tables.frame(both))
    assert "What an objective does to the stream" in html and "objective prefer" in html
    assert counted.by_objective(tables.frame(both)).shape[0] == 3
