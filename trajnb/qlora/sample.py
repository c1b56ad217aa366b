"""Replies drawn from a model: many to one prompt, whose tokens are read once.

Prompts are read as in `generate`; every draw then goes on from the nodes of its prompt, with keys
and values of its own for what it writes. All random numbers of a draw come from its seed, one for
every token of the vocabulary at every step, and the token with the largest

    logit + temperature * Gumbel number

is written: that is a draw from softmax(logits / temperature), and at temperature 0 the best token.
So a draw is the same text alone, in any order and beside any others, as far as the logits are: they
differ by about 1e-5 with what stands beside it, and `margin` says how near a reply came to another.
Drawing by the inverse of the cumulative distribution is less steady, for a sum that is off by 1e-6
passes over many unlikely tokens: between logits of smollm2-135m read at once and one by one, it
changed a token in 450, this way none in 18,000.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trajnb.qlora import decode
from trajnb.qlora.attention import Store
from trajnb.qlora.chat import Encoded
from trajnb.qlora.decode import ROW_TOKENS, WAVE_TOKENS, Limit, Reading, Writing
from trajnb.qlora.model import Model
from trajnb.qlora.plan import Pass, by_dialogue, pack_passes
from trajnb.qlora.progress import Answering, Tell, silent
from trajnb.qlora.trie import Span

TOGETHER = 256
"""Draws that are continued together, at most: logits and random numbers of a step take 12 bytes for
each of them and each token of the vocabulary, 150 MB for smollm2-135m.
"""


@dataclass(frozen=True)
class Drawn:
    """One reply that is wanted."""

    prompt: int
    """Index of its prompt."""
    temperature: float
    """Logits are divided by it; 0 is greedy."""
    seed: int
    """From 0 to 2**64 - 1: what this reply's random numbers come from, all of them."""


@dataclass(frozen=True)
class Sampled:
    """One reply."""

    tokens: list[int]
    """Generated, the end token included where one was written."""
    stopped: bool
    """The last token is the end token: decoding was not cut by `max_new_tokens`."""
    logps: list[float]
    """Of each token its log-probability under temperature 1, whatever it was drawn with, nats."""
    margin: float
    """The smallest gap between the two best on the way, of logit + temperature * Gumbel number:
    under about 1e-4 another order of sums may choose otherwise.
    """

    @property
    def logp(self) -> float:
        """Log-probability of the reply under temperature 1, its end token included, nats."""
        return math.fsum(self.logps)


@dataclass
class _Reply(Writing):
    """One draw on its way to a reply."""

    temperature: float
    random: np.random.Generator
    logps: list[float]


@dataclass(frozen=True)
class _Prompt:
    """A prompt that was read."""

    length: int
    path: list[Span]
    """Its nodes in its wave's store."""
    logits: torch.Tensor
    """Behind its last token, (vocabulary,)."""


@torch.inference_mode()
def sample(
    model: Model,
    prompts: Sequence[Sequence[int]],
    draws: Sequence[Drawn],
    dialogue_ids: Sequence[str],
    *,
    end_token: int,
    max_new_tokens: int,
    wave_tokens: int = WAVE_TOKENS,
    row_tokens: int = ROW_TOKENS,
    tell: Tell = silent,
) -> list[Sampled]:
    """The replies that `draws` want to the prompts (token ids), in the order of `draws`.
    `dialogue_ids` names the dialogue of each prompt: those of a dialogue share much, and what they
    share is computed once. A prompt that no draw wants is not read.

    `model` must be loaded with `attn_implementation="trie"`. A reply has up to `max_new_tokens`
    tokens, the end token counted. Beside `wave_tokens` of prompts up to as many of replies are
    held. `tell` is told every few seconds how far it is.

    Raises:
        ValueError: a prompt that is empty or without a dialogue, a draw of a prompt that is not
            there, a temperature below zero or not finite, a seed of more than 64 bits,
            `max_new_tokens` below one.
    """
    limit = Limit(end_token, max_new_tokens)
    _check(prompts, draws, dialogue_ids)
    # 1. Rows of the prompts that are wanted, those of a dialogue together.
    wanted: dict[int, list[int]] = {}  # prompt -> its draws
    for index, draw in enumerate(draws):
        wanted.setdefault(draw.prompt, []).append(index)
    examples = [Encoded(list(prompt), len(prompt)) for prompt in prompts]
    groups = []
    for group in by_dialogue(dialogue_ids).values():
        groups.append([prompt for prompt in group if prompt in wanted])
    rows = pack_passes(examples, groups, min(row_tokens, wave_tokens), wave_tokens)
    # 2. Waves: as many rows as there is memory for are read, then all draws from them are written.
    replies: dict[int, _Reply] = {}
    with decode.answering(model):
        progress = Answering(tell, sum(row.size for row in rows), len(draws))
        for wave in decode.waves(rows, wave_tokens):
            store, read = _read_wave(model, examples, wave, progress)
            here = sum([wanted[prompt] for prompt in read], [])
            room = max(1, min(TOGETHER, wave_tokens // max_new_tokens))
            for first in range(0, len(here), room):
                some = here[first : first + room]
                asked = [(read[draws[index].prompt], draws[index]) for index in some]
                written = _write(model, store, asked, limit, progress)
                replies.update(zip(some, written, strict=True))
            del store, read  # before the next wave is read
    return [_finished(replies[index], limit) for index in range(len(draws))]


def _check(
    prompts: Sequence[Sequence[int]], draws: Sequence[Drawn], dialogue_ids: Sequence[str]
) -> None:
    if len(dialogue_ids) != len(prompts):
        raise ValueError(
            f"{len(prompts)} prompts and {len(dialogue_ids)} dialogue ids: give one for each prompt"
        )
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompt {index} is empty: it needs at least one token")
    for draw in draws:
        if not 0 <= draw.prompt < len(prompts):
            raise ValueError(
                f"a draw wants prompt {draw.prompt}, of {len(prompts)}: they count from 0"
            )
        if not 0 <= draw.temperature < math.inf:  # NaN is not either
            raise ValueError(
                f"temperature is {draw.temperature}: give 0 for greedy replies or a positive number"
            )
        if not 0 <= draw.seed < 2**64:
            raise ValueError(f"seed is {draw.seed}: give a whole number from 0 to 2**64 - 1")


def _read_wave(
    model: Model, examples: Sequence[Encoded], wave: Sequence[Pass], progress: Answering
) -> tuple[Store, dict[int, _Prompt]]:
    """Read the prompts of a wave: their keys and values, and each by its index."""
    reading, read = Reading(model, progress), {}
    for row in wave:
        ends, packed = [], row.packed
        for place, index in enumerate(row.examples):
            ends += packed.nodes(place, examples[index].prompt - 1)
        paths, logits = reading.read(row, ends)
        for index, path, behind in zip(row.examples, paths, logits, strict=True):
            read[index] = _Prompt(examples[index].prompt, path, behind)
    return reading.join(), read


def _write(
    model: Model,
    store: Store,
    asked: Sequence[tuple[_Prompt, Drawn]],
    limit: Limit,
    progress: Answering,
) -> list[_Reply]:
    """Replies to prompts of one wave, all together."""
    replies = []
    for prompt, draw in asked:
        replies.append(
            _Reply(
                prompt=prompt.length,
                path=prompt.path,
                written=[],
                margin=math.inf,
                temperature=draw.temperature,
                random=np.random.default_rng(draw.seed),
                logps=[],
            )
        )
    _write_next(replies, torch.stack([prompt.logits for prompt, _ in asked]))
    going = [reply for reply in replies if limit.goes_on(reply.written)]
    progress.finished(len(replies) - len(going))
    if going:
        decode.proceed(model, store, going, _write_next, limit, progress)
    return replies


def _write_next(replies: Sequence[_Reply], logits: torch.Tensor) -> None:
    """Write the next token of each reply; `logits` (replies, vocabulary)."""
    noise = torch.from_numpy(_noise(replies, logits.shape[1])).to(logits.device)
    tokens, gaps = decode.best(logits + noise)
    logps = logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)  # (replies,)
    found = zip(replies, tokens.tolist(), gaps.tolist(), logps.tolist(), strict=True)
    for reply, token, gap, logp in found:
        reply.written.append(token)
        reply.logps.append(logp)
        reply.margin = min(reply.margin, gap)


def _noise(replies: Sequence[_Reply], vocabulary: int) -> np.ndarray:
    """Gumbel numbers times the temperature of each reply, (replies, vocabulary), in fp32."""
    noise = np.zeros((len(replies), vocabulary), dtype=np.float32)
    for row, reply in zip(noise, replies, strict=True):
        if reply.temperature:
            # drawn in fp64: in fp32 one number in 2**23 is zero, and its token would always win
            row[:] = -reply.temperature * np.log(reply.random.standard_exponential(vocabulary))
    return noise


def _finished(reply: _Reply, limit: Limit) -> Sampled:
    stopped = limit.stopped(reply.written)
    return Sampled(reply.written, stopped, reply.logps, reply.margin)
