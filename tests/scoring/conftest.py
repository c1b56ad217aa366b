"""Invented studies: as files of runs, and as tables whose effects are known to the point."""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd
import pytest

from trajnb.records import read_run
from trajnb.scoring.arms import Arm


@pytest.fixture
def read(tmp_path, write_run):
    """Writes a run and reads it."""
    return lambda name, **settings: read_run(write_run(tmp_path / name, **settings))


RIGHT = {  # of the ten calls of a dialogue, by training and test prompt
    ("none", "stripped"): 0,
    ("none", "full"): 2,
    ("stripped", "stripped"): 3,
    ("stripped", "full"): 4,
    ("full", "stripped"): 4,
    ("full", "full"): 8,
}


@pytest.fixture
def crossed_table():
    """Makes a table as `tables.frame` does, of runs that answer exactly as RIGHT says."""
    return _crossed_table


@pytest.fixture
def eight_runs():
    """The same of eight seeds of every training, which differ from run to run."""

    def made(right: dict | None = None, trains=("stripped", "full"), **more) -> pd.DataFrame:
        seeds = dict.fromkeys(trains, range(8))
        return _crossed_table(RIGHT | (right or {}), seeds=seeds, trains=trains, **more)

    return made


def _crossed_table(
    right: dict = RIGHT,
    asked: dict[str, Iterable[str]] | None = None,
    seeds: dict[str, Iterable[int]] | None = None,
    dialogues=8,
    strategy="sequential",
    variant=(),
    folds=0,
    trains=("stripped", "full"),
) -> pd.DataFrame:
    """`asked` and `seeds`: by training condition; both prompts and seeds 0 and 1 where not given.

    With eight seeds (0 to 7) two cells are a call better or worse in half of them, so that every
    effect differs from run to run, and is on average what RIGHT says. With `folds`, seed s holds
    out fold s modulo folds, which has dialogues of its own.

    Calls 0 and 1 of a dialogue have the same prompt in both conditions: there `full` is right where
    it is asked with full prompts, whatever it is asked with, and so is `stripped` with stripped
    ones.
    """
    rows = []
    for train in trains:
        trained = Arm(train, strategy, variant=variant)
        for seed in (seeds or {}).get(train, (0, 1)):
            for prompt in (asked or {}).get(train, ("stripped", "full")):
                for stage, model in enumerate(("none", train)):
                    few = len((seeds or {}).get(train, (0, 1))) < 8
                    level = right[model, prompt] + (0 if few else _luck(model, prompt, seed))
                    fold = seed % folds if folds else -1
                    for dialogue in range(dialogues):
                        for step in range(10):
                            correct = (step + dialogue) % 10 < level
                            rows.append(
                                {
                                    "run": f"{trained}-s{seed}",
                                    "trained": trained,
                                    "condition": train,
                                    "arm": replace(trained, asked=prompt),
                                    "strategy": strategy,
                                    "variant": variant,
                                    "match_tokens": "",
                                    "seed": seed,
                                    "order": ("a", "b"),
                                    "fold": fold,
                                    "folds": folds or 1,
                                    "stage": stage,
                                    "last": stage == 1,
                                    "learnt": 1.0,
                                    "eval_condition": prompt,
                                    "block": "ab"[dialogue % 2],
                                    "dialogue_id": f"d{dialogue}" + (f" of {fold}" if folds else ""),
                                    "step": step,
                                    "canonical": correct,
                                    "novel": float("nan") if dialogue % 4 == 0 else float(correct),
                                    "name": correct or step == 9,
                                    "string": correct,
                                    "parsed": True,
                                    "logp": -1.0 + correct,
                                    "gold_nll": 10.0 * (1 - correct),
                                    "gold_tokens": 10,
                                    "prompt_tokens": 500,
                                    "same_prompt": step < 2,
                                    "answerable": step < 8,
                                    "response_only": step == 8,
                                    "name_response_only": step == 9,
                                    "seen_target": dialogue % 4 == 0,
                                    "ordinal": 1 + step % 2,
                                    "prompt_characters": 1000 + 100 * step,
                                }
                            )
    return pd.DataFrame(rows)


def _luck(model: str, prompt: str, seed: int) -> int:
    """Calls more or fewer than RIGHT says; nothing on average of seeds 0 to 7."""
    if (model, prompt) == ("full", "full"):
        return 1 if seed % 2 else -1
    if (model, prompt) == ("stripped", "stripped"):
        return 1 if seed // 2 % 2 else -1
    return 0
