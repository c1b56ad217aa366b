"""Fixtures that several parts of the tests share."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core: threads of each would be in the way
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("trajnb", deadline=None)  # a busy machine is no failure
settings.load_profile("trajnb")

BLOCKS = ("file_system", "vehicle_control", "trading", "travel")
GOLDS = {
    "file_system": ["[cd(folder='temp')]", "[mkdir(dir_name='notes')]", "[mv(source='a', destination='b')]"],
    "vehicle_control": ["[startEngine(ignitionMode='START')]", "[fillFuelTank(fuelAmount=12.5)]"],
    "trading": ["[get_stock_info(symbol='NVDA')]", "[place_order(order_type='Buy', amount=9)]"],
    "travel": ["[get_flight_cost(travel_to='LAX')]", "[cancel_booking(booking_id='3426812')]"],
}


@pytest.fixture(scope="session")
def api_bank_files():
    """The folder of API-Bank's files as its publisher names them, or the test is skipped."""
    folder = Path(__file__).parents[2] / "shared" / "api-bank"
    if not folder.is_dir():
        pytest.skip("API-Bank's files are not in ../shared/api-bank; this project does not contain them")
    return folder


@pytest.fixture(scope="session")
def bfcl():
    """The real corpus: downloaded once (1.9 MB), or the test is skipped with the reason."""
    from trajnb.assets import AssetError
    from trajnb.corpora.load import load_corpus

    try:
        return load_corpus("bfcl")
    except AssetError as error:
        pytest.skip(f"the bfcl wheel is not to be had: {error}")


@pytest.fixture(scope="session")
def sample():
    """The corpus that is shipped."""
    from trajnb.corpora.load import load_corpus

    return load_corpus("sample")


@pytest.fixture(scope="session")
def write_run():
    """A function that writes one run's three files, invented but consistent, and returns its folder.

    `tamper(row)` may change a prediction row before it is counted. With `eval_stages="ends"` a stage
    in between has the answers of its own block alone; all others are the same as without.
    """
    return _write_run


def _write_run(
    folder: Path, condition="full", seed=0, order=BLOCKS, eval_conditions=(), dialogues=3, tamper=None, **more
) -> Path:
    from trajnb.scoring.score import matrix, score

    eval_conditions = list(eval_conditions) or [condition]
    stages = {"joint": [list(order)], "few-shot": [[]], "lookup": [[]]}.get(
        more.get("strategy"), [[block] for block in order]
    )
    items = [
        {
            "dialogue_id": f"multi_turn_base_{50 * BLOCKS.index(block) + d}", "step": step, "block": block,
            "gold": gold, "turn": step // 2, "ordinal": 1 + step % 2, "same_prompt": step == 0,
            "response_only": step == 2, "seen_target": step == 1,
        }
        for block in order for d in range(dialogues) for step, gold in enumerate(GOLDS[block])
    ]  # fmt: skip
    trained, untrained = np.random.default_rng(seed + 100 * (condition == "full")), np.random.default_rng(7)
    predictions = []
    for asked in eval_conditions:
        for stage in range(len(stages) + 1):
            rng = trained if stage else untrained  # before training there is one model
            for item in items:
                skill = 0.05 + 0.1 * stage + 0.1 * (asked == "full")
                skill += 0.25 * any(item["block"] in learnt for learnt in stages[:stage])
                name = item["gold"].split("(")[0]
                text = rng.choice(
                    [item["gold"], f"{name}(x='y')]", "[ls()]", "I would look at the files."],
                    p=[0.5 * skill, 0.5 * skill, (1 - skill) / 2, (1 - skill) / 2],
                )
                row = {key: item[key] for key in ("dialogue_id", "step", "block")} | {
                    "stage": stage, "train_condition": condition, "eval_condition": asked,
                    "prompt_tokens": 700 + 150 * (asked == "full"), "generated_tokens": 20, "stopped": True,
                    "prediction": f"API-Request: {text}", "gold_tokens": 20,
                    "gold_nll": float(20 * (2.5 - 2 * skill + rng.normal(0, 0.1))),
                }  # fmt: skip
                between = 0 < stage < len(stages) and more.get("eval_stages") == "ends"
                if between and item["block"] not in stages[stage - 1]:
                    continue
                if tamper:
                    tamper(row)
                predictions.append(row | score(row["prediction"], item["gold"]))
    record = {
        "parameters": {"corpus": "bfcl", "model": "smollm2-135m", "condition": condition, "seed": seed,
                       "cue": "ordinal", "order": list(order), "eval_conditions": eval_conditions, **more},
        "blocks": list(order),
        "stages": stages,
        "items": [sum(item["block"] == block for item in items) for block in order],
        "matrix": matrix(predictions, order),
        "tokens": {"train_total": 29_000 + 8_000 * (condition == "full"), "train_supervised": 2_100,
                   "train_computed": 9_000, "by_block": [7_250 + 2_000 * (condition == "full")] * len(order)},
        "seconds": {"train": 200.0, "evaluate": 90.0, "total": 300.0},
        "peak_memory_mb": 2_900.0,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
        "model": {"id": "smollm2-135m", "revision": "", "sha256": "0" * 64},
        "corpus": {"name": "bfcl", "hash": "1" * 64, "account": {}},
        "git_commit": "0" * 40,
        "machine": "an invented machine",
        "started": "2026-01-02T10:00:00+00:00",
        "finished": "2026-01-02T10:05:00+00:00",
    }  # fmt: skip
    folder.mkdir(parents=True)
    for name, rows in (("items", items), ("predictions", predictions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "record.json").write_text(json.dumps(record), "utf-8")
    return folder


@pytest.fixture
def write_prefer_run():
    """A function that writes an invented run that learns preferences, as `write_run` does; `passes(block,
    turn, stage, moment)` says which held-out turn tasks it passes, two in every dialogue.
    """
    return _write_prefer_run


@pytest.fixture
def write_repair_run():
    """The same of a run that repairs; `right` says of the four held-out pairs of a stage whether its reward
    model is right.
    """
    return _write_repair_run


def _write_prefer_run(folder: Path, preference="pairs", passes=lambda *_: False, **more) -> Path:
    _write_run(folder, objective="prefer", preference=preference, **more)
    learns = preference != "none"
    _write_turns(folder, passes, learns)
    record = json.loads((folder / "record.json").read_text())
    stages = [_stage(number, block) for number, block in enumerate(record["blocks"], 1)]
    record["preferences"] = {"stages": stages if learns else []}
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def _write_repair_run(
    folder: Path,
    lessons="kept+repaired",
    reward="outcome",
    passes=lambda *_: False,
    right=(1, 1, 0, 1),
    **more,
) -> Path:
    _write_run(folder, objective="repair", lessons=lessons, reward=reward, **more)
    _write_turns(folder, passes, learns=True)
    record = json.loads((folder / "record.json").read_text())
    stages = [_repair_stage(n, block, lessons, reward, right) for n, block in enumerate(record["blocks"], 1)]
    record["repair"] = {"stages": stages}
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def _write_turns(folder: Path, passes, learns: bool) -> None:
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    dialogues = dict.fromkeys((item["dialogue_id"], item["block"]) for item in items)
    last, lines = 4, []
    for stage, moment in [(0, "after"), *((k, m) for k in range(1, last + 1) for m in ("before", "after"))]:
        searches = ("greedy", "tree") if (stage, moment) == (last, "after") else ("greedy",)
        for search, (name, block), turn in itertools.product(searches, dialogues, range(2)):
            passed = search == "tree" or bool(passes(block, turn, stage, moment))
            line = {"dialogue_id": name, "step": turn, "block": block, "free": turn == 1, "stage": stage}
            line |= {"moment": moment, "search": search, "passed": passed, "invalid": 1}
            lines.append(line | {"replies": 3 if search == "tree" else 2})
    lines = [line for line in lines if learns or line["moment"] == "after"]
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    before = [line for line in predictions if line["stage"] > 0 and learns]
    for name, rows in (("turns", lines), ("before_preferences", before)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _repair_stage(number: int, block: str, lessons: str, reward: str, right) -> dict:
    means = {"outcome": 0.25, "score": 0.6, "gap": 0.35, "calls": 2.0, "characters": 40.0, "invalid": 0.1}
    step = {"reward": 0.3, "loss": 0.0, "gradient": 0.1, "groups": 4, "equal_groups": 3, "tokens": 90,
            "clipped": 0.0, "drift": 1e-6, "measures": means}  # fmt: skip
    lengths = {"calls": [1, 0, 1, 0], "characters": [1, 1, 0, 0], "failed calls": [0.5] * 4,
               "regression": [1, 1, 0, 0], "log-probability": [0, 1, 0, 1], "author": [0.5, 0.5, 1, 1],
               "reward model, shown another task": [0, 1, 0, 1]}  # fmt: skip
    one = {"repaired": 6, "accepted": 2, "attempts": 10, "edits": 5, "reads gold": False,
           "failure": {"refused": 4, "not done": 2}, "accepted failure": {"refused": 2}}  # fmt: skip
    oracle = one | {"accepted": 6, "edits": 12, "reads gold": True,
                    "accepted failure": {"refused": 4, "not done": 2}}  # fmt: skip
    return {
        "stage": number,
        "blocks": [block],
        "candidates": {"tasks": 4, "candidates": 12, "distinct": 9, "won": 4, "solved tasks": 2,
                       "label": {"kept": 3, "low": 1, "wrong": 5}, "mixed tasks": 2},
        "repairs": {"resample": one, "oracle": oracle},
        "reward": {"pairs": {"outcome": 8, "repair": 2, "learnt": 6, "tested": 4},
                   "training": {"cost": {"steps": 2}},
                   "tested": {"dialogue": ["a", "a", "b", "c"], "kind": ["outcome"] * 3 + ["repair"],
                              "right": {"reward model": list(right)} | lengths}},
        "lessons": {"arm": lessons, "repeated repairs": 1, "trajectories": 5, "examples": 12, "distinct": 12,
                    "training": {"cost": {"steps": 2}}},
        "grpo": {"reward": reward, "steps": [step, step | {"reward": 0.4}], "seconds": 3.0, "resumed": False,
                 "seen": [{"taken": taken, "train": means, "held_out": means | {"score": 0.5 + taken / 10}}
                          for taken in (0, 2)]},
    }  # fmt: skip


def _stage(number: int, block: str) -> dict:
    return {
        "stage": number,
        "blocks": [block],
        "trees": {"tasks": 4, "won": 4, "replies": 30, "duplicates": 5},
        "pairs": {"pairs": 10, "kind": {"stop": 6, "failed": 4}, "harmless": 2,
                  "dropped": {"cut": 3, "harmless": 2}},
        "training": None,
    }  # fmt: skip
