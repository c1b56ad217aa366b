"""Records in a notebook: `from trajnb import explore`, then `s = explore.open("reports/quick")`.

`s.runs`, `s.items`, `s.predictions` and `s.rollouts` are DataFrames, `s.browse()` is the page of
items in a frame. Several folders are one study, where their runs can be pooled.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from urllib.parse import urlencode

import pandas as pd

from trajnb.corpora.load import corpora_of
from trajnb.formatting.dialogue import Corpus
from trajnb.known import check_known
from trajnb.records import Run, check_pool, read_beside, read_study
from trajnb.scoring.overview import overview
from trajnb.scoring.tables import frame
from trajnb.show.dialogue import style
from trajnb.show.items import items_data
from trajnb.show.reader import reader_html

HEIGHT = 640
"""Of the frame, in pixels."""


def open(*folders: Path | str) -> "Study":
    """The finished runs of these folders, each of a study or of records.

    Raises:
        ValueError: a folder holds no finished run, or the runs cannot be pooled.
    """
    runs: list[Run] = []
    for folder in map(Path, folders):
        found = read_study(folder)
        if not found:
            raise ValueError(f"{folder} holds no finished run: there is no record.json in it")
        runs += found
    check_pool(runs)
    names = [run.folder.name for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"the run {twice[0]} is in two of these folders; open one of them")
    return Study(tuple(runs))


@dataclass(frozen=True)
class Study:
    """Finished runs, read."""

    kept: tuple[Run, ...]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row a run: its arm, seed, tokens, seconds and what made it."""
        return overview(self.kept)

    @cached_property
    def items(self) -> pd.DataFrame:
        """A row a held-out call of a run: its gold and its strata, see `records.Item`."""
        parts = [pd.DataFrame(run.items).assign(run=run.folder.name) for run in self.kept]
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """A row an answer, with its item and its arm, see `scoring.tables.frame`."""
        return frame(self.kept)

    @cached_property
    def rollouts(self) -> pd.DataFrame:
        """A row a dialogue that a run played, as in `rollouts.jsonl`; empty where none was."""
        rows = []
        for run in self.kept:
            lines = read_beside(run.folder).get("rollouts.jsonl", [])
            rows += [{"run": run.folder.name, **line} for line in lines]
        return pd.DataFrame(rows)

    @cached_property
    def corpora(self) -> dict[str, Corpus]:
        """The corpora of the runs by hash, as far as they can be had here."""
        texts = [run.record for run in self.kept if not run.record.scores_only]
        return corpora_of({record.corpus["hash"]: record.parameters for record in texts})

    @cached_property
    def data(self) -> dict:
        """What the page of items shows, see `show.items.items_data`."""
        return items_data(self.kept, self.corpora)

    def browse(
        self, right: str | Iterable[str] = (), wrong: str | Iterable[str] = (), **chosen: str
    ) -> "Page":
        """The page of items, in a frame.

        Args:
            right, wrong: names of arms that have to be so at the end.
            chosen: a value by key of the other choices: block, api, error, course, stratum, run;
                `q` is a search, `item` what is open (`multi_turn_base_89:4`).

        Raises:
            ValueError: an arm, a key or a value that is not there.
        """
        options = {key: dict(values) for key, _, values in self.data["choices"]}
        wanted = {}
        for side, names in (("right", right), ("wrong", wrong)):
            for name in [names] if isinstance(names, str) else names:
                check_known("arm", name, [arm["name"] for arm in self.data["arms"]])
                wanted[f"arm {name}"] = side
        for key, value in chosen.items():
            check_known("choice", key, [*options, "q", "item"])
            if key in options:
                check_known(key, value, options[key])
            wanted[key] = value
        rows = [row for row in self.data["rows"] if _goes(row, wanted)]
        words = f"{len(rows)} of {len(self.data['rows'])} items"
        said = ", ".join(f"{key.removeprefix('arm ')} {value}" for key, value in wanted.items())
        html = reader_html("items", "records", self.data, chosen=urlencode(wanted))
        return Page(html, f"{words}: {said}" if said else words)


def _goes(row: dict, wanted: dict[str, str]) -> bool:
    """Whether an item goes with what is chosen; a search is left to the page."""
    chosen = {key: value for key, value in wanted.items() if key not in ("q", "item")}
    return all(value in row["tags"][key] for key, value in chosen.items())


@dataclass(frozen=True)
class Page:
    """A page that a notebook shows in a frame, which can reach neither the notebook nor the network.

    Under it stands a line of counts, for a notebook that is not trusted shows no frame.
    """

    html: str
    counts: str

    @property
    def frame(self) -> str:
        """The frame as HTML."""
        return (
            f'<iframe sandbox="allow-scripts allow-downloads" title="items" width="100%" '
            f'height="{HEIGHT}" srcdoc="{escape(self.html)}"></iframe>'
        )

    def save(self, path: Path | str) -> Path:
        """Write the page as a file of its own and return its path."""
        path = Path(path)
        path.write_text(self.html, encoding="utf-8", errors="replace")
        return path

    def _repr_html_(self) -> str:
        line = f'<p class="trajnb trajnb-colours">{escape(self.counts)}</p>'
        return f"{self.frame}{style()}{line}"
