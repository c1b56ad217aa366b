"""Greedy answers to dialogues whose prompts grow, as in a rollout, without reading anything twice.

The next prompt of a dialogue begins like the one before (instruction, documents, history) and
differs at its end, where the cue was. A session keeps keys and values of every dialogue between its
steps and reads only what is new; all dialogues of a step are read and continued together. The text
is the one that greedy decoding gives for each whole prompt by itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate, chain

import torch

from trajnb.qlora.attention import UNREAD, Cache, CacheLayout, Watched
from trajnb.qlora.decode import ROW_TOKENS, answering
from trajnb.qlora.model import Model, layer_count
from trajnb.qlora.progress import Answering, Tell, silent


@dataclass(frozen=True)
class Reply:
    """What a model says to one prompt."""

    tokens: list[int]
    """Generated, the end token included where one was written."""
    stopped: bool
    """The last token is the end token: decoding was not cut by `max_new_tokens`."""
    margin: float
    """The smallest gap between the two best logits on the way, see `generate.Answer`."""


class Session:
    """Dialogues in progress, within a `with` block.

    The adapter is merged once, for the whole block; at its end the weights and the model's mode are
    what they were. The model must be loaded with `attn_implementation="trie"`, and must not be
    trained meanwhile.

    What is held of a dialogue is 2 x layers x key/value heads x head width numbers for every token
    of its prompt and last reply: 45 KiB a token for smollm2-135m in fp32, 128 KiB for Llama 3.1 8B
    in bf16. Buffers have room for up to twice as many tokens, until `forget` or the end of the
    block frees them.
    """

    def __init__(
        self,
        model: Model,
        *,
        end_token: int,
        max_new_tokens: int,
        row_tokens: int = ROW_TOKENS,
        tell: Tell = silent,
    ):
        """A reply has up to `max_new_tokens` tokens, the end token counted, as `generate` counts; a
        forward pass over prompts reads up to `row_tokens`. `tell` is told every few seconds how far
        the replies of a step are. Raises ValueError for fewer than one of either.
        """
        for setting, count in (("max_new_tokens", max_new_tokens), ("row_tokens", row_tokens)):
            if count < 1:
                raise ValueError(
                    f"{setting} is {count}: at least one token must be generated and read"
                )
        self.model = model
        self.end_token = end_token
        self.max_new_tokens = max_new_tokens
        self.row_tokens = row_tokens
        self.tell = tell
        self.caches: dict[str, Cache] = {}  # by dialogue

    def __enter__(self) -> "Session":
        with ExitStack() as stack:
            stack.enter_context(answering(self.model))
            # what a session holds is of weights that may change afterwards
            stack.callback(self.caches.clear)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    @torch.inference_mode()
    def answer(self, prompts: Mapping[str, Sequence[int]]) -> dict[str, Reply]:
        """Greedy replies to the prompts (token ids, by dialogue) of one step; any dialogues, known
        or new.

        A prompt may differ from the dialogue's last one anywhere: it is read from the first
        difference on, also past the last reply as far as it repeats that. Raises ValueError for an
        empty prompt.
        """
        assert not self.model.training, "a session answers within its `with` block only"
        if empty := [name for name, prompt in prompts.items() if not prompt]:
            raise ValueError(
                f"the prompt of dialogue {empty[0]!r} is empty: it needs at least one token"
            )
        new = 0
        for name, prompt in prompts.items():
            cache = self.caches.setdefault(name, Cache())
            cache.keep(prompt)
            new += len(prompt) - len(cache.tokens)
        progress = Answering(self.tell, new, len(prompts))
        best = {}
        for row in self._rows(prompts):
            watch = progress.watch(sum(map(len, row.values())))
            best |= self._read(row, watch)  # of a prompt in several rows the last one's stays
            watch(1.0)
        written: dict[str, list[int]] = {name: [] for name in prompts}
        margins = dict.fromkeys(prompts, float("inf"))
        while best:
            for name, (token, margin) in best.items():
                written[name].append(token)
                margins[name] = min(margins[name], margin)
            going = {name: written[name][-1:] for name in best if self._goes_on(written[name])}
            progress.finished(len(best) - len(going))
            if not going:
                break
            longest = max(len(written[name]) for name in going)  # all are of equal length
            best = self._read(going, watch=lambda share: None)
            progress.wrote(len(going), self.max_new_tokens - longest - 1)
        return {
            name: Reply(tokens, tokens[-1] == self.end_token, margins[name])
            for name, tokens in written.items()
        }

    def forget(self, name: str) -> None:
        """Free what is held of a dialogue that has ended."""
        self.caches.pop(name, None)

    def _goes_on(self, tokens: list[int]) -> bool:
        return tokens[-1] != self.end_token and len(tokens) < self.max_new_tokens

    def _rows(self, prompts: Mapping[str, Sequence[int]]) -> Iterator[dict[str, Sequence[int]]]:
        """What no cache holds of the prompts, in rows of at most `row_tokens` tokens."""
        row, room = {}, self.row_tokens
        for name, prompt in prompts.items():
            start = len(self.caches[name].tokens)
            while start < len(prompt):
                row[name] = prompt[start : start + room]
                start, room = start + len(row[name]), room - len(row[name])
                if not room:
                    yield row
                    row, room = {}, self.row_tokens
        if row:
            yield row

    def _read(
        self, row: Mapping[str, Sequence[int]], watch: Callable[[float], None]
    ) -> dict[str, tuple[int, float]]:
        """Read the next tokens of some dialogues in one forward pass: for each, the token that
        follows them and by how much its logit is the best. `watch` is told how much is read, from 0
        to 1.
        """
        device = next(self.model.parameters()).device
        caches = [self.caches[name] for name in row]
        sizes = [len(tokens) for tokens in row.values()]
        starts = [len(cache.tokens) for cache in caches]
        depths = []
        for start, size in zip(starts, sizes, strict=True):
            depths += range(start, start + size)
        ends = [stop - 1 for stop in accumulate(sizes)]
        layout = CacheLayout(list(zip(caches, sizes, strict=True)))
        output = self.model(
            input_ids=torch.tensor([list(chain.from_iterable(row.values()))], device=device),
            position_ids=torch.tensor([depths], device=device),
            layout=Watched(layout, layer_count(self.model), watch),
            attention_mask=UNREAD,
            logits_to_keep=torch.tensor(ends, device=device),  # the last token of each dialogue
            use_cache=False,
        )
        for cache, tokens in zip(caches, row.values(), strict=True):
            cache.tokens.extend(tokens)
        best = output.logits[0].float().topk(2)  # (dialogues, 2)
        gaps = best.values[:, 0] - best.values[:, 1]
        pairs = zip(best.indices[:, 0].tolist(), gaps.tolist(), strict=True)
        return dict(zip(row, pairs, strict=True))
