"""What rollouts say, as numbers: does the dialogue succeed, how far does it come, what of its calls
is right.

A row of a rollout is a line of `rollouts.jsonl`, see the README. Success is by BFCL's rule
(`world.rule`); the comparison of calls is by position in their turn, which a rollout may depart
from and still succeed.

A rollout can also be checked: where its prompt is that of a held-out item, its call is the item's
answer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan
from operator import itemgetter

import pandas as pd

from trajnb.formatting.calls import canonical, made_turn, parse, read_or_none
from trajnb.formatting.conditions import CONDITIONS, History, messages
from trajnb.formatting.dialogue import Call, Dialogue
from trajnb.formatting.documents import Api
from trajnb.formatting.examples import steps
from trajnb.scoring import errors

KEYS = ("dialogue_id", "block", "stage", "train_condition", "eval_condition", "ends")
TIE = 1e-4
"""Two best logits in fp32 that are closer than this may swap where sums have another order."""
TIE_BF16 = 0.5
"""The same in bf16: logits of 16 to 32 are 0.125 apart, and four of these are taken for noise."""
HELD_AGAINST = (
    *("dialogue_id", "eval_condition", "ends", "turn", "ordinal", "step"),
    *("made", "predicted", "margin", "found"),
)
COUNTS = ("made", "gold", *errors.ROLLOUT_KINDS)


def measures(row: Mapping, apis: Mapping[str, Api]) -> dict[str, float | None]:
    """The figures of one dialogue; all but counts lie between 0 and 1, None where nothing is there
    to count.

    `success`, `turns` (share of turns that succeed), `progress` (share before the first failure);
    `made` and `gold`, counts of calls; `exact`, the share of gold calls made at their place in
    their turn; `failed`, the share of calls whose response tells of an error; `recovered`, the
    share of these followed, in the same turn, by a call that does not fail; SpecTool's two kinds
    for rollouts, by turn; and TRAJECT-Bench's match, inclusion and usage over the dialogue, see
    `scoring.errors`.
    """
    made = [[read_or_none(call["text"]) for call in turn] for turn in _by_turn(row)]
    gold = [list(map(parse, turn)) for turn in row["gold"]]
    readable = [[call for call in turn if call] for turn in made]
    wrong = [errors.rollout_errors(*pair, apis) for pair in zip(readable, gold, strict=True)]
    flat = [call for turn in readable for call in turn]
    wanted = [call for turn in gold for call in turn]
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
    """For every gold call its depth (how many gold calls of the dialogue stand before it) and
    whether the rollout makes the same call at the same place of the same turn.
    """
    found, depth = [], 0
    for made, gold in zip(_by_turn(row), row["gold"], strict=True):
        for place, text in enumerate(gold):
            call = read_or_none(made[place]["text"]) if place < len(made) else None
            found.append((depth, call is not None and _same(call, parse(text), apis)))
            depth += 1
    return found


def table(rows: Iterable[Mapping]) -> pd.DataFrame:
    """One line per rollout: where it comes from (`KEYS`), `success` and the rest of its `measures`,
    kept as `figures`.
    """
    return pd.DataFrame(
        [
            {key: row[key] for key in KEYS} | {"success": float(row["success"])} | row["figures"]
            for row in rows
        ]
    )


def summary(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The figures of `table` by columns `by`: sums of counts, means over dialogues of all else, and
    how many dialogues they rest on.
    """
    groups = rows.groupby(list(by), sort=False)
    figures = [name for name in rows if name not in {*KEYS, *by}]
    found = groups[figures].agg({name: "sum" if name in COUNTS else "mean" for name in figures})
    found.insert(0, "dialogues", groups.size())
    return found


def against_forced(
    lines: Iterable[Mapping],
    predictions: Iterable[Mapping],
    dialogues: Mapping[str, Dialogue],
    tie: float = TIE,
) -> pd.DataFrame:
    """The calls of rollouts that answer the very prompt of an item, each beside the item's answer.

    So is the first call of every dialogue, and each later one before which the condition shows the
    same: all of it under `stripped`; under `full` as long as the calls, as text, and their
    responses are the reference's. Both texts are greedy, hence they agree, or what reads rollouts
    (`qlora.session`) is wrong. What ended a turn is no call, and what a model called beyond the
    reference is no item.

    Args:
        lines: of `rollouts.jsonl`.
        predictions: of the same run; those of other stages and conditions are passed over.
        dialogues: the corpus by id, as it was when the predictions were made.
        tie: margin under which two correct decoders may differ.

    Returns:
        One row per call with the columns `HELD_AGAINST`: user turn from 0, number in it from 1,
        step of the item, both texts, the margin of the rollout (nan where an old line has none),
        and `found`: `same`; `tie`, another text with a margin under `tie`; `cut`, prompts that were
        cut to different lengths, as they may be near `max_length`; or `differs`.

    Raises:
        ValueError: a rollout of a dialogue that is not in `dialogues`.
    """
    item = itemgetter("dialogue_id", "eval_condition", "stage", "step")
    answers = {item(one): one for one in predictions}
    rows = []
    for line in lines:
        name, condition = line["dialogue_id"], line["eval_condition"]
        if name not in dialogues:
            raise ValueError(f"dialogue {name} was rolled out, but the corpus does not hold it")
        items = _items(dialogues[name], condition)
        for call, ordinal, prompt in _asked(line, dialogues[name]):
            step, expected = items.get((call["turn"], ordinal), (None, None))
            answer = answers.get((name, condition, line["stage"], step))
            if answer is None or prompt != expected:
                continue
            margin = call.get("margin", float("nan"))
            found = _found(call, answer, margin < tie)
            texts = call["text"], answer["prediction"]
            place = name, condition, line["ends"], call["turn"], ordinal, step
            rows.append((*place, *texts, margin, found))
    return pd.DataFrame(rows, columns=HELD_AGAINST)


def told(row) -> str:
    """A row of `against_forced` in words: which dialogue, which call, both texts."""
    return (
        f"dialogue {row.dialogue_id}, {row.eval_condition} prompts, turns ended by {row.ends}: "
        f"call {row.ordinal} of user turn {row.turn + 1} (step {row.step}) is {row.made!r} in the "
        f"rollout and {row.predicted!r} in the predictions, for the same prompt "
        f"(margin {row.margin:.2g})"
    )


def _items(dialogue: Dialogue, condition: str) -> dict[tuple[int, int], tuple[int, list]]:
    """Step and prompt of every target, by user turn from 0 and number in it from 1."""
    show = CONDITIONS[condition]
    return {
        (one.turn, one.history.ordinal): (one.step, messages(one.history, show(one.history)))
        for one in steps(dialogue)
    }


def _asked(line: Mapping, dialogue: Dialogue) -> Iterator[tuple[Mapping, int, list]]:
    """Every call of a rollout with its number in its turn, from 1, and the prompt it answers."""
    show, turns = CONDITIONS[line["eval_condition"]], []
    users = [turn for turn in dialogue.turns if turn.role == "user"]
    for user, made in zip(users, _by_turn(line), strict=True):
        turns.append(user)
        for ordinal, call in enumerate(made, start=1):
            history = History(dialogue.documents, tuple(turns), ordinal)
            yield call, ordinal, messages(history, show(history))
            turns.append(made_turn(call["text"], call["response"]))


def _found(call: Mapping, answer: Mapping, tied: bool) -> str:
    if call["text"] == answer["prediction"]:
        return "same"
    if call.get("prompt_tokens", answer["prompt_tokens"]) != answer["prompt_tokens"]:
        return "cut"
    return "tie" if tied else "differs"


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


DEPTHS = {"0": 0, "1": 1, "2 to 3": 3, "4 to 6": 6, "7 or more": 1000}
"""Names of groups of depths, and the last depth of each."""


def histories(
    rows: Iterable[Mapping], apis: Mapping[str, Mapping[str, Api]], predictions: Iterable[Mapping]
) -> pd.DataFrame:
    """Every gold call after the model's own calls (lines of rollouts) and after correct ones
    (predictions of the same dialogues, stage and conditions, where there are any).

    Columns: `condition`, `history`, `depth` (gold calls that stand before), `exact`, and `calls
    before it`, the depth in groups.
    """
    found, asked = [], set()
    for row in rows:
        condition, own = row["eval_condition"], f"own calls, {row['ends']}"
        asked.add((row["dialogue_id"], row["stage"], condition))
        for depth, right in by_depth(row, apis[row["dialogue_id"]]):
            found.append((condition, own, depth, right))
    for line in predictions:
        if (line["dialogue_id"], line["stage"], line["eval_condition"]) in asked:
            found.append((line["eval_condition"], "correct calls", line["step"], line["canonical"]))
    table = pd.DataFrame(found, columns=["condition", "history", "depth", "exact"])
    table["exact"] = table.exact.astype(float)
    table["calls before it"] = pd.cut(table.depth, [-1, *DEPTHS.values()], labels=list(DEPTHS))
    return table
