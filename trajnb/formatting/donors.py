"""Whose calls a placebo shows: for each dialogue another one of about the same length."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from trajnb.formatting.calls import render
from trajnb.formatting.dialogue import Dialogue


@dataclass(frozen=True)
class _Shelf:
    """The dialogues of a block that have calls to give."""

    lengths: list[int]
    """In ascending order, each once."""
    groups: dict[int, list[Dialogue]]
    """Those of a length, by id."""
    common: frozenset[str]
    """Calls that all of them make."""

    def outwards(self, length: int) -> Iterator[tuple[int, list[Dialogue]]]:
        """Distance to a length, and the dialogues there, the nearest first."""
        above = bisect_left(self.lengths, length)
        below = above - 1
        while below >= 0 or above < len(self.lengths):
            down = length - self.lengths[below] if below >= 0 else None
            up = self.lengths[above] - length if above < len(self.lengths) else None
            if up is None or (down is not None and down <= up):
                yield down, self.groups[self.lengths[below]]
                below -= 1
            else:
                yield up, self.groups[self.lengths[above]]
                above += 1


def donors(dialogues: Sequence[Dialogue], condition: str = "placebo") -> dict[str, Dialogue]:
    """For every dialogue, by id, the one whose calls stand in a placebo of it; none where there is
    no such one.

    For `placebo` it is of another block, and of one block alone nothing has a donor; for
    `placebo-near` of the same block as far as there is another. Then: without a call that the
    dialogue makes too, as far as there is such, and of the most similar length of calls and
    responses. `dialogues` are those of one side of a split.
    """
    near = condition == "placebo-near"
    made = {d.id: {render(turn.call) for turn in d.turns if turn.call} for d in dialogues}
    lengths = {
        d.id: sum(len(turn.text) for turn in d.turns if turn.call) + sum(map(len, made[d.id]))
        for d in dialogues
    }
    by_block: dict[str, list[Dialogue]] = {}
    for dialogue in dialogues:
        if made[dialogue.id]:
            by_block.setdefault(dialogue.block, []).append(dialogue)
    shelves = {block: _shelf(willing, made, lengths) for block, willing in by_block.items()}
    found = {}
    for one in dialogues:
        own = [shelves[one.block]] if near and one.block in shelves else []
        others = [shelf for block, shelf in shelves.items() if block != one.block]
        for chosen in (own, others):
            best = [_closest(one, shelf, made, lengths[one.id]) for shelf in chosen]
            best = [donor for donor in best if donor]
            if best:
                found[one.id] = min(best, key=lambda donor: donor[:3])[3]
                break
    return found


def _shelf(
    willing: Iterable[Dialogue], made: Mapping[str, set[str]], lengths: Mapping[str, int]
) -> _Shelf:
    groups: dict[int, list[Dialogue]] = {}
    for dialogue in sorted(willing, key=lambda one: one.id):
        groups.setdefault(lengths[dialogue.id], []).append(dialogue)
    calls = [made[dialogue.id] for group in groups.values() for dialogue in group]
    return _Shelf(sorted(groups), groups, frozenset(set.intersection(*calls)))


def _closest(
    one: Dialogue, shelf: _Shelf, made: Mapping[str, set[str]], length: int
) -> tuple[bool, int, str, Dialogue] | None:
    """The donor of a shelf that is least unlike: whether it makes a call that `one` makes too, its
    distance in length, its id, itself.
    """
    all_share = not made[one.id].isdisjoint(shelf.common)
    best = None
    for distance, group in shelf.outwards(length):
        if best and distance > best[1] and (all_share or not best[0]):
            break
        for other in group:
            if other.id == one.id:
                continue
            shared = all_share or not made[one.id].isdisjoint(made[other.id])
            donor = shared, distance, other.id, other
            best = min(best or donor, donor, key=lambda donor: donor[:3])
            if all_share or not shared:
                break
    return best
