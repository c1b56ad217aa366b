"""What a page needs to show figures, whatever the environment says: a way to show them, glyphs, and
warnings without the paths of a machine.
"""

import warnings
from collections.abc import Callable, Iterable
from functools import cache

import matplotlib.pyplot as plt
from IPython import get_ipython
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

LAST_RESORT = "Last Resort"
"""The font of matplotlib that has a box for every character: the box of its script."""


class NotShown(BaseException):
    """A figure cannot be drawn. No Exception: IPython passes over those of a figure, and the page would
    end well without it.
    """


def show_figures() -> None:
    """Let the figures of this kernel stand in its page, as SVG with text, whichever backend is
    exported or configured; without a kernel nothing is done.

    Raises:
        NotShown: they would not; a figure that cannot be drawn raises it later.
    """
    shell = get_ipython()
    if shell is None:
        return
    shell.run_line_magic("matplotlib", "inline")
    shell.run_line_magic("config", "InlineBackend.figure_format = 'svg'")
    formatter = shell.display_formatter.formatters["image/svg+xml"]
    try:
        draw = formatter.lookup_by_type(Figure)
    except KeyError:
        reason = "this kernel shows no figures: start it without other settings of matplotlib"
        raise NotShown(reason) from None
    formatter.for_type(Figure, _drawn(draw))
    warnings.formatwarning = _said
    warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)  # no font has it: it is a box


def _drawn(draw: Callable[[Figure], object]) -> Callable[[Figure], object]:
    def draw_or_fail(figure: Figure) -> object:
        try:
            return draw(figure)
        except Exception as error:
            raise NotShown(f"a figure cannot be drawn: {type(error).__name__}: {error}") from error

    return draw_or_fail


def _said(message, category, filename, lineno, line=None) -> str:
    """A warning without the file that it comes from, which names a machine's folders."""
    return f"{category.__name__}: {message}\n"


def use_fonts(figure: Figure) -> None:
    """Write the texts of a figure in fonts of this machine that have their characters, as far as some
    font has them.
    """
    ticks = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    labels = [label for axis in ticks for label in axis.get_ticklabels()]
    texts = [*figure.findobj(Text), *labels]
    said = {letter for text in texts for letter in text.get_text() if letter.isprintable()}
    usual = plt.rcParams["font.family"]
    lacking = said - _letters(font_manager.findfont(font_manager.FontProperties(family=usual)))
    if not lacking:
        return
    families = [*usual, *_families(frozenset(lacking))]
    for text in texts:
        text.set_fontfamily(families)
    for axis in ticks:
        axis.set_tick_params(labelfontfamily=families)  # of labels that are made later


@cache
def _families(lacking: frozenset[str]) -> tuple[str, ...]:
    """Families that together have as many of these characters as any of this machine's fonts do."""
    entries = {entry.name: entry.fname for entry in font_manager.fontManager.ttflist}
    fonts = {name: _letters(path) for name, path in sorted(entries.items()) if LAST_RESORT not in name}
    found, left = [], set(lacking)
    while fonts and (more := left & fonts[best := max(fonts, key=lambda name: len(left & fonts[name]))]):
        found.append(best)
        left -= more
    return tuple(found)


@cache
def _letters(path: str) -> frozenset[str]:
    """The characters of a font that can be drawn at any size; of others none, as of emoji in bitmaps."""
    try:
        font = FT2Font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):  # a file that is gone, or no font that FreeType reads
        return frozenset()


def unshown(outputs: Iterable[dict]) -> int:
    """How many figures are named in the outputs of cells, but are not there."""
    datas = [output.get("data", {}) for output in outputs]
    named = [data for data in datas if "".join(data.get("text/plain", "")).startswith("<Figure size")]
    return sum(not any(kind.startswith("image/") for kind in data) for data in named)
