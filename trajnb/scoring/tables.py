"""The predictions of all runs of a study as one table, and its headline."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from trajnb.records import Run
from trajnb.scoring import paper
from trajnb.scoring.arms import Arm, arms_of, in_order
from trajnb.scoring.paired import ITEM, change
from trajnb.scoring.score import MEASURES, outcome
from trajnb.strategies import strategy_of


def frame(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per item, stage, evaluation condition and run: the prediction, its item and its arm.

    Adds:
        run, condition, strategy, match_tokens, seed: of the run; `order`: its blocks in the order
            learnt, a tuple; `fold`: the part of the dialogues that it holds out, of `folds`, -1 of
            1 being the corpus's own split.
        trained: the `Arm` of its training; `variant`: what of it is neither condition nor strategy.
        arm: the same and, where any run was asked in another condition than its own, the one asked.
        learnt: the stage that learnt the item's block; nan where none did.
        last: whether this stage counts as final: the run's last one, or, with an adapter for every
            block, the stage of the item's own.
        logp: nats a token, nan for what has no likelihood; `outcome`: one word, see
            `score.outcome`.
        novel: `canonical` where the gold call is no training target, else nan.

    Raises:
        ValueError: a prediction has no item, or runs of one arm deal dialogues into different
            numbers of folds.
    """
    runs = in_order(runs)
    arms = arms_of([run.record.parameters for run in runs])
    table = pd.concat(map(_answers, runs, arms), ignore_index=True)
    _check_folds(table)
    if (table.condition != table.eval_condition).any():
        pairs = list(zip(table.trained, table.eval_condition, strict=True))
        asked = {pair: replace(pair[0], asked=pair[1]) for pair in set(pairs)}
        table["arm"] = [asked[pair] for pair in pairs]
    table["logp"] = -table.gold_nll.astype(float) / table.gold_tokens
    table["novel"] = table.canonical.astype(float).where(~table.seen_target.astype(bool))
    scores = table[["canonical", "name", "parsed"]].to_dict("records")
    table["outcome"] = [outcome(row) for row in scores]
    return table


def _check_folds(table: pd.DataFrame) -> None:
    """Fold 1 of 5 is not fold 1 of 10, nor are either of them a corpus's own split."""
    for arm, counts in table.groupby("trained", sort=False).folds.unique().items():
        if len(counts) > 1:
            dealt = ", ".join("the corpus's own split" if n == 1 else f"{n} folds" for n in counts)
            raise ValueError(
                f"runs of {arm} hold out dialogues in different ways ({dealt}), so they cannot be "
                "averaged; keep them in studies of their own"
            )


def _answers(run: Run, arm: Arm) -> pd.DataFrame:
    """The rows of one run."""
    strategy, stages = strategy_of(run.record.parameters), run.record.stages
    rows = _with_items(run)
    fold = run.record.parameters.get("fold", -1)
    stage_of = {}
    for stage, blocks in enumerate(stages, 1):
        stage_of |= dict.fromkeys(blocks, stage)
    learnt = rows.block.map(stage_of)
    return rows.assign(
        run=run.folder.name,
        arm=all_rows(arm, rows),
        trained=all_rows(arm, rows),
        variant=all_rows(arm.variant, rows),
        condition=arm.condition,
        strategy=arm.strategy,
        match_tokens=run.record.parameters["match_tokens"],
        seed=run.record.parameters["seed"],
        order=all_rows(tuple(run.record.blocks), rows),
        fold=fold,
        folds=run.record.parameters.get("folds", 1) if fold >= 0 else 1,
        learnt=learnt.astype(float),
        last=rows.stage == (learnt if strategy.own_adapters else len(stages)),
    )


def _with_items(run: Run) -> pd.DataFrame:
    """The predictions of a run with the columns of their items."""
    rows, items = pd.DataFrame(run.predictions), pd.DataFrame(run.items)
    items = items.drop(columns="cut_turns")  # one number for every condition
    rows = rows.astype({"gold_nll": float})  # None where answers have no probabilities
    items = items[[*ITEM, *items.columns.difference(rows.columns)]]
    rows = rows.merge(items, on=ITEM, how="left", validate="many_to_one", indicator="known")
    unknown = rows[rows.known != "both"]
    if len(unknown):
        first = unknown.iloc[0]
        raise ValueError(
            f"{run.folder}: {len(unknown)} predictions have no item, the first is "
            f"{first.dialogue_id} step {first.step}; predictions.jsonl and items.jsonl are not of "
            "one run"
        )
    return rows.drop(columns="known")


def all_rows(value: object, rows: pd.DataFrame) -> pd.Series:
    """A column that holds one value, which may be a tuple, in every row."""
    return pd.Series([value] * len(rows), rows.index, dtype=object)


@dataclass(frozen=True)
class HeadlineRow:
    """One measure of one arm, before training and at the end."""

    arm: Arm
    measure: str
    label: str
    unit: str
    n: int
    """Answers at the end that have the measure: of every run all items that it asks."""
    calls: int
    """Different items among them; runs with folds of their own share none."""
    zero: float
    zero_right: object
    final: float
    final_right: object
    """Rates are percent of calls, or nats a gold token for `logp`, whose counts are NA."""
    change: float
    low: float
    high: float
    p: float
    pairs: int
    covers: tuple[str, ...]
    """Of the change, as in `stats.Estimate`."""
    dialogues: int
    runs: int
    paper_zero: float
    paper_final: float
    """Percent, where the paper has the arm and the measure."""


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """Per arm and measure: zero-shot and final (counts and rate), and the interval of the change;
    columns are the fields of `HeadlineRow`.
    """
    rows = []
    for arm, part in table.groupby("arm", sort=False):
        published = paper.zero_and_final(*part[["condition", "eval_condition"]].iloc[0])
        rows += [_headline(arm, part, measure, *published[measure]) for measure in MEASURES]
    found = pd.DataFrame([vars(row) for row in rows])
    return found.astype({"zero_right": "Int64", "final_right": "Int64"})


def _headline(
    arm: Arm, rows: pd.DataFrame, measure: str, paper_zero: float, paper_final: float
) -> HeadlineRow:
    zero, final = rows[rows.stage == 0], rows[rows["last"]]
    label, unit = MEASURES[measure]
    shift = change(rows, measure)
    counted = measure != "logp"
    return HeadlineRow(
        arm=arm,
        measure=measure,
        label=label,
        unit=unit,
        n=int(final[measure].notna().sum()),
        calls=len(final[final[measure].notna()].drop_duplicates(ITEM)),
        zero=rate(zero, measure),
        zero_right=int(zero[measure].sum()) if counted else pd.NA,
        final=rate(final, measure),
        final_right=int(final[measure].sum()) if counted else pd.NA,
        change=shift.mean,
        low=shift.low,
        high=shift.high,
        p=shift.p,
        pairs=shift.pairs,
        covers=shift.covers,
        dialogues=final.dialogue_id.nunique(),
        runs=final.run.nunique(),
        paper_zero=paper_zero,
        paper_final=paper_final,
    )


def rate(rows: pd.DataFrame, measure: str) -> float:
    """Percent of right rows, or for `logp` the mean log-likelihood of a gold token (nats); nan
    where no row has the measure.
    """
    if measure == "logp":
        rows = rows[rows.logp.notna()]
        return float((rows.logp * rows.gold_tokens).sum() / (rows.gold_tokens.sum() or np.nan))
    return float(100 * rows[measure].mean())


def given_parse(table: pd.DataFrame) -> pd.DataFrame:
    """By arm, before training and at the end (rows): how many calls open with the right API, can be
    read, and are exact, and the percent of exact ones among those that can be read (nan of none).
    """
    rows = {}
    for arm, part in table.groupby("arm", sort=False):
        for when, answers in (("zero-shot", part[part.stage == 0]), ("final", part[part["last"]])):
            right = answers[["opened_name", "parsed", "name", "canonical"]].astype(bool).sum()
            rows[arm, when] = {"calls": len(answers), **right}
    found = pd.DataFrame.from_dict(rows, orient="index")
    share = 100 * found.canonical / found.parsed
    words = {"opened_name": "open with the right API", "parsed": "can be read"}
    words |= {"name": "right API", "canonical": "exact"}
    return found.rename(columns=words).assign(**{"exact given parse, %": share})


def outcomes(table: pd.DataFrame, column: str, words: Iterable[str]) -> pd.DataFrame:
    """Counts of the `words` of a column by arm, before training and at the end (rows)."""
    counts = {}
    for arm, part in table.groupby("arm", sort=False):
        for when, rows in (("zero-shot", part[part.stage == 0]), ("final", part[part["last"]])):
            counts[arm, when] = rows[column].value_counts().reindex(list(words), fill_value=0)
    return pd.DataFrame(counts).T
