"""Examples as tokens that lie in an Arrow table on disk, read where they are asked for."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
from datasets import Dataset

from trajnb.qlora.chat import Encoded
from trajnb.qlora.prefixes import array

COLUMNS = ("tokens", "prompt_tokens")
"""What a table says of an example beside its text: its tokens, and how many of them are the prompt."""


class EncodedRows(Sequence[Encoded]):
    """Some of the examples of a table, in any order; of none of them a list is kept."""

    def __init__(self, table: Dataset, places: Iterable[int] | None = None):
        """`table` has the columns `COLUMNS`; without `places` it is all of its rows."""
        chunks = table.data.column(COLUMNS[0]).chunks
        self._starts = [0, *accumulate(map(len, chunks))]
        self._ids = [chunk.values.to_numpy(zero_copy_only=True) for chunk in chunks]
        self._ends = [chunk.offsets.to_numpy(zero_copy_only=True) for chunk in chunks]
        self._prompts = table.data.column(COLUMNS[1]).to_numpy()
        self._places = np.arange(len(table)) if places is None else np.fromiter(places, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Encoded:
        return Encoded(self.array(index).tolist(), int(self._prompts[self._places[index]]))

    def array(self, index: int) -> np.ndarray:
        """The tokens of an example, (tokens,), not to be written to."""
        place = int(self._places[index])
        chunk = bisect_right(self._starts, place) - 1
        within = place - self._starts[chunk]
        first, last = self._ends[chunk][within : within + 2]
        return self._ids[chunk][first:last]

    def sizes(self, index: int) -> tuple[int, int]:
        """How many tokens an example has, and how many of them are the prompt."""
        return len(self.array(index)), int(self._prompts[self._places[index]])

    def select(self, places: Iterable[int]) -> "EncodedRows":
        """The examples at these places, in this order."""
        other = object.__new__(EncodedRows)
        vars(other).update(vars(self))
        other._places = self._places[np.fromiter(places, dtype=np.int64)]
        return other


def select(examples: Sequence[Encoded], places: Sequence[int]) -> Sequence[Encoded]:
    """The examples at these places, in this order."""
    if isinstance(examples, EncodedRows):
        return examples.select(places)
    return [examples[place] for place in places]


def array_of(examples: Sequence[Encoded], index: int) -> np.ndarray:
    """The tokens of an example, (tokens,)."""
    if isinstance(examples, EncodedRows):
        return examples.array(index)
    return array(examples[index].tokens)


def sizes_of(examples: Sequence[Encoded], index: int) -> tuple[int, int]:
    """How many tokens an example has, and how many of them are the prompt."""
    if isinstance(examples, EncodedRows):
        return examples.sizes(index)
    return len(examples[index].tokens), examples[index].prompt
