"""Rows of text in, token sequences out, through the model's own chat template."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Llama 3's template prints a date, the newer ones today's: a run would depend on the day it ran.
TEMPLATE_DATE = "26 Jul 2024"


@dataclass(frozen=True)
class Encoded:
    """One example as tokens: `tokens[:prompt]` is the prompt, the rest is the completion with its end
    token.
    """

    tokens: list[int]
    prompt: int

    @property
    def completion(self) -> list[int]:
        return self.tokens[self.prompt :]


def chat_tokens(
    tokenizer, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = False
) -> list[int]:
    """Token ids of `messages` (dicts of role and content) under the tokenizer's chat template."""
    text = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=add_generation_prompt, date_string=TEMPLATE_DATE
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def count_tokens(tokenizer):
    """The function that `formatting.build_examples` takes: messages -> number of tokens."""
    return lambda messages: len(chat_tokens(tokenizer, messages))


def encode(tokenizer, row: Mapping) -> Encoded:
    """One row of examples (`prompt` and `completion`, lists of messages) as tokens.

    The completion ends with the tokenizer's end token; what a template writes after it is left out. Raises
    ValueError if the prompt's tokens are not a prefix of prompt + completion's, for then the model would be
    trained on another prompt than it is asked.
    """
    prompt = chat_tokens(tokenizer, row["prompt"], add_generation_prompt=True)
    tokens = chat_tokens(tokenizer, [*row["prompt"], *row["completion"]])
    name = f"dialogue {row['dialogue_id']}, step {row['step']}"
    if tokens[: len(prompt)] != prompt:
        raise ValueError(f"{name}: the chat template writes the prompt differently when an answer follows")
    try:
        end = tokens.index(tokenizer.eos_token_id, len(prompt))
    except ValueError:
        raise ValueError(
            f"{name}: the chat template writes no {tokenizer.eos_token} after an answer"
        ) from None
    return Encoded(tokens[: end + 1], len(prompt))


def encode_all(tokenizer, rows: Iterable[Mapping]) -> list[Encoded]:
    """`encode` for every row, in order."""
    return [encode(tokenizer, row) for row in rows]
