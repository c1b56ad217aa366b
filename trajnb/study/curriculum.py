"""What is learnt when: the stages of training under each strategy.

`sequential` is the paper's; `joint`, all blocks at once, is the usual upper bound; `independent` gives every
block an adapter of its own; `replay` learns a share of every earlier block again with each new one; under
`few-shot` nothing is trained, the one stage is a prompt with worked examples.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

STRATEGIES = ("sequential", "joint", "independent", "replay", "few-shot")


@dataclass(frozen=True)
class Stage:
    """One stretch of training, after which all held-out examples are asked."""

    name: str  # of its folder and in tables
    blocks: tuple[str, ...]  # learnt here for the first time
    examples: tuple[int, ...]  # indices of what is trained on; none under few-shot
    fresh: bool = False  # begins with a new adapter


def stages(
    strategy: str,
    order: Sequence[str],
    example_blocks: Sequence[str],
    dialogue_ids: Sequence[str],
    *,
    replay_share: float,
    seed: int,
) -> list[Stage]:
    """The stages of a run, in order.

    Args:
        order: the blocks in the order learnt.
        example_blocks, dialogue_ids: of every training example.
        replay_share: share of the dialogues of every earlier block that stays in memory, at least one; drawn
            by `seed` when the block is left (a reservoir of whole dialogues).

    Raises:
        ValueError: an unknown strategy.
    """
    of_block = {block: [i for i, name in enumerate(example_blocks) if name == block] for block in order}
    if strategy == "few-shot":
        return [Stage("few-shot", (), ())]
    if strategy == "joint":
        return [Stage("joint", tuple(order), tuple(i for block in order for i in of_block[block]))]
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    found, memory = [], []
    for block in order:
        found.append(
            Stage(block, (block,), (*of_block[block], *memory), strategy == "independent" and bool(found))
        )
        if strategy == "replay":
            memory += _remembered(
                of_block[block], dialogue_ids, replay_share, random.Random(f"{seed} {block}")
            )
    return found


def _remembered(
    examples: Sequence[int], dialogue_ids: Sequence[str], share: float, draw: random.Random
) -> list[int]:
    names = sorted({dialogue_ids[i] for i in examples})
    kept = set(draw.sample(names, math.ceil(share * len(names))))
    return [i for i in examples if dialogue_ids[i] in kept]
