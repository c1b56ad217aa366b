"""One block of training: a fixed list of examples per optimiser step, stepped by transformers.Trainer.

What a step holds is decided before anything is packed, so that every way to feed the model trains on the
same examples with the same loss: the mean over the step's supervised tokens.
"""

import itertools
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from trajnb.qlora import trie
from trajnb.qlora.attention import TrieLayout
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import on_gpu

PACKINGS = ("trie", "none")
Step = list[list[int]]
"""The examples of one optimiser step, as indices, grouped by dialogue."""


@dataclass(frozen=True)
class Recipe:
    """The figures of training that do not depend on the block."""

    epochs: int
    dialogues_per_step: int
    learning_rate: float
    warmup_ratio: float
    packing: str
    token_budget: int


@dataclass(frozen=True)
class Cost:
    """What a block's plan takes, all epochs included."""

    steps: int
    examples: int
    tokens: int
    """Prompt and completion tokens of all examples: what a standard trainer computes."""
    supervised: int
    computed: int
    """Tokens that go through the model after packing."""


@dataclass(frozen=True)
class Trained:
    """A block that was trained."""

    cost: Cost
    seconds: float
    resumed: bool
    """A kill cut the block once: `seconds` counts from the last checkpoint on."""
    losses: list[float]
    """Mean negative log-likelihood (nats a supervised token) of every step."""


def plan(
    dialogue_ids: Sequence[str],
    recipe: Recipe,
    seed: int,
    tokens: Sequence[int] = (),
    budget: int | None = None,
) -> list[Step]:
    """The optimiser steps of a block: dialogues in a seeded order, shuffled anew for every epoch.

    `dialogue_ids` names the dialogue of every example, in order. The sampling unit is the dialogue: all its
    examples fall into one step.

    With a `budget`, it and not the number of epochs decides how many dialogues are learnt: pass after pass,
    until their `tokens` (of every example) come as near to it as whole dialogues can.
    """
    groups: dict[str, list[int]] = {}
    for index, dialogue in enumerate(dialogue_ids):
        groups.setdefault(dialogue, []).append(index)
    draw = random.Random(seed)
    if budget is None:
        passes = [draw.sample(list(groups), len(groups)) for _ in range(recipe.epochs)]
    else:
        sizes = {name: sum(tokens[index] for index in group) for name, group in groups.items()}
        passes = _passes_within(budget, sizes, draw)
    size = recipe.dialogues_per_step
    chunks = [order[first : first + size] for order in passes for first in range(0, len(order), size)]
    return [[groups[name] for name in chunk] for chunk in chunks]


def _passes_within(budget: int, sizes: dict[str, int], draw: random.Random) -> list[list[str]]:
    """The dialogues of each pass; the last one ends where more than half of a dialogue would be too much."""
    passes: list[list[str]] = []
    while budget > 0:
        order = draw.sample(list(sizes), len(sizes))
        ends = itertools.accumulate(sizes[name] for name in order)
        taken = sum(2 * (end - budget) < sizes[name] for name, end in zip(order, ends, strict=True))
        passes.append(order[: max(taken, not passes)])
        budget = budget - sum(sizes.values()) if taken == len(order) else 0
    return passes


def rows(step: Step, examples: Sequence[Encoded], recipe: Recipe) -> list[list[int]]:
    """The forward passes of one step, each a list of example indices: packed tries, or one example at a
    time.
    """
    if recipe.packing == "none":
        return [[index] for group in step for index in group]
    if recipe.packing != "trie":
        raise ValueError(f"unknown packing {recipe.packing!r}: one of {', '.join(PACKINGS)}")
    packed = trie.pack([[examples[index].tokens for index in group] for group in step], recipe.token_budget)
    return [[step[group][i] for group, i in row] for row in packed]


def cost(steps: Sequence[Step], examples: Sequence[Encoded], recipe: Recipe) -> Cost:
    """Count what `steps` will take before any of it runs."""
    used = [examples[index] for step in steps for group in step for index in group]
    return Cost(
        steps=len(steps),
        examples=len(used),
        tokens=sum(len(example.tokens) for example in used),
        supervised=sum(len(example.completion) for example in used),
        computed=sum(_computed(step, examples, recipe) for step in steps),
    )


def _computed(step: Step, examples: Sequence[Encoded], recipe: Recipe) -> int:
    fed = [[examples[index].tokens for index in row] for row in rows(step, examples, recipe)]
    return sum(len(trie.build(row).tokens) for row in fed)


def trie_batch(examples: Sequence[Encoded]) -> dict:
    """Model inputs for several examples in one row: every distinct prefix once, logits only where a label
    stands.

    `labels` and `shift_labels` are (1, supervised tokens); both, because with `labels` alone loss and token
    counts shift by one.
    """
    packed = trie.build([example.tokens for example in examples])
    before, labels = [], []
    for index, example in enumerate(examples):
        before += packed.nodes(index, example.prompt - 1, len(example.tokens) - 1)
        labels += example.completion
    targets = torch.tensor([labels])
    return {
        "input_ids": torch.tensor([packed.tokens]),
        "position_ids": torch.tensor([packed.depths]),
        "logits_to_keep": torch.tensor(before),
        "labels": targets,
        "shift_labels": targets,
        "layout": TrieLayout(packed.segments),
    }


def plain_batch(example: Encoded) -> dict:
    """Model inputs for one example, as any trainer would feed it: the reference for `trie_batch`."""
    tokens = torch.tensor([example.tokens])
    labels = tokens.clone()
    labels[:, : example.prompt] = -100
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}


class _Rows(torch.utils.data.Dataset):
    """The forward passes of a block in order, `width` to an optimiser step; a step with fewer is filled
    with unsupervised single tokens, for the Trainer accumulates a fixed number.
    """

    def __init__(self, steps: list[list[list[int]]], examples: Sequence[Encoded], packing: str):
        self.width = max(map(len, steps))
        self.rows = [row for step in steps for row in step + [[]] * (self.width - len(step))]
        self.examples, self.packing = examples, packing

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        chosen = [self.examples[i] for i in self.rows[index]]
        if not chosen:
            return plain_batch(Encoded([self.examples[0].tokens[0]], prompt=1))
        return plain_batch(chosen[0]) if self.packing == "none" else trie_batch(chosen)


class _Progress(TrainerCallback):
    """A line every few seconds: readable in a live notebook and in a log alike."""

    def __init__(self, say: Callable[[str], None], tokens_by_step: list[int], every: float = 5.0):
        self.say, self.tokens, self.every = say, tokens_by_step, every

    def on_train_begin(self, args, state, control, **kwargs):
        self.first, self.began, self.said = state.global_step, time.monotonic(), -math.inf

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not logs or "loss" not in logs:
            return
        now, done = time.monotonic(), state.global_step
        if now - self.said < self.every and done < state.max_steps:
            return
        self.said = now
        rate = sum(self.tokens[self.first : done]) / (now - self.began)
        left = sum(self.tokens[done:]) / rate
        self.say(
            f"step {done}/{state.max_steps} · loss {logs['loss']:.3f} · {rate:.0f} tokens/s · "
            f"{left // 60:.0f} min {left % 60:.0f} s left in this block"
        )


def train_block(
    model: PeftModel,
    examples: Sequence[Encoded],
    steps: Sequence[Step],
    recipe: Recipe,
    *,
    seed: int,
    folder: Path,
    say: Callable[[str], None] = print,
) -> Trained:
    """Train the adapter of `model` in place on `steps`; learning-rate warm-up and decay start anew, as the
    paper's do for every block.

    `folder` keeps the Trainer's checkpoints; a call with the same arguments after a kill goes on from the
    last complete one and ends with the same weights. Delete it when the result is kept. `seed` drives
    dropout.
    """
    data = _Rows([rows(step, examples, recipe) for step in steps], examples, recipe.packing)
    gpu = on_gpu()
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=len(steps),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=data.width,
        train_sampling_strategy="sequential",  # the plan is the order
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(recipe.warmup_ratio * len(steps)),  # rounded down: a warm-up step trains at rate 0
        optim="paged_adamw_8bit" if gpu else "adamw_torch",
        bf16=gpu,
        logging_steps=1,
        save_strategy="steps",
        save_steps=max(1, len(steps) // 5),
        save_total_limit=2,  # a kill while one is written leaves the one before
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        seed=seed,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=lambda items: items[0],
        callbacks=[_Progress(say, [_computed(step, examples, recipe) for step in steps])],
    )
    trainer.remove_callback(PrinterCallback)
    began = time.monotonic()
    checkpoint = _last_checkpoint(folder)
    trainer.train(resume_from_checkpoint=checkpoint)
    return Trained(
        cost=cost(steps, examples, recipe),
        seconds=time.monotonic() - began,
        resumed=checkpoint is not None,
        losses=[entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    )


def _last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; the Trainer writes trainer_state.json last."""
    complete = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            complete.append(
                (json.loads((checkpoint / "trainer_state.json").read_text())["global_step"], str(checkpoint))
            )
        except (OSError, ValueError, KeyError):
            shutil.rmtree(checkpoint, ignore_errors=True)
    return max(complete)[1] if complete else None
