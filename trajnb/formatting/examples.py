"""Examples: for every call of a dialogue, the prompt before it and the call itself, as rows of a
Dataset.

`prompt` and `completion` are lists of messages, TRL's conversational prompt-completion form; the
other columns say where an example comes from and what is hard about it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from datasets import Dataset, Features, Value, concatenate_datasets

from trajnb.formatting.calls import NO_CALL, REQUEST_PREFIX, render
from trajnb.formatting.conditions import (
    CONDITIONS,
    CUES,
    PLACEBOS,
    History,
    messages,
    paper_messages,
)
from trajnb.formatting.dialogue import Call, Corpus, Dialogue, Turn
from trajnb.formatting.donors import donors
from trajnb.known import check_known

STRATA = (
    "turn",
    "ordinal",
    "same_prompt",
    "answerable",
    "response_only",
    "name_response_only",
    "seen_target",
    "shared_api",
    "prompt_characters",
)
CountTokens = Callable[[Sequence[Mapping[str, str]]], int]


_MESSAGES = [{"role": Value("string"), "content": Value("string")}]
FEATURES = Features(
    {
        "prompt": _MESSAGES,
        "completion": _MESSAGES,
        "dialogue_id": Value("string"),
        "step": Value("int64"),
        "block": Value("string"),
        "split": Value("string"),
        "target": Value("string"),
        "turn": Value("int64"),
        "ordinal": Value("int64"),
        "same_prompt": Value("bool"),
        "answerable": Value("bool"),
        "response_only": Value("bool"),
        "name_response_only": Value("bool"),
        "seen_target": Value("bool"),
        "shared_api": Value("bool"),
        "prompt_characters": Value("int64"),
        "cut_turns": Value("int64"),
        "gold": Value("string"),
    }
)
"""The columns of examples, see `build_examples`."""
BATCH = 1000
"""Rows that are dicts at a time."""
FORMATS = ("own", "paper")
TARGETS = {"api": "call", "ai": "response", "end": "stop"}


@dataclass(frozen=True)
class Step:
    """A target of a dialogue and what stands before it."""

    dialogue_id: str
    step: int  # index of the target in its dialogue, from 0
    turn: int  # index of its user turn, from 0
    history: History
    target: Turn

    @property
    def call(self) -> Call | None:
        """None for a response to the user, the end of a turn, and a call that cannot be read."""
        return self.target.call

    @property
    def gold(self) -> str:
        """The target as a prompt would write it, without its prefix."""
        return render(self.call) if self.call else self.target.text

    @property
    def completion(self) -> str:
        """The target with its prefix: what is learnt and what a right answer looks like."""
        return f"{'AI:' if self.target.role == 'ai' else REQUEST_PREFIX} {self.gold}"


def steps(dialogue: Dialogue, donor: Dialogue | None = None) -> Iterator[Step]:
    """Every target of a dialogue in order; without targets of its own, every call.

    Calls of one message are made before any of them is answered: each has those before it in its
    history as requests, for they are written before it, and their responses not.

    `donor` gives the calls that a placebo shows; where it has fewer, they are repeated.
    """
    places = dialogue.places
    donated = [turn for turn in donor.turns if turn.call] if donor else []
    user_turn = ordinal = answered = 0
    awaited = 0
    for place, turn in enumerate(dialogue.turns):
        awaited = awaited + 1 if turn.together else 0
        if turn.role == "user":
            user_turn, ordinal = user_turn + 1, 0
        ordinal += turn.role == "api"
        if place in places:
            history = History(
                dialogue.documents,
                _before(dialogue.turns, place, awaited),
                ordinal if turn.role == "api" else 0,
                donated=tuple(islice(cycle(donated), answered)),
                awaited=awaited,
            )
            history = replace(history, needed=_needed(history, turn.call)) if turn.call else history
            yield Step(dialogue.id, places.index(place), max(user_turn - 1, 0), history, turn)
        answered += turn.role == "api"


def _before(turns: tuple[Turn, ...], place: int, awaited: int) -> tuple[Turn, ...]:
    """The turns before a place, the last ones without the responses that are still awaited there."""
    answered = place - awaited
    return (*turns[:answered], *(replace(turn, text="") for turn in turns[answered:place]))


def ends(dialogue: Dialogue, donor: Dialogue | None = None) -> Iterator[Step]:
    """The end of every user turn, as a target: no further call. `step` is the index of the user
    turn.
    """
    starts = [place for place, turn in enumerate(dialogue.turns) if turn.role == "user"]
    stops = [*starts[1:], len(dialogue.turns)]
    for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        calls = [place for place in range(start, stop) if dialogue.turns[place].role == "api"]
        last = max(calls, default=start)  # what is said to the user comes behind the end
        turns = (*dialogue.turns[: last + 1], Turn("end", NO_CALL))
        *_, step = steps(replace(dialogue, turns=turns, targets=(last + 1,)), donor)
        yield replace(step, step=number, history=replace(step.history, ordinal=len(calls) + 1))


def possible(corpus: Corpus) -> tuple[str, ...]:
    """The conditions that a corpus can be shown under: a placebo needs donors on both sides of the
    split, `placebo` those of another block.
    """
    impossible = set()
    for side in sides(corpus).values():
        called = [one for one in side if any(turn.call for turn in one.turns)]
        if len({one.block for one in called}) < 2:
            impossible.add("placebo")
        if len(called) < 2:
            impossible.add("placebo-near")
    return tuple(name for name in CONDITIONS if name not in impossible)


def sides(corpus: Corpus) -> dict[str, list[Dialogue]]:
    """The dialogues of both sides of the split, `train` and `held_out`, in corpus order."""
    found: dict[str, list[Dialogue]] = {"train": [], "held_out": []}
    for dialogue in corpus.dialogues:
        found["held_out" if dialogue.id in corpus.held_out else "train"].append(dialogue)
    return found


def build_examples(
    corpus: Corpus,
    condition: str,
    split: str,
    *,
    max_length: int | None = None,
    count_tokens: CountTokens | None = None,
    prompt_format: str = "own",
    cue: str = "ordinal",
    responses: bool = False,
    stops: bool = False,
) -> Dataset:
    """All examples of one side of the split: dialogues in corpus order, steps ascending.

    Args:
        condition: a name in `CONDITIONS`.
        split: "train" or "held_out". Only calls that can be read are held out.
        max_length: tokens that prompt and completion may take together. Where they take more, whole
            user turns are cut, oldest first; documents, the last user turn and the cue always stay.
        count_tokens: messages (prompt and completion) -> tokens under the model's chat template;
            with `max_length` only.
        prompt_format: "own", or "paper" for prompts as arXiv 2605.09734 has them.
        cue: "ordinal", or "plain" for prompts that ask for a call without saying which one of its
            turn it is; prompts of the paper have words of their own.
        responses: train on responses to the user and on calls that cannot be read too, where the
            corpus has such targets; the paper does.
        stops: the ends of turns instead, see `ends`, with the strata of calls left false.

    Columns beside `prompt` and `completion`:
        dialogue_id, step, block, split: where the example comes from.
        target: "call", "response" or "stop".
        turn, ordinal: its user turn from 0, and which call of that turn it is, from 1 (0: a
            response).
        same_prompt: no call stands before it, so that its prompt is the same under every condition.
        response_only: an argument value stands in an earlier response but in nothing that was said
            before.
        name_response_only: the API's name does, and in no document.
        answerable: neither is so: a stripped prompt does not rule the target out.
        seen_target: the gold text is also that of a training example of this corpus.
        shared_api: training dialogues of another block call its API too, so that a later block may
            teach it; false where the target is no call.
        prompt_characters: the length of the whole history with documents, as `full` shows it uncut.
        cut_turns: user turns cut.
        gold: the call as text.

    Raises:
        ValueError: an unknown condition, split or format, or an example that does not fit, by
            dialogue and step.
    """
    found = example_rows(
        corpus,
        condition,
        split,
        max_length=max_length,
        count_tokens=count_tokens,
        prompt_format=prompt_format,
        cue=cue,
        responses=responses,
        stops=stops,
    )
    parts = []
    while batch := list(islice(found, BATCH)):  # as dicts all of them would take ten times the memory
        parts.append(Dataset.from_list(batch, features=FEATURES))
    return concatenate_datasets(parts) if parts else Dataset.from_list([])


def example_rows(
    corpus: Corpus,
    condition: str,
    split: str,
    *,
    max_length: int | None = None,
    count_tokens: CountTokens | None = None,
    prompt_format: str = "own",
    cue: str = "ordinal",
    responses: bool = False,
    stops: bool = False,
) -> Iterator[dict]:
    """The rows of `build_examples`, one after another; arguments and errors as there."""
    for value, known, what in (
        (condition, CONDITIONS, "condition"),
        (split, ("train", "held_out"), "split"),
        (prompt_format, FORMATS, "prompt_format"),
        (cue, CUES, "cue"),
    ):
        check_known(what, value, known)
    if (max_length is None) != (count_tokens is None):
        raise ValueError("max_length and count_tokens go together: give both or neither")
    by_side = sides(corpus)
    train, side = by_side["train"], by_side[split]
    seen = {step.gold for dialogue in train for step in steps(dialogue)}
    learnt_in = blocks_of_apis(train)
    with_responses = responses and split == "train"
    donor_of = donors(side, condition) if condition in PLACEBOS else {}
    for dialogue in side:
        for step in (ends if stops else steps)(dialogue, donor_of.get(dialogue.id)):
            if step.call is None and not (with_responses or stops):
                continue
            completion = [{"role": "assistant", "content": step.completion}]
            prompt, cut_turns = _fit(
                step, condition, completion, max_length, count_tokens, prompt_format, cue
            )
            yield {
                "prompt": prompt,
                "completion": completion,
                "dialogue_id": dialogue.id,
                "step": step.step,
                "block": dialogue.block,
                "split": split,
                "target": TARGETS[step.target.role],
                "turn": step.turn,
                "ordinal": step.history.ordinal,
                "same_prompt": all(turn.role != "api" for turn in step.history.turns),
                "answerable": not step.history.needed,
                "response_only": step.call is not None and is_response_only(step),
                "name_response_only": step.call is not None and is_name_response_only(step),
                "seen_target": step.gold in seen,
                "shared_api": step.call is not None
                and bool(learnt_in.get(step.call.name, set()) - {dialogue.block}),
                "prompt_characters": _characters(step.history),
                "cut_turns": cut_turns,
                "gold": step.gold,
            }


def blocks_of_apis(dialogues: Iterable[Dialogue]) -> dict[str, set[str]]:
    """API name -> the blocks whose targets call it."""
    found: dict[str, set[str]] = {}
    for dialogue in dialogues:
        for place in dialogue.places:
            if call := dialogue.turns[place].call:
                found.setdefault(call.name, set()).add(dialogue.block)
    return found


def is_response_only(step: Step) -> bool:
    """Whether an argument value, as text, stands in an earlier response but in no line that was
    said.

    A plain search, so a short number may also be found within a longer one.
    """
    return bool(_values_of_responses(step.history, step.call))


def is_name_response_only(step: Step) -> bool:
    """Whether the API is named in an earlier response, but in no document and no line that was
    said.
    """
    return _is_named_by_responses(step.history, step.call)


def _values_of_responses(history: History, call: Call) -> tuple[str, ...]:
    said, answered = _texts(history)
    values = dict.fromkeys(map(str, call.arguments.values()))
    return tuple(value for value in values if value in answered and value not in said)


def _is_named_by_responses(history: History, call: Call) -> bool:
    said, answered = _texts(history)
    return (
        call.name in answered
        and call.name not in said
        and not any(call.name in line for line in history.documents)
    )


def _needed(history: History, call: Call) -> tuple[str, ...]:
    """What `call` takes from responses, as text: values of its arguments, and its name."""
    name = (call.name,) if _is_named_by_responses(history, call) else ()
    return (*_values_of_responses(history, call), *name)


def _characters(history: History) -> int:
    return sum(
        len(message["content"]) for message in messages(history, CONDITIONS["full"](history))
    )


def _texts(history: History) -> tuple[str, str]:
    """What was said, and what was answered by APIs, before the call."""
    sides = (
        [turn.text for turn in history.turns if (turn.role == "api") is side]
        for side in (False, True)
    )
    return tuple(map("\n".join, sides))


def _fit(
    step: Step,
    condition: str,
    completion: list[dict],
    max_length: int | None,
    count_tokens: CountTokens | None,
    prompt_format: str,
    cue: str,
) -> tuple[list[dict], int]:
    """The prompt, and how many of the oldest user turns had to be cut for it to fit."""

    def written(history: History) -> list[dict]:
        lines = CONDITIONS[condition](history)
        if prompt_format == "paper":
            return paper_messages(history, lines, condition)
        return messages(history, lines, cue)

    if max_length is None:
        return written(step.history), 0
    name = f"dialogue {step.dialogue_id}, step {step.step}, condition {condition!r}"
    whole = written(step.history)
    if count_tokens([*whole, *completion]) <= max_length:
        return whole, 0
    if (length := count_tokens(completion)) > max_length:
        raise ValueError(
            f"{name}: the completion alone has {length} tokens, over max_length {max_length}"
        )
    return cut_to_fit(
        step.history, written, lambda prompt: count_tokens([*prompt, *completion]), max_length, name
    )


def cut_to_fit(
    history: History,
    written: Callable[[History], list[dict]],
    count_tokens: CountTokens,
    max_length: int,
    name: str,
) -> tuple[list[dict], int]:
    """The prompt that `written` makes of a history, and how many of the oldest user turns had to be
    cut for it to have at most `max_length` tokens.

    Raises:
        ValueError: documents and the last user turn alone have more; `name` says whose.
    """
    prompt, cut_turns = written(history), 0
    while (length := count_tokens(prompt)) > max_length:
        starts = [i for i, turn in enumerate(history.turns) if turn.role == "user" and i > 0]
        if not starts:
            raise ValueError(
                f"{name}: documents, last user turn and call have {length} tokens, over max_length "
                f"{max_length}; raise max_length or show fewer documents"
            )
        left = history.turns[starts[0] :]
        answered = sum(turn.role == "api" for turn in left)
        donated = history.donated[len(history.donated) - answered :]
        history = replace(history, turns=left, donated=donated)
        prompt, cut_turns = written(history), cut_turns + 1
    return prompt, cut_turns
