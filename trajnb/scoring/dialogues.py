"""What rollouts say, as numbers: does the dialogue succeed, how far does it come, what of its calls is right.

A row of a rollout is a line of `rollouts.jsonl`, see the README. Success is by BFCL's rule (`world.rule`);
the comparison of calls is by position in their turn, which a rollout may depart from and still succeed.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan

import pandas as pd

from trajnb.formatting.calls import canonical, parse, read_or_none
from trajnb.formatting.dialogue import Call
from trajnb.formatting.documents import Api
from trajnb.scoring import errors

KEYS = ("dialogue_id", "block", "stage", "train_condition", "eval_condition", "ends")
COUNTS = ("made", "gold", *errors.ROLLOUT_KINDS)


def measures(row: Mapping, apis: Mapping[str, Api]) -> dict[str, float | None]:
    """The figures of one dialogue; all but counts lie between 0 and 1, None where nothing is there to count.

    `success`, `turns` (share of turns that succeed), `progress` (share before the first failure); `made` and
    `gold`, counts of calls; `exact`, the share of gold calls made at their place in their turn; `failed`, the
    share of calls whose response tells of an error; `recovered`, the share of these followed, in the same
    turn, by a call that does not fail; SpecTool's two kinds for rollouts, by turn; and TRAJECT-Bench's
    match, inclusion and usage over the dialogue, see `scoring.errors`.
    """
    made = [[read_or_none(call["text"]) for call in turn] for turn in _by_turn(row)]
    gold = [list(map(parse, turn)) for turn in row["gold"]]
    readable = [[call for call in turn if call] for turn in made]
    wrong = [errors.rollout_errors(*pair, apis) for pair in zip(readable, gold, strict=True)]
    flat, wanted = [call for turn in readable for call in turn], [call for turn in gold for call in turn]
    failed = [call["failed"] for turn in _by_turn(row) for call in turn]
    after = [turn[place + 1]["failed"] for turn in _by_turn(row) for place in _failures(turn)]
    found = {
        "success": float(row["success"]),
        "turns": _mean(row["turns"]),
        "progress": row["progress"],
        "made": len(failed),
        "gold": len(wanted),
        "exact": _mean([right for _, right in by_depth(row, apis)]),
        "failed": _mean(failed),
        "recovered": _mean([not again for again in after]),
        **{kind: sum(counts[kind] for counts in wrong) for kind in errors.ROLLOUT_KINDS},
        "trajectory match": float(errors.trajectory_match(flat, wanted)),
        "inclusion": errors.inclusion(flat, wanted),
        "usage": errors.usage(flat, wanted, apis),
    }
    return {name: None if isnan(value) else value for name, value in found.items()}


def by_depth(row: Mapping, apis: Mapping[str, Api]) -> list[tuple[int, bool]]:
    """For every gold call its depth (how many gold calls of the dialogue stand before it) and whether the
    rollout makes the same call at the same place of the same turn.
    """
    found, depth = [], 0
    for made, gold in zip(_by_turn(row), row["gold"], strict=True):
        for place, text in enumerate(gold):
            call = read_or_none(made[place]["text"]) if place < len(made) else None
            found.append((depth, call is not None and _same(call, parse(text), apis)))
            depth += 1
    return found


def table(rows: Iterable[Mapping]) -> pd.DataFrame:
    """One line per rollout: where it comes from (`KEYS`) and its `measures`, kept in it as `figures`."""
    return pd.DataFrame([{key: row[key] for key in KEYS} | row["figures"] for row in rows])


def summary(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The figures of `table` by columns `by`: sums of counts, means over dialogues of all else, and how many
    dialogues they rest on.
    """
    groups = rows.groupby(list(by), sort=False)
    figures = [name for name in rows if name not in {*KEYS, *by}]
    found = groups[figures].agg({name: "sum" if name in COUNTS else "mean" for name in figures})
    found.insert(0, "dialogues", groups.size())
    return found


def _by_turn(row: Mapping) -> list[list[Mapping]]:
    turns: list[list[Mapping]] = [[] for _ in row["gold"]]
    for call in row["calls"]:
        turns[call["turn"]].append(call)
    return turns


def _failures(turn: Sequence[Mapping]) -> list[int]:
    """Places of failed calls that another call follows."""
    return [place for place, call in enumerate(turn[:-1]) if call["failed"]]


def _same(call: Call, gold: Call, apis: Mapping[str, Api]) -> bool:
    names = apis[gold.name].names if gold.name in apis else ()
    return call.name == gold.name and canonical(call, names) == canonical(gold, names)


def _mean(values: Sequence) -> float:
    return sum(values) / len(values) if values else float("nan")
