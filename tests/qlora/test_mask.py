"""No mask of (1, 1, n, n) is made where a layout says who sees whom."""

import pytest
from transformers import AttentionMaskInterface

from trajnb.qlora import chat, generate, pairs, train
from trajnb.qlora.attention import NAME
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import find_model, load_base, load_tokenizer
from trajnb.qlora.session import Session
from trajnb.qlora.trie import build

EXAMPLES = [Encoded([1, 2, 3, 4, 5], 3), Encoded([1, 2, 3, 6, 7], 3)]


class Made(Exception):
    """A mask was made."""


@pytest.fixture
def model(monkeypatch):
    def refuse(*_, **__):
        raise Made

    monkeypatch.setitem(AttentionMaskInterface._global_mapping, NAME, refuse)
    return load_base(find_model("tiny"))


def test_a_layout_needs_no_mask(model):
    with pytest.raises(Made):  # or this test would not notice
        model(**train.plain_batch(EXAMPLES[0]))
    assert model(**train.trie_batch(EXAMPLES)).loss > 0
    packed = build([example.tokens for example in EXAMPLES])
    assert len(pairs.token_logps(model, pairs.completion_batch(EXAMPLES, packed))) == 4
    end = chat.habits(load_tokenizer("tiny")).end
    said = generate.answer(model, EXAMPLES, ["a", "a"], end_token=end, max_new_tokens=3)
    assert all(answer.tokens for answer in said)
    model.eval()
    with Session(model, end_token=end, max_new_tokens=2) as session:
        assert session.answer({"a": [1, 2, 3]})["a"].tokens
