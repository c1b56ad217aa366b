"""Every page of the committed reports, in a browser: it loads nothing, and can be read on a phone, in the
dark and on paper; its style sheet is today's.
"""

import re
from io import BytesIO

import nbformat
import pytest
from PIL import Image

from tests.show.test_pages import CONTRASTS
from trajnb.machine import ROOT
from trajnb.show.reader import template

PAGES = sorted((ROOT / "reports").glob("*/*.html"))
NOTEBOOK_PAGES = [path for path in PAGES if path.stem[:2].isdigit()]
EVALUATIONS = [path for path in PAGES if path.stem == "03_evaluate"]
WIDE = """() => [...document.querySelectorAll('body *')]
  .filter(node => node.checkVisibility() && !node.closest('svg') && node.clientWidth)
  .filter(node => node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).display !== 'inline')
  .map(node => `${node.tagName} ${node.className} ${node.scrollWidth} > ${node.clientWidth}`)"""
SMALL = """() => [...document.querySelectorAll('svg text')]
  .filter(text => text.textContent.trim() && text.getBoundingClientRect().height < 9)
  .map(text => text.textContent)"""
WORDS = "nothing to|No run of|not known|Not both"


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: f"{path.parent.name}/{path.stem}")


def ready(one, path):
    """The page, and that no policy, no script and no network was in its way is watched."""
    page = one.open(path)
    policy = page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content")
    assert "default-src 'none'" in policy
    return page


@named(PAGES)
def test_a_page_can_be_read_on_a_phone_and_its_links_lead_somewhere(path, watched):
    page = ready(watched("phone"), path)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(SMALL) == []
    assert page.evaluate(CONTRASTS) == []
    hrefs = page.eval_on_selector_all("a[href]", "nodes => nodes.map(a => a.getAttribute('href'))")
    for href in hrefs:
        target = href.partition("#")[0]
        assert href.startswith(("https:", "#")) or (path.parent / target).is_file(), href


@named(PAGES)
def test_a_page_is_dark_in_the_dark(path, watched):
    page = ready(watched(dark=True), path)
    assert page.evaluate(CONTRASTS) == []
    whole = Image.open(BytesIO(page.screenshot(full_page=True))).convert("L")
    assert whole.reduce(100).getextrema()[1] < 128, "the mean of some 100 x 100 pixels is bright"


@named(PAGES)
def test_a_page_fits_on_paper(path, watched):
    one = watched()
    one.page.set_viewport_size({"width": 718, "height": 1000})
    one.page.emulate_media(media="print")
    page = ready(one, path)
    assert page.evaluate(WIDE) == []
    assert page.evaluate(CONTRASTS) == [], "marks without their ground need a contrast of their own"
    marks = page.eval_on_selector_all(
        "mark, .outcome, .word, .picture svg", "nodes => nodes.map(n => getComputedStyle(n).printColorAdjust)"
    )
    assert set(marks) <= {"exact"}


@named(EVALUATIONS)
def test_an_evaluation_answers_first_in_at_most_six_sections(path, watched):
    page = ready(watched(), path)
    sections = page.locator("h2").all_inner_texts()
    assert sections[:2] == ["The answer", "Items"] and sections[-1] == "Limits" and len(sections) <= 6
    figure = page.locator(".output_svg svg").first
    assert figure.bounding_box()["y"] < 800 and figure.locator("text").count() > 3
    said = page.evaluate("""() => [...document.querySelectorAll('.output, .output_area, .output_wrapper')]
      .map(node => node.innerText).join('\\n')""")
    assert said.strip() and not re.search(WORDS, said)
    assert page.locator(".output_png").count() == 0
    if path.parent.name == "quick":
        assert path.stat().st_size <= 500_000


@pytest.mark.parametrize("name", ["03_evaluate", "07_details"])
def test_plumbing_is_folded_in_jupyterlab(name):
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
    shown = [
        line
        for cell in cells
        if cell.cell_type == "code" and not cell.metadata.get("jupyter", {}).get("source_hidden")
        for line in cell.source.splitlines()
    ]
    assert 0 < len(shown) <= 60


@named(NOTEBOOK_PAGES)
def test_a_committed_page_was_rendered_with_the_style_of_today(path):
    html = path.read_text("utf-8")
    for sheet in ("colours.css", "report.css"):
        assert template(sheet).strip() in html, f"render the committed reports again: {sheet} is older"
