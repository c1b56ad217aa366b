"""Pairs of answers to one prompt: in shared rows, their log-probabilities, and what these say.

A row holds whole pairs of one dialogue, every distinct prefix once: the two sides of a pair share
their prompt, and pairs of a dialogue share their history. Log-probabilities (nats) are sums over a
completion and its end token.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch.nn.functional import logsigmoid

from trajnb.qlora import trie
from trajnb.qlora.attention import UNREAD, TrieLayout
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import on_gpu
from trajnb.qlora.plan import by_dialogue, pack_passes
from trajnb.qlora.progress import Pace, Tell, silent

LogProbabilities = list[tuple[float, float]]
"""Of every pair: of its chosen and of its rejected side, nats."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, as tokens. Raises ValueError where the prompts differ."""

    chosen: Encoded
    rejected: Encoded

    def __post_init__(self):
        left, right = [side.tokens[: side.prompt] for side in self.sides]
        if left != right:
            raise ValueError(
                f"the sides of a pair have prompts of {len(left)} and {len(right)} tokens that "
                "differ: give both sides the same messages"
            )

    @property
    def sides(self) -> tuple[Encoded, Encoded]:
        return self.chosen, self.rejected


def chain(parts: Iterable[Iterable]) -> list:
    return list(itertools.chain.from_iterable(parts))


def pair_rows(pairs: Sequence[Pair], group: Sequence[int], budget: int) -> list[list[int]]:
    """The pairs of one dialogue in rows of at most `budget` distinct tokens; a pair beyond it has
    a row to itself.
    """
    units = [[side.tokens for side in pairs[index].sides] for index in group]
    return [[group[place] for place in row] for row in trie.pack_units(units, budget)]


def pair_batch(pairs: Sequence[Pair], packed: trie.Trie) -> dict:
    """Model inputs for several pairs in one row: `packed` is the trie of their sides' tokens,
    chosen and rejected of each in turn; see `completion_batch`.
    """
    return completion_batch(chain(pair.sides for pair in pairs), packed)


def completion_batch(examples: Sequence[Encoded], packed: trie.Trie) -> dict:
    """Model inputs for several examples in one row, of which any may be the same: `packed` is the
    trie of their tokens.

    `logits_to_keep` are the nodes that predict a token of a completion, each once. `asked` has for
    every such token, one example after another, its place among these nodes and itself,
    (2, tokens); `sizes` the number of tokens of every completion.
    """
    before, targets = [], []
    for index, example in enumerate(examples):
        before += packed.nodes(index, example.prompt - 1, len(example.tokens) - 1)
        targets += example.completion
    kept = sorted(set(before))
    places = {node: place for place, node in enumerate(kept)}
    return {
        "input_ids": torch.tensor([packed.tokens]),  # (1, nodes)
        "position_ids": torch.tensor([packed.depths]),  # (1, nodes)
        "logits_to_keep": torch.tensor(kept),  # (predicting nodes,)
        "layout": TrieLayout(packed.segments),
        "attention_mask": UNREAD,
        "asked": torch.tensor([[places[node] for node in before], targets]),
        "sizes": [len(example.completion) for example in examples],
    }


def side_sums(model: PeftModel, inputs: dict) -> torch.Tensor:
    """Log-probabilities of the sides of a `pair_batch`, (pairs, 2): chosen, rejected."""
    sides = token_logps(model, inputs).split(inputs["sizes"])
    return torch.stack([side.sum() for side in sides]).view(-1, 2)


def token_logps(model: PeftModel, inputs: dict) -> torch.Tensor:
    """Log-probabilities of all completion tokens of a `completion_batch`, one example after
    another, (completion tokens,).
    """
    inputs = dict(inputs)
    (rows, targets), _ = inputs.pop("asked"), inputs.pop("sizes")
    logits = model(**inputs, use_cache=False).logits[0].float()  # (predicting nodes, vocabulary)
    return logits[rows, targets] - logits.logsumexp(-1)[rows]


def on_device(inputs: dict, device: torch.device) -> dict:
    """The same inputs, their tensors where a model is."""
    moved = {}
    for name, value in inputs.items():
        moved[name] = value.to(device) if isinstance(value, torch.Tensor) else value
    return moved


@torch.no_grad()
def log_probabilities(
    model: PeftModel,
    pairs: Sequence[Pair],
    dialogue_ids: Sequence[str],
    token_budget: int,
    say: Tell = silent,
) -> LogProbabilities:
    """Of both sides of every pair, in order, under `model` as it stands, without dropout.
    `dialogue_ids` names the dialogue of every pair; rows are those of a plan with `token_budget`.
    """
    rows: list[list[int]] = []
    for group in by_dialogue(dialogue_ids).values():
        rows += pair_rows(pairs, group, token_budget)
    pace, found = Pace(say), {}
    training = model.training
    model.eval()
    try:
        for row in rows:
            found |= zip(row, _read(model, [pairs[index] for index in row]), strict=True)
            pace(f"log-probabilities of {len(found)} of {len(pairs)} pairs")
    finally:
        model.train(training)
    return [found[index] for index in range(len(pairs))]


def _read(model: PeftModel, pairs: Sequence[Pair]) -> LogProbabilities:
    """The log-probabilities of one row's pairs, computed as in training."""
    sides = chain(pair.sides for pair in pairs)
    inputs = pair_batch(pairs, trie.build([side.tokens for side in sides]))
    inputs = on_device(inputs, model.device)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=on_gpu()):
        return [tuple(pair) for pair in side_sums(model, inputs).tolist()]


@torch.no_grad()
def completion_sums(
    model: PeftModel, examples: Sequence[Encoded], dialogue_ids: Sequence[str], token_budget: int
) -> list[float]:
    """The log-probability of every completion under `model` as it stands, without dropout, nats.
    `dialogue_ids` names the dialogue of every example; a row has at most `token_budget` distinct
    tokens, where a single one does not need more.
    """
    found = {}
    training = model.training
    model.eval()
    try:
        for row in pack_passes(examples, list(by_dialogue(dialogue_ids).values()), token_budget):
            inputs = completion_batch([examples[index] for index in row.examples], row.packed)
            inputs = on_device(inputs, model.device)
            with torch.autocast(model.device.type, torch.bfloat16, enabled=on_gpu()):
                parts = token_logps(model, inputs).split(inputs["sizes"])
            found |= zip(row.examples, [part.sum().item() for part in parts], strict=True)
    finally:
        model.train(training)
    return [found[place] for place in range(len(examples))]


def log_ratios(
    model: PeftModel,
    pairs: Sequence[Pair],
    reference: LogProbabilities,
    dialogue_ids: Sequence[str],
    token_budget: int,
) -> torch.Tensor:
    """How much likelier the sides of left-out pairs are under `model` than they were when
    `log_probabilities` gave `reference`: (pairs, 2), nats, for `measure`.
    """
    now = log_probabilities(model, pairs, dialogue_ids, token_budget)
    return torch.tensor(now, dtype=torch.double) - torch.tensor(reference, dtype=torch.double)


@dataclass(frozen=True)
class Measures:
    """What pairs say about an adapter against its reference, each a mean over the pairs."""

    loss: float
    logratio_chosen: float
    """Nats by which the chosen sides became likelier; negative where they lost, as they may."""
    logratio_rejected: float
    margin: float
    """beta times the difference of the two: above zero where the chosen side gained more."""
    accuracy: float
    """Share of the pairs with a margin above zero; 0 before the first step."""


def pair_losses(ratios: torch.Tensor, beta: float) -> torch.Tensor:
    """The DPO loss of every pair, (pairs,), from its log-ratios against the reference, (pairs, 2):
    chosen, rejected.
    """
    return -logsigmoid(beta * (ratios[:, 0] - ratios[:, 1]))


def measure(ratios: torch.Tensor, beta: float) -> Measures:
    """The measures of pairs with these log-ratios, (pairs, 2): chosen, rejected."""
    ratios = ratios.detach().double().cpu()
    margins = beta * (ratios[:, 0] - ratios[:, 1])
    return Measures(
        loss=pair_losses(ratios, beta).mean().item(),
        logratio_chosen=ratios[:, 0].mean().item(),
        logratio_rejected=ratios[:, 1].mean().item(),
        margin=margins.mean().item(),
        accuracy=(margins > 0).double().mean().item(),
    )
