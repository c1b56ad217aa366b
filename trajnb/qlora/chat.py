"""Rows of text in, token sequences out, through the model's own chat template.

Templates differ in what they allow and write. What one does is found out by having it write a short
dialogue, see `Habits`; a template that can be neither followed nor made up for is a ValueError.
"""

import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from os.path import commonprefix
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from trajnb.qlora import control

# Templates print a date, many today's: prompts would depend on the day a run is made or gone on with.
TEMPLATE_DATE = datetime(2024, 7, 26, tzinfo=UTC)
"""What every template takes for today: Llama 3's is told a `date_string`, others ask `strftime_now`."""

PATIENCE = 20.0
"""Seconds that a template may take for one dialogue, which takes a thousandth of one."""
MEMORY = 2**30
"""Bytes that a template may take for one dialogue, which takes a few thousand."""
LONGEST = 1_000_000
"""Characters of a template; those of known models have up to 20,000."""

Messages = Sequence[Mapping[str, str]]
"""Dicts of role and content."""


@dataclass(frozen=True)
class Habits:
    """What a chat template does with a dialogue."""

    folds: bool
    """It refuses a system message, or drops its text: the instruction goes before the first user
    text.
    """
    lead: str
    """What it writes between its generation prompt and an answer, such as an empty thought. It is no
    part of the answer, so it is a part of the prompt.
    """
    tail: str
    """What it writes behind the last answer."""
    end: int
    """The token that ends an answer: the first special one of `tail`. Often, but not always, it is
    the tokenizer's end token, which stands in where a template writes nothing behind an answer.
    """
    behind: int
    """How many tokens of `tail` follow the end; -1 where the end has to be put there."""


@dataclass(frozen=True)
class Encoded:
    """One example as tokens."""

    tokens: list[int]
    """The prompt and the completion, whose end is the last."""
    prompt: int
    """How many of them are the prompt."""

    @property
    def completion(self) -> list[int]:
        return self.tokens[self.prompt :]


def habits(tokenizer: PreTrainedTokenizerBase) -> Habits:
    """What the tokenizer's chat template does.

    Raises:
        ValueError: it writes no user text, no end, or prompts that an answer changes.
    """
    return _habits(tokenizer, tokenizer.get_chat_template())


@lru_cache(maxsize=8)
def _habits(tokenizer: PreTrainedTokenizerBase, template: str) -> Habits:
    """`template` is the tokenizer's, which may be given another one."""
    system, user, answer = "The instruction.", "The question?", "The answer."
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    try:
        folds = system not in _write(tokenizer, messages)
    except Exception:  # templates raise what they like; often they have no system role
        folds = True
    messages = _folded(messages) if folds else messages
    try:
        prompt = _write(tokenizer, messages, add_generation_prompt=True)
        whole = _write(tokenizer, [*messages, {"role": "assistant", "content": answer}])
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"the chat template cannot write a question and its answer ({reason})") from error
    before, found, tail = whole.rpartition(answer)
    if not found or not all(text in prompt for text in (system, user)):
        raise ValueError("the chat template leaves out what is said: it wants messages of another form")
    _check_same(prompt, whole, user)
    lead = before.removeprefix(prompt) if before.startswith(prompt) else ""
    return Habits(folds, lead if lead.strip() else "", tail, *_end(tokenizer, tail))


def _end(tokenizer: PreTrainedTokenizerBase, tail: str) -> tuple[int, int]:
    """The token that ends an answer, and how many tokens follow it in what is written behind one."""
    if not tail and tokenizer.eos_token_id is not None:
        return tokenizer.eos_token_id, -1
    tokens = tokenizer(tail, add_special_tokens=False)["input_ids"]
    added = tokenizer.added_tokens_decoder
    for place, token in enumerate(tokens):
        # some tokenizers add runs of white space too, and some an end that is not called special
        stands_for_itself = token in added and (added[token].special or added[token].content.strip())
        if token == tokenizer.eos_token_id or stands_for_itself:
            return token, len(tokens) - place - 1
    raise ValueError(f"the chat template writes no {tokenizer.eos_token} after an answer")


def _check_same(prompt: str, whole: str, said: str) -> None:
    """Raise ValueError where a prompt is another once its answer follows: up to the end of what was
    `said` last it must be the same. What comes then, the generation prompt, may say more than is
    kept before an answer, such as the beginning of a thought.
    """
    if len(commonprefix([prompt, whole])) < prompt.rindex(said) + len(said):
        raise ValueError("the chat template writes the prompt differently when an answer follows")


def _folded(messages: Messages) -> list[Mapping[str, str]]:
    """Messages without a system role: its text stands before the first user text."""
    if messages[0]["role"] != "system":
        return list(messages)
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *rest]
    return [{"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def _write(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, add_generation_prompt: bool = False
) -> str:
    """What the template makes of messages."""
    template = tokenizer.get_chat_template()
    if len(template) > LONGEST:
        raise ValueError(f"it has {len(template):,} characters, more than {LONGEST:,}")
    with _in_time(), _in_memory():
        return tokenizer.apply_chat_template(
            control.as_text(tokenizer, messages),
            chat_template=_clock() + template if "strftime_now" in template else template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            date_string=f"{TEMPLATE_DATE:%d %b %Y}",
        )


@contextmanager
def _in_time() -> Iterator[None]:
    """What takes more than `PATIENCE` is ended by a TimeoutError: a template may hold loops in loops.

    By an alarm, which the main thread of a POSIX system alone can have; elsewhere nothing is ended.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def end(*_: object) -> None:
        raise TimeoutError(f"it takes more than {PATIENCE:g} s for one dialogue")

    before = signal.signal(signal.SIGALRM, end)
    other = signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *other)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _in_memory() -> Iterator[None]:
    """What takes more than `MEMORY` beside all that this process holds is ended by a MemoryError: a
    template may multiply words.

    By the limit of its address space, which Linux alone tells and keeps; elsewhere nothing is ended.
    """
    if threading.current_thread() is not threading.main_thread() or sys.platform != "linux":
        yield
        return
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [held + MEMORY, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    except MemoryError:
        raise MemoryError(f"it takes more than {MEMORY:,} bytes for one dialogue") from None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@cache
def _clock() -> str:
    """The beginning of a template in which it is always `TEMPLATE_DATE`. transformers gives
    templates a clock as a function, and takes none from outside: a macro of its name hides it.
    """
    told = {}
    for letter in "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZf":
        for code in (f"%{letter}", f"%-{letter}"):  # the second without leading zeros
            told[code] = TEMPLATE_DATE.strftime(code).replace("'", "")
    told["%s"] = told["%-s"] = f"{TEMPLATE_DATE.timestamp():.0f}"  # C takes the time zone from here
    filters = "".join(f" | replace('{code}', '{words}')" for code, words in told.items())
    return f"{{% macro strftime_now(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}\n"


def _text(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, add_generation_prompt: bool = False
) -> str:
    """The same in a form that the template takes; with `add_generation_prompt` all that is written
    before an answer.
    """
    said = tuple((one["role"], one["content"]) for one in messages)
    return _text_of(tokenizer, tokenizer.get_chat_template(), said, add_generation_prompt)


@lru_cache(maxsize=4)  # what is counted is encoded next
def _text_of(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    said: tuple[tuple[str, str], ...],
    add_generation_prompt: bool,
) -> str:
    """`said`: role and content of every message. `template` is the tokenizer's."""
    messages = [{"role": role, "content": content} for role, content in said]
    known = habits(tokenizer)
    if known.folds:
        messages = _folded(messages)
    try:
        text = _write(tokenizer, messages, add_generation_prompt)
    except Exception:
        if len(messages) > 1:
            raise
        text = ""  # it wants a user first
    if len(messages) == 1 and control.marked(tokenizer, messages[0]["content"]) not in text:
        text = _write(tokenizer, _folded(messages), add_generation_prompt)
    return text + (known.lead if add_generation_prompt else "")


def text_of(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], stopped: bool) -> str:
    """What generated tokens say; where they `stopped`, the last one is the end token."""
    return tokenizer.decode(tokens[:-1] if stopped else tokens, skip_special_tokens=True)


def chat_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, add_generation_prompt: bool = False
) -> list[int]:
    """Token ids of `messages` under the tokenizer's chat template, with `add_generation_prompt` of
    all that a model reads before it answers.
    """
    return control.tokens(tokenizer, _text(tokenizer, messages, add_generation_prompt))


@lru_cache(maxsize=8)
def count_text(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], int]:
    """The function that `formatting.load_corpus` takes: text -> number of tokens."""
    return lambda text: len(control.tokens(tokenizer, control.marked(tokenizer, text)))


def count_tokens(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Mapping]], int]:
    """The function that `formatting.build_examples` takes: messages -> number of tokens."""
    return lambda messages: len(chat_tokens(tokenizer, messages))


def encode(tokenizer: PreTrainedTokenizerBase, row: Mapping, by_line: bool = True) -> Encoded:
    """One row of examples (`prompt` and `completion`, lists of messages) as tokens, read line by line
    where the tokenizer allows it, see `lines`.

    The completion ends with the token that ends an answer, see `Habits`; what a template writes after
    it is left out. What is learnt follows the very tokens that are asked with: where a template
    writes less before an answer than its generation prompt says, the answer stands behind that.

    Raises ValueError if the prompt is another when an answer follows, for then the model would be
    trained on another prompt than it is asked, and if the prompt does not begin with a system
    message, for many templates (SmolLM2's, Qwen2's) then write one of their own.
    """
    try:
        return _encode(tokenizer, row["prompt"], row["completion"], by_line)
    except ValueError as error:
        raise ValueError(f"dialogue {row['dialogue_id']}, step {row['step']}: {error}") from error


def _encode(
    tokenizer: PreTrainedTokenizerBase, prompt: Messages, completion: Messages, by_line: bool
) -> Encoded:
    if prompt[0]["role"] != "system":
        raise ValueError(
            "the prompt has no system message, and the chat template may write one of its own: begin "
            "the prompt with one"
        )
    known = habits(tokenizer)
    asked = _text(tokenizer, prompt, add_generation_prompt=True)
    whole = _text(tokenizer, [*prompt, *completion])
    if not whole.startswith(asked):
        _check_same(asked, whole, control.marked(tokenizer, prompt[-1]["content"].strip()))
        whole = asked + control.marked(tokenizer, completion[-1]["content"]) + known.tail
    before = control.tokens(tokenizer, asked, by_line)
    tokens = control.tokens(tokenizer, whole, by_line)
    if tokens[: len(before)] != before:  # the tokenizer joins what stands on both sides
        tokens = before + control.tokens(tokenizer, whole[len(asked) :], by_line)
    stop = len(tokens) - known.behind
    tokens = tokens[:stop] if known.behind >= 0 else [*tokens, known.end]
    if tokens[-1] != known.end:
        raise ValueError("the chat template ends this answer otherwise than others")
    return Encoded(tokens, len(before))


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
    rows = list(rows)
    try:
        return list(encode_each(tokenizer, rows, cut))
    except LinesDiffer:
        return list(encode_each(tokenizer, rows, cut, by_line=False))


class LinesDiffer(Exception):
    """Line by line these texts have other tokens than whole."""


def encode_each(
    tokenizer: PreTrainedTokenizerBase,
    rows: Iterable[Mapping],
    cut: PaperCut | None = None,
    by_line: bool = True,
) -> Iterator[Encoded]:
    """The same, one after another.

    Raises:
        LinesDiffer: `by_line`, and one of a sample of the rows is something else when it is read whole.
            What was given before is then not to be trusted.
    """
    for number, row in enumerate(rows):
        example = encode(tokenizer, row, by_line)
        if by_line and _is_checked(number) and example != encode(tokenizer, row, by_line=False):
            raise LinesDiffer
        yield cut(example, row["split"]) if cut else example


def _is_checked(number: int) -> bool:
    """Whether the row of a number is of the sample: a thousandth of all, and more of the first ones."""
    return number.bit_count() <= 1 or number % 1000 == 0
