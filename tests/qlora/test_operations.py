import pytest

from trajnb.qlora import train
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import find_model, load_base
from trajnb.qlora.operations import train_operations


@pytest.fixture
def tiny_config():
    return load_base(find_model("tiny")).config


def test_operations_are_counted_from_the_shape(tiny_config):
    recipe = train.Recipe(1, 1, 1e-4, 0.0, "trie", 100)
    # one linear layer's worth by hand: 4 tokens, of which 2 are supervised
    flops = train_operations(tiny_config, [Encoded([1, 2, 3, 4], 2)], [[[0]]], recipe, rank=2)
    shapes = [(64, 64), (64, 32), (64, 32), (64, 64), (64, 192), (64, 192), (192, 64)]
    linear = 4 * (4 * sum(a * b for a, b in shapes) + 6 * 2 * sum(a + b for a, b in shapes))
    attention = 12 * (1 + 2 + 3 + 4) * 64
    output = 4 * 2 * 64 * tiny_config.vocab_size
    assert flops == 2 * (linear + attention) + output
