"""Which prefixes token sequences share, found by keeping the sequences in lexical order: of all before a
sequence, the ones beside it share most with it.
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np


class Prefixes:
    """The distinct prefixes of token sequences (non-empty, ids from 0)."""

    def __init__(self):
        self.size = 0
        """How many there are."""
        self._keys: list[bytes] = []  # of each sequence its ids, the first byte the highest: they sort alike
        self._sequences: list[np.ndarray] = []
        self._numbers: list[int] = []  # how many were added before

    def copy(self) -> "Prefixes":
        """The same prefixes, to add more to."""
        other = Prefixes()
        other.size = self.size
        other._keys, other._sequences = self._keys.copy(), self._sequences.copy()
        other._numbers = self._numbers.copy()
        return other

    def add(self, sequence: np.ndarray) -> tuple[int, int]:
        """Add a sequence. Returns how many first tokens it shares with one that was added before, and the
        number of that one, from 0; (0, -1) where it shares none.
        """
        key = _key(sequence)
        place = bisect_left(self._keys, key)
        shared, number = self._beside(sequence, place)
        self._numbers.insert(place, len(self._keys))
        self._sequences.insert(place, sequence)
        self._keys.insert(place, key)
        self.size += len(sequence) - shared
        return shared, number

    def _beside(self, sequence: np.ndarray, place: int) -> tuple[int, int]:
        """The same for a sequence that is to stand at a place."""
        found = 0, -1
        for beside in range(max(place - 1, 0), min(place + 1, len(self._keys))):
            if (shared := common(sequence, self._sequences[beside])) > found[0]:
                found = shared, self._numbers[beside]
        return found


def array(sequence: Sequence[int]) -> np.ndarray:
    """A token sequence as `Prefixes` takes it."""
    assert len(sequence), "a token sequence is empty: every example needs at least one token"
    return np.asarray(sequence, dtype=np.int32)


def common(one: np.ndarray, other: np.ndarray) -> int:
    """How many first tokens two sequences share."""
    size = min(len(one), len(other))
    differ = one[:size] != other[:size]
    place = int(differ.argmax())
    return place if differ[place] else size


def _key(sequence: np.ndarray) -> bytes:
    return sequence.astype(">u4").tobytes()
