"""How many floating-point operations training takes, from the model's shape."""

from collections.abc import Sequence

from trajnb.qlora import train, trie
from trajnb.qlora.chat import Encoded


def train_operations(
    config, examples: Sequence[Encoded], steps: Sequence[train.Step], recipe: train.Recipe, rank: int
) -> float:
    """Operations that `steps` need on what is computed after packing, for a model of Llama's shape
    (`config`) with LoRA of `rank` on every linear layer.

    Per token computed: 2 + 2 for a frozen weight (forward, and backward to its input), 2 + 4 for an
    adapter's. Per token and ancestor: 4 forward and 8 backward for each channel of attention. Per
    supervised token: 2 + 2 for each weight of the output layer.
    """
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    head = getattr(config, "head_dim", None) or width // config.num_attention_heads
    query, shared = head * config.num_attention_heads, head * config.num_key_value_heads
    shapes = [(width, query), (width, shared), (width, shared), (query, width)]
    shapes += [(width, inner), (width, inner), (inner, width)]
    frozen = layers * sum(a * b for a, b in shapes)
    adapter = layers * rank * sum(a + b for a, b in shapes)
    tries = [
        trie.build([examples[i].tokens for i in row])
        for step in steps
        for row in train.rows(step, examples, recipe)
    ]
    tokens = sum(len(one.tokens) for one in tries)
    pairs = sum(depth + 1 for one in tries for depth in one.depths)
    supervised = sum(len(examples[i].completion) for step in steps for group in step for i in group)
    return (
        tokens * (4 * frozen + 6 * adapter)
        + 12 * pairs * query * layers
        + 4 * supervised * width * config.vocab_size
    )
