"""Controls of preferences: the same prompts and right calls, with other rejected sides.

If the errors of the model are what teaches, then errors made elsewhere (`random_sides`) teach less,
and sides the other way round (`flipped_sides`) must hurt.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from trajnb.formatting.pairs import Pairs
from trajnb.formatting.replies import meaning

NO_SIDE = "no side of another state"
"""Why `random_sides` leaves a pair out."""


def flipped_sides(pairs: Pairs) -> Pairs:
    """Every pair the other way round."""
    rows = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in pairs.rows]
    return Pairs(tuple(rows), dict(pairs.dropped))


def random_sides(pairs: Pairs, seed: int) -> Pairs:
    """The rejected sides of each block in a random order: none at a state that it was said at, and
    none where it is the right call.

    As far as swaps can see to it, none means what was said at its new state either; many are `[]`,
    so that this is not always to be had. Pairs that no side fits are left out and counted. `kind`
    goes with its side; of harm nothing is known there, so that `harmless` is false.
    """
    rows = pairs.rows
    dealt: list[dict | None] = [None] * len(rows)
    for block in dict.fromkeys(row["block"] for row in rows):
        places = [place for place, row in enumerate(rows) if row["block"] == block]
        sides = _deal([rows[place] for place in places], random.Random(f"{seed} {block}"))
        for place, side in zip(places, sides, strict=True):
            if side is not None:
                other = rows[places[side]]
                foreign = {"rejected": other["rejected"], "kind": other["kind"], "harmless": False}
                dealt[place] = rows[place] | foreign
    kept = tuple(row for row in dealt if row is not None)
    return Pairs(kept, pairs.dropped | {NO_SIDE: len(rows) - len(kept)})


def _deal(rows: Sequence[Mapping], rng: random.Random) -> list[int | None]:
    """For each row the number of that whose rejected side it gets; None where none fits."""
    states = [(row["task"], row["step"]) for row in rows]
    chosen = [meaning(row["chosen"][0]["content"], {}) for row in rows]
    rejected = [meaning(row["rejected"][0]["content"], {}) for row in rows]
    said: dict[tuple, set] = {}
    for state, what in zip(states, rejected, strict=True):
        said.setdefault(state, set()).add(what)

    def fits(row: int, side: int) -> bool:
        return states[row] != states[side] and rejected[side] != chosen[row]

    def fits_well(row: int, side: int) -> bool:
        return fits(row, side) and rejected[side] not in said[states[row]]

    sides = list(range(len(rows)))
    rng.shuffle(sides)
    for good in (fits_well, fits):
        _swap(sides, good, rng)
    return [side if fits(row, side) else None for row, side in enumerate(sides)]


def _swap(sides: list[int], good: Callable[[int, int], bool], rng: random.Random) -> None:
    """Swap the sides of two rows, in place, where one's becomes good and the other's no worse."""
    others = list(range(len(sides)))
    rng.shuffle(others)

    def no_worse(row: int, side: int) -> bool:
        return good(row, side) or not good(row, sides[row])

    for row in others:
        if good(row, sides[row]):
            continue
        for other in others:
            if good(row, sides[other]) and no_worse(other, sides[row]):
                sides[row], sides[other] = sides[other], sides[row]
                break
