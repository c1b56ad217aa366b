"""Greedy answers for many examples, with the prompt computed once and the gold call as the draft.

One forward pass over the trie of prompts and gold calls gives the likelihood of gold and shows how
far greedy decoding would have written it. Where it would have written something else, decoding goes
on from the first other token, all examples together, on the keys and values already there. The text
is the one that greedy decoding gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trajnb.qlora import decode
from trajnb.qlora.attention import Store
from trajnb.qlora.chat import Encoded
from trajnb.qlora.decode import ROW_TOKENS, WAVE_TOKENS, Limit, Reading, Writing
from trajnb.qlora.model import Model
from trajnb.qlora.plan import Pass, by_dialogue, pack_passes
from trajnb.qlora.progress import Answering, Tell, silent


@dataclass(frozen=True)
class Answer:
    """What a model says to one example."""

    tokens: list[int]
    """Generated, the end token included where one was written."""
    stopped: bool
    """The last token is the end token: decoding was not cut by `max_new_tokens`."""
    gold_nll: float
    """Negative log-likelihood of the gold completion, nats, summed over its tokens and the end
    token.
    """
    margin: float
    """The smallest gap between the two best logits on the way: under about 1e-4 another order of
    sums may choose otherwise.
    """


@dataclass
class _Item(Writing):
    """One example on its way to an answer."""

    gold_nll: float


@torch.inference_mode()
def answer(
    model: Model,
    examples: Sequence[Encoded],
    dialogue_ids: Sequence[str],
    *,
    end_token: int,
    max_new_tokens: int,
    wave_tokens: int = WAVE_TOKENS,
    row_tokens: int = ROW_TOKENS,
    tell: Tell = silent,
) -> list[Answer]:
    """Greedy answers to the examples, in their order. `dialogue_ids` names the dialogue of each:
    those of a dialogue share much, and what they share is computed once.

    `model` must be loaded with `attn_implementation="trie"`. An answer has up to `max_new_tokens`
    tokens, the end token counted, as `generate` counts. `tell` is told every few seconds how far it
    is, over all waves. Raises ValueError for `max_new_tokens` below one.
    """
    limit = Limit(end_token, max_new_tokens)
    # 1. Rows: what goes through the model together while prompts are read.
    groups = list(by_dialogue(dialogue_ids).values())
    rows = pack_passes(examples, groups, min(row_tokens, wave_tokens), wave_tokens)
    # 2. Waves: as many rows as there is memory for are read, then all their examples are continued.
    answers: dict[int, Answer] = {}
    with decode.answering(model):
        progress = Answering(tell, sum(row.size for row in rows), len(examples))
        for wave in decode.waves(rows, wave_tokens):
            for index, item in _answer_wave(model, examples, wave, limit, progress).items():
                stopped = limit.stopped(item.written)
                answers[index] = Answer(item.written, stopped, item.gold_nll, item.margin)
    return [answers[index] for index in range(len(examples))]


def _answer_wave(
    model: Model,
    examples: Sequence[Encoded],
    wave: Sequence[Pass],
    limit: Limit,
    progress: Answering,
) -> dict[int, _Item]:
    """The finished items of a wave, by the index of their example."""
    # 1. Read every row by itself.
    items: dict[int, _Item] = {}
    reading = Reading(model, progress)
    for row in wave:
        chosen = [examples[index] for index in row.examples]
        items.update(zip(row.examples, _read(reading, chosen, row, limit), strict=True))
    # 2. Continue together what is not written to its end.
    going = [item for item in items.values() if limit.goes_on(item.written)]
    progress.finished(len(items) - len(going))
    if going:
        _decode(model, reading.join(), going, limit, progress)
    return items


def _read(reading: Reading, examples: Sequence[Encoded], row: Pass, limit: Limit) -> list[_Item]:
    """Read prompts and gold calls of one row: for each example its gold's likelihood, and as much
    of its answer as is gold plus one token.
    """
    # 1. Logits at the nodes that predict a token of gold, those of all examples one after another.
    before, packed = [], row.packed
    for place, example in enumerate(examples):
        before.append(packed.nodes(place, example.prompt - 1, len(example.tokens) - 1))
    sizes = [len(nodes) for nodes in before]
    paths, logits = reading.read(row, sum(before, []))

    # 2. Of (gold tokens of all examples, vocabulary): loss, best token, its gap to the second.
    gold = torch.tensor(sum([example.completion for example in examples], []), device=logits.device)
    losses = logits.logsumexp(-1) - logits.gather(-1, gold[:, None])[:, 0]  # (gold tokens,)
    best, gaps = decode.best(logits)
    by_example = [part.split(sizes) for part in (losses, best, gaps)]

    # 3. The answer is what was best as long as it was gold, and the first other token.
    items = []
    for example, path, loss, draft, gap in zip(examples, paths, *by_example, strict=True):
        draft = draft.tolist()
        length = min(_agreed(draft, example.completion) + 1, limit.max_new_tokens)
        margin = min(gap[:length].tolist())
        items.append(_Item(example.prompt, path, draft[:length], margin, loss.sum().item()))
    return items


def _agreed(draft: Sequence[int], gold: Sequence[int]) -> int:
    """How many tokens agree from the start; of a draft that is all gold, all but the last."""
    for place, (one, other) in enumerate(zip(draft, gold, strict=True)):
        if one != other:
            return place
    return len(gold) - 1


def _decode(
    model: Model, store: Store, going: list[_Item], limit: Limit, progress: Answering
) -> None:
    """Continue the items in place with the best token at every step."""
    decode.proceed(model, store, going, _write_best, limit, progress)


def _write_best(going: Sequence[_Item], logits: torch.Tensor) -> None:
    best, gaps = decode.best(logits)
    for item, token, gap in zip(going, best.tolist(), gaps.tolist(), strict=True):
        item.written.append(token)
        item.margin = min(item.margin, gap)
