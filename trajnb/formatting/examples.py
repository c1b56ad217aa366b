"""Examples: for every call of a dialogue, the prompt before it and the call itself, as rows of a Dataset.

`prompt` and `completion` are lists of messages, TRL's conversational prompt-completion form; the other
columns say where an example comes from and what is hard about it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from datasets import Dataset

from trajnb.formatting.calls import render
from trajnb.formatting.conditions import CONDITIONS, History, messages
from trajnb.formatting.corpus import Corpus
from trajnb.formatting.dialogue import Call, Dialogue

STRATA = ("turn", "ordinal", "same_prompt", "response_only", "seen_target")
CountTokens = Callable[[Sequence[Mapping[str, str]]], int]


@dataclass(frozen=True)
class Step:
    """A call of a dialogue and what stands before it."""

    dialogue_id: str
    step: int  # index of the call in its dialogue, from 0
    turn: int  # index of its user turn, from 0
    history: History
    call: Call


def steps(dialogue: Dialogue) -> Iterator[Step]:
    """Every call of a dialogue in order."""
    step = user_turn = ordinal = 0
    for position, turn in enumerate(dialogue.turns):
        if turn.role == "user":
            user_turn, ordinal = user_turn + 1, 0
        if turn.call is not None:
            ordinal += 1
            history = History(dialogue.documents, dialogue.turns[:position], ordinal)
            yield Step(dialogue.id, step, max(user_turn - 1, 0), history, turn.call)
            step += 1


def build_examples(
    corpus: Corpus,
    condition: str,
    split: str,
    *,
    max_length: int | None = None,
    count_tokens: CountTokens | None = None,
) -> Dataset:
    """All examples of one side of the split: dialogues in corpus order, steps ascending.

    Args:
        condition: a name in `CONDITIONS`.
        split: "train" or "held_out".
        max_length: tokens that prompt and completion may take together. Where they take more, whole user
            turns are cut, oldest first; documents, the last user turn and the cue always stay.
        count_tokens: messages (prompt and completion) -> tokens under the model's chat template; with
            `max_length` only.

    Columns beside `prompt` and `completion`:
        dialogue_id, step, block, split: where the example comes from.
        turn, ordinal: its user turn from 0, and which call of that turn it is, from 1.
        same_prompt: no call stands before it, so that its prompt is the same under every condition.
        response_only: an argument value stands in an earlier response but in no user line before the call.
        seen_target: the gold text is also that of a training example of this corpus.
        cut_turns: user turns cut.
        gold: the call as text.

    Raises:
        ValueError: an unknown condition or split, or an example that does not fit, by dialogue and step.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"unknown condition {condition!r}; known: {', '.join(CONDITIONS)}")
    if split not in ("train", "held_out"):
        raise ValueError(f"unknown split {split!r}; it is 'train' or 'held_out'")
    if (max_length is None) != (count_tokens is None):
        raise ValueError("max_length and count_tokens go together: give both or neither")
    train, held_out = [], []
    for dialogue in corpus.dialogues:
        (held_out if dialogue.id in corpus.held_out else train).append(dialogue)
    seen = {render(step.call) for dialogue in train for step in steps(dialogue)}
    rows = []
    for dialogue in train if split == "train" else held_out:
        for step in steps(dialogue):
            gold = render(step.call)
            completion = [{"role": "assistant", "content": f"API-Request: {gold}"}]
            prompt, cut_turns = _fit(step, condition, completion, max_length, count_tokens)
            rows.append(
                {
                    "prompt": prompt,
                    "completion": completion,
                    "dialogue_id": dialogue.id,
                    "step": step.step,
                    "block": dialogue.block,
                    "split": split,
                    "turn": step.turn,
                    "ordinal": step.history.ordinal,
                    "same_prompt": all(turn.call is None for turn in step.history.turns),
                    "response_only": is_response_only(step),
                    "seen_target": gold in seen,
                    "cut_turns": cut_turns,
                    "gold": gold,
                }
            )
    return Dataset.from_list(rows)


def is_response_only(step: Step) -> bool:
    """Whether an argument value, as text, stands in an earlier response but in no earlier user line.

    A plain search, so a short number may also be found within a longer one.
    """
    said = "\n".join(turn.text for turn in step.history.turns if turn.role == "user")
    answered = "\n".join(turn.text for turn in step.history.turns if turn.call is not None)
    values = map(str, step.call.arguments.values())
    return any(value in answered and value not in said for value in values)


def _fit(
    step: Step,
    condition: str,
    completion: list[dict],
    max_length: int | None,
    count_tokens: CountTokens | None,
) -> tuple[list[dict], int]:
    """The prompt, and how many of the oldest user turns had to be cut for it to fit."""
    history = step.history
    prompt = messages(history, CONDITIONS[condition](history))
    if max_length is None:
        return prompt, 0
    name = f"dialogue {step.dialogue_id}, step {step.step}"
    if (length := count_tokens(completion)) > max_length:
        raise ValueError(f"{name}: the completion alone has {length} tokens, over max_length {max_length}")
    cut_turns = 0
    while (length := count_tokens([*prompt, *completion])) > max_length:
        starts = [i for i, turn in enumerate(history.turns) if turn.role == "user" and i > 0]
        if not starts:
            raise ValueError(
                f"{name}: documents, last user turn and completion have {length} tokens under condition "
                f"{condition!r}, over max_length {max_length}; raise max_length or show fewer documents"
            )
        history = replace(history, turns=history.turns[starts[0] :])
        prompt = messages(history, CONDITIONS[condition](history))
        cut_turns += 1
    return prompt, cut_turns
