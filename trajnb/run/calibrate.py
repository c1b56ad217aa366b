"""How fast this machine trains and reads with a model, measured in about a minute and kept in the user's
cache: what `trajnb run --dry-run` tells hours by.
"""

import hashlib
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
"""That the measured training is to take, as far as the sample has so many dialogues."""
ASKED = 4
"""Held-out dialogues that are read, and answered in `WRITTEN` tokens."""
WRITTEN = 12
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
    written: float
    """Seconds for each token that is written, where the answers of several dialogues are written
    together.
    """

    def seconds_to_train(self, config: PreTrainedConfig, rank: int, counts: Counts) -> float:
        """For examples, once."""
        sizes = counts.distinct, counts.pairs, counts.supervised
        return operations(config, rank, *sizes) / self.train

    def seconds_to_ask(self, config: PreTrainedConfig, counts: Counts) -> float:
        """For examples, once. As many tokens are taken to be written as the right answers have; where an
        answer begins right, that much of it is read instead.
        """
        sizes = counts.distinct, counts.pairs, counts.supervised
        reading = operations(config, 0, *sizes, backward=False) / self.read
        return reading + counts.supervised * self.written


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
    read, written = _asking_speed(base, tokenizer, asked)
    say(f"read at {read / 1e9:,.1f} GFLOP/s, {written:.2f} s a written token")
    adapted = add_adapter(base, rank=RANK, alpha=2 * RANK, dropout=0.05, seed=0)
    rows = build_examples(corpus, "full", "train")
    encoded = chat.encode_all(tokenizer, rows)
    train = _training_speed(adapted, encoded, list(rows["dialogue_id"]))
    say(f"trained at {train / 1e9:,.1f} GFLOP/s")
    speed = Speed(
        model, quantization, machine.describe(), machine.now(), load, train, read, written
    )
    write_json(_file(model, revision, quantization), asdict(speed))
    return speed


def _training_speed(model: Model, encoded: list[chat.Encoded], names: list[str]) -> float:
    """Operations a second: of one dialogue first, which warms up, then of as many as take `SECONDS`."""
    dialogues = list(dict.fromkeys(names))

    def timed(chosen: list[str]) -> tuple[float, float]:
        places = [place for place, name in enumerate(names) if name in chosen]
        plan = make_plan([encoded[place] for place in places], [names[place] for place in places], RECIPE, 0)
        return plan.operations(model.config, RANK), _seconds(model, plan)

    work, seconds = timed(dialogues[:1])
    count = min(len(dialogues), max(1, round(SECONDS / seconds)))
    if seconds < SECONDS:
        work, seconds = timed(dialogues[-count:])
    return work / seconds


def _seconds(model: Model, plan: Plan) -> float:
    with tempfile.TemporaryDirectory(prefix="trajnb-calibrate-") as folder:
        return train_block(model, plan, seed=0, folder=Path(folder), say=lambda text: None).seconds


def _asking_speed(model: PreTrainedModel, tokenizer, asked: Dataset) -> tuple[float, float]:
    """Operations a second of reading, and seconds a written token."""
    names = list(dict.fromkeys(asked["dialogue_id"]))[:ASKED]
    rows = [row for row in asked if row["dialogue_id"] in names]
    encoded = chat.encode_all(tokenizer, rows)
    dialogues = [row["dialogue_id"] for row in rows]

    def timed(limit: int) -> tuple[float, int]:
        began = time.monotonic()
        answers = generate.answer(
            model, encoded, dialogues, end_token=chat.habits(tokenizer).end, max_new_tokens=limit
        )
        return time.monotonic() - began, sum(len(answer.tokens) for answer in answers)

    timed(1)
    reading, first = timed(1)
    whole, tokens = timed(WRITTEN)
    plan = make_plan(encoded, dialogues, RECIPE, 0)
    pairs = sum(
        depth + 1 for passes in plan.passes for one in passes for depth in one.packed.depths
    )
    sizes = plan.cost.computed, pairs, plan.cost.supervised
    work = operations(model.config, 0, *sizes, backward=False)
    return work / reading, max(whole - reading, 0.0) / max(tokens - first, 1)


def _file(model: str, revision: str, quantization: str) -> Path:
    """Where the speed of a model on this machine is kept."""
    said = json.dumps([model, revision, quantization, machine.describe()])
    return cache_folder() / f"speed-{hashlib.sha256(said.encode()).hexdigest()[:16]}.json"
