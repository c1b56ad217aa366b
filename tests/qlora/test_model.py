import json
import math
import shutil

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from trajnb import assets
from trajnb.qlora import plan, train
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import add_adapter, find_model, load_base, load_tokenizer, restore_adapter

BOTH = pytest.mark.parametrize("family", ["llama", "qwen2"])


def weights(model):
    return torch.cat(
        [weight.detach().flatten() for weight in model.parameters() if weight.requires_grad]
    )


def test_tiny_is_the_same_model_wherever_it_is_built(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path))
    torch.manual_seed(123)
    assert find_model("tiny").sha256() == tiny.sha256()


def test_a_damaged_model_in_the_cache_is_built_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path))
    files = find_model("tiny")
    wanted = files.sha256()
    weight_file = files.folder / "model.safetensors"
    weight_file.write_bytes(weight_file.read_bytes()[:1000])
    assert find_model("tiny").sha256() == wanted
    (files.folder / "tokenizer.json").unlink()
    load_tokenizer("tiny")


def test_half_a_model_is_never_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path))

    def fail(folder):
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assets.build_once("half", fail)
    assert not list(tmp_path.iterdir())


def test_a_local_folder_is_a_model(tiny, tmp_path):
    folder = shutil.copytree(tiny.folder, tmp_path / "mine")
    files = find_model(str(folder))
    assert (files.folder, files.sha256()) == (folder, tiny.sha256())
    assert load_base(files).config.hidden_size == 64


def test_weights_that_can_run_code_are_not_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ValueError, match="no .*safetensors"):
        find_model(str(tmp_path)).sha256()


@pytest.mark.parametrize("name", ["tinny", "no/such/folder", "smollm 2"])
def test_an_unknown_model_is_named(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=f"{name}.*tiny, smollm2-135m"):
        find_model(name)


def test_an_unknown_quantization_is_named(tiny):
    with pytest.raises(ValueError, match="unknown quantization 'int8': one of auto, none, nf4"):
        load_base(tiny, "int8")


def test_the_tiny_qwen2_has_what_sets_its_family_apart(tiny_qwen2):
    model = load_base(tiny_qwen2)
    config = model.config
    assert (config.num_attention_heads, config.num_key_value_heads) == (14, 2)
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()
    tokens = torch.tensor([[1, 2, 3, 4]])
    with torch.inference_mode():
        before = model(tokens).logits
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                assert name.split(".")[-2] in ("q_proj", "k_proj", "v_proj")
                weight.zero_()
        assert not torch.allclose(model(tokens).logits, before, atol=1e-3)


@BOTH
def test_the_adapter_covers_every_linear_layer(model):
    adapters = [
        name.split(".lora_")[0] for name, weight in model.named_parameters() if weight.requires_grad
    ]
    adapted = {name.split(".")[-1] for name in adapters}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@BOTH
def test_a_saved_adapter_loads_with_plain_peft(model, files, tmp_path):
    model.save_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(plain, tmp_path)
    tokens = torch.tensor([[1, 2, 3, 4]])
    with torch.inference_mode():
        assert torch.allclose(loaded(tokens).logits, model.eval()(tokens).logits, atol=1e-5)


def test_restoring_an_adapter_gives_back_its_weights(model, make_model, tmp_path):
    model.save_pretrained(tmp_path)
    other = make_model("none")
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(1.0)
    restore_adapter(other, tmp_path)
    assert torch.equal(weights(other), weights(model))


def test_an_adapter_folder_cut_in_half_is_named(model, tmp_path):
    model.save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(
        ValueError, match=f"{tmp_path} is damaged or incomplete.*delete it and run again"
    ):
        restore_adapter(model, tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match="damaged or incomplete"):
        restore_adapter(model, tmp_path)


def test_nf4_trains_on_a_cpu(tiny, tmp_path):
    model = add_adapter(load_base(tiny, "nf4"), rank=4, alpha=8, dropout=0.0, seed=0)
    before = weights(model).clone()
    examples = [Encoded([1, 2, 3, 4, 5], 3), Encoded([1, 2, 3, 6, 7], 3)]
    recipe = plan.Recipe(1, 1, 1e-2, 0.0, "trie", 100)
    one = plan.pack(examples, [[[0, 1]]], recipe)
    trained = train.train_block(model, one, seed=0, folder=tmp_path)
    assert math.isfinite(trained.losses[0])
    assert not torch.equal(weights(model), before)
    assert json.loads((tiny.folder / "config.json").read_text())["hidden_size"] == 64


@pytest.mark.slow
def test_smollm2_speaks_its_own_template():
    tokenizer = load_tokenizer("smollm2-135m")
    model = load_base(find_model("smollm2-135m"))
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France? One word."}],
        tokenize=False,
        add_generation_prompt=True,
    )
    with torch.inference_mode():
        said = model.generate(
            **tokenizer(text, return_tensors="pt"), max_new_tokens=12, do_sample=False
        )
    assert "Paris" in tokenizer.decode(said[0])
