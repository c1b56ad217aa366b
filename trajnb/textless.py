"""Runs without a text of their corpus or model: figures, and a hash for each dialogue.

Records kept so say it (`scores_only`); all tables and plots can be made again but those of texts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from trajnb.files import digest
from trajnb.formatting.dialogue import name_of_path
from trajnb.schema import BEFORE, TURNS, Item, PlayedTurn, Prediction, Run


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
    told = without_folders(record.parameters)
    corpus = record.corpus | {"account": _counts_of(record.corpus["account"])}
    model = record.model | {"id": name_of_model(record.model["id"])}
    return Run(
        run.folder,
        replace(record, parameters=told, corpus=corpus, model=model, scores_only=True),
        [figures_of(item, Item.__annotations__, of) for item in run.items],
        [figures_of(line, Prediction.__annotations__, of) for line in run.predictions],
    )


FIGURES = {
    "stops.jsonl": tuple(Prediction.__annotations__),
    "rollouts.jsonl": (
        *("block", "stage", "train_condition", "eval_condition", "ends"),
        *("success", "turns", "progress", "cut", "figures"),
    ),
    BEFORE: tuple(Prediction.__annotations__),
    TURNS: tuple(PlayedTurn.__annotations__),
}
"""What is kept without texts of the lines beside the records."""


def figures_of(line: Mapping, keys: Iterable[str], corpus: str) -> dict:
    """These keys of a line, but its texts, which are None, and its dialogue, which is a hash."""
    kept = {key: line[key] for key in keys if key in line}
    kept |= {key: None for key in ("gold", "prediction") if key in kept}
    return kept | {"dialogue_id": hash_of_dialogue(corpus, line["dialogue_id"])}


def _counts_of(account: object) -> object:
    """What a corpus counts, with lists of what was counted replaced by how many they are."""
    if isinstance(account, Mapping):
        return {key: _counts_of(value) for key, value in account.items()}
    return len(account) if isinstance(account, list) else account


FOLDERS = ("run_folder", "zero_shot_folder", "preferences_folder", "repair_folder")
"""The parameters that name where a run works."""


def without_folders(parameters: Mapping) -> dict:
    """The parameters without any folder of this machine."""
    gone = {key: "" for key in FOLDERS if key in parameters}
    models = {
        key: name_of_model(parameters[key])
        for key in ("model", "repair_model")
        if parameters.get(key)
    }
    return at_home(dict(parameters)) | gone | models


def name_of_model(model: str) -> str:
    """The last name of a folder; any other model as it is called."""
    return Path(model).name if Path(model).is_absolute() or Path(model).is_dir() else model


def at_home(parameters: dict) -> dict:
    """The parameters without the places of this machine: of absolute folders, and of the path of a
    corpus, the last name is left.
    """
    named = {key: parameters.get(key) or "" for key in FOLDERS}
    short = {key: Path(folder).name for key, folder in named.items() if Path(folder).is_absolute()}
    path = parameters.get("corpus_path")
    return parameters | short | ({"corpus_path": name_of_path(path)} if path else {})
