"""One predicted call against its gold call, and the counts of a run by stage and block."""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum

from trajnb.formatting.calls import CallSyntaxError, canonical, parse, without_prefix

SCORES = ("canonical", "string", "name", "parsed")
# measure -> (heading, share of calls in percent or nats a token); in all of them higher is better
MEASURES = {
    "canonical": ("exact call (canonical)", "%"),
    "string": ("exact text", "%"),
    "name": ("right API", "%"),
    "parsed": ("a call at all", "%"),
    "logp": ("gold log-likelihood", "nats/token"),
}
OUTCOMES = ("exact", "other arguments", "other API", "no call")  # see `outcome`


def score(prediction: str, gold: str, parameters: Mapping[str, Sequence[str]] = {}) -> dict[str, bool]:
    """What is right about a generated text, from lenient to strict:

    - `parsed`: it holds a call at all (the first one counts);
    - `name`: that call names the gold API;
    - `canonical`: name and arguments are the gold ones, whatever the order, quotes and number types;
      `parameters` (API name -> its documented argument names, in order) binds positional arguments;
    - `string`: the whole text is the gold text. White space around it and the line's opening
      (`calls.REQUEST_PREFIX`) do not count, on either side, because the cue already asks for a request.

    A gold without a call is a ValueError: the corpus is at fault, not the model.
    """
    try:
        wanted = parse(gold)
    except CallSyntaxError as error:
        raise ValueError(
            f"gold holds no call: {gold!r}; every example needs one to be scored against"
        ) from error
    scores = dict.fromkeys(SCORES, False)
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
    """The one of `OUTCOMES` for a scored prediction: exact, the right API with other arguments, another API,
    or no call that can be read.
    """
    if scores["canonical"]:
        return "exact"
    if scores["name"]:
        return "other arguments"
    return "other API" if scores["parsed"] else "no call"


def matrix(predictions: Iterable[Mapping], blocks: Sequence[str]) -> dict[str, dict[str, list[list]]]:
    """Counts of right answers, {eval_condition: {score: [stage 0..][block]}}, columns as in `blocks`.

    Beside the scores stands `gold_nll`, the summed negative log-likelihood of the gold calls (nats). The rows
    may come in any order; the sums do not depend on it. A stage that was evaluated on other items than
    stage 0 is a ValueError: its counts could not be compared.
    """
    cells: dict[tuple[str, int, str], list[Mapping]] = {}
    for row in predictions:
        if row["block"] not in blocks:
            raise ValueError(f"prediction of block {row['block']!r}, but the run has {', '.join(blocks)}")
        cells.setdefault((row["eval_condition"], row["stage"], row["block"]), []).append(row)

    table = {}
    for condition in dict.fromkeys(key[0] for key in cells):
        stages = range(1 + max(stage for name, stage, _ in cells if name == condition))
        rows = [[cells.get((condition, stage, block), []) for block in blocks] for stage in stages]
        for stage, row in enumerate(rows):
            for block, cell, first in zip(blocks, row, rows[0], strict=True):
                if not cell or _items(cell) != _items(first):
                    raise ValueError(
                        f"{condition}, stage {stage}, block {block}: {len(cell)} predictions, not the "
                        f"{len(first)} items of stage 0; evaluate this stage again"
                    )
        table[condition] = {
            name: [[sum(p[name] for p in cell) for cell in row] for row in rows] for name in SCORES
        }
        table[condition]["gold_nll"] = [[fsum(p["gold_nll"] for p in cell) for cell in row] for row in rows]
    return table


def _items(cell: list[Mapping]) -> list[tuple[str, int]]:
    return sorted((row["dialogue_id"], row["step"]) for row in cell)
