"""What all ways to answer many prompts at once have in common.

Prompts are read in rows, each a trie, and several rows are a wave. The answers of a wave are then
continued together, a token of each at a step, on the keys and values that are already there. Which
token that is, is the caller's: `generate` takes the best one, `sample` draws it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from trajnb.qlora.attention import UNREAD, DecodeLayout, Family, Store, TrieLayout, Watched
from trajnb.qlora.model import Model, layer_count, merged
from trajnb.qlora.plan import Pass
from trajnb.qlora.progress import Answering
from trajnb.qlora.trie import Span

WAVE_TOKENS = 16384
"""Distinct tokens whose keys and values are held at once: 0.75 GB for smollm2-135m in fp32, 2.1 GB
for Llama 3.1 8B in bf16.
"""

ROW_TOKENS = 2048
"""Distinct tokens of one forward pass over prompts: what a layer computes of more is out of a CPU's
cache.
"""

GAP = 128
"""Nodes between two spans that are attended to under a mask, for one larger product costs less than
two.
"""


@dataclass(frozen=True)
class Limit:
    """When an answer is over."""

    end_token: int
    max_new_tokens: int
    """The end token counted, as `generate` of transformers counts."""

    def __post_init__(self):
        if self.max_new_tokens < 1:
            raise ValueError(
                f"max_new_tokens is {self.max_new_tokens}: at least one token must be generated"
            )

    def goes_on(self, written: Sequence[int]) -> bool:
        return written[-1] != self.end_token and len(written) < self.max_new_tokens

    def stopped(self, written: Sequence[int]) -> bool:
        """The last token is the end token: the answer was not cut by `max_new_tokens`."""
        return written[-1] == self.end_token


@dataclass
class Writing:
    """An answer on its way."""

    prompt: int
    """Tokens of the prompt."""
    path: list[Span]
    """Nodes in its wave's store: of prompt and draft, while decoding of all but the last token."""
    written: list[int]
    """The answer so far; while decoding at least one token."""
    margin: float
    """The smallest gap between the two best on the way, see `generate.Answer`."""

    @property
    def position(self) -> int:
        """Of the last token written: all before it have keys and values."""
        return self.prompt + len(self.written) - 1


Choose = Callable[[Sequence[Writing], torch.Tensor], None]
"""Adds one token to each of n answers, given the logits behind them, (n, vocabulary)."""


@contextmanager
def answering(model: Model) -> Iterator[None]:
    """Within, the model answers: not in training mode, its adapter merged. Afterwards weights and
    mode are what they were.
    """
    training = model.training
    model.eval()
    try:
        with merged(model):
            yield
    finally:
        model.train(training)


def waves(rows: Sequence[Pass], budget: int) -> Iterator[list[Pass]]:
    """Rows in order, as many together as have at most `budget` nodes."""
    wave, size = [], 0
    for row in rows:
        if wave and size + row.size > budget:
            yield wave
            wave, size = [], 0
        wave.append(row)
        size += row.size
    if wave:
        yield wave


@dataclass
class Reading:
    """The rows of a wave, each read by itself; their nodes follow one another in one store."""

    model: Model
    progress: Answering
    stores: list[Store] = field(default_factory=list)
    size: int = 0
    """Nodes read so far."""

    def read(self, row: Pass, asked: Sequence[int]) -> tuple[list[list[Span]], torch.Tensor]:
        """Read a row in one forward pass: the path of each of its examples in the wave's store, and
        the logits behind its nodes `asked`, (asked, vocabulary).
        """
        self.stores.append({})
        watch = self.progress.watch(row.size)
        packed = row.packed
        layout = TrieLayout(packed.segments, self.stores[-1])
        layout = Watched(layout, layer_count(self.model), watch)
        logits = _forward(self.model, packed.tokens, packed.depths, layout, keep=asked)
        paths = [_moved(path, self.size) for path in packed.paths]
        self.size += row.size
        watch(1.0)
        return paths, logits

    def join(self) -> Store:
        """One store of the tokens of all rows, in order; those of the rows are emptied."""
        joined: Store = {}
        for layer in list(self.stores[0]):
            keys, values = zip(*(store.pop(layer) for store in self.stores), strict=True)
            joined[layer] = torch.cat(keys, 2), torch.cat(values, 2)
        return joined


def _moved(path: Sequence[Span], offset: int) -> list[Span]:
    return [(offset + start, offset + stop) for start, stop in path]


def proceed(
    model: Model,
    store: Store,
    going: Sequence[Writing],
    choose: Choose,
    limit: Limit,
    progress: Answering,
) -> None:
    """Continue unfinished answers to their ends, in place, each on top of the nodes of its path."""
    # 1. Members of a family stand side by side, on the nodes of all tokens but the last written.
    for one in going:
        one.path = _clip(one.path, one.position)
    going = sum(_by_trunk(going), [])
    device = store[0][0].device
    layout = DecodeLayout(store, _families(going, device))
    while going:
        # 2. One forward pass over the last token of each: logits (going, vocabulary).
        tokens = [one.written[-1] for one in going]
        logits = _forward(model, tokens, [one.position for one in going], layout)
        choose(going, logits)
        # 3. Leave out those that have ended.
        stay = [place for place, one in enumerate(going) if limit.goes_on(one.written)]
        ended = len(going) - len(stay)
        if ended:
            going = [going[place] for place in stay]
            places = torch.tensor(stay, dtype=torch.long, device=device)
            layout.keep(places, _families(going, device))
        left = max([limit.max_new_tokens - len(one.written) for one in going], default=0)
        progress.finished(ended)
        progress.wrote(len(going), left)


def best(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of logits (n, vocabulary) the best tokens and by how much they are the best, (n,) each."""
    two = logits.topk(2)
    return two.indices[:, 0], two.values[:, 0] - two.values[:, 1]


def _forward(
    model: Model,
    tokens: Sequence[int],
    depths: Sequence[int],
    layout: DecodeLayout | Watched,
    keep: Sequence[int] | None = None,
) -> torch.Tensor:
    """Logits in fp32 behind each token, or those at the places `keep`: (kept, vocabulary)."""
    device = next(model.parameters()).device
    kept = {} if keep is None else {"logits_to_keep": torch.tensor(keep, device=device)}
    output = model(
        input_ids=torch.tensor([tokens], device=device),
        position_ids=torch.tensor([depths], device=device),
        layout=layout,
        attention_mask=UNREAD,
        use_cache=False,
        **kept,
    )
    return output.logits[0].float()


def _clip(path: Sequence[Span], length: int) -> list[Span]:
    """The first `length` nodes of a path."""
    clipped = []
    for start, stop in path:
        stop = min(stop, start + length)
        length -= stop - start
        if stop > start:
            clipped.append((start, stop))
    return clipped


def _by_trunk(going: Sequence[Writing]) -> list[list[Writing]]:
    """Answers that have their longest span, the trunk of their dialogue, in common."""
    together: dict[int, list[Writing]] = {}
    for one in going:
        trunk, _ = max(one.path, key=lambda span: span[1] - span[0])
        together.setdefault(trunk, []).append(one)
    return list(together.values())


def _families(going: Sequence[Writing], device: torch.device) -> list[Family]:
    """What `DecodeLayout` reads together: the answers of a trunk, which stand side by side."""
    families, row = [], 0
    for members in _by_trunk(going):
        spans = _union(sum([one.path for one in members], []))
        width = sum(stop - start for start, stop in spans)
        seen = torch.zeros(len(members), width, dtype=torch.bool, device=device)
        for member, one in enumerate(members):
            _mark(seen[member], one.path, spans)
        families.append(Family(slice(row, row + len(members)), spans, seen))
        row += len(members)
    return families


def _mark(seen: torch.Tensor, path: Sequence[Span], spans: Sequence[Span]) -> None:
    """Set what of `seen`, (nodes in the spans,), is on the path, whose spans lie in these."""
    for start, stop in path:
        column = 0  # of the first node of the span
        for low, high in spans:
            if low <= start < high:
                seen[column + start - low : column + stop - low] = True
            column += high - low


def _union(spans: Sequence[Span]) -> list[Span]:
    """The spans merged, over gaps of up to `GAP` nodes too."""
    union: list[Span] = []
    for start, stop in sorted(spans):
        if union and start <= union[-1][1] + GAP:
            union[-1] = union[-1][0], max(union[-1][1], stop)
        else:
            union.append((start, stop))
    return union
