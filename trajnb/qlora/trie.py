"""Shared prefixes, computed once.

The examples of one dialogue repeat most of their prompt. Here token sequences become one *trie*: every
distinct prefix stands once, at the position of its depth, and a token attends to its ancestors only.
Gradients and logits are those of the sequences one by one. Nothing here knows of dialogues or models;
`attention` reads the layout.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Span = tuple[int, int]
"""A half-open range of nodes."""


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
    assert all(sequences), "a token sequence is empty: every example needs at least one token"
    tokens: list[int] = []
    depths: list[int] = []
    children: dict[tuple[int, int], int] = {}  # (parent, token) -> node
    ends = [0] * len(sequences)
    runs: list[tuple[int, int]] = []  # first node of every run of new nodes, and its parent
    for index in sorted(range(len(sequences)), key=lambda i: -len(sequences[i])):
        node, fresh = -1, False
        for depth, token in enumerate(sequences[index]):
            child = children.get((node, token))
            if child is None:
                child = children[node, token] = len(tokens)
                tokens.append(token)
                depths.append(depth)
                if not fresh:
                    runs.append((child, node))
                    fresh = True
            node = child
        ends[index] = node
    order, moved = _by_branch(runs, len(tokens))
    segments: list[Segment] = []
    for start, stop, parent in order:
        ancestors = _path(moved[parent], segments) if parent >= 0 else ()
        segments.append(Segment(moved[start], moved[start] + stop - start, ancestors))
    paths = [_path(moved[end], segments) for end in ends]
    places = sorted(range(len(tokens)), key=moved.__getitem__)
    return Trie([tokens[old] for old in places], [depths[old] for old in places], segments, paths)


def _by_branch(runs: list[tuple[int, int]], size: int) -> tuple[list[tuple[int, int, int]], list[int]]:
    """The runs (start, stop, parent) in pre-order, and the place that every node moves to."""
    starts = [start for start, _ in runs]
    stops = [*starts[1:], size]
    hanging: dict[int, list[int]] = {}  # run -> runs that hang off it
    for run, (_, parent) in enumerate(runs):
        hanging.setdefault(bisect_right(starts, parent) - 1, []).append(run)
    order, moved, pending = [], [0] * size, hanging.get(-1, [])[::-1]
    filled = 0
    while pending:
        run = pending.pop()
        order.append((starts[run], stops[run], runs[run][1]))
        for node in range(starts[run], stops[run]):
            moved[node] = filled
            filled += 1
        pending += sorted(hanging.get(run, []), key=lambda r: runs[r][1])  # the deepest is popped first
    return order, moved


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
    keys = ([_prefix_keys(sequence) for sequence in group] for group in groups)
    return _fill(keys, budget, group_budget)


def pack_units(units: Sequence[Sequence[Sequence[int]]], budget: int) -> list[list[int]]:
    """Put units of sequences that stay together (the two sides of a pair) into rows of at most `budget`
    distinct tokens. Returns the rows, each a list of indices of units, in order; a unit beyond the budget
    gets a row to itself.
    """
    keys = [set().union(*map(_prefix_keys, unit)) for unit in units]
    return [[index for _, index in row] for row in _fill([keys], budget, 0)]


def _fill(
    groups: Iterable[list[set[tuple[int, int]]]], budget: int, group_budget: int
) -> list[list[tuple[int, int]]]:
    """The rows of `pack`, of the prefix keys of every member of every group."""
    rows: list[list[tuple[int, int]]] = []
    row: list[tuple[int, int]] = []
    seen: set[tuple[int, int]] = set()

    def close():
        nonlocal row, seen
        if row:
            rows.append(row)
        row, seen = [], set()

    for g, keys in enumerate(groups):
        whole = set().union(*keys)
        if len(seen | whole) > budget:
            close()
        limit = budget if len(whole) <= budget else max(budget, group_budget)
        for i, key in enumerate(keys):
            if row and len(seen | key) > limit:
                close()
            row.append((g, i))
            seen |= key
    close()
    return rows


def _prefix_keys(sequence: Sequence[int]) -> set[tuple[int, int]]:
    """One key for every prefix of a sequence: (length, hash), equal for equal prefixes."""
    keys, rolling = set(), 0
    for depth, token in enumerate(sequence):
        rolling = hash((rolling, token))
        keys.add((depth, rolling))
    return keys
