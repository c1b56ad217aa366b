"""Held-out calls as tasks of lm-evaluation-harness, for commands in their own folder:
`lm_eval --include_path . --tasks trajnb_full ...`.

A task is a YAML file and the rows beside it. Its score is `string` of `scoring.score`: the text of
the call, letter for letter, behind the opening of its line. Exact calls whatever quotes and order
are trajnb's own measure, which takes the call grammar.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from trajnb.export.prompts import Asked, asked_of
from trajnb.files import write_bytes, write_lines
from trajnb.formatting.calls import REQUEST_PREFIX, without_prefix
from trajnb.records import Run

MOST_TOKENS = 128
"""That an answer may take; the runs' own `max_new_tokens` where they say it."""


def write_tasks(runs: Sequence[Run], out: Path) -> list[Path]:
    """A folder of tasks, one for every condition that these runs were asked in.

    The system prompt holds the documents of a dialogue, so it differs by row: it opens the text,
    and with `--apply_chat_template` all of it is one message of the user.

    Raises:
        ValueError: see `prompts.asked_of`.
    """
    written, ways = [], asked_of(runs, evaluated=True)
    out.mkdir(parents=True, exist_ok=True)
    for asked in ways:
        name = f"trajnb_{re.sub(r'[^a-z0-9]+', '_', asked.name)}"
        rows, task = out / f"{name}.jsonl", out / f"{name}.yaml"
        write_lines(rows, map(_document, asked.rows("held_out")))
        text = yaml.safe_dump(_task(name, asked), sort_keys=False, allow_unicode=True)
        write_bytes(task, text.encode())
        written += [task, rows]
    return written


def _document(row: Mapping) -> dict:
    """A row of a task: texts alone."""
    text = "\n\n".join(message["content"] for message in row["prompt"])
    return {
        "dialogue_id": row["dialogue_id"],
        "step": row["step"],
        "block": row["block"],
        "text": text,
        "target": without_prefix(row["completion"][-1]["content"]),
    }


def _task(name: str, asked: Asked) -> dict:
    """What the harness is told; texts are named by their columns, so none is read as a template."""
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "text",
        "doc_to_target": "target",
        "target_delimiter": "\n",
        "generation_kwargs": {
            "until": ["\n"],
            "do_sample": False,
            "max_gen_toks": asked.parameters.get("max_new_tokens", MOST_TOKENS),
        },
        "filter_list": [{"name": "call", "filter": _FILTERS}],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0, "corpus": asked.corpus.name, "hash": asked.corpus.hash},
    }


_FILTERS = [
    {
        "function": "regex",
        "regex_pattern": rf"^\s*(?:{re.escape(REQUEST_PREFIX)})?\s*(.*?)\s*$",
        "fallback": "",
    },
    {"function": "take_first"},
]
