"""What numbers cannot carry, in sentences generated from them, for every page that shows them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from trajnb.records import Run
from trajnb.scoring import crossing
from trajnb.scoring.overview import Plan
from trajnb.scoring.resampling import FEW_RUNS
from trajnb.scoring.stats import FEW_CLUSTERS

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
    said = [*_of_runs(table, measured), *_of_calls(table, measured)]
    if len(measured) and not family and not found.declared.any():
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


def covered(covers: Iterable[Sequence[str]]) -> str:
    """One sentence on what intervals know of: `covers` are those of the rows that are shown.

    Training data is never among it: runs of one corpus learn most of the same dialogues.
    """
    known = {name: [name in own for own in covers] for name in COVERED}
    always = [COVERED[name] for name, within in known.items() if all(within) and within]
    never = [COVERED[name] for name, within in known.items() if not any(within)]
    some = [COVERED[name] for name, within in known.items() if any(within) and not all(within)]
    said = f"Intervals speak about other {' and '.join(always) or 'items of these dialogues'}"
    said += f", some about other {' and '.join(some)}" if some else ""
    unknown = f"{', '.join(never)} or training data" if never else "training data"
    return f"{said}; not about other {unknown}."


COVERED = {"dialogues": "dialogues", "seeds": "seeds", "orders": "block orders"}


def _of_runs(table: pd.DataFrame, measured: pd.DataFrame) -> list[str]:
    """What the intervals cover, and how few runs they rest on."""
    trained = measured[measured.seeds > 0]
    said = [covered(list(trained.covers))] if len(trained) else []
    if (trained.folds > 1).any():
        said.append(
            "Runs hold out folds of their own: an interval is Student's t over them. The corrected "
            "one allows for training dialogues that runs share (Nadeau and Bengio 2003); neither "
            "speaks about other training sets."
        )
    most = table.groupby("trained", sort=False).seed.nunique().max()
    if most == 1 and not (trained.folds > 1).any():
        return [*said, "One seed per arm: how far another one would move these numbers is unknown."]
    fewest = trained.pairs.min()  # nan where nothing trained is compared
    if fewest < FEW_RUNS:
        said.append(
            f"{fewest:.0f} run {'pair' if fewest == 1 else 'pairs'} where arms are compared: with "
            f"fewer than {FEW_RUNS} no question is answered, and what seeds add to the error is in "
            "no interval."
        )
    return said


def _of_calls(table: pd.DataFrame, measured: pd.DataFrame) -> list[str]:
    said = []
    dialogues = table.dialogue_id.nunique()
    if measured.floor.any():
        effects = ", ".join(measured[measured.floor].effect.unique())
        said.append(
            f"At the floor (no side comes to {crossing.FLOOR:.0f} % in some measure): {effects}. "
            "There the log-likelihood answers."
        )
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
    if (found[found.effect == "training"]["items"] > 0).any():
        said.append(
            "Each model is also asked in a format that it never read in training (stripped ones "
            "with API lines, full ones without): training@stripped and training@full keep the two "
            "apart, while the main effects average over them."
        )
    else:
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
