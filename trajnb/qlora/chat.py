"""Rows of text in, token sequences out, through the model's own chat template."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from trajnb.qlora import control

# Llama 3's template prints a date, the newer ones today's: a run would depend on the day it ran.
TEMPLATE_DATE = "26 Jul 2024"


@dataclass(frozen=True)
class Encoded:
    """One example as tokens."""

    tokens: list[int]
    """The prompt and the completion, whose end token is the last."""
    prompt: int
    """How many of them are the prompt."""

    @property
    def completion(self) -> list[int]:
        return self.tokens[self.prompt :]


def chat_tokens(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, str]],
    add_generation_prompt: bool = False,
) -> list[int]:
    """Token ids of `messages` (dicts of role and content) under the tokenizer's chat template."""
    text = tokenizer.apply_chat_template(
        control.as_text(tokenizer, messages),
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
        date_string=TEMPLATE_DATE,
    )
    return control.tokens(tokenizer, text)


def count_text(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], int]:
    """The function that `formatting.load_corpus` takes: text -> number of tokens."""
    return lambda text: len(control.tokens(tokenizer, control.marked(tokenizer, text)))


def count_tokens(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Mapping]], int]:
    """The function that `formatting.build_examples` takes: messages -> number of tokens."""
    return lambda messages: len(chat_tokens(tokenizer, messages))


def encode(tokenizer: PreTrainedTokenizerBase, row: Mapping) -> Encoded:
    """One row of examples (`prompt` and `completion`, lists of messages) as tokens.

    The completion ends with the tokenizer's end token; what a template writes after it is left out.
    Raises ValueError if the prompt's tokens are not a prefix of prompt + completion's, for then the
    model would be trained on another prompt than it is asked, and if the prompt does not begin with
    a system message, for many templates (SmolLM2's, Qwen2's) then write one of their own.
    """
    name = f"dialogue {row['dialogue_id']}, step {row['step']}"
    if row["prompt"][0]["role"] != "system":
        raise ValueError(
            f"{name}: the prompt has no system message, and the chat template may write one of its "
            "own: begin the prompt with one"
        )
    try:
        prompt = chat_tokens(tokenizer, row["prompt"], add_generation_prompt=True)
        tokens = chat_tokens(tokenizer, [*row["prompt"], *row["completion"]])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if tokens[: len(prompt)] != prompt:
        raise ValueError(
            f"{name}: the chat template writes the prompt differently when an answer follows"
        )
    try:
        end = tokens.index(tokenizer.eos_token_id, len(prompt))
    except ValueError:
        raise ValueError(
            f"{name}: the chat template writes no {tokenizer.eos_token} after an answer"
        ) from None
    return Encoded(tokens[: end + 1], len(prompt))


@dataclass(frozen=True)
class PaperCut:
    """What arXiv 2605.09734 cuts: everything behind `max_length` tokens, in evaluation the end of
    the prompt so that `max_new_tokens` are left. The end of a dialogue, the cue and the target can
    be lost.
    """

    max_length: int
    max_new_tokens: int

    def __call__(self, example: Encoded, split: str) -> Encoded:
        if split == "train":
            return Encoded(example.tokens[: self.max_length], min(example.prompt, self.max_length))
        prompt = example.tokens[: min(example.prompt, self.max_length - self.max_new_tokens)]
        return Encoded([*prompt, *example.completion], len(prompt))


def encode_all(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[Mapping], cut: PaperCut | None = None
) -> list[Encoded]:
    """`encode` for every row, in order, and `cut` if that is asked for."""
    encoded = []
    for row in rows:
        example = encode(tokenizer, row)
        encoded.append(cut(example, row["split"]) if cut else example)
    return encoded
