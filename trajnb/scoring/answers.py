"""The answer of a study in sentences, generated from its numbers: no more than they say."""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan

import numpy as np
import pandas as pd

from trajnb.scoring.crossing import combinations
from trajnb.scoring.paired import comparisons
from trajnb.scoring.stats import FEW_SEEDS, Interval, reading
from trajnb.scoring.tables import MEASURES, paper

QUESTIONS = {
    "training": "Does training on trajectories help, at the same test prompt?",
    "training@stripped": "Does training on trajectories help, asked with stripped prompts?",
    "training@full": "Does training on trajectories help, asked with full prompts?",
    "prompt": "Do test prompts that show the trajectory help the same trained model?",
    "prompt@none": "Do test prompts that show the trajectory help the untrained model?",
    "prompt@stripped": "Do test prompts that show the trajectory help the model trained on stripped ones?",
    "prompt@full": "Do test prompts that show the trajectory help the model trained on full ones?",
    "interaction": "Does training on trajectories help more under full than under stripped test prompts?",
    "same-prompt": "Does training on trajectories help where the prompt is the same either way?",
}
WORDS = {
    "canonical": "exact calls", "string": "exact texts", "name": "right APIs", "parsed": "calls at all",
    "logp": "gold log-likelihood",
}  # fmt: skip
VERDICT = ("training", "prompt", "interaction", "same-prompt")
SIGNIFICANT = 0.05
_UNCROSSED = (
    "What training taught and what the test prompt shows cannot be told apart here: not every adapter was "
    "asked with both stripped and full prompts. With eval_conditions: [stripped, full] in the params file "
    "the saved adapters are, and nothing is trained again."
)


def unit_of(measure: str) -> tuple[str, int]:
    """The unit of a difference in a measure, and the digits worth showing."""
    return ("nats a token", 2) if measure == "logp" else ("points", 1)


def verdict(table: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """The sentences that open a report: what training taught, what the test prompt shows, their interaction,
    and training again on identical prompts.

    `table` is that of `tables.frame`, `found` its `crossing.effects`. A sentence each for every declared
    measure, exact calls where none was declared; other declared effects follow. Where arms were asked in
    their own condition only, the sentences say what that leaves open, and what can be read all the same.
    """
    sentences = []
    measures = list(found[found.declared].measure.unique()) or ["canonical"]
    wanted = found[found.measure.isin(measures)]
    for (variant, measure), rows in wanted.groupby(["variant", "measure"], sort=False):
        measured = {row.effect: row for row in rows.itertuples() if row.items}
        said = [effect for asked in VERDICT for effect in _or_its_parts(asked, measured)]
        said += [effect for effect, row in measured.items() if row.declared and effect not in said]
        here = [answer(measured[effect]) for effect in said]
        if "training" not in measured:
            here = [_UNCROSSED, *_gaps(combinations(table)[variant], measure), *here]
        sentences += [f"{variant}: {sentence}" if variant else sentence for sentence in here]
    return list(dict.fromkeys(sentences))


def _or_its_parts(effect: str, measured: Iterable[str]) -> list[str]:
    """`effect`, or, where it was not measured, those of its parts that were."""
    return [effect] if effect in measured else [one for one in measured if one.startswith(f"{effect}@")]


def _gaps(table: pd.DataFrame, measure: str) -> list[str]:
    words = {"final": "at the end", "gain": "added by training"}
    sentences = []
    for row in comparisons(table, [measure]).query("when != 'zero'").itertuples():
        asked = "each asked with its own" if row.asked == "its own" else f"asked with {row.asked}"
        what = f"{row.left} minus {row.right}, {asked} prompts, {WORDS[measure]}, {words[row.when]}"
        sentences.append(reading(what, Interval(row.mean, row.low, row.high), *unit_of(measure)))
    return sentences


def answer(row) -> str:
    """One row of `crossing.effects` as its question and the answer.

    A direction is claimed only where the interval excludes zero and the test agrees: by Holm's p for a row of
    the declared family, by the plain one, called exploratory, for others.
    """
    return f"{QUESTIONS[row.effect]} {_finding(row)}"


def _finding(row) -> str:
    unit, digits = unit_of(row.measure)
    if row.low == row.high == 0:
        return f"Not one item differs ({WORDS[row.measure]}, {row.items} items)."
    amount = f"{row.mean:+z.{digits}f} {unit} of {WORDS[row.measure]}"
    if isnan(row.low):
        return f"Cannot tell, all from one dialogue: {amount}."
    span = f"95 % interval {row.low:+z.{digits}f} to {row.high:+z.{digits}f}"
    p = row.holm if row.declared else row.p
    if isnan(p):
        return f"Cannot tell, too few items for a test: {amount} ({span})."
    numbers = f"{amount} ({span}; {_tested(row)})"
    if p >= SIGNIFICANT or row.low <= 0 <= row.high:
        return f"Cannot tell: {numbers}. This study could have found {row.detectable:.{digits}f} {unit}."
    return f"{'Yes' if row.mean > 0 else 'No, the reverse'}: {numbers}."


def _tested(row) -> str:
    if row.declared:
        return f"{_p(row.p)}, after Holm {_p(row.holm).removeprefix('p = ')}"
    return f"{_p(row.p)}, exploratory"


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def cautions(found: pd.DataFrame, family: Mapping | None = None, started: Sequence[str] = ()) -> list[str]:
    """What rows of `crossing.effects` cannot carry: few seeds, tests not declared in time, sides that differ.

    `family` is that of study.yaml, whose `declared` says since when; `started` are the times of the runs
    (all ISO 8601, UTC).
    """
    measured = found[found["items"] > 0]
    said = []
    seeds = measured[measured.seeds > 0].seeds.min()  # nan where nothing was trained
    if seeds == 1:
        said.append("One seed: how far another one would move these effects is unknown.")
    elif seeds < FEW_SEEDS:
        said.append(f"{seeds} seeds: the variance between seeds is poorly known.")
    if len(measured) and not found.declared.any():
        said.append("No family of tests was declared before the runs: p values are exploratory.")
    declared = (family or {}).get("declared", "")
    early = [time for time in started if time < declared]
    if early:
        said.append(
            f"{len(early)} of {len(started)} runs began before this study named its family of tests "
            f"({declared[:10]})."
        )
    for words in measured.left_out[measured.left_out != ""].unique():
        said.append(f"Compared on what all sides have; left out: {words}.")
    return said


def published() -> tuple[pd.DataFrame, list[str]]:
    """The same questions put to arXiv 2605.09734, as far as its figures go: gaps full minus stripped in
    points, each arm asked with its own prompts, and what they say. Another model and another corpus.
    """
    results, rows = paper(), {}
    for ours, theirs in (("canonical", "exact"), ("name", "name")):
        sampled = results["sampled_32_per_block"]
        zero = {arm: 100 * np.mean(sampled[arm][f"zero_shot_{theirs}"]) for arm in "AB"}
        final = {arm: 100 * np.mean(sampled[arm][theirs][-1]) for arm in "AB"}
        every = {arm: np.mean(results["full_percent"][theirs][arm][-1]) for arm in "AB"}
        rows[MEASURES[ours][0]] = {
            "before training, sampled": zero["B"] - zero["A"],
            "at the end, sampled": final["B"] - final["A"],
            "added by training, sampled": final["B"] - final["A"] - (zero["B"] - zero["A"]),
            "at the end, all calls": every["B"] - every["A"],
        }
    gaps = pd.DataFrame(rows).T
    before, end, added, every = gaps.iloc[0]
    return gaps, [
        f"Published, exact calls, full minus stripped, each asked with its own prompts: {before:+.1f} points "
        f"before training, where only the prompt differs, and {end:+.1f} at the end on the same sampled "
        f"calls ({every:+.1f} on all). Training added {added:.1f} to the gap.",
        "What training on trajectories taught, and how it interacts with the prompt, cannot be separated "
        "there: no adapter was asked with the other prompts.",
    ]
