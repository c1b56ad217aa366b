"""A tiny model whose adapter does something, and dialogues of random tokens."""

import random

import pytest
import torch

from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import add_adapter, find_model, load_base, load_tokenizer


@pytest.fixture(scope="session")
def tiny():
    return find_model("tiny")


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer("tiny")


@pytest.fixture
def model(make_model):
    return make_model("none")


@pytest.fixture
def make_model(tiny):
    return lambda quantization: _awake(
        add_adapter(load_base(tiny, quantization), rank=4, alpha=8, dropout=0.0, seed=0)
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
