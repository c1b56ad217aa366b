"""Shared prefixes, computed once.

The examples of one dialogue repeat most of their prompt. Here token sequences become one *trie*: every
distinct prefix stands once, at the position of its depth, and a token attends to its ancestors only.
Gradients and logits are those of the sequences one by one. Nothing here knows of dialogues or models;
`attention` reads the layout.
"""

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trajnb.qlora.prefixes import Prefixes, array

Span = tuple[int, int]
"""A half-open range of nodes."""
_NO_NODES = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Segment:
    """A run of nodes in which each is the parent of the next."""

    start: int
    stop: int
    ancestors: tuple[Span, ...]
    """The path from the root to the parent of `start`, as spans in order of depth."""


@dataclass(frozen=True)
class Trie:
    """Token sequences merged by their prefixes. A node is an index into `tokens`."""

    tokens: list[int]
    depths: list[int]
    """Depth of every node, 0 for a first token: its position id."""
    segments: list[Segment]
    """They cover the nodes in order."""
    paths: list[tuple[Span, ...]]
    """For every sequence, in the order given, its nodes from the root."""

    def nodes(self, sequence: int, start: int = 0, stop: int | None = None) -> list[int]:
        """The nodes of tokens `start` to `stop` of one sequence."""
        return [node for span in self.paths[sequence] for node in range(*span)][start:stop]


def build(sequences: Sequence[Sequence[int]]) -> Trie:
    """Merge `sequences` (non-empty lists of token ids) into one trie.

    The longest sequence is laid out first and whole, so that a dialogue's growing prompt becomes one plainly
    causal trunk and every other example a short branch off it. A trunk is followed by its branches, deepest
    first, so that what belongs together lies together.
    """
    arrays = [array(sequence) for sequence in sequences]
    known = Prefixes()
    nodes: list[np.ndarray] = []  # of every sequence that was laid out, from the root
    ends = [0] * len(arrays)
    runs: list[tuple[int, int]] = []  # first node of every run of new nodes, and its parent
    new: list[np.ndarray] = []  # the tokens of every run
    size = 0
    for index in sorted(range(len(arrays)), key=lambda i: -len(arrays[i])):
        shared, like = known.add(arrays[index])
        before = nodes[like][:shared] if shared else _NO_NODES
        fresh = len(arrays[index]) - shared
        nodes.append(np.concatenate([before, np.arange(size, size + fresh)]))
        ends[index] = int(nodes[-1][-1])
        if fresh:
            runs.append((size, int(before[-1]) if shared else -1))
            new.append(arrays[index][shared:])
            size += fresh
    order, moved = _by_branch(runs, size)
    segments: list[Segment] = []
    depths: list[np.ndarray] = []
    for start, stop, parent in order:
        ancestors = _path(moved(parent), segments) if parent >= 0 else ()
        segments.append(Segment(moved(start), moved(start) + stop - start, ancestors))
        depth = sum(last - first for first, last in ancestors)
        depths.append(np.arange(depth, depth + stop - start))
    place_of = {start: place for place, (start, _) in enumerate(runs)}
    tokens = [new[place_of[start]] for start, _, _ in order]
    paths = [_path(moved(end), segments) for end in ends]
    return Trie(np.concatenate(tokens).tolist(), np.concatenate(depths).tolist(), segments, paths)


def count(sequences: Iterable[Sequence[int]]) -> int:
    """How many nodes `build` makes of `sequences`: their distinct prefixes."""
    return _with(Prefixes(), map(array, sequences)).size


def _by_branch(
    runs: list[tuple[int, int]], size: int
) -> tuple[list[tuple[int, int, int]], Callable[[int], int]]:
    """The runs (start, stop, parent) in pre-order, and node -> the place that it moves to."""
    starts = [start for start, _ in runs]
    stops = [*starts[1:], size]
    hanging: dict[int, list[int]] = {}  # run -> runs that hang off it
    for run, (_, parent) in enumerate(runs):
        hanging.setdefault(bisect_right(starts, parent) - 1, []).append(run)
    order, shifts, pending = [], [0] * len(runs), hanging.get(-1, [])[::-1]
    filled = 0
    while pending:
        run = pending.pop()
        order.append((starts[run], stops[run], runs[run][1]))
        shifts[run] = filled - starts[run]
        filled += stops[run] - starts[run]
        pending += sorted(hanging.get(run, []), key=lambda r: runs[r][1])  # the deepest is popped first
    return order, lambda node: node + shifts[bisect_right(starts, node) - 1]


def _path(node: int, segments: list[Segment]) -> tuple[Span, ...]:
    """The spans from the root to `node`, both included."""
    holder = segments[bisect_right(segments, node, key=lambda segment: segment.start) - 1]
    return (*holder.ancestors, (holder.start, node + 1))


def pack(
    groups: Sequence[Sequence[Sequence[int]]], budget: int, group_budget: int = 0
) -> list[list[tuple[int, int]]]:
    """Put groups of sequences that share much (the examples of a dialogue) into rows of at most `budget`
    distinct tokens.

    Returns the rows, each a list of (group, index in group). A group stays together where it fits a row of
    its own; a single sequence beyond the budget gets a row to itself, for nothing is ever cut here. With a
    larger `group_budget` a group beyond the budget stays together too, in a row that it has to itself.
    """
    members = ([[array(sequence)] for sequence in group] for group in groups)
    return _fill(members, budget, group_budget)


def pack_units(units: Sequence[Sequence[Sequence[int]]], budget: int) -> list[list[int]]:
    """Put units of sequences that stay together (the two sides of a pair) into rows of at most `budget`
    distinct tokens. Returns the rows, each a list of indices of units, in order; a unit beyond the budget
    gets a row to itself.
    """
    members = [[array(sequence) for sequence in unit] for unit in units]
    return [[index for _, index in row] for row in _fill([members], budget, 0)]


def _fill(
    groups: Iterable[list[list[np.ndarray]]], budget: int, group_budget: int
) -> list[list[tuple[int, int]]]:
    """The rows of `pack`, of the sequences of every member of every group."""
    rows: list[list[tuple[int, int]]] = []
    row: list[tuple[int, int]] = []
    seen = Prefixes()

    def close():
        nonlocal row, seen
        if row:
            rows.append(row)
        row, seen = [], Prefixes()

    for g, members in enumerate(groups):
        joined = _with(seen, itertools.chain.from_iterable(members))
        if joined.size > budget:
            close()
            joined = _with(seen, itertools.chain.from_iterable(members))
        limit = max(budget, group_budget)
        if joined.size <= limit:
            row += [(g, i) for i in range(len(members))]
            seen = joined
            continue
        for i, member in enumerate(members):
            joined = _with(seen, member)
            if row and joined.size > limit:
                close()
                joined = _with(seen, member)
            row.append((g, i))
            seen = joined
    close()
    return rows


def _with(known: Prefixes, sequences: Iterable[np.ndarray]) -> Prefixes:
    """What is known and these."""
    joined = known.copy()
    for sequence in sequences:
        joined.add(sequence)
    return joined
