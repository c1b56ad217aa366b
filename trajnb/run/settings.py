"""What a run is told: the parameters of the notebook that trains it, typed, and which of them make it
the run that it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from trajnb import objectives, strategies
from trajnb.formatting.conditions import CONDITIONS, CUES, PLACEBOS
from trajnb.formatting.dialogue import NO_FOLD, CorpusChoice, name_of_path
from trajnb.known import check_known, given_fields
from trajnb.objectives import USUAL, objective_of
from trajnb.strategies import Strategy, strategy_of

FOLDERS = ("run_folder", "zero_shot_folder", "preferences_folder", "repair_folder")
"""Where a run is kept."""

NOT_IDENTITY = (*FOLDERS, "eval_conditions", "eval_stages", "report_to")
"""Where a run is kept, what it is asked and when, and who is told change no weight; everything else is its
identity.
"""

OF_TRAINING = (
    "condition",
    "lora_rank",
    "lora_alpha",
    "lora_dropout",
    "strategy",
    "replay_share",
    "shots",
    "order",
    "match_tokens",
    "seed",
    "epochs",
    "dialogues_per_step",
    "learning_rate",
    "warmup_ratio",
    "packing",
    "token_budget",
    "preference",
    "beta",
    "preference_rate",
    "preference_epochs",
    "lessons",
    "lesson_rate",
    "lesson_epochs",
    "lessons_per_step",
    "reward",
    "grpo_steps",
    "grpo_tasks",
    "group",
    "grpo_rate",
    "clip",
)
"""Parameters on which no answer before training depends."""

EVAL_STAGES = ("all", "ends")
"""When held-out examples are asked: after every stage; or before training and at the end, and in
between those of a block right after it was learnt.
"""

NOT_PLAYED = {
    "stripped+values": "it shows what the right call needs",
    **dict.fromkeys(PLACEBOS, "another dialogue's calls do not answer the model's own"),
}
"""Conditions that no rollout can have, and why."""


TRACKERS = ("none", "tensorboard", "mlflow", "wandb", "trackio")
"""Where the Trainer can tell its losses, step by step, beside the record."""

LATER = {"report_to": "none"}
"""Parameters that older records lack, at what they did then."""


@dataclass(frozen=True)
class Settings:
    """The parameters of 02_train, in its bands; what each one means, its parameters cell says."""

    notebook: ClassVar[str] = "02_train"
    learns_by: ClassVar[str] = USUAL.name
    """The objective of runs that the notebook trains."""
    homes: ClassVar[str] = ""
    """The folder, in that of a run, of what stages with two ends keep, see `run.homes`."""
    afterwards: ClassVar[tuple[str, ...]] = ()
    """Parameters of which nothing depends before the second part of the first stage."""
    # dialogues
    corpus: str
    corpus_path: str
    documents: str
    part: str
    levels: list[str]
    blocks: str
    split: str
    held_out_share: float
    fold: int
    folds: int
    fresh_ids: bool
    skip_unusable: bool
    train_dialogues: int
    held_out_dialogues: int
    # model
    model: str
    revision: str
    quantization: str
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    # prompts
    condition: str
    prompt_format: str
    cue: str
    max_length: int
    truncation: str
    # what is learnt when
    strategy: str
    replay_share: float
    shots: int
    order: list[str]
    stop_targets: bool
    responses: bool
    match_tokens: str
    # optimisation
    seed: int
    epochs: int
    dialogues_per_step: int
    learning_rate: float
    warmup_ratio: float
    packing: str
    token_budget: int
    # evaluation
    eval_conditions: list[str]
    eval_stages: str
    max_new_tokens: int
    # places
    run_folder: str
    zero_shot_folder: str
    report_to: str

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The parameters of the notebook."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def of(cls, values: Mapping) -> "Settings":
        """What `values` say: a notebook's `globals()`, or the parameters of a record.

        Raises:
            ValueError: a parameter is missing, of another type, or names an unknown condition or
                cue, or the run's objective is not that of the notebook.
        """
        values = {**LATER, **values}
        if missing := [name for name in cls.names() if name not in values]:
            raise ValueError(f"parameters of {cls.notebook} are missing: {', '.join(missing)}")
        if objective_of(values).name != cls.learns_by:
            raise ValueError(
                f"{cls.notebook} trains runs of objective {cls.learns_by!r}, not "
                f"{objective_of(values).name!r}"
            )
        settings = cls(**given_fields(cls, values))
        check_known("eval_stages", settings.eval_stages, EVAL_STAGES)
        check_known("report_to", settings.report_to, TRACKERS)
        for name in settings.conditions():
            check_known("condition", name, CONDITIONS)
        check_known("cue", settings.cue, CUES)
        check_recalled(vars(settings))
        return settings

    def conditions(self) -> list[str]:
        """All conditions that the run needs, each once."""
        matched = [self.match_tokens] if self.match_tokens else []
        return list(dict.fromkeys([self.condition, *self.eval_conditions, *matched]))

    @property
    def goes_on(self) -> bool:
        """Whether a stage goes on to learn after its supervised training."""
        return False

    @property
    def shared_folder(self) -> str:
        """Where runs share the home of their first stage; empty: nowhere."""
        return ""

    @property
    def plan_of_learning(self) -> Strategy:
        """What is learnt when."""
        return strategy_of(vars(self))

    @property
    def corpus_choice(self) -> CorpusChoice:
        """Which dialogues are learnt from and asked about."""
        return CorpusChoice.of(vars(self))


def asked_with(parameters: Mapping) -> list[str]:
    """The evaluation conditions of a run: those that it names, else the one that it was trained
    under.
    """
    return list(parameters["eval_conditions"] or [parameters["condition"]])


def check_played(conditions: Iterable[str]) -> None:
    """Raise ValueError, with the reason, for a condition that no rollout can have."""
    for name in conditions:
        if name in NOT_PLAYED:
            raise ValueError(f"no rollout under {name}: {NOT_PLAYED[name]}; leave it out")


def check_playable(parameters: Mapping) -> None:
    """Raise ValueError where turn tasks cannot be played, or no one model is trained: for objectives
    whose stages have two ends.
    """
    from trajnb.corpora.load import EXECUTED

    objective = f"objective {parameters['objective']!r}"
    if parameters["corpus"] not in EXECUTED:
        raise ValueError(
            f"{objective} executes calls, and those of the corpus {parameters['corpus']!r} "
            f"cannot be executed: choose {' or '.join(EXECUTED)}"
        )
    if not strategy_of(parameters).trains:
        raise ValueError(
            f"{objective} trains, and under strategy {parameters['strategy']!r} nothing is "
            "trained: choose another strategy, or objective: sft"
        )
    try:
        check_played([parameters["condition"]])
    except ValueError as error:
        raise ValueError(f"{objective} plays turn tasks: {error}") from None
    own = {"prompt_format": "own", "truncation": "turns"}
    for name, wanted in own.items():
        if parameters[name] != wanted:
            raise ValueError(
                f"{objective} writes its prompts in our own format and cuts whole turns: "
                f"{name} must be {wanted!r}, not {parameters[name]!r}"
            )


def check_recalled(parameters: Mapping) -> None:
    """Raise ValueError where answers are to be copied by prompts that are cut within a line."""
    if strategy_of(parameters).recalls and parameters["truncation"] == "paper":
        raise ValueError(
            f"strategy {parameters['strategy']!r} reads prompts line by line: it needs truncation "
            "'turns', not 'paper', which cuts tokens"
        )


def identity(parameters: Mapping) -> dict:
    """Those of a run's parameters that shape its training, sorted by name.

    Of `corpus_path` counts what tells runs apart, for on other machines the same files lie
    elsewhere: a file of one's own by its name, a dataset of the hub by all of it; the publisher's
    files are the same in every folder, and hashes are compared when runs are pooled.
    """
    if parameters.get("corpus_path"):
        own = parameters["corpus"] == "jsonl"
        path = name_of_path(parameters["corpus_path"]) if own else ""
        parameters = {**parameters, "corpus_path": path}
    unheard = strategies.unheeded(parameters) | objectives.unheeded(parameters)
    unheard |= _unheeded_by_split(parameters)
    names = sorted(parameters.keys() - unheard - set(NOT_IDENTITY))
    return {name: parameters[name] for name in names}


def question(parameters: Mapping) -> dict:
    """What runs have in common that are asked the same before training; others may be too."""
    return {name: parameters[name] for name in parameters if name not in OF_TRAINING + NOT_IDENTITY}


def _unheeded_by_split(parameters: Mapping) -> set[str]:
    """Folds are dealt whatever the share, and the corpus's own split whatever the folds."""
    return {"held_out_share"} if parameters.get("fold", NO_FOLD) != NO_FOLD else {"folds"}

