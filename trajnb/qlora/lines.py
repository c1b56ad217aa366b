"""Tokens of texts that share most of their lines: a line is tokenised once, however often it is read.

Prompts of one dialogue repeat what was said before, and those of one block its documents. Most tokenizers
never join what stands on both sides of the end of a line, so that the tokens of a text are those of its
lines. `agrees` says whether that is so.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

MOST = 2**22
"""Characters of the lines that are kept, about 60 MB with their tokens; beyond, all are forgotten."""
PROBES = (
    "One line.\nAnother one, which says 'it's 12,345':\n- first\n- second\n\n\n  indented\n\ttabbed\r\nend\n",
    '{"name": "a_b",\n"list": [1, 2.5],\n"text": "x\\ny"}\n'
    "API-Request: [f(a='b')]\nUser: yes?\n#!/bin/sh\n",
    "naïve\nÜber\nécole\n日本語\n中文\n한국어\nالعربية\nहिन्दी\n🙂\n🙂🙂\ne\n\u0301\n\u200b\nend",
)
"""Texts in which all kinds of characters stand on both sides of the end of a line."""


@dataclass
class _Known:
    """Lines whose tokens are known."""

    tokens: dict[str, list[int]] = field(default_factory=dict)
    characters: int = 0


def tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of a text, line by line, without those that a tokenizer adds around it."""
    known, found = _known(tokenizer), pieces(text)
    lacking = [piece for piece in dict.fromkeys(found) if piece not in known.tokens]
    if lacking:
        if known.characters + sum(map(len, lacking)) > MOST:
            known.tokens, known.characters = {}, 0
            lacking = list(dict.fromkeys(found))
        known.tokens.update(zip(lacking, whole(tokenizer, lacking), strict=True))
        known.characters += sum(map(len, lacking))
    joined: list[int] = []
    for piece in found:
        joined += known.tokens[piece]
    return joined


def whole(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """The tokens of each text, in one piece."""
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]


def pieces(text: str) -> list[str]:
    """The lines of a text with their ends. It is cut only where white space ends and begins with the end
    of one line, so blank lines and indentation stay with the lines beside them.
    """
    found, start, end = [], 0, text.find("\n")
    while 0 <= end < len(text) - 1:
        after = end + 1
        if end > start and not (text[end - 1].isspace() or text[after].isspace()):
            found.append(text[start:after])
            start = after
        end = text.find("\n", after)
    found.append(text[start:])
    return found


@lru_cache(maxsize=8)
def agrees(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether `PROBES` have the same tokens line by line as whole."""
    return all(whole(tokenizer, [text])[0] == tokens(tokenizer, text) for text in PROBES)


@lru_cache(maxsize=8)
def _known(tokenizer: PreTrainedTokenizerBase) -> _Known:
    return _Known()
