"""How fast this machine trains and reads with a model, measured in a minute or two and kept in the user's
cache: what `trajnb run --dry-run` tells hours by.
"""

import hashlib
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from datasets import Dataset
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from trajnb import machine
from trajnb.cache import cache_folder
from trajnb.corpora.load import load_corpus
from trajnb.files import read_json, write_json
from trajnb.formatting.examples import build_examples
from trajnb.machine import say as aloud
from trajnb.qlora import chat, generate
from trajnb.qlora.model import Model, add_adapter, find_model, load_base, load_tokenizer
from trajnb.qlora.plan import Plan, Recipe, make_plan, operations
from trajnb.qlora.train import train_block
from trajnb.run.written import Counts

RANK = 16
"""Of the adapter that is trained; what another one costs is counted."""
SECONDS = 20.0
"""That the measured training is to take at least, and `PASSES` of it: the first ones fetch their memory."""
PASSES = 5
WRITTEN = 12
"""Tokens of each answer to the held-out examples that are read."""
LONGEST, USUAL = 3.0, 1.5
"""How long the longest of the answers that are written at one time is, and all are on average, measured by
the average right one, as a model writes that has learnt: fitted to the five runs in reports/bench.
"""
CUT = 0.2
"""How often the longest is as long as it may be instead: before the first of four blocks."""
NEVER = -1
"""No token ends an answer."""
RECIPE = Recipe(1, 2, 1e-4, 0.0, "trie", 2048)


@dataclass(frozen=True)
class Speed:
    """What a machine does with a model."""

    model: str
    quantization: str
    machine: str
    date: str
    load: float
    """Seconds until the model is there."""
    train: float
    """Operations a second, as `qlora.plan.operations` counts them."""
    read: float
    """The same without a backward pass."""
    step: float
    """Seconds for a token of one answer that is written alone."""
    written: float
    """Seconds for a token of every other answer that is written beside it."""

    def seconds_to_train(self, config: PreTrainedConfig, rank: int, counts: Counts) -> float:
        """For examples, once."""
        sizes = counts.distinct, counts.pairs, counts.supervised
        return operations(config, rank, *sizes) / self.train

    def seconds_to_ask(self, config: PreTrainedConfig, counts: Counts, max_new_tokens: int) -> float:
        """For examples, once: reading them, then writing all answers at one time."""
        sizes = counts.distinct, counts.pairs, counts.supervised
        reading = operations(config, 0, *sizes, backward=False) / self.read
        right = counts.supervised / max(counts.examples, 1)
        longest = CUT * max_new_tokens + (1 - CUT) * min(LONGEST * right, max_new_tokens)
        return reading + longest * self.step + USUAL * counts.supervised * self.written


def config_of(model: str, revision: str = "") -> PreTrainedConfig:
    """The shape of a model on this machine."""
    folder = find_model(model, revision).folder
    return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def kept(model: str, revision: str, quantization: str) -> Speed | None:
    """What was measured on this machine; None where nothing was, or what is kept is damaged."""
    try:
        return Speed(**read_json(_file(model, revision, quantization)))
    except (OSError, ValueError, TypeError):
        return None


def calibrate(
    model: str, revision: str = "", quantization: str = "auto", say: Callable[[str], None] = aloud
) -> Speed:
    """Measure and keep the speed of a model on this machine.

    Raises:
        ValueError: as `find_model` and `load_base`.
    """
    began = time.monotonic()
    files, tokenizer = find_model(model, revision), load_tokenizer(model, revision)
    base = load_base(files, quantization)
    load = time.monotonic() - began
    say(f"{model} is loaded, {load:.0f} s")
    corpus = load_corpus("sample")
    asked = build_examples(corpus, "full", "held_out")
    read, step, written = _asking_speed(base, tokenizer, asked)
    say(f"read at {read / 1e9:,.1f} GFLOP/s, wrote a token in {step:.3f} s, one beside it in {written:.3f} s")
    adapted = add_adapter(base, rank=RANK, alpha=2 * RANK, dropout=0.05, seed=0)
    rows = build_examples(corpus, "full", "train")
    encoded = chat.encode_all(tokenizer, rows)
    train = _training_speed(adapted, encoded, list(rows["dialogue_id"]))
    say(f"trained at {train / 1e9:,.1f} GFLOP/s")
    said = model, quantization, machine.describe(), machine.now()
    speed = Speed(*said, load, train, read, step, written)
    write_json(_file(model, revision, quantization), asdict(speed))
    return speed


def _training_speed(model: Model, encoded: list[chat.Encoded], names: list[str]) -> float:
    """Operations a second: of one dialogue, then of two at a time. The fastest counts, for other work on the
    machine only slows.
    """
    dialogues = list(dict.fromkeys(names))
    pairs = [dialogues[place : place + 2] for place in range(0, len(dialogues), 2)]
    rates, began = [], time.monotonic()
    for chosen in itertools.chain([dialogues[:1]], itertools.cycle(pairs)):
        places = [place for place, name in enumerate(names) if name in chosen]
        plan = make_plan([encoded[place] for place in places], [names[place] for place in places], RECIPE, 0)
        rates.append(plan.operations(model.config, RANK) / _seconds(model, plan))
        if len(rates) >= PASSES and time.monotonic() - began > SECONDS:
            return max(rates)
    raise AssertionError("a cycle has no end")


def _seconds(model: Model, plan: Plan) -> float:
    with tempfile.TemporaryDirectory(prefix="trajnb-calibrate-") as folder:
        return train_block(model, plan, seed=0, folder=Path(folder), say=lambda text: None).seconds


def _asking_speed(model: PreTrainedModel, tokenizer, asked: Dataset) -> tuple[float, float, float]:
    """Operations a second of reading; seconds a token of one answer, and of every other beside it."""
    rows = list(asked)
    encoded = chat.encode_all(tokenizer, rows)
    dialogues = [row["dialogue_id"] for row in rows]

    def timed(count: int, limit: int) -> float:
        """Seconds of `count` examples."""
        began = time.monotonic()
        chosen, names = encoded[:count], dialogues[:count]
        end = NEVER  # so that every answer has all its tokens
        generate.answer(model, chosen, names, end_token=end, max_new_tokens=limit)
        return time.monotonic() - began

    timed(len(rows), 1)
    reading = timed(len(rows), 1)
    steps = WRITTEN - 1
    alone = max(timed(1, WRITTEN) - timed(1, 1), 0.0) / steps
    together = max(timed(len(rows), WRITTEN) - reading, 0.0) / steps
    plan = make_plan(encoded, dialogues, RECIPE, 0)
    pairs = sum(
        depth + 1 for passes in plan.passes for one in passes for depth in one.packed.depths
    )
    sizes = plan.cost.computed, pairs, plan.cost.supervised
    work = operations(model.config, 0, *sizes, backward=False)
    return work / reading, alone, max(together - alone, 0.0) / (len(rows) - 1)


def _file(model: str, revision: str, quantization: str) -> Path:
    """Where the speed of a model on this machine is kept."""
    said = json.dumps([model, revision, quantization, machine.describe()])
    return cache_folder() / f"speed-{hashlib.sha256(said.encode()).hexdigest()[:16]}.json"
