"""What a run leaves behind, typed and checked: the record, its items, its predictions.

- `record.json` is a `Record`; it is written last, and a run that has it is finished;
- `items.jsonl` has one `Item` a line: what is asked, and what is hard about it;
- `predictions.jsonl` has one `Prediction` a line, for every item, stage and evaluation condition;
- `BESIDE` lists what only some runs have.

Keys are only ever added; what an older record lacks is filled in once, on reading, by `upgrade`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypedDict, get_args

from trajnb.formatting.calls import opened_name
from trajnb.formatting.dialogue import NO_FOLD, CorpusChoice
from trajnb.objectives import USUAL
from trajnb.strategies import PLAIN

BEFORE = "before_preferences.jsonl"
TURNS = "turns.jsonl"
BESIDE = ("stops.jsonl", "rollouts.jsonl", "rollout.json", BEFORE, TURNS)
"""Of runs that learn to stop, or are rolled out: answers at the ends of turns, which never count as
items; one dialogue played to its end a line, see `run.play`; and the means over these. Of runs that
learn preferences: a `Prediction` a line for every item, stage and evaluation condition as the model
was before these, and a `PlayedTurn` a line.
"""


@dataclass(frozen=True)
class Record:
    """What a run was, took and measured."""

    parameters: dict
    """Of the notebook that trained it, by name; `order` and `eval_conditions` spelt out,
    `eval_stages` as it is in effect: "ends" where the matrix has holes.
    """
    blocks: list
    """In the order learnt."""
    stages: list
    """The blocks that each stage of training learnt for the first time."""
    items: list
    """Held-out items of every block."""
    matrix: dict
    """{evaluation condition: {score: [stage][block]}}, stage 0 being before training: counts of
    right answers for `canonical`, `string`, `name`, `parsed` and, but for older records,
    `opened_name`, see `scoring.score`, and `gold_nll`, the summed negative log-likelihood of the
    right call (nats); None where a block was not asked about, see `eval_stages`, and of `gold_nll`
    where answers have no probabilities.
    """
    tokens: dict
    """`train_total`, `train_supervised`, `by_block`, all epochs; `train_computed` is what was left
    of the total once shared beginnings were computed once.
    """
    steps: int | None
    """Of the optimiser; None in an older record."""
    flops: float | None
    """Operations of training, estimated, see `qlora.plan`; None in an older record."""
    seconds: dict
    """`train`, `evaluate`, `total`."""
    cut_turns: dict
    """User turns that were cut from prompts to fit `max_length`: {"train": {condition: count},
    "held_out": {evaluation condition: count}}, each prompt once; empty in an older record.
    """
    scores_only: bool
    """It was kept without texts, see `without_texts`; False in an older record."""
    leaks: dict
    """{evaluation condition: {count}} of the held-out calls that a placebo helps, see
    `formatting.leaks`; empty without a placebo and in an older record.
    """
    preferences: dict
    """What a run of objective `prefer` learnt from, see `run.homes`: its stages in their order, each
    with counts of its trees and pairs and what training on these took and said, step by step. Empty
    for other objectives and in an older record.
    """
    resumed: bool
    """A kill cut the training: its seconds count from the last checkpoint on."""
    peak_memory_mb: float
    versions: dict
    model: dict
    """`id` as asked for, `revision`, `sha256` of the weights."""
    corpus: dict
    """`name`, `hash` of its content, `account` of what was counted."""
    git_commit: str
    """Of the clone, see `machine.git_commit`."""
    machine: str
    started: str
    finished: str
    """ISO 8601, UTC."""


class Item(TypedDict):
    """One held-out call."""

    dialogue_id: str
    """Where texts were not kept, what `names_without_texts` makes of it."""
    step: int
    block: str
    gold: str | None
    """None where texts were not kept."""
    turn: int
    """Its user turn, from 0."""
    ordinal: int
    """Which call of that turn it is, from 1."""
    same_prompt: bool
    """No call stands before it: every condition shows the same."""
    answerable: bool
    """Neither of the next two: a stripped prompt does not rule it out."""
    response_only: bool
    name_response_only: bool
    """A value of it, or its API's name, stands only in an earlier response."""
    seen_target: bool
    """It is, letter for letter, a training target."""
    shared_api: bool | None
    """Training dialogues of another block call its API too; None in an older record."""
    prompt_characters: int | None
    """Of the whole history with documents; None in an older record."""
    cut_turns: dict[str, int] | None
    """By evaluation condition, the oldest user turns that were cut from its prompt to fit
    `max_length`; None in an older record.
    """


class Prediction(TypedDict):
    """What a model said to one item."""

    dialogue_id: str
    step: int
    block: str
    stage: int
    train_condition: str
    eval_condition: str
    prompt_tokens: int
    generated_tokens: int
    stopped: bool
    """It ended by itself, not by `max_new_tokens`."""
    prediction: str | None
    """None where texts were not kept."""
    gold_nll: float | None
    """Negative log-likelihood of the gold call, nats, over its `gold_tokens`; None of an answer that
    no model gave.
    """
    gold_tokens: int
    calls: int
    """How many the text holds: the first one is scored."""
    parsed: bool
    canonical: bool
    """The same call, whatever quotes, order and number format."""
    string: bool
    name: bool
    opened_name: bool
    """The call that it opens, readable or not, is of the gold API; of an older record read from its
    text.
    """
    error: str | None
    """The first thing wrong with it, see `scoring.errors`; what gold does is never held against it.
    None in an older record.
    """


class PlayedTurn(TypedDict):
    """One held-out turn task, played by the model: see `world.turns`."""

    dialogue_id: str
    step: int
    """Its user turn, from 0."""
    block: str
    free: bool
    """Any call that does no harm passes it: scores are given with and without such tasks."""
    stage: int
    moment: str
    """`before` the stage's preferences were learnt, or `after`; before training it is `after`."""
    search: str
    """`greedy`, one chain of the likeliest replies, or `tree`, DFSDT."""
    passed: bool
    """By BFCL's rule on this turn alone, see `world.rule`."""
    replies: int
    """That the model gave."""
    invalid: int
    """Of these, what was carried out by nobody: no readable call, or none that may be made."""


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    record: Record
    items: list[Item]
    predictions: list[Prediction]


# what older records lack: parameters that came later, at what they did before there was a choice
_OLDER_PARAMETERS = {
    "strategy": PLAIN.name,
    "match_tokens": "",
    "fresh_ids": False,
    "skip_unusable": False,
    "stop_targets": False,
    "cue": "ordinal",
    "fold": NO_FOLD,
    "folds": CorpusChoice.folds,
    "eval_stages": "all",
    "objective": USUAL.name,
}
_LATER_KEYS = {"stages", "steps", "flops", "resumed", "cut_turns", "scores_only", "leaks"}
_LATER_KEYS |= {"preferences"}
_GONE_PARAMETERS = ("data_seed",)  # it was always the seed


_RENAMED_CONDITIONS = {"placebo": "placebo-near"}  # its donors were of the same block


def upgrade(record: Mapping) -> dict:
    """A record as one of today would be written; what was not measured then is None."""
    added = {
        "stages": [[block] for block in record["blocks"]],
        "steps": None,
        "flops": None,
        "resumed": False,
        "cut_turns": {},
        "scores_only": False,
        "leaks": {},
        "preferences": {},
    }
    today = condition_of_today(record["parameters"])
    return (
        added
        | dict(record)
        | {"parameters": upgrade_parameters(record["parameters"])}
        | {"matrix": {today(name): scores for name, scores in record["matrix"].items()}}
    )


def upgrade_parameters(parameters: Mapping) -> dict:
    """The parameters of a run, of its record or of study.yaml, as one of today would have them."""
    today = condition_of_today(parameters)
    kept = {k: v for k, v in parameters.items() if k not in _GONE_PARAMETERS}
    kept |= {k: today(kept[k]) for k in ("condition", "match_tokens") if k in kept}
    if "eval_conditions" in kept:
        kept["eval_conditions"] = list(map(today, kept["eval_conditions"]))
    return _OLDER_PARAMETERS | kept


def condition_of_today(parameters: Mapping) -> Callable[[str], str]:
    """What the conditions of a run with these parameters are called today. Runs without a `cue` are
    older than the placebo of another block.
    """
    if "cue" in parameters:
        return lambda name: name
    return lambda name: _RENAMED_CONDITIONS.get(name, name)


def upgrade_item(item: Mapping, parameters: Mapping) -> Item:
    named = item.get("name_response_only", False)
    added = {
        "name_response_only": named,
        "answerable": not (item["response_only"] or named),
        "prompt_characters": None,
        "shared_api": None,
        "cut_turns": None,
    }
    if parameters.get("prompt_format") == "paper":  # its stripped prompts lose the cue too
        return added | dict(item) | {"same_prompt": False}
    return added | dict(item)


def upgrade_prediction(
    prediction: Mapping, gold: str, today: Callable[[str], str] = str
) -> Prediction:
    """A prediction to the call `gold` as one of today would be written; `today` is the
    `condition_of_today` of its run.
    """
    added = {"error": None}
    if "opened_name" not in prediction:
        added["opened_name"] = opened_name(prediction["prediction"]) == opened_name(gold)
    conditions = {k: today(prediction[k]) for k in ("train_condition", "eval_condition")}
    return added | dict(prediction) | conditions


def to_record(content: object) -> Record:
    """A record from what its file holds.

    Raises:
        ValueError: a key is missing or of another type.
    """
    if not isinstance(content, dict):
        raise ValueError(f"a record is an object, not {type(content).__name__}")
    needed = {field.name for field in fields(Record)} - _LATER_KEYS
    if missing := sorted(needed - content.keys()):
        raise ValueError(f"it lacks {', '.join(missing)}")
    content = upgrade(content)
    for field in fields(Record):
        value = content[field.name]
        is_number = float in (field.type, *get_args(field.type))
        if not isinstance(value, field.type | int if is_number else field.type):
            wanted = getattr(field.type, "__name__", field.type)
            raise ValueError(f"its {field.name} is {type(value).__name__}, not {wanted}")
    return Record(**{field.name: content[field.name] for field in fields(Record)})
