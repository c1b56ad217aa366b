"""Figures as parts of a page: texts stay texts, colours become those of the page."""

import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from trajnb.scoring.matrices import Matrix
from trajnb.show import plots, vector
from trajnb.show.cells import OPTIONAL, with_something_to_say


@pytest.fixture
def svg():
    """A figure with hostile text, a bar and a line, as matplotlib writes it."""
    with plt.rc_context({"svg.fonttype": "none"}):
        figure, axes = plots.subplots(1, 1)
        axes[0, 0].set_title("</svg><script>alert(1)</script>")
        axes[0, 0].barh([0], [1], color="#F0B67F")
        axes[0, 0].plot([0, 1], [0, 1], "o-", color="#0072B2")
        written = io.StringIO()
        plots.finish(figure).savefig(written, format="svg")
    return written.getvalue()


def test_a_figure_becomes_an_element_with_text_and_nothing_of_a_file(svg):
    html = vector.inline_svg(svg, "two <bars>")
    assert html.startswith('<svg viewBox="0 0 ') and html.rstrip().endswith("</svg>")
    assert 'aria-label="two &lt;bars&gt;"' in html
    assert "&lt;/svg&gt;&lt;script&gt;" in html and "<script" not in html
    for gone in ("<?xml", "DOCTYPE", "metadata", "<style", 'id="figure_1"', "dc:date"):
        assert gone not in html
    assert re.search(r"max-width: 614px; min-width: 565px", html), "as wide as it was drawn"


def test_paper_and_ink_are_those_of_the_page_and_inks_keep_their_hue(svg):
    html = vector.inline_svg(svg)
    assert "fill: var(--page)" in html and "#ffffff" not in html
    assert "fill: light-dark(#f0b67f, color-mix(in srgb, #f0b67f 66%, black))" in html
    assert "stroke: light-dark(#0072b2, oklch(from #0072b2 max(l, .65) c h))" in html


def test_what_matplotlib_did_not_draw_stays_as_it_is():
    assert vector.inline_svg("<svg><path/></svg>") == "<svg><path/></svg>"
    assert vector.inline_svg("no figure") == "no figure"


def luminance(colour) -> float:
    parts = np.asarray(colour[:3], float)
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: float, other: float) -> float:
    low, high = sorted((one, other))
    return (high + 0.05) / (low + 0.05)


def dimmed(colour) -> np.ndarray:
    """An area in the dark: see `vector._of_area`."""
    light = float(np.asarray(colour[:3]) @ [0.2126, 0.7152, 0.0722])
    return np.asarray(colour[:3]) * min(1.0, vector.BRIGHT / light)


def test_texts_on_areas_can_be_read_in_light_and_dark():
    counts = np.arange(20.0).reshape(5, 4)
    matrix = Matrix(("a", "b", "c", "d"), counts, np.full(4, 19))
    figure = plots.matrices({"all": matrix}, "name")
    ax = figure.axes[0]
    inks = ax.collections[0].get_facecolors()
    pairs = [(text.get_color(), ink) for text, ink in zip(ax.texts, inks, strict=True)]
    colours = {**plots.OUTCOME_COLOURS, **plots.KIND_COLOURS}.values()
    pairs += [("white" if one in plots.DARK else "black", plt.matplotlib.colors.to_rgb(one)) for one in colours]
    for text, ink in pairs:
        own = 1.0 if text == "white" else 0.0
        for ground in (ink, dimmed(ink)):
            assert contrast(own, luminance(ground)) >= 4.4, (text, ink)


def cell(kind, source="", tags=(), outputs=()):
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

    if kind == "markdown":
        return new_markdown_cell(source, metadata={"tags": list(tags)})
    return new_code_cell(source, outputs=[new_output("stream", text=text) for text in outputs])


def test_an_optional_section_that_shows_nothing_is_left_out():
    silent, telling = cell("code", "1"), cell("code", "2", outputs=["said"])
    cells = [
        cell("markdown", "# Title"),
        silent,
        cell("markdown", "## Empty", [OPTIONAL]),
        silent,
        cell("markdown", "words of it", [OPTIONAL]),
        silent,
        cell("markdown", "## Kept by what is below", [OPTIONAL]),
        silent,
        cell("markdown", "### Below", [OPTIONAL]),
        telling,
        cell("markdown", "## Wanted"),
        silent,
    ]
    kept = [one.source for one in with_something_to_say(cells) if one.cell_type == "markdown"]
    assert kept == ["# Title", "## Kept by what is below", "### Below", "## Wanted"]
