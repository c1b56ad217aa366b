"""Records in a notebook: `from trajnb import explore`, then `s = explore.open("reports/quick")`.

`s.runs`, `s.items`, `s.predictions` and `s.rollouts` are DataFrames, `s.browse()` is the page of
items in a frame, `s.show(dialogue, step)` one held-out call and `s.show_rollout(dialogue)` one
dialogue that was played, both without a script. `s.table("headline")` and `s.figure("items")` are
what a paper takes: `.to_csv`, `.to_latex`, `.savefig`. Several folders are one study, where their
runs can be pooled.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlencode

import pandas as pd
from IPython.display import HTML

from trajnb.corpora.load import corpora_of
from trajnb.formatting.dialogue import Corpus
from trajnb.known import check_known, nearest
from trajnb.records import Run, check_pool, read_study
from trajnb.scoring.overview import Plan, overview, plan_of
from trajnb.show import data, named
from trajnb.show.dialogue import style
from trajnb.show.items import items_data
from trajnb.show.outputs import Drawing, Page, Table
from trajnb.show.reader import reader_html, row_id
from trajnb.show.rollouts import rollouts_data
from trajnb.show.single import item_html, rollout_html

MOST_NAMED = 12
"""Names that an error lists."""


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
    plan = plan_of(Path(folders[0])) if len(folders) == 1 else Plan([], None)
    return Study(tuple(runs), plan)


@dataclass(frozen=True)
class Study:
    """Finished runs, read."""

    kept: tuple[Run, ...]
    plan: Plan = Plan([], None)
    """What was planned, where one folder says so."""

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row a run: its arm, seed, tokens, seconds and what made it."""
        return overview(self.kept)

    @cached_property
    def results(self) -> named.Results:
        """What tables and figures are made of."""
        return named.Results(self.kept, self.plan)

    @cached_property
    def items(self) -> pd.DataFrame:
        """A row a held-out call of a run: its gold and its strata, see `records.Item`."""
        return data.items_of(self.kept)

    @property
    def predictions(self) -> pd.DataFrame:
        """A row an answer, with its item and its arm, see `scoring.tables.frame`."""
        return self.results.rows

    @cached_property
    def rollouts(self) -> pd.DataFrame:
        """A row a dialogue that a run played, as in `rollouts.jsonl`; empty where none was."""
        return data.rollouts_of(self.kept)

    @cached_property
    def corpora(self) -> dict[str, Corpus]:
        """The corpora of the runs by hash, as far as they can be had here."""
        texts = [run.record for run in self.kept if not run.record.scores_only]
        return corpora_of({record.corpus["hash"]: record.parameters for record in texts})

    @cached_property
    def data(self) -> dict:
        """What the page of items shows, see `show.items.items_data`."""
        return items_data(self.kept, self.corpora)

    @cached_property
    def played(self) -> dict:
        """What the page of rollouts shows, see `show.rollouts.rollouts_data`."""
        return rollouts_data(self.kept, self.corpora)

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

    def show(self, dialogue: str, step: int, repetition: int = 0, stage: int | None = None) -> HTML:
        """One held-out call: gold, both prompts, and what each arm answered, argument by argument.

        Args:
            dialogue, step: as in `s.items`.
            repetition: the how manieth of several seeds, orders and folds, from 0, in the order of
                the page of items.
            stage: of the answers, 0 being before training; None: the one that counts as final.

        Raises:
            ValueError: no such call, repetition or stage.
        """
        rows = {row["id"]: row for row in self.data["rows"]}
        _check("dialogue", dialogue, [row["d"] for row in rows.values()])
        steps = [row["s"] for row in rows.values() if row["d"] == dialogue]
        _check("step", step, steps)
        _check("repetition", repetition, range(steps.count(step)))
        row = rows[row_id(dialogue, step, repetition)]
        if stage is not None:
            _check("stage", stage, range(len(row["stages"])))
        return HTML(style() + item_html(self.data, row, stage))

    def show_rollout(self, dialogue: str = "", repetition: int = 0) -> HTML:
        """A dialogue that was played, call by call beside the reference.

        Args:
            dialogue: as in `s.rollouts`; without it the first one.
            repetition: as in `show`.

        Raises:
            ValueError: nothing was played, or not this dialogue.
        """
        if self.rollouts.empty:
            raise ValueError("no run of this study was rolled out: 04_rollout plays dialogues")
        rows = self.played["rows"]
        name = dialogue or rows[0]["d"]
        _check("dialogue", name, [row["d"] for row in rows])
        own = [row for row in rows if row["d"] == name]
        _check("repetition", repetition, range(len(own)))
        return HTML(style() + rollout_html(self.played, own[repetition]))

    def table(self, name: str) -> Table:
        """A table of the study, one of `show.named.TABLES`: headline, effects, outcomes, errors,
        matrices, runs.

        Raises:
            ValueError: an unknown name, or a study that has nothing to say there.
        """
        table = named.table(self.results, name)
        if table.words.empty:
            raise ValueError(f"these records hold nothing that the table {name!r} shows")
        return table

    def figure(self, name: str) -> Drawing:
        """Figures of the study, one of `show.named.FIGURES`: items, crossing, changes, matrices,
        curves, outcomes, errors.

        Raises:
            ValueError: an unknown name, or a study that has nothing to draw there.
        """
        drawing = named.figure(self.results, name)
        if not drawing.figures:
            raise ValueError(f"these records hold nothing that the figure {name!r} shows")
        return drawing

    def write(self, folder: Path | str) -> list[Path]:
        """Write all records, tables and figures, see `show.data.write_data`; returns the paths."""
        return data.write_data(self.results, Path(folder))


def _check(what: str, value: object, known: Iterable[object]) -> None:
    """Raise ValueError, with some of the known ones, where `value` is none of them."""
    known = list(dict.fromkeys(known))
    if value not in known:
        some = ", ".join(map(str, known[:MOST_NAMED]))
        more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
        hint = nearest(str(value), map(str, known))
        raise ValueError(f"unknown {what} {value!r:.80}{hint}; there are {some}{more}")


def _goes(row: dict, wanted: dict[str, str]) -> bool:
    """Whether an item goes with what is chosen; a search is left to the page."""
    chosen = {key: value for key, value in wanted.items() if key not in ("q", "item")}
    return all(value in row["tags"][key] for key, value in chosen.items())
