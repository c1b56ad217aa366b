"""The page of items: every held-out call, its prompts and what each arm answered at every stage.

Read by `templates/items.js`. Rows are items of one repetition (seed, block order, fold); columns
are arms. Everything foreign is text in compressed JSON.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from trajnb.formatting.dialogue import Corpus
from trajnb.records import Run
from trajnb.scoring.lead import sides_of
from trajnb.scoring.tables import frame
from trajnb.show.item_rows import COURSES, STRATA, Column, Page, row_of, tags_of, text_of
from trajnb.show.plots import colours, condition_colours
from trajnb.show.prompts import prompts
from trajnb.show.reader import choices, reader_html, repetition_words, row_id

OTHERS = {
    "block": "block",
    "api": "API",
    "error": "error",
    "course": "over stages",
    "stratum": "stratum",
    "run": "run",
}
"""What can be chosen beside the arms."""


def items_html(
    title: str, runs: Sequence[Run], corpora: Mapping[str, Corpus], pages: Iterable[str] = ()
) -> str:
    """The page of the items of these runs, see `items_data`; `pages` lie beside it."""
    return reader_html("items", title, items_data(runs, corpora), pages)


def items_data(runs: Sequence[Run], corpora: Mapping[str, Corpus]) -> dict:
    """What the page shows, as JSON.

    Args:
        runs: as `records.read_study` reads them.
        corpora: by hash, those that could be had: prompts are rebuilt from them. Without that of a
            run the page shows what its records hold, and says so.
    """
    table = frame(runs)
    page, columns = Page(), _columns(table)
    repetitions = list(dict.fromkeys(zip(table.seed, table.order, table.fold, strict=True)))
    named = repetition_words(repetitions)
    asked, cuts = _asked(runs, corpora), _cuts(runs)
    of_run = {run.folder.name: run.record.corpus["hash"] for run in runs}
    rows, seen = [], Counter()
    for (dialogue, step, _, repetition), answers in _grouped(table).items():
        known = asked.get(of_run[answers[0].run], {}).get((dialogue, step))
        row = row_of(page, answers, columns, known, cuts[dialogue, step])
        row["id"] = row_id(dialogue, step, seen[dialogue, step])
        seen[dialogue, step] += 1
        row["run"] = named[repetitions.index(repetition)]
        rows.append(row)
    kinds = list(page.kinds)
    for row in rows:
        row["tags"] = tags_of(row, columns, kinds)
        where = [f"{row['d']}, step {row['s']}", *row["tags"]["block"], row["run"]]
        row["where"] = " · ".join(filter(None, where))
    labels = {f"arm {column.name}": column.name for column in columns} | OTHERS
    return {
        "arms": [{"name": column.name, "colour": column.colour} for column in columns],
        "choices": choices(rows, labels, COURSES | STRATA),
        "rows": rows,
        "kinds": kinds,
        "texts": list(page.texts),
        "lines": list(page.lines),
        "calls": [json.loads(call) for call in page.calls],
        "notes": _notes(runs, corpora),
    }


def _grouped(table: pd.DataFrame) -> dict[tuple, list]:
    """The answers of every (dialogue, step, gold, repetition), in the order of the table. The gold
    is part of it, because runs with fresh ids are asked for other calls at the same place.
    """
    found: dict[tuple, list] = {}
    for row in table.itertuples():
        key = row.dialogue_id, row.step, text_of(row.gold), (row.seed, row.order, row.fold)
        found.setdefault(key, []).append(row)
    return found


def _columns(table: pd.DataFrame) -> list[Column]:
    palette = colours(table.arm.unique())
    grey = condition_colours(["none"])["none"]
    return [
        Column(side, grey if side.is_untrained else palette[side.arm]) for side in sides_of(table)
    ]


def _cuts(runs: Sequence[Run]) -> dict[tuple[str, int], dict[str, int]]:
    """By dialogue and step, the oldest user turns that were cut from its prompts, by condition."""
    found: dict[tuple[str, int], dict[str, int]] = {}
    for run in runs:
        for item in run.items:
            own = found.setdefault((item["dialogue_id"], item["step"]), {})
            own.update(item["cut_turns"] or {})
    return found


def _asked(runs: Sequence[Run], corpora: Mapping[str, Corpus]) -> dict[str, dict]:
    """The prompts of every corpus that is there, by its hash."""
    conditions, parameters = {}, {}
    for run in runs:
        digest = run.record.corpus["hash"]
        parameters.setdefault(digest, run.record.parameters)
        conditions.setdefault(digest, {}).update(dict.fromkeys(run.record.matrix))
    return {
        digest: prompts(corpora[digest], names, parameters[digest])
        for digest, names in conditions.items()
        if digest in corpora
    }


def _notes(runs: Sequence[Run], corpora: Mapping[str, Corpus]) -> list[str]:
    """What the page cannot show, and why."""
    if any(run.record.scores_only for run in runs):
        return [
            "Kept without texts: calls, answers and prompts are not in these records, and a "
            "dialogue is named by a hash. Outcomes, strata and likelihoods are shown."
        ]
    absent = [run for run in runs if run.record.corpus["hash"] not in corpora]
    if absent:
        name = absent[0].record.corpus["name"]
        return [
            f"Prompts are not shown: the corpus {name} of these runs is not to be had here, or is "
            "another version of it. Calls and answers are those of the records."
        ]
    return []
