"""What preferences changed: turn tasks passed and exact calls, before them and after, and the arms of
`trajnb.objectives` against each other.

A turn task is passed by BFCL's rule on that turn alone, by one *greedy* chain of replies or, at the
end, by the *tree* of a search (DFSDT), whose first answer counts. Tables of turns go through
`scoring.continual` and `scoring.paired` as those of next calls do: an item is a dialogue and its user
turn, and a score is `passed`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pandas as pd

from trajnb.files import read_lines
from trajnb.objectives import MAIN, PREFERENCES, objective_of
from trajnb.schema import BEFORE, TURNS, PlayedTurn, Prediction, Run
from trajnb.scoring import continual, matrices, tables
from trajnb.scoring.arms import arms_of, in_order
from trajnb.scoring.crossing import with_family
from trajnb.scoring.paired import by_cell, check_folds, estimate
from trajnb.scoring.resampling import FEW_RUNS
from trajnb.scoring.stats import Estimate, reading
from trajnb.textless import hash_of_dialogue

MEASURES = {
    "passed": ("turn tasks passed by one greedy chain", "%"),
    "found": ("turn tasks passed by search (DFSDT)", "%"),
    "exact": ("exact calls (canonical)", "%"),
}
"""What arms are held against each other in, at the end; in all of them higher is better."""
CONTROLS = tuple(name for name in PREFERENCES if name != MAIN.name)
EFFECTS = ("before", *CONTROLS)
"""What the end of the arm `pairs` is held against: the same stages before their preferences, on the
block that each has just learnt; or, at the end, another arm.
"""
GROUPS = ("just learnt", "learnt earlier", "not yet learnt")
"""Of the blocks that are asked about after a stage."""
MOMENTS = ("before", "after")
"""A stage's preferences."""


def preferring(runs: Iterable[Run]) -> list[Run]:
    """The runs whose stages learn preferences."""
    return [run for run in runs if objective_of(run.record.parameters).prefers]


def turns(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per held-out turn task, stage, moment and search of the runs whose stages have two ends
    (objectives `prefer` and `repair`); empty where there is none.

    Columns are those of `schema.PlayedTurn`, and `run, arm, trained, condition, eval_condition,
    preference, lessons, reward` (None where the objective has none), `seed, fold, folds, order,
    learnt, last, group` as in `tables.frame`; `last` is the end of the run.
    """
    return _rows(runs, lambda run: read_lines(run.folder / TURNS, PlayedTurn))


def calls(runs: Sequence[Run]) -> pd.DataFrame:
    """The same of next calls: one row per held-out item, stage and moment, `exact` where the call is
    canonically right, each run being asked in its own condition.
    """

    def lines(run: Run) -> list[dict]:
        own = run.record.parameters["condition"]
        found = [line | {"moment": "after"} for line in run.predictions]
        if (run.folder / BEFORE).is_file():
            before = read_lines(run.folder / BEFORE, Prediction)
            found += [line | {"moment": "before"} for line in before]
        found = [line for line in found if line["eval_condition"] == own]
        return [line | {"exact": line["canonical"]} for line in found]

    return _rows(runs, lines)


def _rows(runs: Sequence[Run], lines_of) -> pd.DataFrame:
    runs = in_order(runs)
    found = []
    arms = arms_of([run.record.parameters for run in runs])
    for run, arm in zip(runs, arms, strict=True):
        if not objective_of(run.record.parameters).plays:
            continue
        rows = pd.DataFrame(lines_of(run))
        rows["dialogue_id"] = _as_items_are_called(run, rows.dialogue_id)
        parameters, stages = run.record.parameters, run.record.stages
        stage_of = {block: number for number, blocks in enumerate(stages, 1) for block in blocks}
        learnt = rows.block.map(stage_of)
        fold = parameters.get("fold", -1)
        rows = rows.assign(
            run=run.folder.name,
            arm=tables.all_rows(arm, rows),
            trained=tables.all_rows(arm, rows),
            condition=parameters["condition"],
            eval_condition=parameters["condition"],
            preference=parameters.get("preference"),
            lessons=parameters.get("lessons"),
            reward=parameters.get("reward"),
            seed=parameters["seed"],
            fold=fold,
            folds=parameters.get("folds", 1) if fold >= 0 else 1,
            strategy=arm.strategy,
            order=tables.all_rows(tuple(run.record.blocks), rows),
            learnt=learnt.astype(float),
            last=(rows.stage == len(stages)) & (rows.moment == "after"),
            group=np.select([rows.stage == learnt, rows.stage > learnt], GROUPS[:2], GROUPS[2]),
        )
        found.append(rows)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _as_items_are_called(run: Run, dialogue_ids: pd.Series) -> pd.Series:
    """Dialogues of a file beside the records by the names that the run's items have: hashes, where it
    was read beside records that are kept without texts.
    """
    known, corpus = {item["dialogue_id"] for item in run.items}, run.record.corpus["name"]
    return dialogue_ids.map(lambda name: name if name in known else hash_of_dialogue(corpus, name))


def chains(turns: pd.DataFrame) -> pd.DataFrame:
    """The rows of greedy chains as they are at the end of their stages, those before training among
    them: what `scoring.continual` and `scoring.matrices` take, with the score `passed`.
    """
    return turns[(turns.search == "greedy") & (turns.moment == "after")]


def before_and_after(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Right answers (`score`) of all stages after training began, by arm, group of blocks and moment:
    columns `right` and `of`, the sums over stages and runs. Arms that learn nothing from pairs have
    one moment. `rows` are of `calls`, or the greedy ones of `turns`.
    """
    rows = rows[rows.stage > 0]
    groups = rows.groupby(["arm", "group", "moment"], sort=False)[score]
    found = groups.agg(right="sum", of="size").astype(int)
    order = {name: place for place, name in enumerate((*GROUPS, *MOMENTS))}

    def place(level: pd.Index) -> pd.Index:
        return level if level.name == "arm" else level.map(order)

    arms = list(rows.arm.unique())
    found = found.sort_index(level=["group", "moment"], key=place, sort_remaining=False)
    return pd.concat([found.loc[[arm]] for arm in arms])


def at_the_end(turns: pd.DataFrame) -> pd.DataFrame:
    """By arm and search at the end of its runs, and before training (rows): tasks, how many are
    passed, the same without those that any harmless call passes (`free`), and per task the replies
    and those of them that nobody could carry out.
    """
    rows = turns[turns["last"] | (turns.stage == 0)]
    when = np.where(rows.stage == 0, "before training", "at the end")
    found = {}
    for (arm, moment, search), part in rows.groupby(["arm", when, "search"], sort=False):
        asked = part[~part.free.astype(bool)]
        found[arm, moment, search] = {
            "tasks": len(part),
            "passed": int(part.passed.sum()),
            "tasks, not free": len(asked),
            "passed, not free": int(asked.passed.sum()),
            "replies a task": part.replies.mean(),
            "invalid replies a task": part.invalid.mean(),
        }
    table = pd.DataFrame.from_dict(found, orient="index")
    table.index.names = ["arm", "when", "search"]
    return table


def metrics(turns: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """The continual-learning metrics of turn tasks passed greedily and of exact calls, at the ends of
    stages: rows arm and measure, columns `continual.METRICS`, each an `Interval` in percent.
    """
    sides = {"passed": (chains(turns), "passed"), "exact": (calls[calls.moment == "after"], "exact")}
    found = {}
    for measure, (rows, score) in sides.items():
        for arm, part in matrices.in_sequence(rows).groupby("arm", sort=False):
            found[str(arm), MEASURES[measure][0]] = continual.intervals(part, score)
    return pd.DataFrame.from_dict(found, orient="index")


def answers(runs: Sequence[Run], family: Mapping[str, Iterable[str]] | None = None) -> list[str]:
    """What the runs that learn preferences say, see `sentences`; nothing where none does."""
    if not preferring(runs):
        return []
    return sentences(effects(turns(runs), calls(runs), family))


def learnt_from(runs: Sequence[Run]) -> pd.DataFrame:
    """By arm what its runs learnt from, summed over stages and runs: training tasks, trees with a
    success path, replies, pairs, these by what came of the rejected side (`kind`), the harmless ones
    among all that could be rejected, and what was dropped, by reason.
    """
    runs, found = preferring(in_order(runs)), {}
    for run, arm in zip(runs, arms_of([one.record.parameters for one in runs]), strict=True):
        for stage in run.record.preferences["stages"]:
            _add_stage(found.setdefault(arm, {}), stage)
    return _counts(found)


def learnt_by_stage(runs: Sequence[Run]) -> pd.DataFrame:
    """The same by the blocks of a stage, summed over runs."""
    found: dict[str, dict] = {}
    for run in preferring(runs):
        for stage in run.record.preferences["stages"]:
            _add_stage(found.setdefault(", ".join(stage["blocks"]), {}), stage)
    return _counts(found)


def _counts(found: Mapping[object, Mapping[str, int]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(found, orient="index").fillna(0).astype(int)


def _add_stage(counts: dict, stage: Mapping) -> None:
    _add(counts, stage["trees"], "")
    _add(counts, {"could be rejected": label_noise(stage).rejected}, "")
    _add(counts, stage["pairs"], "")


class Noise(NamedTuple):
    """Of the replies that the published way would reject, those that are harmless."""

    harmless: int
    rejected: int


def label_noise(stage: Mapping) -> Noise:
    """Of one stage of a record's `preferences`."""
    pairs = stage["pairs"]
    return Noise(pairs["harmless"], pairs["pairs"] + pairs["dropped"]["harmless"])


def _add(counts: dict, more: Mapping, prefix: str) -> None:
    """Add counts, those of a mapping within under its own name: `kind failed`, `dropped cut`."""
    for name, value in more.items():
        if isinstance(value, Mapping):
            _add(counts, value, f"{prefix}{name} ")
        else:
            counts[prefix + name] = counts.get(prefix + name, 0) + value


@dataclass(frozen=True)
class Effect:
    """The arm `pairs` minus something else, in points."""

    measure: str
    effect: str
    mean: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    """Nan with fewer than FEW_RUNS run pairs."""
    pairs: int = 0
    covers: tuple[str, ...] = ()
    """As in `stats.Estimate`."""
    items: int = 0
    left_only: int = 0
    right_only: int = 0
    """Answers that one side alone has right: with few runs all that can be told."""


def effects(
    turns: pd.DataFrame, calls: pd.DataFrame, family: Mapping[str, Iterable[str]] | None = None
) -> pd.DataFrame:
    """Every measure by every effect that can be measured, one row each; columns are the fields of
    `Effect`, and `declared` and `holm` as in `crossing.effects`.

    Raises:
        ValueError: sides hold out different folds.
    """
    greedy, tree = turns[turns.search == "greedy"], turns[turns.search == "tree"]
    sides = {
        "passed": (greedy, "passed"),
        "found": (tree.assign(found=tree.passed), "found"),
        "exact": (calls, "exact"),
    }
    rows = []
    for measure, (table, score) in sides.items():
        main = table[table.preference == MAIN.name]
        for effect in EFFECTS:
            left, right = _sides(table, main, effect)
            if len(left) and len(right):
                rows.append(effect_of(measure, effect, left, right, score))
    return with_holm(rows, family)


def with_holm(
    rows: Sequence[Effect], family: Mapping[str, Iterable[str]] | None = None
) -> pd.DataFrame:
    """Effects as a table, with `declared` and `holm`."""
    found = pd.DataFrame([vars(row) for row in rows], columns=[one.name for one in fields(Effect)])
    return with_family(found, family)


def _sides(
    table: pd.DataFrame, main: pd.DataFrame, effect: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    if effect == "before":
        return before_sides(main)
    other = table[table.preference == effect]
    return main[main["last"]], other[other["last"]]


def before_sides(main: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The block just learnt, after the second part of its stage and before it."""
    own = main[main.group == GROUPS[0]]
    return own[own.moment == "after"], own[own.moment == "before"]


def effect_of(
    measure: str, effect: str, left: pd.DataFrame, right: pd.DataFrame, score: str
) -> Effect:
    """The left side minus the right one."""
    check_folds([left, right], f"{measure}, {effect}: the arms to compare")
    differences = (by_cell(left, score) - by_cell(right, score)).dropna()
    found = estimate(differences)
    return Effect(
        measure,
        effect,
        *found.interval,
        p=found.p if found.pairs >= FEW_RUNS else np.nan,
        pairs=found.pairs,
        covers=found.covers,
        items=len(differences),
        left_only=int((differences > 0).sum()),
        right_only=int((differences < 0).sum()),
    )


def sentences(found: pd.DataFrame) -> list[str]:
    """What the rows of `effects` say, a sentence each, declared ones first: a direction only by the
    rule of `stats.direction`, and in any case the counts.
    """
    said = []
    for row in found.sort_values("declared", ascending=False, kind="stable").itertuples():
        what = f"{MAIN.name} minus {row.effect}, {MEASURES[row.measure][0]}, at the end"
        if row.effect == "before":
            what = f"{MAIN.name}, {MEASURES[row.measure][0]}, what preferences added on the block just learnt"
        said.append(sentence(what, row))
    return said or ["No two sides can be compared: the arm `pairs` is not among these runs."]


def sentence(what: str, row) -> str:
    """What one row of effects says of `what`: a direction only by the rule of `stats.direction`, and in
    any case the counts.
    """
    p = row.holm if row.declared else row.p
    gap = Estimate(row.mean, row.low, row.high, p, row.pairs, row.covers)
    counts = f"{row.left_only} : {row.right_only} of {row.items} answers right on one side alone"
    declared = " (declared, after Holm)" if row.declared else ""
    return f"{reading(what, gap)} {counts}{declared}."
