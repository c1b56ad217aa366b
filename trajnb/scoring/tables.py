"""The predictions of all runs of a study as one table, and the comparisons a report opens with.

Rows that are compared stand on the same items. An item is (dialogue_id, step); where several runs (seeds,
orders) share an arm, an item's value is its mean over those runs before dialogues are drawn, so intervals
speak about other dialogues, never about other seeds.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files

import numpy as np
import pandas as pd

from trajnb.formatting.calls import CallSyntaxError
from trajnb.formatting.dialogue import Call
from trajnb.formatting.readings import READINGS
from trajnb.scoring.score import outcome
from trajnb.scoring.stats import Interval, clustered_bootstrap

ITEM = ["dialogue_id", "step"]
# measure -> (heading, share of calls in percent or nats a token); in all of them higher is better
MEASURES = {
    "canonical": ("exact call (canonical)", "%"),
    "string": ("exact text", "%"),
    "name": ("right API", "%"),
    "parsed": ("a call at all", "%"),
    "logp": ("gold log-likelihood", "nats/token"),
}
# what may differ between runs of one arm: repetitions, places, and what is already a column
_NOT_AN_ARM = {"condition", "seed", "data_seed", "order", "eval_conditions", "run_folder", "zero_shot_folder"}


def frame(runs: Iterable) -> pd.DataFrame:
    """One row per item, stage, evaluation condition and run: the prediction, its item and its arm.

    An arm is the training condition, every other parameter in which the runs differ (seeds and orders apart),
    and, where any run was evaluated under another condition than its own, ` → ` and the evaluation condition.
    Adds `run, condition, seed, order, last` (is this the final stage), `logp` (nats a token) and `outcome`.
    """
    runs = in_order(runs)
    arms = arm_names([run.record["parameters"] for run in runs])
    parts = []
    for run, arm in zip(runs, arms, strict=True):
        rows = pd.DataFrame(run.predictions)
        items = pd.DataFrame(run.items)
        items = items[[*ITEM, *items.columns.difference(rows.columns)]]
        rows = rows.merge(items, on=ITEM, how="left", validate="many_to_one", indicator="known")
        unknown = rows[rows.known != "both"]
        if len(unknown):
            first = unknown.iloc[0]
            raise ValueError(
                f"{run.folder}: {len(unknown)} predictions have no item, the first is {first.dialogue_id} "
                f"step {first.step}; predictions.jsonl and items.jsonl are not of one run"
            )
        parameters = run.record["parameters"]
        parts.append(
            rows.drop(columns="known").assign(
                run=run.folder.name,
                arm=arm,
                condition=parameters["condition"],
                seed=parameters["seed"],
                order=" > ".join(run.record["blocks"]),
                last=rows.stage == len(run.record["blocks"]),
            )
        )
    table = pd.concat(parts, ignore_index=True)
    if (table.condition != table.eval_condition).any():
        table["arm"] += " → " + table.eval_condition
    table["logp"] = -table.gold_nll / table.gold_tokens
    table["outcome"] = [outcome(row) for row in table[["canonical", "name", "parsed"]].to_dict("records")]
    return table


def in_order(runs: Iterable) -> list:
    """Runs by name, those of the paper's A (stripped), the usual baseline, first."""
    return sorted(
        runs, key=lambda run: (run.record["parameters"]["condition"] != "stripped", run.folder.name)
    )


def arm_names(parameters: Sequence[dict]) -> list[str]:
    """The arm of each run: its condition and whatever else sets it apart from the other runs."""
    keys = sorted({key for p in parameters for key in p} - _NOT_AN_ARM)
    varying = [key for key in keys if len({json.dumps(p.get(key)) for p in parameters}) > 1]
    return [", ".join([p["condition"], *(f"{key} {p.get(key)}" for key in varying)]) for p in parameters]


def change(table: pd.DataFrame, measure: str) -> Interval:
    """Final stage minus stage 0 on the same items, in points (nats a token for `logp`)."""
    return _interval(_values(table, measure, "gain"), table, measure)


def gap(table: pd.DataFrame, left: str, right: str, measure: str, when: str) -> Interval:
    """Arm `left` minus arm `right` on the items both have, in points (nats a token for `logp`).

    `when` is `zero` (before training), `final`, or `gain` (what training added to the gap).
    """
    values = [_values(table[table.arm == arm], measure, when) for arm in (left, right)]
    return _interval((values[0] - values[1]).dropna(), table, measure)


def _values(table: pd.DataFrame, measure: str, when: str) -> pd.Series:
    """Mean over runs of a measure, indexed by item."""
    if when == "gain":
        return _values(table, measure, "final") - _values(table, measure, "zero")
    rows = table[table["last"] if when == "final" else table.stage == 0]
    return rows.groupby(ITEM)[measure].mean()


def _interval(values: pd.Series, table: pd.DataFrame, measure: str) -> Interval:
    dialogues = values.index.get_level_values("dialogue_id")
    if measure == "logp":  # a mean over tokens, as a perplexity is, not over calls of unequal length
        return clustered_bootstrap(values, dialogues, table.groupby(ITEM).gold_tokens.first()[values.index])
    return clustered_bootstrap(100 * values.astype(float), dialogues)


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """Per arm and measure: zero-shot and final (counts and rate), and the interval of the change.

    Rates are percent of calls, or nats a gold token for `logp`, whose counts are NA. `paper_zero` and
    `paper_final` stand beside them where the paper has the arm and the measure (see `published`).
    """
    rows = []
    for arm, part in table.groupby("arm", sort=False):
        first, last = part[part.stage == 0], part[part["last"]]
        of_paper = published(*part[["condition", "eval_condition"]].iloc[0])
        for measure, (label, unit) in MEASURES.items():
            shift = change(part, measure)
            row = {"arm": arm, "measure": measure, "label": label, "unit": unit, "n": len(last)}
            for when, side in (("zero", first), ("final", last)):
                row[when] = rate(side, measure)
                row[f"{when}_right"] = pd.NA if measure == "logp" else int(side[measure].sum())
            row |= {"change": shift.mean, "low": shift.low, "high": shift.high}
            row |= {"dialogues": last.dialogue_id.nunique(), "runs": last.run.nunique()}
            rows.append(row | dict(zip(("paper_zero", "paper_final"), of_paper[measure], strict=True)))
    return pd.DataFrame(rows).astype({"zero_right": "Int64", "final_right": "Int64"})


def rate(rows: pd.DataFrame, measure: str) -> float:
    """Percent of rows that are right, or for `logp` the mean log-likelihood of a gold token (nats)."""
    if measure == "logp":
        return float(-rows.gold_nll.sum() / rows.gold_tokens.sum())
    return float(100 * rows[measure].mean())


def paper() -> dict:
    """The published figures of arXiv 2605.09734, read from the authors' public result files (seed 42).

    Another model (Llama-3.1-8B-Instruct), another corpus (API-Bank), another split: A is our `stripped`, B
    our `full`, and levels do not compare. Facts only; source and units stand in the file.
    """
    return json.loads(files("trajnb.scoring").joinpath("paper_results.json").read_text("utf-8"))


PAPER_ARM = {"stripped": "A", "full": "B"}


def published(condition: str, eval_condition: str) -> dict[str, tuple[float, float]]:
    """The paper's (zero-shot, final) in percent, mean of its blocks, by measure; nan where it has none.

    Final is on all its held-out calls, zero-shot on the 32 a block that it sampled. Its exact call
    (lower-cased name and arguments) is nearest to our `canonical`.
    """
    figures = dict.fromkeys(MEASURES, (np.nan, np.nan))
    if condition == eval_condition and condition in PAPER_ARM:
        arm, results = PAPER_ARM[condition], paper()
        for measure, theirs in (("canonical", "exact"), ("name", "name")):
            zero = 100 * np.mean(results["sampled_32_per_block"][arm][f"zero_shot_{theirs}"])
            figures[measure] = (float(zero), float(np.mean(results["full_percent"][theirs][arm][-1])))
    return figures


def by_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Per arm, asked in its own condition, and per reading of calls: exact calls at the final stage.

    `trajnb` stands as recorded (`canonical`), the others are read anew from the texts (see
    `trajnb.formatting.readings`), gold and prediction alike. Columns: `calls`, `exact`, `percent`; `no call`
    and `unread golds` (a gold that a reading cannot read counts as wrong); `gained` and `lost`, the calls
    that are exact under this reading only, or as recorded only.
    """
    rows = []
    own = table[table["last"] & (table.condition == table.eval_condition)]
    for arm, part in own.groupby("arm", sort=False):
        recorded, parsed = part.canonical.to_numpy(bool), part.parsed.to_numpy(bool)
        counts = {"trajnb": (recorded, int((~parsed).sum()), 0)}
        for reading, read in READINGS.items():
            golds = [_read(read, text) for text in part.gold]
            calls = [_read(read, text) for text in part.prediction]
            exact = np.array([c is not None and c == gold for c, gold in zip(calls, golds, strict=True)])
            counts[reading] = exact, calls.count(None), golds.count(None)
        rows += [
            (arm, reading, len(exact), exact.sum(), 100 * exact.mean(), *unread)
            + ((exact & ~recorded).sum(), (recorded & ~exact).sum())
            for reading, (exact, *unread) in counts.items()
        ]
    columns = ["arm", "reading", "calls", "exact", "percent", "no call", "unread golds", "gained", "lost"]
    return pd.DataFrame(rows, columns=columns).set_index(["arm", "reading"])


def _read(read: Callable[[str], Call], text: str) -> Call | None:
    try:
        return read(text)
    except CallSyntaxError:
        return None


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's final figures beside those of runs of its recipe (params/paper.yaml), each with a verdict:
    does our 95 % interval contain the published figure?

    Indexed by paper's condition, measure and block in the order learnt, `mean` being that of the blocks;
    columns `paper`, `ours`, `low`, `high` (percent) and `verdict`. Calls are read as the paper reads them.
    Its items are rows, and so are ours: rows of one conversation count as if they were independent.
    """
    read = READINGS["arXiv 2605.09734"]
    rows = []
    own = table[table["last"] & (table.condition == table.eval_condition)]
    for condition, part in own[own.condition.isin(PAPER_ARM)].groupby("condition", sort=False):
        calls = [[_read(read, text) for text in part[column]] for column in ("prediction", "gold")]
        part = part.assign(
            exact=[call is not None and call == gold for call, gold in zip(*calls, strict=True)]
        )
        blocks = part.order.iloc[0].split(" > ")
        size = part.groupby("block").size()
        for measure in ("exact", "name"):
            published = paper()["full_percent"][measure][PAPER_ARM[condition]][-1]
            figures = dict(zip(blocks, published, strict=False)) | {"mean": float(np.mean(published))}
            for block, figure in figures.items():
                side = part if block == "mean" else part[part.block == block]
                weights = 1 / size[side.block].to_numpy(float)
                ours = clustered_bootstrap(100 * side[measure].astype(float), side.dialogue_id, weights)
                verdict = "contains it" if ours.low <= figure <= ours.high else "does not"
                rows.append((PAPER_ARM[condition], measure, block, figure, *ours, verdict))
    columns = ["condition", "measure", "block", "paper", "ours", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:3])
