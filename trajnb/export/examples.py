"""Training and held-out examples: TRL's `prompt`/`completion` and `messages`, and ShareGPT as
LLaMA-Factory reads it.

Every row is one example: what stands before a call, and the call.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from trajnb.escaping import in_markdown
from trajnb.export.prompts import UNCUT, Asked, asked_of, without_objects
from trajnb.files import write_bytes, write_json, write_lines
from trajnb.records import Run

SPLITS = {"train": "train", "held_out": "test"}
"""Sides of the split, and what `datasets` calls them."""
_SPEAKERS = {"user": "human", "assistant": "gpt"}


def write_trl(runs: Sequence[Run], out: Path) -> list[Path]:
    """A folder that `datasets.load_dataset(out, "full-messages")` reads: for every training
    condition a config `<condition>-prompt-completion` and one `<condition>-messages`.

    Raises:
        ValueError: see `prompts.asked_of`.
    """
    written, configs = [], []
    for asked in asked_of(runs):
        for kind, shaped in (("prompt-completion", dict), ("messages", _messages)):
            name, files = f"{asked.name}-{kind}", []
            for side, split in SPLITS.items():
                path = out / name / f"{split}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_lines(path, map(shaped, without_objects(asked.rows(side))))
                files.append({"split": split, "path": f"{name}/{split}.jsonl"})
                written.append(path)
            configs.append({"config_name": name, "data_files": files})
    write_bytes(out / "README.md", _dataset_card(configs, runs).encode())
    return [*written, out / "README.md"]


def _messages(row: Mapping) -> dict:
    """The same example as one list of messages; the last one is what is learnt."""
    rest = {key: value for key, value in row.items() if key not in ("prompt", "completion")}
    return {"messages": [*row["prompt"], *row["completion"]], **rest}


def _dataset_card(configs: Sequence[Mapping], runs: Sequence[Run]) -> str:
    corpora = dict.fromkeys((run.record.corpus["name"], run.record.corpus["hash"]) for run in runs)
    lines = [
        "---",
        f"configs: {json.dumps(configs)}",
        "---",
        "",
        "# Next API calls in dialogues",
        "",
    ]
    lines += [f"- corpus {in_markdown(name)}, sha256 {digest}" for name, digest in corpora]
    lines += [
        "",
        "A row is one call: `prompt` is what stands before it, `completion` the call; in `messages` "
        "the last message is the call. Only it was learnt: train on completions alone, or on "
        "assistant messages alone. `train` and `test` are split by dialogue; other columns say "
        "where a row comes from.",
        "",
        UNCUT,
        "",
        "The licence is that of the corpus.",
        "",
    ]
    return "\n".join(lines)


def write_sharegpt(runs: Sequence[Run], out: Path) -> list[Path]:
    """A `dataset_dir` of LLaMA-Factory: `dataset_info.json` and two files for every training
    condition, datasets `trajnb_<condition>_train` and `_test`.

    Raises:
        ValueError: see `prompts.asked_of`.
    """
    about, written, ways = {}, [], asked_of(runs)
    out.mkdir(parents=True, exist_ok=True)
    for asked in ways:
        for side, split in SPLITS.items():
            name = f"trajnb_{asked.name}_{split}"
            write_json(out / f"{name}.json", [_conversation(row) for row in _rows(asked, side)])
            columns = {"messages": "conversations", "system": "system"}
            about[name] = {
                "file_name": f"{name}.json",
                "formatting": "sharegpt",
                "columns": columns,
            }
            written.append(out / f"{name}.json")
    write_json(out / "dataset_info.json", about)
    return [*written, out / "dataset_info.json"]


def _rows(asked: Asked, side: str) -> list[dict]:
    return list(without_objects(asked.rows(side)))


def _conversation(row: Mapping) -> dict:
    """Turns of a human and of the model in turn; the system prompt stands for itself."""
    said = [*row["prompt"], *row["completion"]]
    system = "\n".join(message["content"] for message in said if message["role"] == "system")
    turns = [
        {"from": _SPEAKERS[message["role"]], "value": message["content"]}
        for message in said
        if message["role"] in _SPEAKERS
    ]
    return {"conversations": turns, "system": system}
