"""Records in a notebook: tables of all of them, the page of items in a frame, single answers, and
what a paper takes.
"""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas as pd
import pytest

from trajnb import explore
from trajnb.escaping import in_html
from trajnb.keeping import keep
from trajnb.machine import ROOT
from trajnb.show.named import FIGURES, TABLES
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


class Words(HTMLParser):
    """The texts of a page, those of style sheets left out."""

    def __init__(self, html: str):
        super().__init__()
        self.found, self.tags, self.within = [], set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.within = tag

    def handle_data(self, text):
        if self.within != "style":
            self.found.append(text)


def said(html: str) -> str:
    return "\n".join(Words(html).found)


def test_one_call_is_shown_with_both_prompts_and_every_answer(quick, bfcl):
    html = quick.show("multi_turn_base_89", 4).data
    text = said(html)
    assert "stripped prompt" in text and "full prompt" in text and "fillFuelTank" in text
    assert re.findall(r'word \w+">(\w+)</b>', html).count("missing") == 1
    rows = quick.predictions.query("dialogue_id == 'multi_turn_base_89' and step == 4")
    for answer in rows[rows["last"]].prediction:
        assert in_html(answer.strip()) in html
    assert "✗ valid but wrong API" in text and "✓ exact" in text
    assert not {"script", "iframe", "button"} & Words(html).tags
    untrained = quick.show("multi_turn_base_89", 4, stage=0).data
    assert in_html(rows[rows.stage == 0].prediction.iloc[0].strip()) in untrained


def test_one_dialogue_is_shown_beside_the_reference(quick, bfcl):
    line = quick.rollouts.iloc[0]
    text = said(quick.show_rollout(line.dialogue_id).data)
    for gold in (call for turn in line.gold for call in turn):
        assert gold in text
    for call in line.calls:
        assert call["response"].strip() in text
    assert text.count("User turn ") == len(line.gold) and "is in the corpus" not in text


def test_what_is_not_there_cannot_be_shown(quick, write_run, tmp_path):
    with pytest.raises(ValueError, match="multi_turn_base_8.*did you mean"):
        quick.show("multi_turn_base_8", 4)
    with pytest.raises(ValueError, match="unknown step 99; there are 0, 1"):
        quick.show("multi_turn_base_89", 99)
    with pytest.raises(ValueError, match="unknown repetition 1; there are 0"):
        quick.show("multi_turn_base_89", 4, repetition=1)
    with pytest.raises(ValueError, match="unknown stage 9"):
        quick.show("multi_turn_base_89", 4, stage=9)
    write_run(tmp_path / "full-s0")
    with pytest.raises(ValueError, match="rolled out: 04_rollout"):
        explore.open(tmp_path).show_rollout()


def test_without_corpus_or_texts_it_is_said_what_is_missing(write_run, tmp_path):
    write_run(tmp_path / "study" / "full-s0")
    page = explore.open(tmp_path / "study").show("multi_turn_base_50", 0).data
    assert "is not to be had here" in said(page) and "startEngine" in said(page)
    keep(ROOT / "reports" / "quick", tmp_path / "kept", True, True)
    study = explore.open(tmp_path / "kept")
    first = study.items.iloc[0]
    text = said(study.show(first.dialogue_id, int(first.step)).data)
    assert "Kept without texts" in text and "(text not kept)" in text


def test_foreign_text_is_text(write_run, tmp_path):
    attack = "<script>alert(1)</script><img src=x onerror=alert(2)>"

    def tamper(row):
        row["prediction"] = attack

    write_run(tmp_path / "full-s0", tamper=tamper)
    study = explore.open(tmp_path)
    page = study.show("multi_turn_base_50", 0).data
    assert in_html(attack) in page and attack not in page


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_numbers_words_and_latex(quick, name, tmp_path):
    table = quick.table(name)
    again = pd.read_csv(table.to_csv(tmp_path / "a.csv"))
    assert list(again) == list(table.frame) and len(again) == len(table.frame) > 0
    latex = table.to_latex(tmp_path / "a.tex")
    assert (tmp_path / "a.tex").read_text() == latex
    body = latex.partition("\\begin{tabular}{")[2].partition("\\end{tabular}")[0]
    columns, *lines = body.splitlines()
    lines = [line for line in lines if line != r"\hline"]
    assert len(lines) == 1 + len(table.words)
    for line in lines:  # as many cells as columns, and nothing in them that LaTeX obeys
        cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
        assert len(cells) == columns.count("l") and line.endswith(r" \\")
    assert {"script", "img"}.isdisjoint(Words(table._repr_html_()).tags)


def test_the_headline_says_counts_and_what_it_does_not_cover(quick):
    table = quick.table("headline")
    exact = table.frame.query("measure == 'canonical' and arm == 'full'").iloc[0]
    final = quick.predictions.query("last and condition == 'full'")
    assert exact.final_right == final.canonical.sum() and exact.n == len(final)
    assert f"({exact.final_right} of {exact.n})" in table.to_latex()
    assert table.note and table.note in said(table._repr_html_())


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_text_and_the_same_every_time(quick, name, tmp_path):
    drawing = quick.figure(name)
    paths = drawing.savefig(tmp_path / "a.svg")
    first = [path.read_bytes() for path in paths]
    for content in first:
        tree = ElementTree.fromstring(content)
        texts = [node.text for node in tree.iter("{http://www.w3.org/2000/svg}text")]
        assert any(text and re.search("stripped|full", text) for text in texts)
    shown = drawing._repr_html_()
    assert shown.count("<svg") == len(paths) and "<?xml" not in shown and drawing.title in shown
    if name == "items":
        assert [path.read_bytes() for path in quick.figure(name).savefig(tmp_path / "b.svg")] == first
        assert drawing.savefig(tmp_path / "a.pdf")[0].read_bytes().startswith(b"%PDF")


def test_an_unknown_table_or_figure_is_refused(quick):
    with pytest.raises(ValueError, match="did you mean 'headline'"):
        quick.table("headlines")
    with pytest.raises(ValueError, match="unknown figure 'item'"):
        quick.figure("item")


def test_figures_leave_a_persons_own_style_alone(quick):
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 3.5, "text.parse_math": True}):
        quick.figure("outcomes")
        assert plt.rcParams["font.size"] == 3.5 and plt.rcParams["text.parse_math"]
