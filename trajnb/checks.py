"""What the files of a run hold, checked: shapes, sizes, and that they are of one run."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import get_type_hints

from trajnb.objectives import objective_of
from trajnb.schema import Item, Prediction, Record, Scores, Value
from trajnb.shapes import check_shape
from trajnb.strategies import strategy_of
from trajnb.upgrades import OLDER_PARAMETERS, upgrade

_LATER_KEYS = {"stages", "steps", "flops", "resumed", "cut_turns", "scores_only", "leaks"}
_LATER_KEYS |= {"preferences", "repair"}


def to_record(content: object) -> Record:
    """A record from what its file holds.

    Raises:
        ValueError: a key is missing, something is of another type, or sizes disagree.
    """
    kinds = get_type_hints(Record)
    check_shape(content, dict, "it")
    if missing := sorted(kinds.keys() - _LATER_KEYS - content.keys()):
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name in kinds.keys() & content.keys():
        check_shape(content[name], kinds[name], name)
    _check_parameters(content["parameters"])
    content = upgrade(content)
    record = Record(**{field.name: content[field.name] for field in fields(Record)})
    _check_sizes(record)
    return record


def _check_parameters(parameters: Mapping) -> None:
    """Raise ValueError where a parameter is none, or one that has a default is of another type."""
    for name, value in parameters.items():
        kind = type(OLDER_PARAMETERS[name]) if name in OLDER_PARAMETERS else Value
        check_shape(value, kind, f"parameters.{name}")
    strategy_of(parameters)
    objective_of(parameters)


def _check_sizes(record: Record) -> None:
    """Raise ValueError where blocks, stages, items and matrix are not of one run."""
    blocks, stages = record.blocks, record.stages
    if not blocks or len(set(blocks)) < len(blocks) or len(record.items) != len(blocks):
        raise ValueError(f"{len(blocks)} blocks, {len(record.items)} numbers of items")
    if strange := {block for stage in stages for block in stage} - set(blocks):
        raise ValueError(f"stages name {min(strange)!r:.60}, which is no block of it")
    if not record.matrix:
        raise ValueError("matrix is empty")
    for condition, scores in record.matrix.items():
        for name in Scores.__annotations__.keys() & scores.keys():
            rows = scores[name]
            if [len(row) for row in rows] != [len(blocks)] * (1 + len(stages)):
                raise ValueError(
                    f"matrix[{condition:.60}].{name} is not {1 + len(stages)} stages by "
                    f"{len(blocks)} blocks"
                )


def check_lines(record: Record, items: Sequence[Item], predictions: Sequence[Prediction]) -> None:
    """Raise ValueError where items or predictions, each of the right shape, are not of this record:
    of blocks, stages or conditions that it does not have, there twice, or none at all.
    """
    asked = {(item["dialogue_id"], item["step"]): item["block"] for item in items}
    if not items or len(asked) < len(items) or not set(asked.values()) <= set(record.blocks):
        raise ValueError(
            f"items.jsonl: {len(items)} items, {len(asked)} of them different, of the blocks "
            f"{', '.join(sorted(set(asked.values())))[:200]}"
        )
    given = set()
    for number, line in enumerate(predictions, start=1):
        key = (line["dialogue_id"], line["step"])
        if asked.get(key) != line["block"]:
            raise ValueError(f"predictions.jsonl: line {number} is about no item of its block")
        if line["eval_condition"] not in record.matrix:
            raise ValueError(f"predictions.jsonl: line {number} is of no condition of the matrix")
        if not 0 <= line["stage"] <= len(record.stages):
            raise ValueError(f"predictions.jsonl: line {number} is of no stage of the run")
        given.add((*key, line["stage"], line["eval_condition"]))
    if not given or len(given) < len(predictions):
        raise ValueError(
            f"predictions.jsonl: {len(predictions)} lines, {len(given)} of them different"
        )
