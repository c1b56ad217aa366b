"""Tiny models of two families whose adapters do something, and dialogues of random tokens.

A test that says `@pytest.mark.parametrize("family", ["llama", "qwen2"])` runs with both, any other
with a Llama.
"""

import random
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import ModelFiles, add_adapter, find_model, load_base, load_tokenizer

QWEN2_TEMPLATE = (Path(__file__).parent / "qwen2_template.jinja").read_text("utf-8")


@pytest.fixture(scope="session")
def tiny():
    return find_model("tiny")


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer("tiny")


@pytest.fixture(scope="session")
def tiny_qwen2(tmp_path_factory):
    """A random Qwen2: as many heads as the 0.5B's, biases that do something, an output matrix of
    its own, and a template that writes a system text where there is none.
    """
    folder = tmp_path_factory.mktemp("tiny-qwen2")
    tokenizer = load_tokenizer("tiny")
    tokenizer.chat_template = QWEN2_TEMPLATE
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            head_dim=32,  # all widths multiples of 64, as NF4 on a CPU wants them
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=14,
            num_key_value_heads=2,
            max_position_embeddings=32768,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = Qwen2ForCausalLM(config)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name.endswith("bias"):
                    weight.normal_(0, 0.5)  # they start at zero
        model.save_pretrained(folder)
    return ModelFiles(folder, "tiny-qwen2", "")


@pytest.fixture
def family():
    return "llama"


@pytest.fixture
def files(family, tiny, tiny_qwen2):
    return {"llama": tiny, "qwen2": tiny_qwen2}[family]


@pytest.fixture
def model(make_model):
    return make_model("none")


@pytest.fixture
def make_model(files):
    return lambda quantization: _awake(
        add_adapter(load_base(files, quantization), rank=4, alpha=8, dropout=0.0, seed=0)
    )


def _awake(model):
    """Give the adapter's second half weights too: it starts at zero, and then the first has no
    gradient.
    """
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2, generator=draw)
    return model


def dialogue(seed: int, calls: int, end: int) -> list[Encoded]:
    """Examples of a growing dialogue, as `full` prompts make them; the last one is there twice."""
    draw = random.Random(seed)
    words = lambda count: [draw.randrange(256) for _ in range(count)]  # noqa: E731
    prefix, examples = [7] * 20 + words(50), []
    for _ in range(calls):
        cue, call = words(4), words(6)
        examples.append(Encoded([*prefix, *cue, *call, end], len(prefix) + 4))
        prefix += words(15)
    return [*examples, examples[-1]]


@pytest.fixture
def dialogues(tokenizer):
    return [dialogue(seed, 4, tokenizer.eos_token_id) for seed in range(3)]
