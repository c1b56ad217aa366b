"""What one block of training goes through, decided and packed before any of it runs.

What an optimiser step holds is decided before anything is packed, so that every way to feed the
model trains on the same examples with the same loss: the mean over the step's supervised tokens.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedConfig

from trajnb.qlora import trie
from trajnb.qlora.chat import Encoded
from trajnb.qlora.rows import array_of, sizes_of

PACKINGS = ("trie", "none")

Batch = list[list[int]]
"""The examples of one optimiser step, as indices, grouped by dialogue."""


@dataclass(frozen=True)
class Recipe:
    """The figures of training that do not depend on the block."""

    epochs: int
    """Times that every dialogue is learnt, where no budget of tokens decides."""
    dialogues_per_step: int
    """Dialogues of one optimiser step, each with all its examples."""
    learning_rate: float
    """The highest: it rises before and decays to zero after, along a cosine."""
    warmup_ratio: float
    """Share of a block's steps in which it rises."""
    packing: str
    """One of `PACKINGS`: shared prefixes once, or one example a forward pass."""
    token_budget: int
    """Distinct tokens of one forward pass, where a single example does not need more."""
    report_to: str = "none"
    """Where the Trainer tells its losses too, one of `train.TRACKERS`; no weight depends on it."""


@dataclass(frozen=True)
class Pass:
    """Examples that go through the model together."""

    examples: list[int]
    """Indices of the examples."""
    size: int
    """Tokens that the model computes: every distinct prefix once."""
    source: Sequence[Encoded] = field(repr=False, compare=False)
    """What the indices point to."""

    @property
    def packed(self) -> trie.Trie:
        """The tokens, in the order of the examples. Laid out at every call, which takes about a
        millisecond: those of a whole plan would fill the memory.
        """
        return trie.build(_arrays(self.source, self.examples))


def one_pass(examples: Sequence[Encoded], indices: list[int]) -> Pass:
    """The pass of some of these examples."""
    return Pass(indices, trie.count(_arrays(examples, indices)), examples)


@dataclass(frozen=True)
class Cost:
    """What a block's plan takes, all epochs included."""

    steps: int
    """Optimiser steps."""
    examples: int
    """How often an example is learnt."""
    tokens: int
    """Prompt and completion tokens of all examples: what a standard trainer computes."""
    supervised: int
    """Completion tokens of all examples."""
    computed: int
    """Tokens that go through the model after packing."""


@dataclass(frozen=True)
class Plan:
    """What one block trains on, in order. Made by `make_plan`, or by `pack` of given batches."""

    recipe: Recipe
    examples: Sequence[Encoded]
    """What the indices below point to."""
    batches: list[Batch]
    """One for every optimiser step; none where nothing is learnt."""
    passes: list[list[Pass]]
    """For every batch its forward passes."""

    @property
    def cost(self) -> Cost:
        """What the plan takes, counted before any of it runs."""
        sizes = self._sizes()
        return Cost(
            steps=len(self.batches),
            examples=len(sizes),
            tokens=sum(size for size, _ in sizes),
            supervised=sum(size - prompt for size, prompt in sizes),
            computed=sum(one.size for one in itertools.chain.from_iterable(self.passes)),
        )

    def operations(self, config: PreTrainedConfig, rank: int) -> float:
        """Floating-point operations on what is computed after packing, see `operations`."""
        tokens = pairs = 0
        for one in itertools.chain.from_iterable(self.passes):
            tokens += one.size
            pairs += sum(depth + 1 for depth in one.packed.depths)  # a token and each it looks at
        supervised = sum(size - prompt for size, prompt in self._sizes())
        return operations(config, rank, tokens, pairs, supervised)

    def _sizes(self) -> list[tuple[int, int]]:
        """Of every example, as often as it is learnt, its tokens and those of its prompt."""
        groups = itertools.chain.from_iterable(self.batches)
        places = itertools.chain.from_iterable(groups)
        return [sizes_of(self.examples, index) for index in places]


def operations(
    config: PreTrainedConfig,
    rank: int,
    tokens: int,
    pairs: int,
    supervised: int,
    backward: bool = True,
) -> float:
    """Floating-point operations on `tokens` that are computed, in `pairs` of a token and each it looks
    at, of which `supervised` are asked for; for a model of Llama's shape (`config`) with LoRA of `rank`
    on every linear layer. Without `backward` of reading alone, the adapter merged.

    Per token computed: 2 + 2 for a frozen weight (forward, and backward to its input), 2 + 4 for an
    adapter's. Per token and ancestor: 4 forward and 8 backward for each channel of attention. Per
    supervised token: 2 + 2 for each weight of the output layer.
    """
    width, inner = config.hidden_size, config.intermediate_size
    layers = config.num_hidden_layers
    head = getattr(config, "head_dim", None) or width // config.num_attention_heads
    query, shared = head * config.num_attention_heads, head * config.num_key_value_heads
    attention = [(width, query), (width, shared), (width, shared), (query, width)]
    shapes = [*attention, (width, inner), (width, inner), (inner, width)]
    frozen = layers * sum(a * b for a, b in shapes)
    adapter = layers * rank * sum(a + b for a, b in shapes)
    forward = 2 * tokens * frozen + 4 * pairs * query * layers + 2 * supervised * width * config.vocab_size
    if not backward:
        return forward
    return (
        tokens * (4 * frozen + 6 * adapter)
        + 12 * pairs * query * layers
        + 4 * supervised * width * config.vocab_size
    )


def make_plan(
    examples: Sequence[Encoded],
    dialogue_ids: Sequence[str],
    recipe: Recipe,
    seed: int,
    budget: int | None = None,
) -> Plan:
    """The plan of a block: dialogues in a seeded order, shuffled anew for every epoch.

    `dialogue_ids` names the dialogue of every example, in order. The sampling unit is the dialogue:
    all its examples fall into one optimiser step.

    With a `budget`, it and not the number of epochs decides how many dialogues are learnt: epoch
    after epoch, until the tokens of their examples come as near to it as whole dialogues can.

    Raises ValueError for an unknown packing.
    """
    groups = by_dialogue(dialogue_ids)
    draw = random.Random(seed)
    if budget is None:
        epochs = [draw.sample(list(groups), len(groups)) for _ in range(recipe.epochs)]
    else:
        sizes = {}
        for name, group in groups.items():
            sizes[name] = sum(sizes_of(examples, index)[0] for index in group)
        epochs = _epochs_within(budget, sizes, draw)
    steps = in_steps(epochs, recipe.dialogues_per_step)
    return pack(examples, [[groups[name] for name in step] for step in steps], recipe)


def in_steps(epochs: Sequence[Sequence[str]], dialogues_per_step: int) -> list[list[str]]:
    """The dialogues of every optimiser step; none holds dialogues of two epochs."""
    steps = []
    for order in epochs:
        for first in range(0, len(order), dialogues_per_step):
            steps.append(list(order[first : first + dialogues_per_step]))
    return steps


def _epochs_within(budget: int, sizes: dict[str, int], draw: random.Random) -> list[list[str]]:
    """The dialogues of each epoch; the last one ends where more than half of a dialogue
    would be too much.
    """
    epochs: list[list[str]] = []
    while sizes and budget > 0:
        order = draw.sample(list(sizes), len(sizes))
        ends = itertools.accumulate(sizes[name] for name in order)
        taken = sum(2 * (end - budget) < sizes[name] for name, end in zip(order, ends, strict=True))
        # something is learnt, however small the budget
        epochs.append(order[: max(taken, not epochs)])
        budget = budget - sum(sizes.values()) if taken == len(order) else 0
    return epochs


def pack(examples: Sequence[Encoded], batches: Sequence[Batch], recipe: Recipe) -> Plan:
    """The plan that has these batches, as the recipe packs them. Raises ValueError for an unknown
    packing.
    """
    if recipe.packing not in PACKINGS:
        raise ValueError(f"unknown packing {recipe.packing!r}: one of {', '.join(PACKINGS)}")
    passes = []
    for batch in batches:
        if recipe.packing == "none":
            alone = itertools.chain.from_iterable(batch)
            passes.append([one_pass(examples, [index]) for index in alone])
        else:
            passes.append(pack_passes(examples, batch, recipe.token_budget))
    return Plan(recipe, examples, list(batches), passes)


def by_dialogue(dialogue_ids: Sequence[str]) -> dict[str, list[int]]:
    """The indices of every dialogue's examples, dialogues in the order of their first example."""
    groups: dict[str, list[int]] = {}
    for index, dialogue in enumerate(dialogue_ids):
        groups.setdefault(dialogue, []).append(index)
    return groups


def pack_passes(
    examples: Sequence[Encoded], groups: Batch, budget: int, group_budget: int = 0
) -> list[Pass]:
    """Groups of examples (indices) in forward passes of at most `budget` distinct tokens, each
    group together where that can be: see `trie.pack`.
    """
    sequences = [_arrays(examples, group) for group in groups]
    passes = []
    for members in trie.pack(sequences, budget, group_budget):
        indices = [groups[group][place] for group, place in members]
        size = trie.count([sequences[group][place] for group, place in members])
        passes.append(Pass(indices, size, examples))
    return passes


def _arrays(examples: Sequence[Encoded], indices: Sequence[int]) -> list[np.ndarray]:
    return [array_of(examples, index) for index in indices]
