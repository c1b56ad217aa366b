"""The answer of a study in sentences, generated from its numbers: no more than they say."""

from collections.abc import Iterable
from math import isnan

import pandas as pd

from trajnb.scoring.arms import words
from trajnb.scoring.crossing import combinations
from trajnb.scoring.paired import OWN, change, comparisons
from trajnb.scoring.score import MEASURES
from trajnb.scoring.stats import Interval, reading

QUESTIONS = {
    "training": "Does training on trajectories help, at the same test prompt?",
    "training@stripped": "Does training on trajectories help, asked with stripped prompts?",
    "training@full": "Does training on trajectories help, asked with full prompts?",
    "prompt": "Do test prompts that show the trajectory help the same trained model?",
    "prompt@none": "Do test prompts that show the trajectory help the untrained model?",
    "prompt@stripped": (
        "Do test prompts that show the trajectory help the model trained on stripped ones?"
    ),
    "prompt@full": "Do test prompts that show the trajectory help the model trained on full ones?",
    "interaction": (
        "Does training on trajectories help more under full than under stripped test prompts?"
    ),
    "same-prompt": "Does training on trajectories help where the prompt is the same either way?",
}
WORDS = {
    "canonical": "exact calls",
    "string": "exact texts",
    "name": "right APIs",
    "parsed": "calls at all",
    "opened_name": "calls opened with the right API",
    "logp": "gold log-likelihood",
}
FIRST = ("training", "prompt", "interaction", "same-prompt")
"""The questions that open a report."""
SIGNIFICANT = 0.05
_UNCROSSED = (
    "What training taught and what the test prompt shows cannot be told apart here: not every "
    "adapter was asked with both stripped and full prompts. With eval_conditions: [stripped, full] "
    "in the params file the saved adapters are, and nothing is trained again."
)


def unit_of(measure: str) -> tuple[str, int]:
    """The unit of a difference in a measure, and the digits worth showing."""
    return ("nats a token", 2) if measure == "logp" else ("points", 1)


def answers(table: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """The sentences that open a report: what training taught, what the test prompt shows, their
    interaction, and training again on identical prompts.

    `table` is that of `tables.frame`, `found` its `crossing.effects`. A sentence each for every
    declared measure, exact calls where none was declared; other declared effects follow. Where arms
    were asked in their own condition only, the sentences say what that leaves open, and what can be
    read all the same.
    """
    sentences = []
    measures = list(found[found.declared].measure.unique()) or ["canonical"]
    wanted = found[found.measure.isin(measures)]
    for (variant, measure), rows in wanted.groupby(["variant", "measure"], sort=False):
        here = _answers(rows)
        if "training" not in set(rows[rows["items"] > 0].effect):
            rows = combinations(table)[variant]
            gaps = _gaps(rows, measure) or changes(rows, [measure])  # one arm: against itself
            here = [_UNCROSSED, *gaps, *here]
        if variant:
            here = [f"{words(variant)}: {sentence}" for sentence in here]
        sentences += here
    return list(dict.fromkeys(sentences))


def _answers(rows: pd.DataFrame) -> list[str]:
    """Of one measure: to the questions that come first, then to the others that were declared."""
    measured = {row.effect: row for row in rows.itertuples() if row.items}
    asked: list[str] = []
    for effect in FIRST:
        asked += _or_its_parts(effect, measured)
    declared = [effect for effect, row in measured.items() if row.declared]
    asked += [effect for effect in declared if effect not in asked]
    return [answer(measured[effect]) for effect in asked]


def _or_its_parts(effect: str, measured: Iterable[str]) -> list[str]:
    """`effect`, or, where it was not measured, those of its parts that were."""
    if effect in measured:
        return [effect]
    return [one for one in measured if one.startswith(f"{effect}@")]


def _gaps(table: pd.DataFrame, measure: str) -> list[str]:
    moments = {"final": "at the end", "gain": "added by training"}
    sentences = []
    for row in comparisons(table, [measure]).query("when != 'zero'").itertuples():
        asked = "each asked with its own" if row.asked == OWN else f"asked with {row.asked}"
        gap = f"{row.left} minus {row.right}, {asked} prompts"
        what = f"{gap}, {WORDS[measure]}, {moments[row.when]}"
        sentences.append(reading(what, Interval(row.mean, row.low, row.high), *unit_of(measure)))
    return sentences


def changes(
    table: pd.DataFrame, measures: Iterable[str] = ("name", "canonical", "logp")
) -> list[str]:
    """Final against zero-shot, a sentence a measure, of each arm asked in its own condition."""
    sentences = []
    own = table[table.condition == table.eval_condition]
    for arm, part in own.groupby("arm", sort=False):
        for measure in measures:
            if part[measure].isna().all():
                continue  # an arm that copies has no likelihood
            what = f"{arm}, {MEASURES[measure][0]}, final against zero-shot"
            sentences.append(reading(what, change(part, measure), *unit_of(measure)))
    return sentences or ["No arm was asked in its own condition."]


def answer(row) -> str:
    """One row of `crossing.effects` as its question and the answer.

    A direction is claimed only where the interval excludes zero and the test agrees: by Holm's p
    for a row of the declared family, by the plain one, called exploratory, for others.
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
        could = f"This study could have found {row.detectable:.{digits}f} {unit}."
        return f"Cannot tell: {numbers}. {could}"
    return f"{'Yes' if row.mean > 0 else 'No, the reverse'}: {numbers}."


def _tested(row) -> str:
    if row.declared:
        return f"{_p(row.p)}, after Holm {_p(row.holm).removeprefix('p = ')}"
    return f"{_p(row.p)}, exploratory"


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"
