import re
import warnings

import matplotlib.pyplot as plt
import nbformat
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import font_manager
from nbformat.v4 import new_code_cell, new_notebook, new_output

from trajnb.show import page, plots
from trajnb.show.report import render_notebook
from trajnb.study import pages
from trajnb.study.job import Job


class Shell(InteractiveShell):
    """Drawing needs no event loop."""

    def enable_gui(self, gui=None):
        pass


@pytest.fixture(scope="module")
def only_shell():
    """matplotlib shows figures in one shell of a process."""
    return Shell()


@pytest.fixture
def shell(only_shell, monkeypatch):
    """A shell such as a kernel has, with another backend chosen before."""
    plt.switch_backend("agg")
    shell = only_shell
    monkeypatch.setattr(page, "get_ipython", lambda: shell)
    with warnings.catch_warnings():
        said = warnings.formatwarning
        yield shell
        warnings.formatwarning = said
    plt.switch_backend("agg")


def drawn(shell, figure):
    data, _ = shell.display_formatter.format(figure)
    return data


def test_figures_stand_in_the_page_whatever_backend_was_chosen(shell):
    figure, axes = plots.subplots(1, 1)
    assert "image/svg+xml" not in drawn(shell, figure)
    plots.use_style()
    axes[0, 0].set_title("costs $5_000 and $x^2")
    assert "image/svg+xml" in drawn(shell, plots.finish(figure))
    plots.use_style()
    assert "image/svg+xml" in drawn(shell, plots.finish(figure)), "again"
    later, axes = plots.subplots(1, 1)
    axes[0, 0].set_title("costs $5_000 and $x^2")
    svg = drawn(shell, plots.finish(later))["image/svg+xml"]
    assert re.search(r"<text [^>]*>costs \$5_000 and \$x\^2</text>", svg), "text is drawn as outlines"


def test_a_figure_that_cannot_be_drawn_fails_the_cell(shell):
    plots.use_style()
    figure, axes = plots.subplots(1, 1)
    axes[0, 0].text(0, 0, "$\\frac$", parse_math=True)
    with pytest.raises(page.NotShown, match="a figure cannot be drawn: ValueError: "):
        drawn(shell, figure)
    shell.user_ns["figure"] = figure
    assert isinstance(shell.run_cell("figure").error_in_exec, page.NotShown)


def test_a_kernel_that_shows_no_figures_is_refused(monkeypatch):
    shell = Shell()
    monkeypatch.setattr(page, "get_ipython", lambda: shell)
    monkeypatch.setattr(shell, "run_line_magic", lambda *_: None)
    with pytest.raises(page.NotShown, match="this kernel shows no figures"):
        page.show_figures()


def test_a_warning_names_no_folder_of_the_machine(shell):
    plots.use_style()
    said = warnings.formatwarning("look here", UserWarning, "/somewhere/of/mine.py", 7)
    assert said == "UserWarning: look here\n"
    with warnings.catch_warnings(record=True) as told:
        warnings.warn("Glyph 22825 (\\N{CJK UNIFIED IDEOGRAPH-5929}) missing from font(s) X.", stacklevel=1)
    assert not told


@pytest.fixture
def font(tmp_path):
    """A font of one's own that has two characters alone, known to matplotlib for the test."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((0, 700))
    pen.lineTo((500, 0))
    pen.closePath()
    glyph = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "sky", "smile"])
    builder.setupCharacterMap({ord("天"): "sky", ord("🙂"): "smile"})
    builder.setupGlyf({".notdef": glyph, "sky": glyph, "smile": glyph})
    builder.setupHorizontalMetrics({name: (600, 0) for name in (".notdef", "sky", "smile")})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Two Signs", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "two.ttf")
    known = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(tmp_path / "two.ttf")
    page._families.cache_clear()
    yield "Two Signs"
    font_manager.fontManager.ttflist[:] = known
    page._families.cache_clear()


def test_characters_are_drawn_where_a_font_has_them(font, recwarn):
    plt.rcdefaults()
    figure, axes = plots.subplots(1, 2)
    axes[0, 0].set_title("天 and words")
    axes[0, 1].barh(["get 🙂", "b"], [1, 2])
    finished = plots.finish(figure)
    assert axes[0, 0].title.get_fontfamily() == ["sans-serif", font]
    assert all(label.get_fontfamily() == ["sans-serif", font] for label in axes[0, 1].get_yticklabels())
    finished.canvas.draw()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_usual_characters_keep_the_usual_fonts():
    plt.rcdefaults()
    figure, axes = plots.subplots(1, 1)
    axes[0, 0].set_title("é ö → · Ж")
    assert plots.finish(figure).axes[0].title.get_fontfamily() == ["sans-serif"]


def test_a_file_that_is_no_font_has_no_characters(tmp_path):
    (tmp_path / "x.ttf").write_bytes(b"no font")
    assert page._letters(str(tmp_path / "x.ttf")) == page._letters(str(tmp_path / "gone.ttf")) == frozenset()


def test_figures_that_are_named_and_not_there_are_counted():
    named = {"text/plain": "<Figure size 640x480 with 1 Axes>"}
    outputs = [{"data": named}, {"data": named | {"image/png": "x"}}, {"text": "words"}, {"data": {}}]
    assert page.unshown(outputs) == 1


def test_a_page_without_its_figures_counts_as_failed(tmp_path):
    output = new_output("display_data", {"text/plain": "<Figure size 640x480 with 1 Axes>"})
    executed = tmp_path / "page.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("figure", outputs=[output])]), executed)
    job = Job("page", executed, executed, tmp_path, tmp_path, {})
    assert pages.unshown(job) == "1 figures are missing from its page"
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), executed)
    assert pages.unshown(job) == ""


def test_a_rendered_page_names_no_folder_in_a_warning(tmp_path):
    text = "/home/me/venv/lib/a.py:3: UserWarning: look\n  warn()\nkept: /home/x:3: words\n"
    cell = new_code_cell("1", outputs=[new_output("stream", name="stderr", text=text)])
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "page.ipynb")
    render_notebook(tmp_path / "page.ipynb", tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text("utf-8")
    assert "UserWarning: look" in html and "venv" not in html and "kept: /home/x:3: words" in html
