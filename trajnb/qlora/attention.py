"""Attention that looks only where a trie allows, for any model of transformers whose attention is
pluggable.

A dense 4-D mask gives the same numbers but computes every pair of tokens: on bfcl it spent 41 % of
a training step. Here the trunk is one plainly causal product and each branch a small one over its
ancestors; while decoding, a new token meets its own dialogue's keys and no others, and no key is
ever copied. In a rollout every dialogue has a cache of its own, which outlives the answer. A
forward pass carries its layout in the keyword argument `layout`; without one this is transformers'
own sdpa.

On a GPU a training pass has no layout but a `block_mask`, and goes to transformers' own flex
attention: one kernel, where spans keep a copy of keys and values for every branch. Spans stay the
way of the CPU, on which flex attention has no backward pass, and the reference.

Shapes are named by letters: h key/value heads, g query heads that share one of them, n new tokens
(queries), s tokens looked at (keys, values), d head width. A layer gives `query` as
(1, h * g, n, d), `key` and `value` as (1, h, n, d), and is given back (1, h * g, n, d).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trajnb.qlora.trie import Segment, Span, Trie

NAME = "trie"
"""The name under which models are loaded: `attn_implementation=NAME`."""

UNREAD = torch.ones(1, 1, 1, 1, dtype=torch.bool)
"""What stands as `attention_mask` beside a layout, which says who sees whom: of a mask with four
dimensions transformers makes none of its own, which would be (1, 1, n, n) and read by nobody.
"""

Store = dict[int, tuple[torch.Tensor, torch.Tensor]]
"""Keys and values by layer, each (1, key/value heads, tokens, head width)."""


@dataclass(frozen=True)
class TrieLayout:
    """One row that holds a whole trie: its nodes are the new tokens, in order."""

    segments: list[Segment]
    store: Store | None = None
    """Where keys and values are kept, if they are to be."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        if self.store is not None:
            self.store[layer] = key, value
        repeat = query.shape[1] // key.shape[1]  # repeating beats enable_gqa on a CPU
        keys = key.repeat_interleave(repeat, 1)  # (1, h * g, n, d)
        values = value.repeat_interleave(repeat, 1)
        parts = []
        for segment in self.segments:
            spans = [*segment.ancestors, (segment.start, segment.stop)]
            rows = segment.stop - segment.start
            columns = sum(stop - start for start, stop in spans)
            # Half of the square over ancestors and segment, of which only the segment's rows are
            # kept, or the rectangle of the segment's rows under a mask: whichever is smaller.
            square = columns < 2 * rows
            asked = _join(query, spans) if square else query[:, :, segment.start : segment.stop]
            read = scaled_dot_product_attention(
                asked,
                _join(keys, spans),
                _join(values, spans),
                attn_mask=None if square else _ends_at(rows, columns, query.device),
                is_causal=square,
                scale=scale,
            )
            parts.append(read[:, :, -rows:])
        return torch.cat(parts, 2)  # the segments cover the nodes in order


def _ends_at(rows: int, columns: int, device: torch.device) -> torch.Tensor:
    """(rows, columns), causal, the last row seeing the last column; torch's own flag lets the first
    row see the first.
    """
    return torch.ones(rows, columns, dtype=torch.bool, device=device).tril(columns - rows)


def _join(tensor: torch.Tensor, spans: Sequence[Span]) -> torch.Tensor:
    """The tokens of the spans, of (1, heads, tokens, d)."""
    parts = [tensor[:, :, start:stop] for start, stop in spans]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


@dataclass(frozen=True)
class Family:
    """New tokens that look at the same spans of a store: sequences of one dialogue."""

    rows: slice
    """Which of the new tokens."""
    spans: list[Span]
    seen: torch.Tensor
    """(new tokens, nodes in the spans), true where a token may look."""


@dataclass
class DecodeLayout:
    """One new token for each of several sequences, on top of a stored trie and of the tokens
    decoded before.
    """

    store: Store
    families: list[Family]
    own: Store = field(default_factory=dict)
    """Keys and values of the decoded tokens by layer, (n sequences, h, steps, d)."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        heads, width = key.shape[1], key.shape[3]
        # A token of its own for each of n sequences, so that they stand where others have a batch.
        query = query[0].unflatten(0, (heads, -1)) * scale  # (h, g, n, d)
        key = key[0].transpose(0, 1).unsqueeze(2)  # (n, h, 1, d)
        value = value[0].transpose(0, 1).unsqueeze(2)
        if layer in self.own:
            own_key, own_value = self.own[layer]
            key, value = torch.cat([own_key, key], 2), torch.cat([own_value, value], 2)
        self.own[layer] = key, value  # (n, h, steps, d)
        own_scores = torch.einsum("hgnd,nhsd->hgns", query, key)
        read = torch.empty_like(query)
        for family in self.families:
            read[:, :, family.rows] = self._read(layer, family, query, own_scores, value)
        return read.reshape(1, -1, read.shape[2], width)

    def _read(
        self,
        layer: int,
        family: Family,
        query: torch.Tensor,
        own_scores: torch.Tensor,
        own_value: torch.Tensor,
    ) -> torch.Tensor:
        """What the sequences of a family read, (h, g, n, d), n being theirs from here on."""
        stored_key, stored_value = self.store[layer]  # (1, h, nodes, d)
        count = family.rows.stop - family.rows.start
        # A span is met by all queries of the family in one product.
        asked = query[:, :, family.rows].flatten(1, 2)  # (h, g * n, d)
        scores = []
        for start, stop in family.spans:
            scores.append(asked @ stored_key[0, :, start:stop].transpose(1, 2))  # (h, g * n, s)
        met = torch.cat(scores, -1).unflatten(1, (-1, count))  # (h, g, n, nodes in the spans)
        met = met.masked_fill(~family.seen, float("-inf"))
        # One softmax over what is stored and what is the sequence's own.
        weights = torch.cat([met, own_scores[:, :, family.rows]], -1).softmax(-1)
        sizes = [stop - start for start, stop in family.spans]
        *trunk, own = weights.split([*sizes, own_scores.shape[-1]], -1)
        read = torch.einsum("hgns,nhsd->hgnd", own, own_value[family.rows])
        for (start, stop), weight in zip(family.spans, trunk, strict=True):
            part = weight.flatten(1, 2) @ stored_value[0, :, start:stop]  # (h, g * n, d)
            read = read + part.unflatten(1, (-1, count))
        return read

    def keep(self, rows: torch.Tensor, families: list[Family]) -> None:
        """Go on with some of the sequences only (`rows` are indices into the present ones)."""
        self.families = families
        self.own = {layer: (key[rows], value[rows]) for layer, (key, value) in self.own.items()}


@dataclass
class Cache:
    """Keys and values of one sequence, in buffers that new tokens are written into.

    A buffer has room for a power of two of tokens, so it is copied only when the sequence has
    doubled.
    """

    tokens: list[int] = field(default_factory=list)
    """Those whose keys and values are held: what the buffers have behind them is left over."""
    store: Store = field(default_factory=dict)

    def keep(self, tokens: Sequence[int]) -> None:
        """Hold no more than `tokens` begin with, and never all of them: the last one is asked."""
        both = min(len(self.tokens), len(tokens) - 1)
        same = next((n for n in range(both) if self.tokens[n] != tokens[n]), both)
        del self.tokens[same:]

    def write(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> list[torch.Tensor]:
        """Put keys and values of new tokens, (1, h, n, d) each, behind those held; returns all of
        them, (1, h, held + n, d), as views.
        """
        start, stop = len(self.tokens), len(self.tokens) + key.shape[2]
        buffers = self.store.get(layer)
        if buffers is None or buffers[0].shape[2] < stop:
            room = 1 << (stop - 1).bit_length()  # the power of two from `stop` on
            grown = tuple(new.new_empty(*new.shape[:2], room, new.shape[3]) for new in (key, value))
            if buffers is not None:
                for wide, narrow in zip(grown, buffers, strict=True):
                    wide[:, :, :start] = narrow[:, :, :start]
            buffers = self.store[layer] = grown
        for buffer, new in zip(buffers, (key, value), strict=True):
            buffer[:, :, start:stop] = new
        return [buffer[:, :, :stop] for buffer in buffers]


@dataclass(frozen=True)
class CacheLayout:
    """New tokens of several sequences side by side, each run of them on top of its own cache.

    The caller adds the tokens to the caches after the pass: until then their keys are left over.
    """

    runs: list[tuple[Cache, int]]
    """A cache, and how many of the new tokens go on from it; no cache stands here twice."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        counts = [count for _, count in self.runs]
        new = [tensor.split(counts, 2) for tensor in (query, key, value)]
        parts = []
        for (cache, rows), asked, run_key, run_value in zip(self.runs, *new, strict=True):
            keys, values = cache.write(layer, run_key, run_value)  # (1, h, s, d)
            heads, columns = keys.shape[1:3]
            if rows == 1:
                # While decoding no key is repeated: the g queries of a key head become its rows.
                asked = asked.reshape(1, heads, -1, asked.shape[3])  # (1, h, g, d)
            else:
                repeat = asked.shape[1] // heads
                keys = keys.repeat_interleave(repeat, 1)  # (1, h * g, s, d)
                values = values.repeat_interleave(repeat, 1)
            # A whole prompt is causal as torch means it, a single token sees all, and what goes on
            # from held tokens needs a mask.
            read = scaled_dot_product_attention(
                asked,
                keys,
                values,
                attn_mask=None if rows in (1, columns) else _ends_at(rows, columns, query.device),
                is_causal=rows == columns > 1,
                scale=scale,
            )
            parts.append(read.reshape(1, query.shape[1], rows, -1))
        return torch.cat(parts, 2)


@dataclass(frozen=True)
class Watched:
    """A layout that tells how far a pass is: with a large model on a CPU one takes a minute."""

    layout: TrieLayout | CacheLayout
    layers: int
    """Of the model."""
    tell: Callable[[float], None]
    """Takes from 0 to 1 in the forward pass, from 1 to 2 in the backward pass."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        def backward(gradient: torch.Tensor) -> None:
            self.tell(1 + (self.layers - layer - 1) / self.layers)

        self.tell(layer / self.layers)
        read = self.layout.attend(layer, query, key, value, scale)
        if read.requires_grad:
            read.register_hook(backward)
        return read


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | BlockMask | None,
    scaling: float | None = None,
    layout: TrieLayout | DecodeLayout | CacheLayout | Watched | None = None,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What a layer of transformers calls: (1, n, h * g, d), and no weights."""
    if isinstance(attention_mask, BlockMask):
        return flex_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    if layout is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    read = layout.attend(module.layer_idx, query, key, value, scale)
    return read.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def ends(trie: Trie) -> list[int]:
    """For every node the end of its subtree: of what may look at it, which begins with it, for the
    nodes lie in pre-order.
    """
    found = list(range(1, len(trie.tokens) + 1))
    for segment in reversed(trie.segments):
        for node in range(segment.stop - 1, segment.start, -1):
            found[node - 1] = max(found[node - 1], found[node])
        if segment.ancestors:
            parent = segment.ancestors[-1][1] - 1
            found[parent] = max(found[parent], found[segment.start])
    return found


def block_mask(ends: torch.Tensor) -> BlockMask:
    """(1, 1, n, n), where a node may look, of the `ends` (n,) of subtrees: at itself and at those
    before it whose subtree it is in.
    """

    def sees(batch, head, query, key):
        return (key <= query) & (query < ends[key])

    size = len(ends)
    return create_block_mask(sees, None, None, size, size, device=ends.device)


def dense_mask(trie: Trie) -> torch.Tensor:
    """(1, 1, n, n), true where a node may look: itself and its ancestors. The reference for
    `TrieLayout`, in tests.
    """
    mask = torch.zeros(len(trie.tokens), len(trie.tokens), dtype=torch.bool)
    for segment in trie.segments:
        rows, size = slice(segment.start, segment.stop), segment.stop - segment.start
        for start, stop in segment.ancestors:
            mask[rows, start:stop] = True
        mask[rows, rows] = torch.ones(size, size).tril().bool()
    return mask[None, None]
