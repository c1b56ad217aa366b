"""What a run leaves behind, typed: the record, its items, its predictions.

- `record.json` is a `Record`; it is written last, and a run that has it is finished;
- `items.jsonl` has one `Item` a line: what is asked, and what is hard about it;
- `predictions.jsonl` has one `Prediction` a line, for every item, stage and evaluation condition;
- `BESIDE` lists what only some runs have.

Keys are only ever added; what an older record lacks is filled in once, on reading, by `upgrades`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

BEFORE = "before_preferences.jsonl"
TURNS = "turns.jsonl"

Value = int | float | str | bool | list[str]
"""Of a parameter."""


class Parameters(TypedDict):
    """What shapes a run, by name; every other parameter is a `Value` too."""

    corpus: str
    model: str
    condition: str
    seed: int
    order: list[str]
    eval_conditions: list[str]


class Tokens(TypedDict):
    """Of training, all epochs."""

    train_total: int
    train_supervised: int
    train_computed: NotRequired[int]
    """What was left of the total once shared beginnings were computed once."""
    by_block: list[int]


class Seconds(TypedDict):
    """What a run took."""

    train: float
    evaluate: float
    total: float


class ModelId(TypedDict):
    """Which weights answered."""

    id: str
    """As asked for."""
    revision: str
    sha256: str


class CorpusId(TypedDict):
    """Which dialogues were learnt and asked."""

    name: str
    hash: str
    """Of its content."""
    account: dict
    """What was counted."""


Rows = list[list[int | float | None]]
"""[stage][block]."""


class Scores(TypedDict):
    """Of one evaluation condition, stage 0 being before training: counts of right answers, see
    `scoring.score`; None where a block was not asked about, see `eval_stages`.
    """

    canonical: Rows
    string: Rows
    name: Rows
    parsed: Rows
    opened_name: NotRequired[Rows]
    """Older records lack it."""
    gold_nll: NotRequired[Rows]
    """The summed negative log-likelihood of the right call (nats); None where answers have no
    probabilities.
    """


@dataclass(frozen=True)
class Record:
    """What a run was, took and measured."""

    parameters: Parameters
    """Of the notebook that trained it; `order` and `eval_conditions` spelt out, `eval_stages` as it is
    in effect: "ends" where the matrix has holes.
    """
    blocks: list[str]
    """In the order learnt."""
    stages: list[list[str]]
    """The blocks that each stage of training learnt for the first time."""
    items: list[int]
    """Held-out items of every block."""
    matrix: dict[str, Scores]
    """By evaluation condition."""
    tokens: Tokens
    steps: int | None
    """Of the optimiser; None in an older record."""
    flops: float | None
    """Operations of training, estimated, see `qlora.plan`; None in an older record."""
    seconds: Seconds
    cut_turns: dict[str, dict[str, int]]
    """User turns that were cut from prompts to fit `max_length`: {"train": {condition: count},
    "held_out": {evaluation condition: count}}, each prompt once; empty in an older record.
    """
    scores_only: bool
    """It was kept without texts, see `without_texts`; False in an older record."""
    leaks: dict[str, dict[str, int | float]]
    """{evaluation condition: {count}} of the held-out calls that a placebo helps, see
    `formatting.leaks`; empty without a placebo and in an older record.
    """
    preferences: dict
    """What a run of objective `prefer` learnt from, see `run.homes`: its stages in their order, each
    with counts of its trees and pairs and what training on these took and said, step by step. Empty
    for other objectives and in an older record.
    """
    repair: dict
    """What a run of objective `repair` learnt from, see `run.repair`: its stages in their order, each
    with counts of its candidates and repairs, what its reward model, the training on trajectories and
    GRPO took, and what the reward model says of held-out pairs. The steps of GRPO are no part of
    `steps`. Empty for other objectives and in an older record.
    """
    resumed: bool
    """A kill cut the training: its seconds count from the last checkpoint on."""
    peak_memory_mb: float
    versions: dict[str, str]
    model: ModelId
    corpus: CorpusId
    git_commit: str
    """Of the clone, see `machine.git_commit`."""
    machine: str
    started: str
    finished: str
    """ISO 8601, UTC."""


class Item(TypedDict):
    """One held-out call. What need not be there older files lack, and `upgrade_item` adds."""

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
    answerable: NotRequired[bool]
    """Neither of the next two: a stripped prompt does not rule it out."""
    response_only: bool
    name_response_only: NotRequired[bool]
    """A value of it, or its API's name, stands only in an earlier response."""
    seen_target: bool
    """It is, letter for letter, a training target."""
    shared_api: NotRequired[bool | None]
    """Training dialogues of another block call its API too; None in an older record."""
    prompt_characters: NotRequired[int | None]
    """Of the whole history with documents; None in an older record."""
    cut_turns: NotRequired[dict[str, int] | None]
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
    calls: NotRequired[int]
    """How many the text holds: the first one is scored."""
    parsed: bool
    canonical: bool
    """The same call, whatever quotes, order and number format."""
    string: bool
    name: bool
    opened_name: NotRequired[bool]
    """The call that it opens, readable or not, is of the gold API; of an older record read from its
    text.
    """
    error: NotRequired[str | None]
    """The first thing wrong with it, see `scoring.errors`; what gold does is never held against it.
    None in an older record.
    """


class Family(TypedDict):
    """Comparisons that are tested together: every effect on every measure."""

    measures: list[str]
    effects: NotRequired[list[str]]
    declared: NotRequired[str]
    """When the study's folder first named them, ISO 8601, UTC."""


class Planned(TypedDict):
    """What every run of a study says; there is more."""

    condition: str
    eval_conditions: list[str]


class About(TypedDict, total=False):
    """What `study.yaml` says of a study; nothing need be there."""

    name: str
    title: str
    description: str
    family: Family | None
    primary: str
    smallest_effect: float | None
    runs: dict[str, dict[str, Value]]
    """The planned runs, by name, with their parameters."""


class Stop(TypedDict):
    """What a model said where a turn ends, in a run that learns to stop; never an item."""

    dialogue_id: str
    step: int
    block: str
    stage: int
    train_condition: str
    eval_condition: str
    prediction: str | None
    canonical: bool
    """It ended the turn."""


class PlayedCall(TypedDict):
    """What a model wrote in a dialogue that it played, and what came of it."""

    turn: int
    """User turn, from 0."""
    text: str
    response: str
    failed: bool
    """The response tells of an error."""


class Played(TypedDict):
    """A dialogue, played to its end, see `run.play`."""

    dialogue_id: str
    block: str
    stage: int
    train_condition: str
    eval_condition: str
    ends: str
    """Who ends a turn, one of `world.rollout.ENDS`."""
    success: bool
    turns: list[bool]
    progress: float | None
    """By BFCL's rule: of the dialogue, by user turn, and the share of turns before the first failure."""
    cut: int
    """User turns that were ended by the limit of calls."""
    figures: dict[str, int | float | None]
    """See `scoring.dialogues`."""
    calls: NotRequired[list[PlayedCall]]
    gold: NotRequired[list[list[str]]]
    """The reference's calls by user turn. Without texts neither is kept."""


class PlayedMeans(TypedDict):
    """The means over these."""

    parameters: NotRequired[dict[str, Value]]
    """Of 04_rollout."""
    git_commit: NotRequired[str]


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
    """`before` the second part of the stage, preferences or repair, or `after`, as it is before
    training.
    """
    search: str
    """`greedy`, one chain of the likeliest replies, or `tree`, DFSDT."""
    passed: bool
    """By BFCL's rule on this turn alone, see `world.rule`."""
    replies: int
    """That the model gave."""
    invalid: int
    """Of these, what was carried out by nobody: no readable call, or none that may be made."""


BESIDE = {
    "stops.jsonl": Stop,
    "rollouts.jsonl": Played,
    "rollout.json": PlayedMeans,
    BEFORE: Prediction,
    TURNS: PlayedTurn,
}
"""The files beside a record, and what a line of each, or the whole of it, is: of runs that learn to
stop, or are rolled out, and of runs whose stages have two ends (objectives `prefer` and `repair`), which
ask every item, at every stage and evaluation condition, before the second part too.
"""


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    record: Record
    items: list[Item]
    predictions: list[Prediction]
