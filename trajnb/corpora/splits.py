"""The two sides of a split, and which dialogues are held out where the corpus does not say.

A dialogue's side follows from what it says, so that data added later moves none that was there.
"""

import hashlib
import random
from collections.abc import Collection, Iterable, Sequence

from trajnb.corpora.storage import dump
from trajnb.formatting.calls import render
from trajnb.formatting.dialogue import Dialogue
from trajnb.known import check_known

SPLITS = ("dialogue", "gold-disjoint", "row")
ROW_SEED = 42  # the paper's


def on_side(
    dialogues: Iterable[Dialogue], held_out: Collection[str], block: str, side: str
) -> list[Dialogue]:
    """The dialogues of a block that stand on one side, "train" or "held_out", in their order."""
    return [d for d in dialogues if d.block == block and (d.id in held_out) == (side == "held_out")]


def hold_out(dialogues: Sequence[Dialogue], split: str, share: float) -> frozenset[str]:
    """The ids of about `share` of the dialogues of every block.

    "dialogue": by a hash of the turns, so that dialogues that say the same stand on one side.
    "gold-disjoint": dialogues that share a call stay together, so that no target of one side stands on the
    other; a group with more than `share` of all dialogues is trained on, whatever its hash.
    "row": the paper's, a shuffle of every block with seed 42 and the last `share` of it. Meant for corpora
    of single rows, where it puts prefixes of one conversation on both sides.

    Raises:
        ValueError: a share outside (0, 1), an unknown split, or a block with one side empty.
    """
    if not 0 < share < 1:
        raise ValueError(f"held_out_share is {share}: it must lie between 0 and 1")
    check_known("split", split, SPLITS)
    by_block: dict[str, list[Dialogue]] = {}
    for dialogue in dialogues:
        by_block.setdefault(dialogue.block, []).append(dialogue)
    held_out: set[str] = set()
    if split == "row":
        for side in by_block.values():
            ids = [dialogue.id for dialogue in side]
            random.Random(ROW_SEED).shuffle(ids)
            held_out.update(ids[int((1 - share) * len(ids)) :])
    else:
        groups = [[dialogue] for dialogue in dialogues] if split == "dialogue" else _by_gold(dialogues)
        for group in groups:
            if _draw(group) < share and (split == "dialogue" or len(group) <= share * len(dialogues)):
                held_out.update(dialogue.id for dialogue in group)
    for block, side in by_block.items():
        out = sum(dialogue.id in held_out for dialogue in side)
        if out in (0, len(side)):
            empty = "training" if out else "held-out"
            raise ValueError(
                f"block {block!r} has no {empty} dialogue of its {len(side)}: "
                f"change held_out_share ({share}) or add dialogues"
            )
    return frozenset(held_out)


def _draw(group: Sequence[Dialogue]) -> float:
    """A number in [0, 1) that depends on nothing but turns."""
    said = min(dump([Dialogue("", "", (), dialogue.turns)], ())[0] for dialogue in group)
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8]) / 2**64


def _by_gold(dialogues: Sequence[Dialogue]) -> list[list[Dialogue]]:
    """The dialogues in groups: two that make the same call are in one."""
    leader = list(range(len(dialogues)))

    def find(place: int) -> int:
        while leader[place] != place:
            leader[place] = place = leader[leader[place]]
        return place

    first: dict[str, int] = {}
    for place, dialogue in enumerate(dialogues):
        for turn in dialogue.turns:
            if turn.call:
                leader[find(place)] = find(first.setdefault(render(turn.call), place))
    groups: dict[int, list[Dialogue]] = {}
    for place, dialogue in enumerate(dialogues):
        groups.setdefault(find(place), []).append(dialogue)
    return list(groups.values())
