"""Greedy answers for many examples, with the prompt computed once and the gold call as the draft.

One forward pass over the trie of prompts and gold calls gives the likelihood of gold and shows how
far greedy decoding would have written it. Where it would have written something else, decoding goes
on from the first other token, all examples together, on the keys and values already there. The text
is the one that greedy decoding gives.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from trajnb.qlora.attention import DecodeLayout, Family, Store, TrieLayout, Watched
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import Model, layer_count, merged
from trajnb.qlora.plan import Pass, by_dialogue, pack_passes
from trajnb.qlora.progress import Answering, Tell, silent
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
class _Item:
    """One example on its way to an answer."""

    example: Encoded
    path: list[Span]
    """Nodes in its wave's store: of prompt and gold, while decoding of prompt and draft."""
    written: list[int]
    """The answer so far, at least one token."""
    gold_nll: float
    margin: float

    @property
    def position(self) -> int:
        """Of the last token written: all before it have keys and values."""
        return self.example.prompt + len(self.written) - 1

    def goes_on(self, end_token: int, max_new_tokens: int) -> bool:
        return self.written[-1] != end_token and len(self.written) < max_new_tokens

    def answer(self, end_token: int) -> Answer:
        return Answer(self.written, self.written[-1] == end_token, self.gold_nll, self.margin)


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
    if max_new_tokens < 1:
        raise ValueError(
            f"max_new_tokens is {max_new_tokens}: at least one token must be generated"
        )
    # 1. Rows: what goes through the model together while prompts are read.
    groups = list(by_dialogue(dialogue_ids).values())
    rows = pack_passes(examples, groups, min(row_tokens, wave_tokens), wave_tokens)
    # 2. Waves: as many rows as there is memory for are read, then all their examples are continued.
    answers: dict[int, Answer] = {}
    training = model.training
    model.eval()
    try:
        with merged(model):
            progress = Answering(tell, sum(row.size for row in rows), len(examples))
            for wave in _waves(rows, wave_tokens):
                items = _answer_wave(model, examples, wave, end_token, max_new_tokens, progress)
                for index, item in items.items():
                    answers[index] = item.answer(end_token)
    finally:
        model.train(training)
    return [answers[index] for index in range(len(examples))]


def _waves(rows: Sequence[Pass], budget: int) -> Iterator[list[Pass]]:
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


def _answer_wave(
    model: Model,
    examples: Sequence[Encoded],
    wave: Sequence[Pass],
    end_token: int,
    max_new_tokens: int,
    progress: Answering,
) -> dict[int, _Item]:
    """The finished items of a wave, by the index of their example."""
    # 1. Read every row by itself; its nodes follow those of the rows before in the wave's store.
    items: dict[int, _Item] = {}
    stores: list[Store] = []
    offset = 0
    for row in wave:
        stores.append({})
        chosen = [examples[index] for index in row.examples]
        watch = progress.watch(row.size)
        read = _read(model, chosen, row, stores[-1], offset, max_new_tokens, watch)
        items.update(zip(row.examples, read, strict=True))
        offset += row.size
        watch(1.0)
    # 2. Continue together what is not written to its end.
    going = [item for item in items.values() if item.goes_on(end_token, max_new_tokens)]
    progress.finished(len(items) - len(going))
    if going:
        _decode(model, _join(stores), going, end_token, max_new_tokens, progress)
    return items


def _read(
    model: Model,
    examples: Sequence[Encoded],
    row: Pass,
    store: Store,
    offset: int,
    max_new_tokens: int,
    watch: Callable[[float], None],
) -> list[_Item]:
    """Read prompts and gold calls of one row in one forward pass: for each example its gold's
    likelihood, and as much of its answer as is gold plus one token.

    Keys and values are kept in `store`, whose first node is node `offset` of the wave. `watch` is
    told how much is read, from 0 to 1.
    """
    # 1. Logits at the nodes that predict a token of gold, those of all examples one after another.
    before = []
    for place, example in enumerate(examples):
        before.append(row.packed.nodes(place, example.prompt - 1, len(example.tokens) - 1))
    sizes = [len(nodes) for nodes in before]
    layout = Watched(TrieLayout(row.packed.segments, store), layer_count(model), watch)
    logits = _forward(model, row.packed.tokens, row.packed.depths, layout, keep=sum(before, []))

    # 2. Of (gold tokens of all examples, vocabulary): loss, best token, its gap to the second.
    gold = torch.tensor(sum([example.completion for example in examples], []), device=logits.device)
    losses = logits.logsumexp(-1) - logits.gather(-1, gold[:, None])[:, 0]  # (gold tokens,)
    best, gaps = _best(logits)
    by_example = [part.split(sizes) for part in (losses, best, gaps)]

    # 3. The answer is what was best as long as it was gold, and the first other token.
    items = []
    members = zip(examples, row.packed.paths, *by_example, strict=True)
    for example, path, loss, draft, gap in members:
        draft = draft.tolist()
        written = draft[: min(_agreed(draft, example.completion) + 1, max_new_tokens)]
        margin = min(gap[: len(written)].tolist())
        nodes = [(offset + start, offset + stop) for start, stop in path]
        items.append(_Item(example, nodes, written, loss.sum().item(), margin))
    return items


def _agreed(draft: Sequence[int], gold: Sequence[int]) -> int:
    """How many tokens agree from the start; of a draft that is all gold, all but the last."""
    for place, (one, other) in enumerate(zip(draft, gold, strict=True)):
        if one != other:
            return place
    return len(gold) - 1


def _join(stores: list[Store]) -> Store:
    """One store of the tokens of all, in order; the stores are emptied on the way."""
    joined: Store = {}
    for layer in list(stores[0]):
        keys, values = zip(*(store.pop(layer) for store in stores), strict=True)
        joined[layer] = torch.cat(keys, 2), torch.cat(values, 2)
    return joined


def _decode(
    model: Model,
    store: Store,
    going: list[_Item],
    end_token: int,
    max_new_tokens: int,
    progress: Answering,
) -> None:
    """Continue the items in place, each on top of the nodes of its prompt and draft."""
    # 1. Members of a family stand side by side, on the nodes of all tokens but the last written.
    for item in going:
        item.path = _clip(item.path, item.position)
    going = sum(_by_trunk(going), [])
    device = store[0][0].device
    layout = DecodeLayout(store, _families(going, device))
    while going:
        # 2. One forward pass over the last token of each: logits (going, vocabulary).
        tokens = [item.written[-1] for item in going]
        logits = _forward(model, tokens, [item.position for item in going], layout)
        best, gaps = _best(logits)
        for item, token, gap in zip(going, best.tolist(), gaps.tolist(), strict=True):
            item.written.append(token)
            item.margin = min(item.margin, gap)
        # 3. Leave out those that have ended.
        stay = []
        for place, item in enumerate(going):
            if item.goes_on(end_token, max_new_tokens):
                stay.append(place)
        ended = len(going) - len(stay)
        if ended:
            going = [going[place] for place in stay]
            places = torch.tensor(stay, dtype=torch.long, device=device)
            layout.keep(places, _families(going, device))
        left = max([max_new_tokens - len(item.written) for item in going], default=0)
        progress.finished(ended)
        progress.wrote(len(going), left)


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
        use_cache=False,
        **kept,
    )
    return output.logits[0].float()


def _best(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of logits (n, vocabulary) the best tokens and by how much they are the best, (n,) each."""
    best = logits.topk(2)
    return best.indices[:, 0], best.values[:, 0] - best.values[:, 1]


def _clip(path: Sequence[Span], length: int) -> list[Span]:
    """The first `length` nodes of a path."""
    clipped = []
    for start, stop in path:
        stop = min(stop, start + length)
        length -= stop - start
        if stop > start:
            clipped.append((start, stop))
    return clipped


def _by_trunk(going: Sequence[_Item]) -> list[list[_Item]]:
    """Items that have their longest span, the trunk of their dialogue, in common."""
    together: dict[int, list[_Item]] = {}
    for item in going:
        trunk, _ = max(item.path, key=lambda span: span[1] - span[0])
        together.setdefault(trunk, []).append(item)
    return list(together.values())


def _families(going: Sequence[_Item], device: torch.device) -> list[Family]:
    """What `DecodeLayout` reads together: the items of a trunk, which stand side by side."""
    families, row = [], 0
    for members in _by_trunk(going):
        spans = _union(sum([item.path for item in members], []))
        width = sum(stop - start for start, stop in spans)
        seen = torch.zeros(len(members), width, dtype=torch.bool, device=device)
        for member, item in enumerate(members):
            _mark(seen[member], item.path, spans)
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
    merged: list[Span] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1] + GAP:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return merged
