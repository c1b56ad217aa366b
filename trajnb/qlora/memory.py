"""The memory that training takes, told before any of it: a run that cannot fit is refused at once.

What a layer keeps for the backward pass is counted, not guessed: a model of one layer and one of
two run forward on torch's meta device, which has shapes and no numbers, and what autograd saves is
added up. Attention by spans (on a CPU) keeps more than that count, a copy of keys and values for
each branch, which is known from the row's layout.
"""

import copy
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import chain

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from trajnb.qlora.model import ModelFiles, device, on_gpu
from trajnb.qlora.plan import Pass
from trajnb.qlora.trie import Segment

ROW_TOKENS = 2048
"""`token_budget` as the notebooks have it: a row that a CPU computes fast."""
ROW_TOKENS_ON_GPU = 8192
"""What a GPU takes in its place: NF4 weights are unpacked once a row, however long."""
NF4 = 0.516
"""Bytes of a weight in NF4 with doubly quantised constants: half a byte, and 0.127 bits."""
OF_AN_ADAPTER = 16
"""Bytes of a trained weight in float32: itself, its gradient and the optimiser's two moments."""
LOGITS = 3 * 4
"""Bytes of a logit: itself, its copy in float32 and its gradient, as good as in float32."""
COUNTED = 64
"""Tokens of the row that is counted; what is kept grows with the tokens, but for a little."""


def row_tokens(asked: int) -> int:
    """The distinct tokens of a training row: as asked, but where that is the default, a GPU takes
    longer ones. It changes no step: what a step holds is decided before it is packed.
    """
    return ROW_TOKENS_ON_GPU if on_gpu() and asked == ROW_TOKENS else asked


@dataclass(frozen=True)
class Shape:
    """What the memory of a training depends on, beside its rows."""

    config: PreTrainedConfig
    nf4: bool
    rank: int
    dropout: float
    gpu: bool
    """Weights in bfloat16, attention in one kernel, layers computed again in the backward pass."""

    @property
    def width(self) -> int:
        """Bytes of a number."""
        return 2 if self.gpu else 4


@dataclass(frozen=True)
class Needed:
    """Bytes at the peak of a training step, at least: what an allocator rounds up is not counted.
    """

    weights: float
    adapter: float
    kept: float
    """For the backward pass of the largest row."""
    logits: float

    @property
    def total(self) -> float:
        return self.weights + self.adapter + self.kept + self.logits


def shape_of(files: ModelFiles, quantization: str, rank: int, dropout: float) -> Shape:
    """The shape of a training on this machine; `quantization` as of `model.load_base`."""
    config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False)
    nf4 = quantization == "nf4" or (quantization == "auto" and on_gpu())
    return Shape(config.get_text_config(), nf4, rank, dropout, on_gpu())


def needed(shape: Shape, tokens: int, supervised: int, segments: Iterable[Segment] = ()) -> Needed:
    """The memory for rows of up to so many `tokens`, `supervised` of which are predicted.

    `segments`: of the largest row, where attention goes by spans.
    """
    counts = _counted(_Key.of(shape))
    layers = shape.config.num_hidden_layers
    a_layer = counts.a_layer * tokens
    if shape.gpu:  # the input of every layer, and one layer whole
        kept = layers * shape.config.hidden_size * shape.width * tokens + a_layer
    else:
        kept = layers * (a_layer + _of_spans(shape, list(segments)))
    linear = NF4 if shape.nf4 else shape.width
    return Needed(
        weights=layers * counts.linear * linear
        + (layers * counts.small + counts.rest) * shape.width,
        adapter=OF_AN_ADAPTER * layers * counts.adapter,
        kept=kept + counts.rest_kept * tokens,
        logits=supervised * shape.config.vocab_size * LOGITS,
    )


def needed_by(shape: Shape, passes: Iterable[Pass], supervised: int) -> Needed:
    """The memory for the passes of a training, `supervised` tokens in the fullest of them."""
    largest = max(passes, key=lambda one: one.size)
    return needed(shape, largest.size, supervised, largest.packed.segments)


def check_fits(wanted: Needed) -> None:
    """Raise ValueError, with what to do, where this machine has less memory than a training needs.
    """
    there = capacity()
    if wanted.total <= there:
        return
    raise ValueError(
        f"training would need {wanted.total / 1e9:.1f} GB ({words(wanted)}), and {_where()} has "
        f"{there / 1e9:.1f} GB: lower token_budget, train with quantization: nf4, or take a smaller "
        "model"
    )


def words(wanted: Needed) -> str:
    """What the memory goes to, for people."""
    rows = wanted.kept + wanted.logits
    parts = {"weights": wanted.weights, "adapter": wanted.adapter, "rows": rows}
    return ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.items())


def capacity() -> int:
    """Bytes of the memory that this process computes in."""
    if on_gpu():
        return torch.cuda.get_device_properties(device()).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _where() -> str:
    return torch.cuda.get_device_name(device()) if on_gpu() else "this machine"


def _of_spans(shape: Shape, segments: list[Segment]) -> int:
    """What attention by spans keeps of a layer beyond the count, see `attention.TrieLayout`: for
    each segment with ancestors the keys and values that it looks at, repeated to all heads, and
    either its queries with those of its ancestors or a mask.
    """
    config = shape.config
    width = config.num_attention_heads * _head(config)  # of all heads
    numbers = 0
    for segment in segments:
        if not segment.ancestors:
            continue
        rows = segment.stop - segment.start
        columns = rows + sum(stop - start for start, stop in segment.ancestors)
        numbers += 2 * columns * width
        square = columns < 2 * rows
        numbers += (2 * columns - rows) * width if square else rows * columns
    return numbers * shape.width


def _head(config: PreTrainedConfig) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


@dataclass(frozen=True)
class _Counts:
    """Of a model: weights, and bytes kept a token."""

    linear: int
    """Weights of a layer that are quantised where any are."""
    small: int
    """Norms and biases of a layer."""
    rest: int
    """Weights that are in no layer."""
    adapter: int
    """Trained weights of a layer."""
    a_layer: float
    rest_kept: float
    """Beside all layers."""


@dataclass(frozen=True)
class _Key:
    """A shape that can be looked up again."""

    text: str
    shape: Shape

    @classmethod
    def of(cls, shape: Shape) -> "_Key":
        told = [shape.config.to_json_string(), shape.rank, shape.dropout, shape.gpu]
        return cls(" ".join(map(str, told)), shape)

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.text == other.text


@cache
def _counted(key: _Key) -> _Counts:
    one, two = (_meta(key.shape, layers) for layers in (1, 2))
    weights = [_weights(model) for model in (one, two)]
    kept = [_kept(model) / COUNTED for model in (one, two)]
    return _Counts(
        linear=weights[1][0] - weights[0][0],
        small=weights[1][1] - weights[0][1],
        rest=2 * weights[0][1] - weights[1][1],
        adapter=weights[1][2] - weights[0][2],
        a_layer=kept[1] - kept[0],
        rest_kept=max(0.0, 2 * kept[0] - kept[1]),
    )


def _meta(shape: Shape, layers: int):
    """The model with so few layers, shapes alone."""
    config = copy.deepcopy(shape.config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    lora = LoraConfig(
        r=shape.rank,
        lora_dropout=shape.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    dtype = torch.bfloat16 if shape.gpu else torch.float32
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
        return get_peft_model(base, lora)


def _weights(model) -> tuple[int, int, int]:
    """Weights: of frozen matrices in layers, of all else that is frozen, of the adapter."""
    linear = rest = adapter = 0
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            adapter += weight.numel()
        elif ".layers." in name and weight.dim() == 2:
            linear += weight.numel()
        else:
            rest += weight.numel()
    return linear, rest, adapter


def _kept(model) -> int:
    """Bytes that autograd keeps of one forward pass over `COUNTED` tokens, each storage once,
    weights not counted.
    """
    own = {tensor.untyped_storage()._cdata for tensor in chain(model.parameters(), model.buffers())}
    found: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            found[storage._cdata] = storage
        return tensor

    tokens = torch.zeros(1, COUNTED, dtype=torch.long, device="meta")
    # a mask that is there is not made: that would ask for numbers
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device="meta")
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.base_model.model.model(
            input_ids=tokens, position_ids=tokens, attention_mask=mask, use_cache=False
        )
        total = sum(storage.nbytes() for storage in found.values())
        del hidden
    return total
