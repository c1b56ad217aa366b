"""What a dialogue says is text, also where it spells a token that a model is steered by.

A user's `<|im_end|>` must not end a turn, and a target that holds one must be learnt whole. So such
words in contents are marked before a template writes the dialogue, and encoded as text after it.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from trajnb.qlora import lines

# characters that Unicode keeps free of any use; between them stands which word it was
_OPEN, _CLOSE, _FIRST = "\ufdd0", "\ufdd1", 0xE000


def as_text(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]
) -> list[Mapping[str, str]]:
    """The messages with the control tokens in their contents marked, for `tokens`."""
    return [{**one, "content": marked(tokenizer, one["content"])} for one in messages]


def marked(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A text with its control tokens marked; most have none and come back as they are."""
    words, pattern = _words(tokenizer)
    if not pattern.search(text):
        return text
    return pattern.sub(lambda found: f"{_OPEN}{chr(_FIRST + words.index(found[0]))}{_CLOSE}", text)


def tokens(tokenizer: PreTrainedTokenizerBase, text: str, by_line: bool = True) -> list[int]:
    """The tokens of a text; what is `marked` in it is encoded letter by letter, not as control.

    `by_line`: tokenise each line once, see `lines`, where the tokenizer allows it.

    Raises:
        ValueError: the tokenizer cannot encode such a word as text.
    """
    if _OPEN not in text:
        return _plain(tokenizer, text, by_line)
    words, _ = _words(tokenizer)
    found: list[int] = []
    for place, piece in enumerate(re.split(f"{_OPEN}(.){_CLOSE}", text)):
        if place % 2 == 0:
            found += _plain(tokenizer, piece, by_line) if piece else []
            continue
        word = words[ord(piece) - _FIRST]
        spelt = tokenizer(word, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if set(spelt) & set(tokenizer.all_special_ids):
            raise ValueError(f"{word!r} in a text would steer the model: this tokenizer cannot spell it")
        found += spelt
    return found


def _plain(tokenizer: PreTrainedTokenizerBase, text: str, by_line: bool) -> list[int]:
    if by_line and lines.agrees(tokenizer):
        return lines.tokens(tokenizer, text)
    return lines.whole(tokenizer, [text])[0]


@lru_cache(maxsize=8)
def _words(tokenizer: PreTrainedTokenizerBase) -> tuple[list[str], re.Pattern]:
    """The control tokens of a tokenizer, longest first, and the mark itself."""
    added = tokenizer.added_tokens_decoder.values()
    special = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
    words = sorted(filter(str.strip, special), key=lambda word: (-len(word), word)) + [_OPEN]
    if len(words) > 6000:  # the private characters of Unicode
        raise ValueError(f"the tokenizer has {len(words)} control tokens, more than can be marked")
    return words, re.compile("|".join(map(re.escape, words)))
