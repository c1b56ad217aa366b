"""Line by line a text has the tokens that it has as a whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajnb.qlora import lines
from trajnb.qlora.model import load_tokenizer

characters = st.one_of(st.sampled_from("\n\n\n \t\r aé1.,'\"{[(日🙂\u0301\u2028\x1c"), st.characters(codec="utf-8"))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("tiny")


@given(st.text(characters, max_size=60))
def test_pieces_are_the_text(text):
    found = lines.pieces(text)
    assert "".join(found) == text
    for before, after in zip(found, found[1:], strict=False):
        assert before.endswith("\n") and not before[-2].isspace() and not after[0].isspace()


@settings(max_examples=300)
@given(text=st.text(characters, max_size=60))
def test_lines_have_the_tokens_of_the_whole(tokenizer, text):
    assert lines.tokens(tokenizer, text) == lines.whole(tokenizer, [text])[0]


def test_what_is_kept_is_bounded(tokenizer, monkeypatch):
    monkeypatch.setattr(lines, "MOST", 100)
    lines._known.cache_clear()
    for number in range(30):
        text = f"The line of {number}\nand one that stays\n"
        assert lines.tokens(tokenizer, text) == lines.whole(tokenizer, [text])[0]
        assert lines._known(tokenizer).characters <= 100
    assert sum(map(len, lines._known(tokenizer).tokens)) == lines._known(tokenizer).characters
