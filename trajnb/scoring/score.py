"""One predicted call against its gold call, and the counts of a run by stage and block."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import fsum

from trajnb.formatting.calls import CallSyntaxError, canonical, opened_name, parse, without_prefix

SCORES = ("canonical", "string", "name", "parsed", "opened_name")
# measure -> (heading, share of calls in percent or nats a token); in all of them higher is better
MEASURES = {
    "canonical": ("exact call (canonical)", "%"),
    "novel": ("exact call, novel target", "%"),
    "name": ("right API", "%"),
    "logp": ("gold log-likelihood", "nats/token"),
    "string": ("exact text", "%"),
    "parsed": ("a call at all", "%"),
    "opened_name": ("opens with the right API", "%"),
}
"""`novel` is `canonical` on the items whose gold call is no training target, letter for letter; the
others are passed over. It is the primary measure of new studies: what was seen can be copied.
"""
OUTCOMES = ("exact", "other arguments", "other API", "no call")  # see `outcome`


def score(
    prediction: str, gold: str, parameters: Mapping[str, Sequence[str]] = {}
) -> dict[str, bool]:
    """What is right about a generated text, from lenient to strict:

    - `opened_name`: the call that it opens is of the gold API, whether or not it can be read to
      its end, as where it was cut or says an argument twice;
    - `parsed`: it holds a call that can be read (the first one counts);
    - `name`: that call names the gold API; where this is so, `opened_name` is;
    - `canonical`: name and arguments are the gold ones, whatever the order, quotes and number
      types; `parameters` (API name -> its documented argument names, in order) binds positional
      arguments;
    - `string`: the whole text is the gold text. White space around it and the line's opening
      (`calls.REQUEST_PREFIX`) do not count, on either side, because the cue already asks for a
      request.

    A gold without a call is a ValueError: the corpus is at fault, not the model.
    """
    try:
        wanted = parse(gold)
    except CallSyntaxError as error:
        raise ValueError(
            f"gold holds no call: {gold!r}; every example needs one to be scored against"
        ) from error
    scores = dict.fromkeys(SCORES, False)
    scores["opened_name"] = opened_name(prediction) == wanted.name
    try:
        call = parse(prediction)
    except CallSyntaxError:
        return scores
    names = parameters.get(wanted.name)
    scores["parsed"] = True
    scores["name"] = call.name == wanted.name
    scores["canonical"] = scores["name"] and canonical(call, names) == canonical(wanted, names)
    scores["string"] = without_prefix(prediction) == without_prefix(gold)
    return scores


def outcome(scores: Mapping[str, bool]) -> str:
    """The one of `OUTCOMES` for a scored prediction: exact, the right API with other arguments,
    another API, or no call that can be read.
    """
    if scores["canonical"]:
        return "exact"
    if scores["name"]:
        return "other arguments"
    return "other API" if scores["parsed"] else "no call"


def matrix(
    predictions: Iterable[Mapping], blocks: Sequence[str]
) -> dict[str, dict[str, list[list]]]:
    """Counts of right answers, {eval_condition: {score: [stage 0..][block]}}, blocks in the order
    learnt.

    Beside the scores stands `gold_nll`, the summed negative log-likelihood of the gold calls
    (nats), None where answers have no probabilities. The rows may come in any order; the sums do
    not depend on it. None stands where a stage between stage 0 and the last one was asked only
    about the block that it had just learnt (`eval_stages` "ends"). Any other stage that was
    evaluated on other items than stage 0 is a ValueError: its counts could not be compared.
    """
    cells: dict[tuple[str, int, str], list[Mapping]] = {}
    for row in predictions:
        if row["block"] not in blocks:
            raise ValueError(
                f"prediction of block {row['block']!r}, but the run has {', '.join(blocks)}"
            )
        cells.setdefault((row["eval_condition"], row["stage"], row["block"]), []).append(row)

    table = {}
    for condition in dict.fromkeys(key[0] for key in cells):
        table[condition] = {name: [] for name in (*SCORES, "gold_nll")}
        last = max(stage for name, stage, _ in cells if name == condition)
        for stage in range(1 + last):
            there = [block for block in blocks if (condition, stage, block) in cells]
            asked = there if is_asked(there, blocks, stage, last) else blocks
            row = {block: cells.get((condition, stage, block), []) for block in asked}
            for block, cell in row.items():
                first = cells.get((condition, 0, block), [])
                _check(cell, first, f"{condition}, stage {stage}, block {block}")
            for name in SCORES:
                right = {block: _right(cell, name) for block, cell in row.items()}
                table[condition][name].append([right.get(block) for block in blocks])
            nats = {block: _nats(cell) for block, cell in row.items()}
            table[condition]["gold_nll"].append([nats.get(block) for block in blocks])
    return table


def is_asked(there: Collection[str], blocks: Sequence[str], stage: int, last: int) -> bool:
    """Whether the blocks `there` are those that a stage is asked about: all, in the order learnt,
    or, between stage 0 and the last one, that alone which it has just learnt.
    """
    own = blocks[stage - 1 : stage] if 0 < stage < last else blocks
    return set(there) in (set(blocks), set(own))


def has_holes(matrices: Mapping[str, Mapping[str, list[list]]]) -> bool:
    """Whether a matrix of a record, by condition and score, lacks a block at some stage. What has no
    log-likelihood has its counts.
    """
    counted = [scores.get(name, []) for scores in matrices.values() for name in SCORES]
    return any(None in row for rows in counted for row in rows)


def _check(cell: list[Mapping], first: list[Mapping], where: str) -> None:
    """Raise ValueError where a cell holds other items than that of stage 0."""
    if not cell or _items(cell) != _items(first):
        raise ValueError(
            f"{where}: {len(cell)} predictions, not the {len(first)} items of stage 0; evaluate "
            "this stage again"
        )


def _right(cell: list[Mapping], name: str) -> int:
    return sum(row[name] for row in cell)


def _nats(cell: list[Mapping]) -> float | None:
    if any(row["gold_nll"] is None for row in cell):
        return None
    return fsum(row["gold_nll"] for row in cell)


def _items(cell: list[Mapping]) -> list[tuple[str, int]]:
    return sorted((row["dialogue_id"], row["step"]) for row in cell)
