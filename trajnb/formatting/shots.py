"""Few-shot prompts: worked examples from the training dialogues of the same block, before the question."""

import random
from collections.abc import Mapping

from datasets import Dataset


def with_shots(asked: Dataset, learnt: Dataset, count: int, seed: int) -> Dataset:
    """The examples `asked`, each with `count` training examples of its block shown as earlier messages.

    Both are rows of `build_examples` under one condition. A block shows the same shots to all its examples,
    each a call of another dialogue, drawn by `seed`; they stand behind the instruction and documents of the
    example that is asked, without documents of their own.

    Raises:
        ValueError: a block has fewer than `count` training dialogues.
    """
    shots = {block: _draw(learnt, block, count, seed) for block in sorted(set(asked["block"]))}

    def shown(row: Mapping) -> dict:
        system, *rest = row["prompt"]
        return {"prompt": [system, *shots[row["block"]], *rest]}

    return Dataset.from_list([{**row, **shown(row)} for row in asked])


def _draw(learnt: Dataset, block: str, count: int, seed: int) -> list[dict[str, str]]:
    by_dialogue: dict[str, list[Mapping]] = {}
    for row in learnt:
        if row["block"] == block and row["target"] == "call":
            by_dialogue.setdefault(row["dialogue_id"], []).append(row)
    if len(by_dialogue) < count:
        raise ValueError(
            f"block {block!r} has {len(by_dialogue)} training dialogues, too few for {count} shots: "
            "lower shots, or raise train_dialogues"
        )
    draw = random.Random(f"{seed} {block}")
    chosen = [draw.choice(by_dialogue[name]) for name in draw.sample(sorted(by_dialogue), count)]
    return [message for row in chosen for message in (*row["prompt"][1:], *row["completion"])]
