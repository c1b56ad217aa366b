"""What README and reports say is what the committed records say."""

import html
import re
import shutil
from pathlib import Path

import pytest

from tests import cover, printed
from trajnb.machine import ROOT
from trajnb.records import read_run
from trajnb.scoring.answers import answers
from trajnb.study.folder import planned_states
from trajnb.study.pages import write_index

REPORTS = sorted(page.parent.name for page in ROOT.glob("reports/*/index.html"))
A_MEASURED_FIGURE = re.compile(r"\d ?%|\d\.\d+ points|(?<!\w)[+-]\d+\.\d")


@pytest.mark.parametrize("name", printed.TEXTS)
def test_figures_are_those_of_the_records(name):
    text = (ROOT / name).read_text("utf-8")
    assert printed.printed(text) == text, "python -m tests.printed writes them anew"


@pytest.mark.parametrize("name", ["README.md", "reports/README.md"])
def test_no_figure_stands_where_nothing_computes_it(name):
    text = printed.MARKED.sub("", (ROOT / name).read_text("utf-8"))
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = text.replace("95 % interval", "")
    assert A_MEASURED_FIGURE.findall(text) == []


def test_a_changed_figure_is_found():
    said = "<!--=level quick canonical full full-->99.9<!--/-->"
    assert printed.printed(said) != said


def test_figures_of_repair_are_counts_of_its_records(tmp_path, write_repair_run, monkeypatch):
    found = [read_run(write_repair_run(tmp_path / "one", passes=lambda block, turn, *_: turn == 0))]
    monkeypatch.setattr(printed, "runs", lambda study: found)
    assert printed.repairs_accepted("any") == "resample 8 of 24, oracle (reads the reference) 24 of 24"
    assert printed.pairs_right("any", "outcome") == "reward model 8, regression 8 of 12"
    assert printed.groups_without_effect("any") == "24 of 32"
    assert printed.turns_at_the_end("any") == "12 of 24"


@pytest.mark.parametrize("study", REPORTS)
def test_the_index_is_what_the_records_make(study, tmp_path):
    folder = ROOT / "reports" / study
    copy = Path(shutil.copytree(folder, tmp_path / study))
    write_index(copy, planned_states(copy))
    assert (copy / "index.html").read_text("utf-8") == (folder / "index.html").read_text("utf-8")


@pytest.mark.parametrize("study", REPORTS)
def test_the_evaluation_says_the_answers_that_the_records_give(study):
    page = (ROOT / "reports" / study / "03_evaluate.html").read_text("utf-8")
    text = html.unescape(re.sub(r"<[^>]*>", "", page))
    sentences = answers(printed.table(study), printed.effects(study))
    assert sentences
    assert [sentence for sentence in sentences if sentence not in text] == []


@pytest.mark.parametrize("theme", cover.FILES)
def test_the_cover_shows_what_the_records_say(theme):
    picture = (ROOT / cover.FILES[theme]).read_text("utf-8")
    texts = {html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", picture)}
    for _, study, measure in cover.PANELS:
        for row in cover.levels(study, measure).itertuples():
            assert [text for text in texts if text.endswith(f"{row.mean:.1f}")], row
