"""The README's figure, drawn from the committed records of two studies, for light and for dark pages.

    python -m tests.cover        # after a report was made; test_printed fails where numbers differ
"""

from itertools import product

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tests import printed
from trajnb.machine import ROOT
from trajnb.scoring import crossing
from trajnb.show import contrasts, plots

PANELS = (  # title, study, measure
    ("exact calls on novel targets", "api-bank", "novel"),
    ("exact calls, no target seen in training", "api-bank-disjoint", "novel"),
    ("right APIs", "api-bank", "name"),
)
FILES = {"light": "reports/cover-light.svg", "dark": "reports/cover-dark.svg"}
DARK = {
    "text.color": "#e6edf3",
    "axes.labelcolor": "#e6edf3",
    "axes.edgecolor": "#30363d",
    "xtick.color": "#e6edf3",
    "ytick.color": "#e6edf3",
    "grid.color": "#30363d",
}
FAINT = {plots.CONDITION_COLOURS["none"]: "#9aa4ae", plots.CONDITION_COLOURS["stripped"]: "#58a6ff"}
"""What is too dark for a dark ground, and what stands for it there."""


def draw(theme: str) -> Figure:
    """What the panels show by training and by test prompt."""
    plots.use_style()
    plt.rcParams.update({"figure.facecolor": "none", "axes.facecolor": "none"})
    plt.rcParams.update(DARK if theme == "dark" else {})
    figure, axes = plots.subplots(1, len(PANELS), figsize=(4.4 * len(PANELS), 4.3))
    for ax, (title, study, measure) in zip(axes[0], PANELS, strict=True):
        contrasts.draw_levels(ax, levels(study, measure), measure)
        ax.set_title(f"{title}\n{printed.pairs(study)} run pairs")
    for ax, other in product(axes[0][:2], repeat=2):  # exact calls on one scale
        ax.set_ylim(top=max(ax.get_ylim()[1], other.get_ylim()[1]))
    figure = plots.finish(figure)
    if theme == "dark":
        _lighten(figure)
    return figure


def levels(study: str, measure: str) -> pd.DataFrame:
    """What one panel shows, see `crossing.levels`."""
    return crossing.levels(crossing.plain(printed.table(study)), measure)


def _lighten(figure: Figure) -> None:
    """Give lines, bars of intervals and texts of faint colours their lighter ones."""
    for one in figure.findobj(lambda artist: hasattr(artist, "get_color")):
        colour = one.get_color()
        if not isinstance(colour, str):  # a collection has one colour for each of its lines
            colour = to_hex(colour[0])
        if lighter := FAINT.get(colour.upper()):
            one.set_color(lighter)


def write() -> None:
    """Write both files, with texts as texts and the same bytes for the same figure."""
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "trajnb"})
    for theme, file in FILES.items():
        with plt.rc_context():
            draw(theme).savefig(ROOT / file, metadata={"Date": None}, transparent=True)
            plt.close("all")


if __name__ == "__main__":
    write()
