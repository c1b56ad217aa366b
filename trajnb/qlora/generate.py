"""Greedy answers for many examples, with the prompt computed once and the gold call as the draft.

One forward pass over the trie of prompts and gold calls gives the likelihood of gold and shows how far
greedy decoding would have written it. Where it would have written something else, decoding goes on from the
first other token, all examples together, on the keys and values already there. The text is the one that
greedy decoding gives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from trajnb.qlora import trie
from trajnb.qlora.attention import Beam, DecodeLayout, Store, TrieLayout
from trajnb.qlora.model import merged
from trajnb.qlora.chat import Encoded

WAVE_TOKENS = 16384
"""Distinct tokens whose keys and values are held at once: 0.75 GB for smollm2-135m in fp32, 2.1 GB for
Llama 3.1 8B in bf16.
"""

ROW_TOKENS = 2048
"""Distinct tokens of one forward pass over prompts: what a layer computes of more is out of a CPU's cache."""

GAP = 128


@dataclass(frozen=True)
class Answer:
    """What a model says to one example."""

    tokens: list[int]
    """Generated, the end token included where one was written."""
    stopped: bool
    """The last token is the end token: decoding was not cut by `max_new_tokens`."""
    gold_nll: float
    """Negative log-likelihood of the gold completion, nats, summed over its tokens and the end token."""
    margin: float
    """The smallest gap between the two best logits on the way: under about 1e-4 another order of sums may
    choose otherwise.
    """


@torch.inference_mode()
def answer(
    model,
    groups: Sequence[Sequence[Encoded]],
    *,
    end_token: int,
    max_new_tokens: int,
    wave_tokens: int = WAVE_TOKENS,
    row_tokens: int = ROW_TOKENS,
) -> Iterator[list[tuple[int, int, Answer]]]:
    """Greedy answers to groups of examples that share much (the examples of a dialogue); yields lists of
    (group, index, answer), a wave at a time.

    `model` must be loaded with `attn_implementation="trie"`. Up to `max_new_tokens` tokens, the end token
    counted, as `generate` counts.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}: at least one token must be generated")
    training = model.training
    model.eval()
    tokens = [[example.tokens for example in group] for group in groups]
    rows = trie.pack(tokens, min(row_tokens, wave_tokens), wave_tokens)
    try:
        with merged(model):
            for wave in _waves(rows, groups, wave_tokens):
                members = [(g, i) for row, _ in wave for g, i in row]
                examples = [groups[g][i] for g, i in members]
                tries = [packed for _, packed in wave]
                answers = _answer_wave(model, examples, tries, end_token, max_new_tokens)
                yield [(g, i, answered) for (g, i), answered in zip(members, answers, strict=True)]
    finally:
        model.train(training)


def _waves(rows, groups, budget: int) -> Iterator[list[tuple[list[tuple[int, int]], trie.Trie]]]:
    """Rows in order with their tries, as many together as have at most `budget` nodes."""
    wave, size = [], 0
    for row in rows:
        packed = trie.build([groups[g][i].tokens for g, i in row])
        if wave and size + len(packed.tokens) > budget:
            yield wave
            wave, size = [], 0
        wave.append((row, packed))
        size += len(packed.tokens)
    if wave:
        yield wave


def _answer_wave(
    model, examples: list[Encoded], tries: list[trie.Trie], end_token: int, max_new_tokens: int
) -> list[Answer]:
    """Answers to the examples of all tries: each trie is read by itself, then all are continued together."""
    stores: list[Store] = []
    paths, nll, drafts, gaps = [], [], [], []
    offset = 0
    for packed in tries:
        row = examples[len(paths) : len(paths) + len(packed.paths)]
        stores.append({})
        before = [packed.nodes(i, e.prompt - 1, len(e.tokens) - 1) for i, e in enumerate(row)]
        layout = TrieLayout(packed.segments, stores[-1])
        logits = _forward(model, packed.tokens, packed.depths, layout, logits_to_keep=sum(before, []))
        targets = torch.tensor(sum((e.completion for e in row), []), device=logits.device)
        losses = logits.logsumexp(-1) - logits.gather(-1, targets[:, None])[:, 0]
        best = logits.topk(2)
        sizes = [len(nodes) for nodes in before]
        nll += [part.sum().item() for part in losses.split(sizes)]
        drafts += [part.tolist() for part in best.indices[:, 0].split(sizes)]
        gaps += [part.tolist() for part in (best.values[:, 0] - best.values[:, 1]).split(sizes)]
        paths += [[(offset + start, offset + stop) for start, stop in path] for path in packed.paths]
        offset += len(packed.tokens)

    written, margins, going = [], [], []
    for i, example in enumerate(examples):
        gold = example.completion
        agreed = next(
            (n for n, (a, b) in enumerate(zip(drafts[i], gold, strict=True)) if a != b), len(gold) - 1
        )
        tokens = drafts[i][: min(agreed + 1, max_new_tokens)]
        written.append(tokens)
        margins.append(min(gaps[i][: len(tokens)]))
        if tokens[-1] != end_token and len(tokens) < max_new_tokens:
            going.append(i)
    if going:
        store = _join(stores)
        clipped = [
            _clip(path, e.prompt + len(w) - 1) for path, e, w in zip(paths, examples, written, strict=True)
        ]
        _decode(model, store, going, clipped, written, margins, end_token, max_new_tokens)
    return [
        Answer(tokens, tokens[-1] == end_token, loss, margin)
        for tokens, loss, margin in zip(written, nll, margins, strict=True)
    ]


def _join(stores: list[Store]) -> Store:
    """One store of the tokens of all, in order; the stores are emptied on the way."""
    joined: Store = {}
    for layer in list(stores[0]):
        keys, values = zip(*(store.pop(layer) for store in stores), strict=True)
        joined[layer] = torch.cat(keys, 2), torch.cat(values, 2)
    return joined


def _decode(model, store, going, paths, written, margins, end_token, max_new_tokens) -> None:
    """Continue the sequences `going` in place, in `written`, each on top of the nodes of its path."""
    going = [i for members in _families(going, paths) for i in members]
    depth = {i: sum(stop - start for start, stop in paths[i]) for i in going}
    base = {i: len(written[i]) for i in going}
    device = store[0][0].device
    layout = DecodeLayout(store, _beams(going, paths, device))
    while going:
        tokens = [written[i][-1] for i in going]
        logits = _forward(model, tokens, [depth[i] + len(written[i]) - base[i] for i in going], layout)
        best = logits.topk(2)
        for i, token, gap in zip(
            going, best.indices[:, 0].tolist(), (best.values[:, 0] - best.values[:, 1]).tolist(), strict=True
        ):
            written[i].append(token)
            margins[i] = min(margins[i], gap)
        stay = [
            n for n, i in enumerate(going) if written[i][-1] != end_token and len(written[i]) < max_new_tokens
        ]
        if len(stay) < len(going):
            going = [going[n] for n in stay]
            layout.keep(torch.tensor(stay, dtype=torch.long, device=device), _beams(going, paths, device))


def _forward(model, tokens, depths, layout, logits_to_keep=None) -> torch.Tensor:
    """Logits in fp32, (tokens kept, vocabulary)."""
    device = next(model.parameters()).device
    keep = {} if logits_to_keep is None else {"logits_to_keep": torch.tensor(logits_to_keep, device=device)}
    output = model(
        input_ids=torch.tensor([tokens], device=device),
        position_ids=torch.tensor([depths], device=device),
        layout=layout,
        use_cache=False,
        **keep,
    )
    return output.logits[0].float()


def _clip(path: Sequence[trie.Span], length: int) -> list[trie.Span]:
    """The first `length` nodes of a path."""
    clipped = []
    for start, stop in path:
        stop = min(stop, start + length)
        length -= stop - start
        if stop > start:
            clipped.append((start, stop))
    return clipped


def _families(going: list[int], paths) -> list[list[int]]:
    """Sequences that have their longest span, the trunk of their dialogue, in common."""
    families: dict[int, list[int]] = {}
    for i in going:
        families.setdefault(max(paths[i], key=lambda span: span[1] - span[0])[0], []).append(i)
    return list(families.values())


def _beams(going: list[int], paths, device) -> list[Beam]:
    """One beam for every family among `going`, whose members stand side by side."""
    beams, row = [], 0
    for members in _families(going, paths):
        spans = _union([span for i in members for span in paths[i]])
        seen = torch.zeros(
            len(members), sum(stop - start for start, stop in spans), dtype=torch.bool, device=device
        )
        for member, i in enumerate(members):
            for start, stop in paths[i]:
                column = 0
                for low, high in spans:
                    if low <= start < high:
                        seen[member, column + start - low : column + stop - low] = True
                    column += high - low
        beams.append(Beam(slice(row, row + len(members)), spans, seen))
        row += len(members)
    return beams


def _union(spans: list[trie.Span]) -> list[trie.Span]:
    """The spans merged, over small gaps too: a masked column costs less than another product."""
    merged: list[trie.Span] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1] + GAP:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return merged
