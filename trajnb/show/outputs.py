"""What a person gets from `trajnb.explore` and shows in a notebook: a page in a frame, a table, a
figure. Each carries its style, light and dark, and can be kept as a file.
"""

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from trajnb.escaping import in_csv, in_html, in_latex
from trajnb.files import write_bytes
from trajnb.show.dialogue import style
from trajnb.show.single import table_html

HEIGHT = 640
"""Of the frame, in pixels."""
KEPT_FIGURES = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "trajnb",  # the same bytes for the same figure
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a name with $ is no formula
}
_DATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""What a file of a figure would say of the day on which it was written."""
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
"""Within a page it would be the style of all of it."""


@dataclass(frozen=True)
class Page:
    """A page that a notebook shows in a frame, which reaches neither the notebook nor the network.

    Under it stands a line of counts, for a notebook that is not trusted shows no frame.
    """

    html: str
    counts: str

    @property
    def frame(self) -> str:
        """The frame as HTML."""
        return (
            f'<iframe sandbox="allow-scripts allow-downloads" title="items" width="100%" '
            f'height="{HEIGHT}" srcdoc="{in_html(self.html)}"></iframe>'
        )

    def save(self, path: Path | str) -> Path:
        """Write the page as a file of its own and return its path."""
        path = Path(path)
        path.write_text(self.html, encoding="utf-8", errors="replace")
        return path

    def _repr_html_(self) -> str:
        line = f'<p class="trajnb trajnb-colours">{in_html(self.counts)}</p>'
        return f"{self.frame}{style()}{line}"


@dataclass(frozen=True)
class Table:
    """A table of a study: numbers for programs, and the same in words for people."""

    frame: pd.DataFrame
    words: pd.DataFrame
    """All texts, with titles for columns: what a notebook and a paper show."""
    note: str = ""
    """What its numbers do not cover."""

    def to_csv(self, path: Path | str) -> Path:
        """Write the numbers and return the path, see `csv_of`."""
        write_bytes(Path(path), csv_of(self.frame).encode("utf-8", errors="replace"))
        return Path(path)

    def to_latex(self, path: Path | str | None = None) -> str:
        """The words as a `tabular` that asks for no package; written to `path` where one is given."""
        text = latex_of(self.words) + (f"% {in_latex(self.note)}\n" if self.note else "")
        if path is not None:
            write_bytes(Path(path), text.encode("utf-8", errors="replace"))
        return text

    def _repr_html_(self) -> str:
        lines = [list(self.words), *self.words.itertuples(index=False)]
        table = table_html([list(map(in_html, line)) for line in lines])
        note = f"<p>{in_html(self.note)}</p>" if self.note else ""
        return f'{style()}<div class="trajnb trajnb-colours numbers">{table}{note}</div>'


def csv_of(frame: pd.DataFrame) -> str:
    """A frame as CSV. A text that a spreadsheet would take for a formula stands behind a quote;
    parquet has it as it is.
    """
    safe = frame.copy()
    for column in safe.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in safe.dtypes]]:
        safe[column] = [in_csv(cell) if isinstance(cell, str) else cell for cell in safe[column]]
    return safe.to_csv(index=False)


def latex_of(words: pd.DataFrame) -> str:
    """A frame of texts as a LaTeX `tabular` with lines of its own."""
    lines = [" & ".join(map(in_latex, line)) + r" \\" for line in [list(words), *words.to_numpy()]]
    head, *body = lines
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * words.shape[1]}}}",
            r"\hline",
            head,
            r"\hline",
            *body,
            r"\hline",
            r"\end{tabular}",
            "",
        ]
    )


@dataclass(frozen=True)
class Drawing:
    """Figures of a study that belong together, most often one; text in them is text."""

    title: str
    figures: tuple[Figure, ...]

    def savefig(self, path: Path | str) -> list[Path]:
        """Write the figures as SVG, PDF or what else matplotlib knows by the ending of `path`, and
        return the paths: `path` for a lone one, else numbered ones beside it.
        """
        path = Path(path)
        numbered = [path.with_stem(f"{path.stem}-{n}") for n in range(1, len(self.figures) + 1)]
        paths = [path] if len(numbered) == 1 else numbered
        for one, figure in zip(paths, self.figures, strict=True):
            write_bytes(one, drawn(figure, one.suffix.removeprefix(".")))
        return paths

    def _repr_html_(self) -> str:
        shown = []
        for figure in self.figures:
            svg = drawn(figure, "svg").decode()
            shown.append(_STYLE.sub("", svg[svg.index("<svg") :]))
        return (
            f'{style()}<div class="trajnb trajnb-colours figure">{"".join(shown)}'
            f"<p>{in_html(self.title)}</p></div>"
        )


def drawn(figure: Figure, kind: str) -> bytes:
    """A figure as a file of this kind, on no ground: the same bytes for the same figure."""
    out = BytesIO()
    with plt.rc_context(KEPT_FIGURES):
        about = _DATED.get(kind)
        figure.savefig(out, format=kind, metadata=about, transparent=True)
    return out.getvalue()
