"""What runs of objective `repair` learnt from and what it changed: candidates, acceptance by repairer,
the reward model against figures that need none, GRPO, and the arms of `lessons` and `reward` against
each other.

Turn tasks and exact calls of these runs are those of `scoring.preferences` (`turns`, `calls`), for
their stages have two ends too. All figures come from records; none is a model's or a corpus's text.
"""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from trajnb.formatting.trajectories import ARMS
from trajnb.objectives import objective_of
from trajnb.schema import Run
from trajnb.scoring import continual, matrices, preferences
from trajnb.scoring.arms import arms_of, in_order
from trajnb.scoring.length import Accuracy, accuracies_of, verdict_of
from trajnb.scoring.preferences import before_sides, effect_of, sentence, with_holm
from trajnb.scoring.quality import LABELS
from trajnb.scoring.reward import REWARDS

LESSONS, REWARD = "kept+repaired", "outcome"
"""The arm that all others are controls of."""
CONTROLS = (*(name for name in ARMS if name != LESSONS), *(name for name in REWARDS if name != REWARD))
EFFECTS = ("before repair", *CONTROLS)
"""What the end of the main arm is held against: the same stages before their second part, on the block
that each has just learnt; or, at the end, an arm that differs from it in its lessons or in its reward.
"""
MEASURES = {name: preferences.MEASURES[name] for name in ("passed", "exact")}
"""What arms are held against each other in, at the end."""
KINDS = {
    "outcome": "a success before a failure",
    "repair": "a repair before what it repairs",
}
"""Of pairs that a reward model is tested on."""


def repairing(runs: Iterable[Run]) -> list[Run]:
    """The runs whose stages repair."""
    return [run for run in runs if objective_of(run.record.parameters).repairs]


def _stages(runs: Sequence[Run]) -> list[tuple[Run, dict]]:
    return [(run, stage) for run in repairing(runs) for stage in run.record.repair["stages"]]


def _blocks(stage: Mapping) -> str:
    return ", ".join(stage["blocks"])


def candidates_by_stage(runs: Sequence[Run]) -> pd.DataFrame:
    """By the blocks of a stage, summed over runs: tasks, candidates, how many succeed (`won`), how many
    are distinct, these by their label, tasks with a success (`solved tasks`) and tasks that have a
    failure too (`mixed tasks`).
    """
    found: dict[str, dict] = {}
    for _, stage in _stages(runs):
        counts = {k: v for k, v in stage["candidates"].items() if k != "label"}
        counts |= {label: stage["candidates"]["label"][label] for label in LABELS}
        _add(found.setdefault(_blocks(stage), {}), counts)
    columns = ["tasks", "candidates", "won", "distinct", *LABELS, "solved tasks", "mixed tasks"]
    return pd.DataFrame.from_dict(found, orient="index", columns=columns)


def lessons_by_stage(runs: Sequence[Run]) -> pd.DataFrame:
    """By the blocks of a stage, summed over runs: trajectories that were learnt, their examples, those
    that are not repeated, and optimiser steps; `repeated repairs` say what another trajectory says.
    """
    found: dict[str, dict] = {}
    for _, stage in _stages(runs):
        lessons = stage["lessons"]
        names = ("trajectories", "examples", "distinct", "repeated repairs")
        counts = {name: lessons[name] for name in names}
        counts["steps"] = lessons["training"]["cost"]["steps"] if lessons["training"] else 0
        _add(found.setdefault(_blocks(stage), {}), counts)
    return pd.DataFrame.from_dict(found, orient="index")


def _add(counts: dict, more: Mapping[str, int]) -> None:
    for name, value in more.items():
        counts[name] = counts.get(name, 0) + value


def acceptance(runs: Sequence[Run]) -> pd.DataFrame:
    """By repairer and kind of failure (rows; `all` for all kinds), over stages and runs: how many were
    `repaired` and `accepted`, `edits`, the replies that an accepted repair changes on average (of
    `all` alone), and whether the repairer `reads gold`.
    """
    sums: dict[tuple[str, str], dict] = {}
    edits: dict[str, int] = {}
    reads: dict[str, bool] = {}
    for _, stage in _stages(runs):
        for name, one in stage["repairs"].items():
            reads[name] = reads.get(name, False) or one["reads gold"]
            edits[name] = edits.get(name, 0) + one["edits"]
            kinds = {"all": (one["repaired"], one["accepted"])}
            for kind, count in one["failure"].items():
                kinds[kind] = (count, one["accepted failure"].get(kind, 0))
            for kind, (repaired, accepted) in kinds.items():
                row = sums.setdefault((name, kind), {"repaired": 0, "accepted": 0})
                _add(row, {"repaired": repaired, "accepted": accepted})
    rows = []
    for (name, kind), row in sums.items():
        mean = edits[name] / row["accepted"] if kind == "all" and row["accepted"] else float("nan")
        rows.append({"repairer": name, "failure": kind, **row, "edits": mean, "reads gold": reads[name]})
    columns = ["repairer", "failure", "repaired", "accepted", "edits", "reads gold"]
    return pd.DataFrame(rows, columns=columns)


def accuracies(runs: Sequence[Run]) -> pd.DataFrame:
    """By kind of pair and name (rows): how often the better trajectory of a held-out pair is put first,
    `right` (an `Interval` over dialogues), how much higher the reward model's share is, `ahead` (None of
    itself), whether it is `beaten` by the reward model, and how many `pairs` and `dialogues` there are.
    Empty where nothing was held out.
    """
    rights: dict[str, dict[str, list[float]]] = {}
    dialogues: dict[str, list[str]] = {}
    for _, stage in _stages(runs):
        tested = (stage["reward"] or {}).get("tested")
        if not tested:
            continue
        for place, (kind, dialogue) in enumerate(zip(tested["kind"], tested["dialogue"], strict=True)):
            dialogues.setdefault(kind, []).append(dialogue)
            for name, right in tested["right"].items():
                rights.setdefault(kind, {}).setdefault(name, []).append(right[place])
    rows = []
    for kind in [kind for kind in KINDS if kind in rights]:
        for name, one in accuracies_of(rights[kind], dialogues[kind]).items():
            counts = {"pairs": len(dialogues[kind]), "dialogues": len(set(dialogues[kind]))}
            found = {"right": one.right, "ahead": one.ahead, "beaten": one.beaten}
            rows.append({"kind": kind, "name": name} | found | counts)
    columns = ["kind", "name", "right", "ahead", "beaten", "pairs", "dialogues"]
    return pd.DataFrame(rows, columns=columns)


def verdict(table: pd.DataFrame) -> str:
    """What `accuracies` say, a sentence for each kind of pair."""
    said = []
    for kind, words in KINDS.items():
        part = table[table.kind == kind]
        if part.empty:
            said.append(f"{words.capitalize()}: there is no held-out pair, so nothing can be said.")
            continue
        found = {}
        for name, right, ahead in zip(part["name"], part.right, part.ahead, strict=True):
            found[name] = Accuracy(right, ahead)
        first = part.iloc[0]
        said.append(f"{words.capitalize()}: {verdict_of(found, first.pairs, first.dialogues)}")
    return "\n".join(said)


def grpo_steps(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run, stage and step of GRPO: `run, arm, stage, blocks, earned` (which reward), `step`
    from 1, `reward` (mean over episodes), `groups`, `equal_groups`, `gradient`, `drift`, and the means
    of `scoring.reward.summary` over its episodes.
    """
    rows = []
    for run, arm, stage in _with_arms(runs):
        for number, step in enumerate((stage["grpo"] or {}).get("steps", ()), 1):
            plain = {k: v for k, v in step.items() if k != "measures"}
            where = {"run": run.folder.name, "arm": arm, "stage": stage["stage"]}
            where |= {"blocks": _blocks(stage), "earned": stage["grpo"]["reward"], "step": number}
            rows.append(where | plain | step["measures"])
    return pd.DataFrame(rows)


def effectless(steps: pd.DataFrame) -> str:
    """How many groups of `grpo_steps` had no effect, in a sentence."""
    equal, groups = steps.equal_groups.sum(), steps.groups.sum()
    return (
        f"{equal} of {groups} groups ({equal / groups:.0%}) had no effect: all their episodes earned "
        "the same."
    )


def followed(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run, stage, side (`train`, `held_out`) and time that fixed tasks were played through
    GRPO: `run, arm, stage, blocks, side, taken` (steps), and the means of `scoring.reward.summary`.
    """
    rows = []
    for run, arm, stage in _with_arms(runs):
        for seen in (stage["grpo"] or {}).get("seen", ()):
            for side in ("train", "held_out"):
                if side in seen:
                    where = {"run": run.folder.name, "arm": arm, "stage": stage["stage"]}
                    where |= {"blocks": _blocks(stage), "side": side, "taken": seen["taken"]}
                    rows.append(where | seen[side])
    return pd.DataFrame(rows)


def _with_arms(runs: Sequence[Run]) -> list[tuple]:
    runs = in_order(runs)
    arms = arms_of([run.record.parameters for run in runs])
    found = []
    for run, arm in zip(runs, arms, strict=True):
        found += [(run, arm, stage) for _, stage in _stages([run])]
    return found


def effects(
    turns: pd.DataFrame, calls: pd.DataFrame, family: Mapping[str, Iterable[str]] | None = None
) -> pd.DataFrame:
    """The main arm minus every effect on every measure that can be measured; columns and errors as of
    `preferences.effects`.
    """
    sides = {"passed": (turns[turns.search == "greedy"], "passed"), "exact": (calls, "exact")}
    rows = []
    for measure, (table, score) in sides.items():
        for effect in EFFECTS:
            left, right = _sides(table, effect)
            if len(left) and len(right):
                rows.append(effect_of(measure, effect, left, right, score))
    return with_holm(rows, family)


def _sides(table: pd.DataFrame, effect: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    main = table[(table.lessons == LESSONS) & (table.reward == REWARD)]
    if effect == "before repair":
        return before_sides(main)
    lessons, reward = (effect, REWARD) if effect in ARMS else (LESSONS, effect)
    other = table[(table.lessons == lessons) & (table.reward == reward)]
    return main[main["last"]], other[other["last"]]


def answers(runs: Sequence[Run], family: Mapping[str, Iterable[str]] | None = None) -> list[str]:
    """What the runs that repair say, a sentence for each effect, declared ones first, and on the reward
    model; nothing where none does.
    """
    if not repairing(runs):
        return []
    turns, calls = preferences.turns(runs), preferences.calls(runs)
    found = effects(turns, calls, family)
    said = []
    for row in found.sort_values("declared", ascending=False, kind="stable").itertuples():
        own = LESSONS if row.effect in ARMS else REWARD
        what = f"{own} minus {row.effect}, {MEASURES[row.measure][0]}, at the end"
        if row.effect == "before repair":
            title = MEASURES[row.measure][0]
            what = f"{LESSONS}, {title}, what repair added on the block just learnt"
        said.append(sentence(what, row))
    tested = accuracies(runs)
    return said + (verdict(tested).splitlines() if len(tested) else [])


def by_objective(table: pd.DataFrame) -> pd.DataFrame:
    """What each objective does to a stream: metrics of continual learning of exact calls (rows: arms
    that learn in sequence; columns `continual.METRICS`, each an `Interval` in percent), where runs of
    several objectives are there; else empty. `table`: of `tables.frame`.
    """
    rows = matrices.in_sequence(table)
    rows = rows[rows.condition == rows.eval_condition]
    said = {dict(arm.variant).get("objective", "sft") for arm in rows.arm.unique()}
    if len(said) < 2:
        return pd.DataFrame()
    found = {}
    for arm, part in rows.groupby("arm", sort=False):
        found[str(arm)] = continual.intervals(part, "canonical")
    return pd.DataFrame.from_dict(found, orient="index")
