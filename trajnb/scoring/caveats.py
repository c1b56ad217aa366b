"""What numbers cannot carry, in sentences generated from them, for every page that shows them."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from trajnb.records import Run
from trajnb.scoring import crossing
from trajnb.scoring.overview import Plan
from trajnb.scoring.stats import FEW_CLUSTERS, FEW_SEEDS

FEW_EXACT = 10
"""Below this many exact calls of an arm, counts say more than percent."""


def caveats(
    table: pd.DataFrame,
    found: pd.DataFrame,
    family: Mapping | None = None,
    started: Sequence[str] = (),
) -> list[str]:
    """What the answers of a study rest on too little: seeds, dialogues, exact calls, tests not
    declared in time, sides that differ.

    `table` is that of `tables.frame`, `found` its `crossing.effects`. `family` is that of
    study.yaml, whose `declared` says since when; `started` are the times of the runs (all ISO 8601,
    UTC).
    """
    measured = found[found["items"] > 0]
    said = [*_of_seeds(table, measured), *_of_calls(table)]
    if len(measured) and not found.declared.any():
        said.append("No family of tests was declared before the runs: p values are exploratory.")
    declared = (family or {}).get("declared", "")
    early = [time for time in started if time < declared]
    if early:
        said.append(
            f"{len(early)} of {len(started)} runs began before this study named its family of "
            f"tests ({declared[:10]})."
        )
    for words in measured.left_out[measured.left_out != ""].unique():
        said.append(f"Compared on what all sides have; left out: {words}.")
    return said


def _of_seeds(table: pd.DataFrame, measured: pd.DataFrame) -> list[str]:
    most = table.groupby("trained", sort=False).seed.nunique().max()
    compared = measured[measured.seeds > 0].seeds.min()  # nan where nothing trained is compared
    if most == 1:
        return [
            "One seed per arm: how far another one would move these numbers is unknown. The "
            "intervals speak about other dialogues, not about other seeds."
        ]
    if not min(most, compared) < FEW_SEEDS:
        return []
    fewer = f", {compared:.0f} where arms are compared" if compared < most else ""
    return [
        f"{most} seeds at most{fewer}: intervals count the differences between them, but of so "
        "few their variance is poorly known."
    ]


def _of_calls(table: pd.DataFrame) -> list[str]:
    said = []
    dialogues = table.dialogue_id.nunique()
    if dialogues < FEW_CLUSTERS:
        said.append(
            f"The intervals rest on {dialogues} dialogues: with fewer than {FEW_CLUSTERS} they may "
            "be too narrow."
        )
    rows = crossing.plain(table)
    fewest = rows[rows["last"]].groupby("arm", sort=False).canonical.sum().min()
    if fewest < FEW_EXACT:
        said.append(
            "Exact calls are few: they are reported as counts, and the log-likelihood and the API "
            "name carry the comparison. A study as small as params/quick.yaml is expected to look "
            "like this."
        )
    return said


def limits(table: pd.DataFrame, found: pd.DataFrame, runs: Sequence[Run], plan: Plan) -> list[str]:
    """What a study does not say at all, however many its numbers."""
    said = []
    if missing := plan.missing(runs):
        said.append(f"{len(missing)} of {len(plan.runs)} planned runs are missing.")
    if table.order.nunique() == 1:
        said.append("One block order: whether a block is hard or merely late cannot be told apart.")
    if not (found[found.effect == "training"]["items"] > 0).any():
        said.append(
            "Not every arm was asked with both prompts: reading more and having learnt more are "
            "told apart only on the calls whose prompts are the same."
        )
    if crossing.left_out(table):
        said.append(
            "The answers are about plain sequential runs; other arms are compared beside them."
        )
    if not any((run.folder / "rollouts.jsonl").is_file() for run in runs):
        said.append(
            "Next calls on recorded histories: nothing here was executed with the model's own "
            "earlier calls."
        )
    said += _of_cuts(runs)
    models = ", ".join(sorted({run.record.model["id"] for run in runs}))
    corpora = ", ".join(sorted({run.record.corpus["name"] for run in runs}))
    return [*said, f"This is {models} on {corpora}; other models and corpora may differ."]


def _of_cuts(runs: Sequence[Run]) -> list[str]:
    """What `max_length` took from prompts, where records say so."""
    learnt, asked = Counter(), Counter()
    for run in runs:
        learnt.update(run.record.cut_turns.get("train", {}))
        asked.update(run.record.cut_turns.get("held_out", {}))
    if not learnt.total() + asked.total():
        return []
    sides = [
        f"{where} {', '.join(f'{count} ({name})' for name, count in counts.items())}"
        for where, counts in (("training prompts", learnt), ("held-out prompts", asked))
    ]
    return [f"Oldest user turns cut to fit max_length, all runs: {'; '.join(sides)}."]
