"""The two sides of a split, and which dialogues are held out where the corpus does not say.

Of a split without folds a dialogue's side follows from what it says, so that data added later moves
none that was there. Folds are dealt from all dialogues at once: each is held out in one of them.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from trajnb.corpora.storage import dump
from trajnb.formatting.calls import render
from trajnb.formatting.dialogue import Dialogue
from trajnb.known import check_known

SPLITS = ("dialogue", "gold-disjoint", "row")
ROW_SEED = 42  # the paper's
FOLD_SEED = "folds"  # of every corpus, never a run's own: folds of different runs must be disjoint


def on_side(
    dialogues: Iterable[Dialogue], held_out: Collection[str], block: str, side: str
) -> list[Dialogue]:
    """The dialogues of a block that stand on one side, "train" or "held_out", in their order."""
    return [d for d in dialogues if d.block == block and (d.id in held_out) == (side == "held_out")]


def hold_out(dialogues: Sequence[Dialogue], split: str, share: float) -> frozenset[str]:
    """As `draw`, which see; ValueError too for a block with one side empty."""
    held_out = draw(dialogues, split, share)
    check_sides(dialogues, held_out, f"change held_out_share ({share}) or add dialogues")
    return held_out


def draw(dialogues: Sequence[Dialogue], split: str, share: float) -> frozenset[str]:
    """The ids of about `share` of the dialogues of every block.

    "dialogue": by a hash of the turns, so that dialogues that say the same stand on one side.
    "gold-disjoint": dialogues that share a call stay together, so that no target of one side stands on the
    other; a group with more than `share` of all dialogues is trained on, whatever its hash.
    "row": the paper's, a shuffle of every block with seed 42 and the last `share` of it. Meant for corpora
    of single rows, where it puts prefixes of one conversation on both sides.

    Raises:
        ValueError: a share outside (0, 1), or an unknown split.
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
        groups = [[dialogue] for dialogue in dialogues] if split == "dialogue" else by_gold(dialogues)
        for group in groups:
            if _number(group) < share and (split == "dialogue" or len(group) <= share * len(dialogues)):
                held_out.update(dialogue.id for dialogue in group)
    return frozenset(held_out)


def draw_some(dialogues: Sequence[Dialogue], split: str, share: float) -> frozenset[str]:
    """As `draw`, but where that leaves one side of all dialogues empty, as it can where they are few: the
    group that it comes nearest to holding out, and of dialogues that all say the same the last one.
    """
    held_out = draw(dialogues, split, share)
    if 0 < len(held_out) < len(dialogues):
        return held_out
    groups: dict[float, list[str]] = {}
    for group in by_gold(dialogues) if split == "gold-disjoint" else [[one] for one in dialogues]:
        groups.setdefault(_number(group), []).extend(dialogue.id for dialogue in group)
    return frozenset(groups[min(groups)] if len(groups) > 1 else [dialogues[-1].id])


def check_sides(dialogues: Iterable[Dialogue], held_out: Collection[str], remedy: str) -> None:
    """Raise ValueError, with what to do, for a block that has one side empty."""
    sizes, out = Counter(), Counter()
    for dialogue in dialogues:
        sizes[dialogue.block] += 1
        out[dialogue.block] += dialogue.id in held_out
    for block, size in sizes.items():
        if out[block] in (0, size):
            empty = "training" if out[block] else "held-out"
            raise ValueError(f"block {block!r} has no {empty} dialogue of its {size}: {remedy}")


def deal(dialogues: Sequence[Dialogue], split: str, fold: int, folds: int) -> frozenset[str]:
    """The ids that fold `fold` of `folds` (from 0) holds out; each dialogue is in exactly one fold.

    A permutation of the dialogues that depends on nothing but their ids is dealt round, each to the
    fold that has fewest of its block, so that folds differ by at most one dialogue in a block, and
    what a corpus shows or calls (`documents`, `fresh_ids`) moves none. Dialogues that say the same
    are dealt as one, the largest such groups first; rows are not.

    "gold-disjoint" deals groups of dialogues that share a call, so that its folds differ by more.
    Groups that are too large, see `too_large`, are dealt dialogue by dialogue; what
    `without_targets_of` then takes away keeps the sides apart.

    Raises:
        ValueError: fewer than two folds, a fold that is none of them, an unknown split, or a block
            that has not a dialogue for every fold.
    """
    check_known("split", split, SPLITS)
    check_fold(fold, folds)
    sizes = Counter(dialogue.block for dialogue in dialogues)
    for block, size in sizes.items():
        if size < folds:
            raise ValueError(
                f"block {block!r} has {size} dialogues, too few for {folds} folds: lower folds"
            )
    shuffled = sorted(dialogues, key=lambda dialogue: dialogue.id)
    random.Random(FOLD_SEED).shuffle(shuffled)
    groups = sorted(_dealt_as_one(shuffled, split, folds), key=len, reverse=True)
    held_out: list[set[str]] = [set() for _ in range(folds)]
    counts: list[Counter[str]] = [Counter() for _ in range(folds)]
    for group in groups:
        blocks = {dialogue.block for dialogue in group}
        fewest = min(range(folds), key=lambda place: _load(counts[place], blocks))
        held_out[fewest].update(dialogue.id for dialogue in group)
        counts[fewest].update(dialogue.block for dialogue in group)
    for block in sizes:
        if not all(count[block] for count in counts):
            raise ValueError(
                f"block {block!r}: dialogues that stand together (split {split!r}) leave a fold "
                f"without any of its {sizes[block]}: lower folds ({folds}), or take another split"
            )
    return frozenset(held_out[fold])


def check_fold(fold: int, folds: int) -> None:
    """Raise ValueError for a number of folds that is none, or a fold that is not among them."""
    if folds < 2:
        raise ValueError(
            f"folds is {folds}: it takes at least two, one held out and the rest to learn from"
        )
    if not 0 <= fold < folds:
        raise ValueError(
            f"fold is {fold}: {folds} folds are numbered 0 to {folds - 1}, and -1 is the corpus's "
            "own split"
        )


def _load(count: Counter[str], blocks: Collection[str]) -> tuple[int, int]:
    """How much a fold has of some blocks, and then of all."""
    return sum(count[block] for block in blocks), count.total()


def too_large(group: Sequence[Dialogue], dialogues: Sequence[Dialogue], folds: int) -> bool:
    """Whether a group cannot be held out as a whole: it has more than one of `folds` parts of all
    dialogues, or leaves less than a dialogue of a block to each other fold.
    """
    if len(group) * folds > len(dialogues):
        return True
    rest = Counter(dialogue.block for dialogue in dialogues)
    rest.subtract(dialogue.block for dialogue in group)
    return any(rest[block] < folds - 1 for block in {dialogue.block for dialogue in group})


def _dealt_as_one(dialogues: Sequence[Dialogue], split: str, folds: int) -> list[list[Dialogue]]:
    """The dialogues in groups that one fold holds out."""
    if split == "row":
        return [[dialogue] for dialogue in dialogues]
    if split == "dialogue":
        said: dict[str, list[Dialogue]] = {}
        for dialogue in dialogues:
            said.setdefault(repr(dialogue.turns), []).append(dialogue)
        return list(said.values())
    groups = by_gold(dialogues)
    whole = [group for group in groups if not too_large(group, dialogues, folds)]
    kept = {dialogue.id for group in whole for dialogue in group}
    return [*whole, *([dialogue] for dialogue in dialogues if dialogue.id not in kept)]


def without_targets_of(
    dialogues: Sequence[Dialogue], held_out: Collection[str]
) -> tuple[tuple[Dialogue, ...], int]:
    """The dialogues with the training calls that are also held out no longer targets, and how many
    these were.

    Prompts still show them; they are not learnt, and so no call of the training side is asked for.
    An API that has no arguments, whose calls are all alike, may then not be learnt at all.
    """
    others = [dialogue for dialogue in dialogues if dialogue.id in held_out]
    asked = {call for dialogue in others for call in _targets(dialogue).values()}
    found, taken = [], 0
    for dialogue in dialogues:
        targets = {} if dialogue.id in held_out else _targets(dialogue)
        shared = {place for place, call in targets.items() if call in asked}
        if shared:
            left = tuple(place for place in dialogue.places if place not in shared)
            dialogue = replace(dialogue, targets=left)
        found.append(dialogue)
        taken += len(shared)
    return tuple(found), taken


def _targets(dialogue: Dialogue) -> dict[int, str]:
    """The calls that are targets, as text, by their place."""
    turns = dialogue.turns
    return {place: render(turns[place].call) for place in dialogue.places if turns[place].call}


def _number(group: Sequence[Dialogue]) -> float:
    """A number in [0, 1) that depends on nothing but turns."""
    said = min(dump([Dialogue("", "", (), dialogue.turns)], ())[0] for dialogue in group)
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8]) / 2**64


def by_gold(dialogues: Sequence[Dialogue]) -> list[list[Dialogue]]:
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
