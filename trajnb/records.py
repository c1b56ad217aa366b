"""What a run leaves behind, written, read and checked: the record, its items, its predictions.

- `record.json` is a `Record`; it is written last, and a run that has it is finished;
- `items.jsonl` has one `Item` a line: what is asked, and what is hard about it;
- `predictions.jsonl` has one `Prediction` a line, for every item, stage and evaluation condition;
- `BESIDE` lists what only some runs have.

Records can be kept without any text, see `without_texts`; they then say so (`scores_only`).

Every file appears whole or not at all. Keys are only ever added; what an older record lacks is
filled in once, on reading, by `upgrade`. Figures and tables read these files and nothing else.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TypedDict, get_args

import yaml

from trajnb.formatting.calls import opened_name
from trajnb.formatting.dialogue import NO_FOLD, CorpusChoice
from trajnb.machine import CHANGED
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
    """Of the notebook that trained it, by name; `order` and `eval_conditions` spelt out, `eval_stages` as it is in
    effect: "ends" where the matrix has holes.
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
    """What a run of objective `prefer` learnt from, see `run.prefer.account_of`: its stages in their
    order, each with counts of its trees and pairs and what training on these took and said, step by
    step. Empty for other objectives and in an older record.
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


def _upgrade_item(item: Mapping, parameters: Mapping) -> Item:
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


def read_run(folder: Path) -> Run:
    """One finished run. Raises ValueError, naming the file, where one is missing or damaged."""
    try:
        content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        record, today = to_record(content), condition_of_today(content["parameters"])
        items = read_lines(_present(folder / "items.jsonl"))
        items = [_upgrade_item(item, record.parameters) for item in items]
        predictions = read_lines(_present(folder / "predictions.jsonl"))
        gold_of = {(item["dialogue_id"], item["step"]): item["gold"] for item in items}
        predictions = [
            upgrade_prediction(one, gold_of.get((one["dialogue_id"], one["step"]), ""), today)
            for one in predictions
        ]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"the records in {folder} cannot be read ({error}); delete the folder and run again"
        ) from error
    return Run(folder, record, items, predictions)


def runs_folder(study: Path) -> Path:
    """Where the runs of a study lie: in its `runs/`, or in its `records/` where only these were
    kept, or in it.
    """
    return next((study / part for part in ("runs", "records") if (study / part).is_dir()), study)


def read_study(folder: Path) -> list[Run]:
    """The finished runs of a study folder, by name; all of them `without_texts` where any of them
    was kept so. Raises ValueError where they cannot be pooled.
    """
    runs = _finished(folder)
    return list(map(without_texts, runs)) if any(run.record.scores_only for run in runs) else runs


def _finished(folder: Path) -> list[Run]:
    """The finished runs of a study folder as they are, provided that they can be pooled."""
    runs = [read_run(path.parent) for path in sorted(runs_folder(folder).glob("*/record.json"))]
    check_pool(runs)
    return runs


def check_pool(runs: Sequence[Run]) -> None:
    """Raise ValueError, naming two runs, where runs that ask for the same were made from other
    things: another corpus hash, other model weights or revision, another major version of trajnb;
    or where they hold out folds of different numbers, or folds and the corpus's own split; or where
    dialogues go by other names, see `names_without_texts`.
    """
    found: dict[tuple, tuple[Run, str]] = {}
    for run in runs:
        for key, value in _made_from(run.record).items():
            first, before = found.setdefault(key, (run, value))
            if value != before:
                raise ValueError(
                    f"runs that cannot be pooled: {first.folder.name} has {key[0]} {before}, "
                    f"{run.folder.name} has {value}; keep them in two folders, or run one of them again"
                )
    _check_folds(runs)


def _check_folds(runs: Sequence[Run]) -> None:
    """Raise ValueError, naming two runs, where dialogues of one corpus were dealt in two ways."""
    found: dict[str, tuple[Run, str]] = {}
    for run in runs:
        asked = _asked_for(run.record)
        fold, folds = asked.pop("fold"), asked.pop("folds")
        dealt = "the corpus's own split" if fold == NO_FOLD else f"one of {folds} folds"
        first, before = found.setdefault(json.dumps(asked), (run, dealt))
        if dealt != before:
            raise ValueError(
                "runs that cannot be compared item by item: "
                f"{first.folder.name} holds out {before}, {run.folder.name} {dealt}, "
                "so that some dialogues would count twice; keep them in two folders"
            )


def _made_from(record: Record) -> dict[tuple, str]:
    """(what, what was asked for) -> what it was."""
    asked = _asked_for(record)
    if asked["fold"] == NO_FOLD:
        asked.pop("folds")
    model, revision = record.model, record.parameters.get("revision", "")
    major = record.versions.get("trajnb", "").partition(".")[0]
    return {
        ("corpus hash", json.dumps(asked)): record.corpus["hash"],
        ("model", model["id"], revision): f"{model['revision']} {model['sha256']}",
        ("major version of trajnb",): major,
    }


def _asked_for(record: Record) -> dict:
    """The corpus that a run chose, wherever its files lie on its machine."""
    asked = {name: record.parameters.get(name) for name in CorpusChoice.names()}
    asked.pop("corpus_path")
    return asked


def with_changes(folder: Path) -> list[str]:
    """The names of a run's records that were made from a tree with uncommitted changes."""
    found = []
    for path in (folder / "record.json", folder / "rollout.json"):
        commit = json.loads(path.read_text()).get("git_commit", "") if path.is_file() else ""
        if commit.endswith(CHANGED):
            found.append(path.name)
    return found


NO_TEXTS = "Not shown: these records were kept without texts (trajnb records --scores-only)."
"""What a page says in place of what only texts can tell."""


def hash_of_dialogue(corpus: str, dialogue_id: str) -> str:
    """What a dialogue is called where texts are not kept: 64 bits in hexadecimal.

    Of the corpus's name and the id, not of the corpus's hash, which differs by fold, so that runs
    kept at any time can be paired. It has no salt: who has the corpus, or guesses an id, can tell
    which dialogue it is.
    """
    return digest([corpus, dialogue_id])[:16]


def is_dialogue(name: str, corpus: str, dialogue_ids: Iterable[str]) -> bool:
    """Whether a dialogue, by its id or by its hash, is one of `dialogue_ids`."""
    return any(name in (one, hash_of_dialogue(corpus, one)) for one in dialogue_ids)


def without_texts(run: Run) -> Run:
    """A run without a text of its corpus or its model, the ids of its dialogues and the folders of
    its machine. A run that has none comes back as it is.
    """
    if run.record.scores_only:
        return run
    record, of = run.record, run.record.corpus["name"]
    told = _without_folders(record.parameters)
    corpus = record.corpus | {"account": _counts_of(record.corpus["account"])}
    model = record.model | {"id": _name_of_model(record.model["id"])}
    return Run(
        run.folder,
        replace(record, parameters=told, corpus=corpus, model=model, scores_only=True),
        [_figures(item, Item.__annotations__, of) for item in run.items],
        [_figures(line, Prediction.__annotations__, of) for line in run.predictions],
    )


_FIGURES = {
    "stops.jsonl": tuple(Prediction.__annotations__),
    "rollouts.jsonl": (
        *("block", "stage", "train_condition", "eval_condition", "ends"),
        *("success", "turns", "progress", "cut", "figures"),
    ),
    BEFORE: tuple(Prediction.__annotations__),
    TURNS: tuple(PlayedTurn.__annotations__),
}
"""What is kept without texts of the lines beside the records."""


def _figures(line: Mapping, keys: Iterable[str], corpus: str) -> dict:
    """These keys of a line, but its texts, which are None, and its dialogue, which is a hash."""
    kept = {key: line[key] for key in keys if key in line}
    kept |= {key: None for key in ("gold", "prediction") if key in kept}
    return kept | {"dialogue_id": hash_of_dialogue(corpus, line["dialogue_id"])}


def _counts_of(account: object) -> object:
    """What a corpus counts, with lists of what was counted replaced by how many they are."""
    if isinstance(account, Mapping):
        return {key: _counts_of(value) for key, value in account.items()}
    return len(account) if isinstance(account, list) else account


def _without_folders(parameters: Mapping) -> dict:
    """The parameters without any folder of this machine."""
    folders = ("run_folder", "zero_shot_folder", "preferences_folder")
    gone = {key: "" for key in folders if key in parameters}
    model = {"model": _name_of_model(parameters["model"])} if "model" in parameters else {}
    return _at_home(dict(parameters)) | gone | model


def _name_of_model(model: str) -> str:
    """The last name of a folder; any other model as it is called."""
    return Path(model).name if Path(model).is_absolute() or Path(model).is_dir() else model


def keep(
    study: Path, out: Path, allow_changes: bool = False, scores_only: bool = False
) -> list[str]:
    """Copy the finished runs of a study folder to `out` as records, predictions compressed, with
    the study's own description; returns their names. `out` is what `trajnb run --records` and
    `trajnb report` take, on any machine; of the path of a corpus only the last name is kept.
    `scores_only`: `without_texts`, and of what lies beside the records the figures.

    Raises:
        ValueError: records made from a tree with uncommitted changes, without `allow_changes`.
    """
    runs = _finished(study)
    changed = {run.folder.name: names for run in runs if (names := with_changes(run.folder))}
    if changed and not allow_changes:
        named = "; ".join(f"{name}: {', '.join(files)}" for name, files in changed.items())
        raise ValueError(
            "records made from a tree with uncommitted changes, which nobody can have again "
            f"({named}). Commit the changes, delete the folder of each such run, or rollout.json "
            "where it is that alone, and run the study again; --allow-changes takes them as they are"
        )
    at_home = _without_folders if scores_only else _at_home
    for run in runs:
        folder = out / "records" / run.folder.name
        kept = without_texts(run) if scores_only else run
        record = asdict(kept.record)
        write_json(folder / "record.json", record | {"parameters": at_home(record["parameters"])})
        write_lines(folder / "items.jsonl", kept.items)
        write_lines(folder / "predictions.jsonl.gz", kept.predictions)
        if kept is run:
            _copy_beside(run.folder, folder)
        else:
            _keep_figures(run, folder)
    if (study / "study.yaml").is_file():
        about = yaml.safe_load((study / "study.yaml").read_text(encoding="utf-8"))
        runs_of = about["runs"].items()
        about["runs"] = {name: at_home(upgrade_parameters(run)) for name, run in runs_of}
        text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
        write_bytes(out / "study.yaml", text.encode())
    return [run.folder.name for run in runs]


def _keep_figures(run: Run, folder: Path) -> None:
    """Write to `folder` what lies beside the records of a run, without texts."""
    for file, keys in _FIGURES.items():
        if (run.folder / file).is_file():
            lines = read_lines(run.folder / file)
            write_lines(
                folder / file, [_figures(line, keys, run.record.corpus["name"]) for line in lines]
            )
    if (run.folder / "rollout.json").is_file():  # figures and parameters alone
        write_bytes(folder / "rollout.json", (run.folder / "rollout.json").read_bytes())


def _at_home(parameters: dict) -> dict:
    """The parameters without the folders of this machine."""
    path = parameters.get("corpus_path")
    return parameters | ({"corpus_path": Path(path).name} if path else {})


def adopt(folder: Path, kept: Path) -> None:
    """Take the record of a run, kept elsewhere, as that of `folder`; the marker of the end comes
    last.
    """
    run = read_run(kept)
    write_lines(folder / "items.jsonl", run.items)
    write_lines(folder / "predictions.jsonl", run.predictions)
    _copy_beside(kept, folder)
    write_json(folder / "record.json", asdict(run.record))


def _copy_beside(source: Path, target: Path) -> None:
    for name in BESIDE:
        if (source / name).is_file():
            write_bytes(target / name, (source / name).read_bytes())


def read_lines(path: Path) -> list[dict]:
    """The objects of a JSON-lines file, which may be compressed (`.gz`)."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _present(path: Path) -> Path:
    """The file, or the compressed one beside it."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.is_file() and not path.is_file() else path


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, atomically."""
    write_bytes(path, f"{json.dumps(value, indent=1)}\n".encode())


def write_lines(path: Path, rows: Iterable[Mapping]) -> None:
    """Write one JSON object a line, atomically; compressed where the name ends with `.gz`."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    write_bytes(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, with its folders: readers see the old one or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def digest(value: object) -> str:
    """The sha256 of a value as JSON; a dataclass counts as its fields."""
    return hashlib.sha256(json.dumps(value, default=vars, sort_keys=True).encode()).hexdigest()
