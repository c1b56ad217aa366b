"""The memory of a training, counted before it: what autograd keeps, to 15 %, and refused where it does
not fit.
"""

from dataclasses import replace
from itertools import chain

import pytest
import torch
from transformers import LlamaConfig

from trajnb.qlora import memory, train, trie
from trajnb.qlora.model import add_adapter, load_base

GB = 1e9


def kept_by(model, batch) -> int:
    """Bytes that autograd keeps of a forward pass, without weights and without the output layer."""
    own = {one.untyped_storage().data_ptr() for one in chain(model.parameters(), model.buffers())}
    found = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage  # held, so that no other one takes its place
        return tensor

    asked = {name: batch[name] for name in ("input_ids", "position_ids", "layout")}
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.base_model.model.model(**asked, use_cache=False)
    assert hidden.last_hidden_state.requires_grad
    return sum(storage.nbytes() for storage in found.values())


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_what_is_counted_is_what_autograd_keeps(files, dialogues):
    model = add_adapter(load_base(files), rank=4, alpha=8, dropout=0.1, seed=0)
    examples = sum(dialogues, [])
    packed = trie.build([example.tokens for example in examples])
    shape = memory.shape_of(files, "auto", rank=4, dropout=0.1)
    wanted = memory.needed(shape, len(packed.tokens), 0, packed.segments)
    assert wanted.kept == pytest.approx(kept_by(model, train.trie_batch(examples, packed)), rel=0.15)
    frozen = [weight for weight in model.parameters() if not weight.requires_grad]
    trained = [weight.numel() for weight in model.parameters() if weight.requires_grad]
    assert wanted.adapter == memory.OF_AN_ADAPTER * sum(trained)
    assert wanted.weights == sum(4 * weight.numel() for weight in frozen)


EIGHT = LlamaConfig(
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    vocab_size=128256,
)
"""The shape of Llama 3.1 8B."""


def test_an_eight_billion_row_of_8192_fits_a_card_of_24_gb_only_with_layers_computed_again():
    shape = memory.Shape(EIGHT, nf4=True, rank=16, dropout=0.05, gpu=True)
    wanted = memory.needed(shape, 8192, supervised=600)
    assert 4.5 * GB < wanted.weights < 6 * GB and wanted.total < 20 * GB
    whole = memory._counted(memory._Key.of(shape)).a_layer * 32 * 8192
    assert whole > 40 * GB, "without that it would be more than most cards have"
    assert memory.needed(replace(shape, nf4=False), 8192, 600).weights > 15 * GB


def test_what_does_not_fit_is_refused_with_what_to_do(monkeypatch):
    wanted = memory.Needed(weights=5 * GB, adapter=GB, kept=20 * GB, logits=GB)
    monkeypatch.setattr(memory, "capacity", lambda: 28 * GB)
    memory.check_fits(wanted)
    monkeypatch.setattr(memory, "capacity", lambda: 24 * GB)
    with pytest.raises(ValueError, match=r"27.0 GB \(weights 5.0, adapter 1.0, rows 21.0\).*24.0 GB"):
        memory.check_fits(wanted)


def test_a_gpu_takes_longer_rows_where_nobody_asks(monkeypatch):
    assert [memory.row_tokens(asked) for asked in (2048, 4096)] == [2048, 4096]
    monkeypatch.setattr(memory, "on_gpu", lambda: True)
    assert [memory.row_tokens(asked) for asked in (2048, 4096)] == [8192, 4096]
