"""The answer of a study in sentences, generated from its numbers: no more than they say."""

from collections.abc import Iterable, Mapping
from math import isnan

import pandas as pd

from trajnb.scoring.arms import words
from trajnb.scoring.crossing import FLOOR, combinations
from trajnb.scoring.paired import OWN, change, comparisons
from trajnb.scoring.score import MEASURES
from trajnb.scoring.stats import (
    FEW_RUNS,
    Estimate,
    direction,
    p_words,
    reading,
    runs_words,
)

QUESTIONS = {
    "training@stripped": "Does training on trajectories help, asked with stripped prompts?",
    "training@full": "Does training on trajectories help, asked with full prompts?",
    "training": "Does training on trajectories help, at the same test prompt?",
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
    "content": "Does the right trajectory teach more than a placebo of the same form?",
}
WORDS = {
    "canonical": "exact calls",
    "novel": "exact calls on novel targets",
    "string": "exact texts",
    "name": "right APIs",
    "parsed": "calls at all",
    "opened_name": "calls opened with the right API",
    "logp": "gold log-likelihood",
}
FIRST = (
    "training@stripped",
    "training@full",
    "content",
    "prompt@full",
    "interaction",
    "same-prompt",
)
"""The questions that open a report: those in which no model is asked in a format that it never saw,
as far as there are such.
"""
_UNCROSSED = (
    "What training taught and what the test prompt shows cannot be told apart here: not every "
    "adapter was asked with both stripped and full prompts. With eval_conditions: [stripped, full] "
    "in the params file the saved adapters are, and nothing is trained again."
)


def unit_of(measure: str) -> tuple[str, int]:
    """The unit of a difference in a measure, and the digits worth showing."""
    return ("nats a token", 2) if measure == "logp" else ("points", 1)


def answers(table: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """The sentences that open a report: what training taught at each test prompt, what the test
    prompt shows, their interaction, and training again on identical prompts.

    `table` is that of `tables.frame`, `found` its `crossing.effects`. A sentence each for every
    declared measure, exact calls where none was declared; other declared effects follow. Where arms
    were asked in their own condition only, the sentences say what that leaves open, and what can be
    read all the same.
    """
    sentences = []
    measures = list(found[found.declared].measure.unique()) or ["canonical"]
    wanted = found[found.measure.isin(measures)]
    for (variant, measure), rows in wanted.groupby(["variant", "measure"], sort=False):
        graded = found[(found.measure == "logp") & (found.variant == variant)]
        here = _answers(rows, {row.effect: row for row in graded.itertuples() if row.items})
        if "training" not in set(rows[rows["items"] > 0].effect):
            rows = combinations(table)[variant]
            gaps = _gaps(rows, measure) or changes(rows, [measure])  # one arm: against itself
            here = [_UNCROSSED, *gaps, *here]
        if variant:
            here = [f"{words(variant)}: {sentence}" for sentence in here]
        sentences += here
    return list(dict.fromkeys(sentences))


def _answers(rows: pd.DataFrame, graded: Mapping) -> list[str]:
    """Of one measure: to the questions that come first, then to the others that were declared.
    `graded` are the rows of the log-likelihood by effect, for what is at the floor.
    """
    measured = {row.effect: row for row in rows.itertuples() if row.items}
    asked = [effect for effect in FIRST if effect in measured]
    if "prompt@full" not in asked:  # of one arm alone, or of none but the untrained model
        asked += [effect for effect in measured if effect.startswith("prompt@")]
    declared = [effect for effect, row in measured.items() if row.declared]
    asked += [effect for effect in declared if effect not in asked]
    return [answer(measured[effect], graded.get(effect)) for effect in asked]


def _gaps(table: pd.DataFrame, measure: str) -> list[str]:
    moments = {"final": "at the end", "gain": "added by training"}
    sentences = []
    for row in comparisons(table, [measure]).query("when != 'zero'").itertuples():
        asked = "each asked with its own" if row.asked == OWN else f"asked with {row.asked}"
        gap = f"{row.left} minus {row.right}, {asked} prompts"
        what = f"{gap}, {WORDS[measure]}, {moments[row.when]}"
        gap = Estimate(row.mean, row.low, row.high, row.p, row.pairs, row.covers)
        sentences.append(reading(what, gap, *unit_of(measure)))
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


def answer(row, graded=None) -> str:
    """One row of `crossing.effects` as its question and the answer.

    A direction is claimed only by the rule of `stats.direction`: from FEW_RUNS run pairs on, with
    an interval without zero and p below .05, by Holm for a row of the declared family, plain and
    called exploratory for others. Where no side comes to `crossing.FLOOR` percent, the row `graded`
    of the log-likelihood answers.
    """
    if row.floor:
        reached = f"no side comes to {FLOOR:.0f} % of {WORDS[row.measure]}"
        if graded is None:
            return f"{QUESTIONS[row.effect]} Floor: {reached}, and there is no log-likelihood."
        highest = f"{row.highest:.1f} at most"
        instead = f"By the log-likelihood: {_finding(graded)}"
        return f"{QUESTIONS[row.effect]} Floor: {reached} ({highest}). {instead}"
    return f"{QUESTIONS[row.effect]} {_finding(row)}"


def _finding(row) -> str:
    unit, digits = unit_of(row.measure)
    if row.low == row.high == 0:
        return f"Not one item differs ({WORDS[row.measure]}, {row.items} items)."
    amount = f"{row.mean:+z.{digits}f} {unit} of {WORDS[row.measure]}"
    if isnan(row.low):
        return f"Cannot tell, there is no spread to judge it by: {amount}."
    span = f"95 % interval {row.low:+z.{digits}f} to {row.high:+z.{digits}f}"
    if row.pairs < FEW_RUNS:
        only = f"{span} over dialogues alone, given these runs"
        return f"Cannot tell from {runs_words(row.pairs)}: {amount} ({only})."
    if not isnan(row.corrected_low):
        span += f", corrected {row.corrected_low:+z.{digits}f} to {row.corrected_high:+z.{digits}f}"
    p = row.holm if row.declared else row.p
    numbers = f"{amount} ({span}; {_tested(row)}; {row.pairs} run pairs)"
    sign = direction(Estimate(row.mean, row.low, row.high, p, row.pairs, row.covers))
    return f"{('Cannot tell', 'Yes', 'No, the reverse')[sign]}: {numbers}."


def _tested(row) -> str:
    if isnan(row.p):
        return "no test"
    if row.declared:
        return f"{p_words(row.p)}, after Holm {p_words(row.holm).removeprefix('p = ')}"
    return f"{p_words(row.p)}, exploratory"
