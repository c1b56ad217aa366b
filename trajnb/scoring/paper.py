"""arXiv 2605.09734 in numbers: what it published, and what of it our runs of its recipe reproduce.

Another model (Llama-3.1-8B-Instruct), another corpus (API-Bank), another split: its A is our
`stripped`, its B our `full`, and levels do not compare. Facts only; source and units stand in
`paper_results.json`.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
import pandas as pd

from trajnb.formatting.calls import read_or_none
from trajnb.formatting.readings import READINGS
from trajnb.records import Run
from trajnb.scoring import continual
from trajnb.scoring.score import MEASURES, OUTCOMES
from trajnb.scoring.stats import clustered_bootstrap

ARM = {"stripped": "A", "full": "B"}
"""The paper's name of a condition."""
MEASURE = {"canonical": "exact", "name": "name"}
"""The paper's name of a measure; its exact call (name in lower case) is nearest to `canonical`."""
ELSEWHERE = "another model and corpus"
"""Stands wherever the paper's figures do."""
HEADING = f"arXiv 2605.09734: {ELSEWHERE}"


def results() -> dict:
    """The published figures, read from the authors' public result files (seed 42)."""
    return json.loads(files("trajnb.scoring").joinpath("paper_results.json").read_text("utf-8"))


def zero_and_final(condition: str, eval_condition: str) -> dict[str, tuple[float, float]]:
    """Its (zero-shot, final) in percent, mean of its blocks, by measure; nan where it has none.

    Final is on all its held-out calls, zero-shot on the 32 a block that it sampled. It asked each
    arm with its own prompts only.
    """
    found = dict.fromkeys(MEASURES, (np.nan, np.nan))
    if condition == eval_condition and condition in ARM:
        for measure in MEASURE:
            zero, _ = _sampled(condition, measure)
            found[measure] = (zero, _every(condition, measure))
    return found


def _sampled(condition: str, measure: str) -> tuple[float, float]:
    """(Zero-shot, final) on the 32 calls a block that it sampled, percent."""
    sampled, theirs = results()["sampled_32_per_block"][ARM[condition]], MEASURE[measure]
    zero, final = sampled[f"zero_shot_{theirs}"], sampled[theirs][-1]
    return float(100 * np.mean(zero)), float(100 * np.mean(final))


def _every(condition: str, measure: str) -> float:
    """Final on all its held-out calls, percent."""
    return float(np.mean(results()["full_percent"][MEASURE[measure]][ARM[condition]][-1]))


def gaps() -> tuple[pd.DataFrame, list[str]]:
    """Our questions put to the paper, as far as its figures go: gaps full minus stripped in points,
    each arm asked with its own prompts, by measure, and what they say.
    """
    rows = {}
    for measure in MEASURE:
        (zero_a, final_a), (zero_b, final_b) = (_sampled(arm, measure) for arm in ARM)
        rows[MEASURES[measure][0]] = {
            "before training, sampled": zero_b - zero_a,
            "at the end, sampled": final_b - final_a,
            "added by training, sampled": final_b - final_a - (zero_b - zero_a),
            "at the end, all calls": _every("full", measure) - _every("stripped", measure),
        }
    found = pd.DataFrame(rows).T
    before, end, added, every = found.iloc[0]
    return found, [
        "Published, exact calls, full minus stripped, each asked with its own prompts: "
        f"{before:+.1f} points before training, where only the prompt differs, and {end:+.1f} at "
        f"the end on the same sampled calls ({every:+.1f} on all). Training added {added:.1f} to "
        "the gap.",
        "What training on trajectories taught, and how it interacts with the prompt, cannot be "
        "separated there: no adapter was asked with the other prompts.",
    ]


def outcomes() -> pd.DataFrame:
    """What its final predictions are: counts of `score.OUTCOMES` (columns) by condition."""
    rows = {}
    for condition, arm in ARM.items():
        counts = results()["full_percent"]["final_outcomes"][arm]
        rows[condition] = {
            "exact": counts["exact"],
            "other arguments": counts["some_params"] + counts["wrong_params"],
            "other API": counts["wrong_api"],
            "no call": counts["malformed_or_no_call"],
        }
    return pd.DataFrame(rows, index=list(OUTCOMES)).T


def metrics() -> dict[tuple[str, str], dict[str, float]]:
    """`continual.metrics` of its sampled matrices in percent, by (its measure, condition)."""
    found = {}
    for theirs in ("name", "exact"):
        for condition, arm in ARM.items():
            sampled = results()["sampled_32_per_block"][arm]
            shares = continual.metrics(sampled[theirs], sampled[f"zero_shot_{theirs}"])
            found[theirs, condition] = {name: 100 * share for name, share in shares.items()}
    return found


def token_overhead() -> float:
    """The share of training tokens that full has more than stripped, one pass."""
    tokens = results()["train_tokens_one_pass"]
    return sum(tokens[ARM["full"]]) / sum(tokens[ARM["stripped"]]) - 1


def row_counts(
    sides: Mapping[str, Mapping[str, int]], tokens: Mapping[str, Mapping[str, int]]
) -> tuple[pd.DataFrame, list[str]]:
    """What its recipe makes of its corpus beside what it published, by block, and the names of the
    columns that differ.

    `sides`: block -> `train_dialogues` and `held_out_dialogues`, as in the account of a corpus;
    `tokens`:
    condition -> block -> training tokens, one pass.
    """
    published = results()
    ours = {
        "train": [side["train_dialogues"] for side in sides.values()],
        "held out": [side["held_out_dialogues"] for side in sides.values()],
    }
    theirs = {"train": published["train_rows"], "held out": published["held_out_rows"]}
    for condition, arm in ARM.items():
        ours[f"tokens {arm}"] = [tokens[condition][block] for block in sides]
        theirs[f"tokens {arm}"] = published["train_tokens_one_pass"][arm]
    columns = {}
    for name in ours:
        columns[name], columns[f"{name}, paper"] = ours[name], theirs[name]
    differ = [name for name in ours if ours[name] != theirs[name]]
    return pd.DataFrame(columns, index=list(sides)), differ


def of_its_recipe(runs: Sequence[Run]) -> list[str]:
    """The names of runs of its own recipe (params/paper.yaml)."""
    return [
        run.folder.name for run in runs if run.record.parameters.get("prompt_format") == "paper"
    ]


def reproduced(table: pd.DataFrame) -> pd.DataFrame:
    """Its final figures beside those of runs of its recipe, and whether ours reproduce them: does
    our 95 % interval contain the published figure?

    `table` has the rows of `tables.frame` of such runs. Indexed by paper's condition, measure and
    block in the order learnt, `mean` being that of the blocks; columns `paper`, `ours`, `low`,
    `high` (percent) and `reproduced`. Calls are read as the paper reads them. Its items are rows,
    and so are ours: rows of one conversation count as if they were independent.
    """
    rows = []
    own = table[table["last"] & (table.condition == table.eval_condition)]
    for condition, part in own[own.condition.isin(ARM)].groupby("condition", sort=False):
        part = part.assign(exact=_exact(part))
        size = part.groupby("block").size()
        for measure in ("exact", "name"):
            for block, figure in _final(condition, measure, part.order.iloc[0]).items():
                side = part if block == "mean" else part[part.block == block]
                weights = 1 / size[side.block].to_numpy(float)  # every block weighs the same
                ours = clustered_bootstrap(
                    100 * side[measure].astype(float), side.dialogue_id, weights
                )
                word = "contains it" if ours.low <= figure <= ours.high else "does not"
                rows.append((ARM[condition], measure, block, figure, *ours, word))
    columns = ["condition", "measure", "block", "paper", "ours", "low", "high", "reproduced"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:3])


def _exact(rows: pd.DataFrame) -> list[bool]:
    """Whether prediction and gold are the same call, read as the paper reads them."""
    read = READINGS["arXiv 2605.09734"]
    said = [read_or_none(text, read) for text in rows.prediction]
    gold = [read_or_none(text, read) for text in rows.gold]
    return [call is not None and call == wanted for call, wanted in zip(said, gold, strict=True)]


def _final(condition: str, measure: str, blocks: Sequence[str]) -> dict[str, float]:
    """Its final percent by block, in the order learnt, and their mean."""
    figures = results()["full_percent"][measure][ARM[condition]][-1]
    return dict(zip(blocks, figures, strict=False)) | {"mean": float(np.mean(figures))}
