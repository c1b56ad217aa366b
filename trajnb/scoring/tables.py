"""The predictions of all runs of a study as one table, its headline, and the published figures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

import numpy as np
import pandas as pd

from trajnb.scoring.paired import ITEM, change
from trajnb.scoring.score import outcome
from trajnb.strategies import PLAIN, STRATEGIES, strategy_of

# measure -> (heading, share of calls in percent or nats a token); in all of them higher is better
MEASURES = {
    "canonical": ("exact call (canonical)", "%"),
    "string": ("exact text", "%"),
    "name": ("right API", "%"),
    "parsed": ("a call at all", "%"),
    "logp": ("gold log-likelihood", "nats/token"),
}
# what may differ between runs of one arm: repetitions, places, and what is already a column
_NOT_AN_ARM = {
    "condition", "seed", "order", "eval_conditions", "run_folder", "zero_shot_folder",
    "corpus_path", "rollout_dialogues", "rollout_calls",
}  # fmt: skip
_PLAIN = {  # never written
    "strategy": "sequential", "match_tokens": "", "fresh_ids": False, "stop_targets": False,
}  # fmt: skip


def frame(runs: Iterable) -> pd.DataFrame:
    """One row per item, stage, evaluation condition and run: the prediction, its item and its arm.

    Adds:
        run, condition, strategy, match_tokens, seed, order: of the run.
        trained: its training arm, see `arm_names`; `variant`: what of it is neither condition nor strategy.
        arm: the same, and where any run was asked in another condition than its own, ` → ` and that one.
        learnt: the stage that learnt the item's block; nan where none did.
        last: whether this stage counts as final: the run's last one, or, with an adapter for every block, the
            stage of the item's own.
        logp: nats a token; `outcome`: one word, see `score.outcome`.
    """
    runs = in_order(runs)
    parameters = [run.record.parameters for run in runs]
    parts = []
    for run, trained, variant in zip(runs, arm_names(parameters), _variants(parameters), strict=True):
        rows, items = pd.DataFrame(run.predictions), pd.DataFrame(run.items)
        items = items[[*ITEM, *items.columns.difference(rows.columns)]]
        rows = rows.merge(items, on=ITEM, how="left", validate="many_to_one", indicator="known")
        unknown = rows[rows.known != "both"]
        if len(unknown):
            first = unknown.iloc[0]
            raise ValueError(
                f"{run.folder}: {len(unknown)} predictions have no item, the first is {first.dialogue_id} "
                f"step {first.step}; predictions.jsonl and items.jsonl are not of one run"
            )
        own, blocks = run.record.parameters, run.record.blocks
        stages, strategy = run.record.stages, strategy_of(own)
        learnt = rows.block.map({block: stage for stage, those in enumerate(stages, 1) for block in those})
        parts.append(
            rows.drop(columns="known").assign(
                run=run.folder.name,
                arm=trained,
                trained=trained,
                variant=variant,
                condition=own["condition"],
                strategy=strategy.name,
                match_tokens=_get(own, "match_tokens"),
                seed=own["seed"],
                order=" > ".join(blocks),
                learnt=learnt.astype(float),
                last=rows.stage == (learnt if strategy.own_adapters else len(stages)),
            )
        )
    table = pd.concat(parts, ignore_index=True)
    if (table.condition != table.eval_condition).any():
        table["arm"] += " → " + table.eval_condition
    table["logp"] = -table.gold_nll / table.gold_tokens
    table["outcome"] = [outcome(row) for row in table[["canonical", "name", "parsed"]].to_dict("records")]
    return table


def in_order(runs: Iterable) -> list:
    """Runs by name: plain ones first, other strategies last, and among equals those of the paper's A
    (stripped), the usual baseline.
    """

    def place(run) -> tuple:
        own = run.record.parameters
        strategy = list(STRATEGIES).index(strategy_of(own).name)
        others = [_get(own, key) != plain for key, plain in _PLAIN.items()]
        return strategy, others, own["condition"] != "stripped", run.folder.name

    return sorted(runs, key=place)


def arm_names(parameters: Sequence[Mapping]) -> list[str]:
    """The training arm of each run: condition, strategy, and whatever else sets it apart from the other runs.

    Not written are what is plain (sequential, all tokens, the corpus's own ids), what an older record lacks,
    and what a strategy does not heed: `full`, `full, strategy joint`, `full, lora_rank 64`.
    """
    names = []
    for own, variant in zip(parameters, _variants(parameters), strict=True):
        strategy = strategy_of(own)
        alike = [p for p in parameters if strategy_of(p) == strategy]
        parts = [
            own["condition"],
            f"strategy {strategy.name}" * (strategy != PLAIN),
            *_differing(alike, strategy.heeds, own),
            variant,
        ]
        names.append(", ".join(filter(None, parts)))
    return names


def _variants(parameters: Sequence[Mapping]) -> list[str]:
    """Of each run, the parameters in which the runs differ, condition and strategy apart."""
    heeded = {name for strategy in STRATEGIES.values() for name in strategy.heeds}
    keys = sorted({key for own in parameters for key in own} - _NOT_AN_ARM - heeded - {"strategy"})
    return [", ".join(_differing(parameters, keys, own)) for own in parameters]


def _differing(runs: Sequence[Mapping], keys: Iterable[str], own: Mapping) -> list[str]:
    """Those of `keys` in which the `runs` differ, with the value of `own` unless it is plain or missing."""
    varying = [key for key in keys if len({json.dumps(_get(run, key)) for run in runs}) > 1]
    return [f"{key} {own[key]}" for key in varying if key in own and own[key] != _PLAIN.get(key)]


def _get(parameters: Mapping, key: str) -> object:
    return parameters.get(key, _PLAIN.get(key))


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
