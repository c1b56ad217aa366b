"""One block of training: a plan's optimiser steps, taken by transformers.Trainer."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch.nn.functional import pad
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback, get_available_reporting_integrations
from transformers.trainer_callback import PrinterCallback

from trajnb.files import written_by_a_library
from trajnb.qlora import attention, ranks, trie
from trajnb.qlora.attention import UNREAD, TrieLayout, Watched
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import device, layer_count, on_gpu
from trajnb.qlora.plan import Cost, Pass, Plan
from trajnb.qlora.progress import Pace, Tell, duration


@dataclass(frozen=True)
class Trained:
    """A block that was trained."""

    cost: Cost
    """What its plan took."""
    seconds: float
    """Of training, without what came before it."""
    resumed: bool
    """A kill cut the block once: `seconds` counts from the last checkpoint on."""
    losses: list[float]
    """Mean negative log-likelihood (nats a supervised token) of every step."""


def trie_batch(examples: Sequence[Encoded], packed: trie.Trie | None = None) -> dict:
    """Model inputs for several examples in one row: every distinct prefix once, logits only where a
    label stands. `packed` is the trie of their tokens, where it was built before.

    `labels` and `shift_labels` are (1, supervised tokens); both, because with `labels` alone loss
    and token counts shift by one.
    """
    packed = packed or trie.build([example.tokens for example in examples])
    before, labels = [], []  # for every supervised token, the node that predicts it
    for index, example in enumerate(examples):
        before += packed.nodes(index, example.prompt - 1, len(example.tokens) - 1)
        labels += example.completion
    targets = torch.tensor([labels])
    return {
        "input_ids": torch.tensor([packed.tokens]),  # (1, nodes)
        "position_ids": torch.tensor([packed.depths]),  # (1, nodes)
        "logits_to_keep": torch.tensor(before),  # (supervised tokens,)
        "labels": targets,
        "shift_labels": targets,
        "layout": TrieLayout(packed.segments),
        "attention_mask": UNREAD,
    }


BUCKET = 1024
"""Rows on a GPU have a multiple of so many tokens, so that few shapes are compiled for."""


def block_batch(batch: dict, packed: trie.Trie, device: torch.device) -> dict:
    """The inputs of `trie_batch` for flex attention: a block mask on `device` in place of the layout,
    and behind the row as many tokens as make its length a multiple of `BUCKET`. They see themselves
    alone, and nothing is asked of them.
    """
    size = len(packed.tokens)
    filling = -size % BUCKET
    ends = torch.tensor([*attention.ends(packed), *range(size + 1, size + filling + 1)])
    mask = attention.block_mask(ends.to(device))
    given = {name: value for name, value in batch.items() if name != "layout"}
    padded = {name: pad(batch[name], (0, filling)) for name in ("input_ids", "position_ids")}
    return given | padded | {"attention_mask": mask}


def plain_batch(example: Encoded) -> dict:
    """Model inputs for one example, as any trainer would feed it: the reference for `trie_batch`.

    All are (1, tokens); labels of the prompt are -100, which no loss counts.
    """
    tokens = torch.tensor([example.tokens])
    labels = tokens.clone()
    labels[:, : example.prompt] = -100
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}


Inputs = Callable[[int, Pass | None], dict]
"""Model inputs of a pass: takes the number of its step, from 0, and the pass, or none where a step
has fewer passes than others: then inputs from which nothing is learnt.
"""


_AGAIN = {
    "gradient_checkpointing": True,
    "gradient_checkpointing_kwargs": {"use_reentrant": False},
}
"""A GPU has less memory than time: its layers are computed again in the backward pass."""


class _Passes(torch.utils.data.Dataset):
    """The forward passes of a plan, `width` of each process to an optimiser step; a step with fewer
    is filled up, for the Trainer accumulates a fixed number.

    Within a step accelerate gives the processes one pass each in turn, so those of a process stand
    as many places apart as there are processes.
    """

    def __init__(self, plan: Plan, inputs: Inputs, watched: Callable[[TrieLayout], Watched]):
        self.inputs, self.watched = inputs, watched
        dealt = [dealt_passes(passes) for passes in plan.passes]
        self.width = max(len(hand) for hands in dealt for hand in hands)
        self.passes: list[Pass | None] = []
        for hands in dealt:
            full = [hand + [None] * (self.width - len(hand)) for hand in hands]
            for together in zip(*full, strict=True):
                self.passes += together

    def __len__(self) -> int:
        return len(self.passes)

    def __getitem__(self, index: int) -> dict:
        step = index // (self.width * ranks.count())
        inputs = self.inputs(step, self.passes[index])
        if "layout" in inputs:
            inputs["layout"] = self.watched(inputs["layout"])
        return inputs


def dealt_passes(passes: Sequence[Pass]) -> list[list[Pass]]:
    """The passes of a step that each process takes, as equal in tokens as can be."""
    if ranks.count() == 1:
        return [list(passes)]
    hands = ranks.deal([one.size for one in passes], ranks.count())
    return [[passes[index] for index in hand] for hand in hands]


def _own_sizes(passes: Sequence[Pass]) -> list[int]:
    """The tokens of the passes of a step that are this process's."""
    return [one.size for one in dealt_passes(passes)[ranks.rank()]]


class _Progress(TrainerCallback):
    """A line every few seconds: readable in a live notebook and in a log alike.

    The grain is a layer of a pass; unpacked it is a pass, which is one example. Of several
    processes the first speaks, of its own passes: in every step all wait for the slowest.
    """

    def __init__(self, say: Tell, plan: Plan):
        self.say = say
        self.sizes = [_own_sizes(passes) for passes in plan.passes]
        self.by_step = [sum(sizes) for sizes in self.sizes]

    def on_train_begin(self, args, state, control, **kwargs):
        self.pace, self.began = Pace(self.say), time.monotonic()
        self.start = state.global_step  # not 0 where a training that was cut goes on
        self.steps, self.passes = self.start, 0  # complete ones; passes of the present step

    def on_substep_end(self, args, state, control, **kwargs):
        """After every pass of an optimiser step but its last."""
        self.passes += 1
        self.within_pass(0.0)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """After every optimiser step."""
        if not logs or "loss" not in logs:
            return
        self.steps, self.passes = state.global_step, 0
        ends = self.steps in (self.start + 1, state.max_steps)
        step = f"step {self.steps}/{state.max_steps} · loss {logs['loss']:.3f}"
        self.pace(f"{step} · {self._speed()}", always=ends)

    def within_pass(self, share: float) -> None:
        """So much of the present pass is done, from 0 to 1 forward and from 1 to 2 backward, which
        takes about as long where most weights are frozen.
        """
        sizes = self.sizes[self.steps]
        if self.passes >= len(sizes):
            return  # nothing is learnt from what fills a step up
        within = sum(sizes[: self.passes])
        within += share / 2 * sizes[self.passes]
        if within:
            step = f"step {self.steps + 1}/{len(self.sizes)}"
            of = f"{within:,.0f} of {sum(sizes):,} tokens"
            self.pace(f"{step}, {of} · {self._speed(within)}")

    def _speed(self, within: float = 0.0) -> str:
        """How fast it goes and how long it takes from here, by the tokens computed in whole steps
        and `within` the present one.
        """
        done = sum(self.by_step[self.start : self.steps]) + within
        if not done:  # of several processes the first may have had nothing in these steps
            return "its speed is not known yet"
        rate = done / (time.monotonic() - self.began)
        left = (sum(self.by_step[self.steps :]) - within) / rate
        each = " a device" if ranks.count() > 1 else ""
        return f"{rate:.0f} tokens/s{each} · {duration(left)} left in this block"


def train_block(
    model: PeftModel, plan: Plan, *, seed: int, folder: Path, say: Tell = print
) -> Trained:
    """Train the adapter of `model` in place, as planned; learning-rate warm-up and decay start
    anew, as the paper's do for every block.

    `folder` keeps the Trainer's checkpoints; a call with the same arguments after a kill goes on
    from the last complete one and ends with the same weights. Delete it when the result is kept.
    `seed` drives dropout. Raises ValueError for a plan without examples.
    """
    if not plan.batches:
        raise ValueError("there is nothing to train: the plan holds no examples")
    examples = plan.examples

    def inputs(step: int, one: Pass | None) -> dict:
        if one is None:
            return plain_batch(Encoded([examples[0].tokens[0]], prompt=1))
        if plan.recipe.packing == "none":
            (alone,) = one.examples
            return plain_batch(examples[alone])
        packed = one.packed
        batch = trie_batch([examples[index] for index in one.examples], packed)
        return block_batch(batch, packed, device()) if on_gpu() else batch

    taken = take_steps(model, plan, inputs, seed=seed, folder=folder, say=say)
    losses = [entry["loss"] for entry in taken.log]
    return Trained(plan.cost, taken.seconds, taken.resumed, losses)


@dataclass(frozen=True)
class Taken:
    """The optimiser steps of a plan, taken."""

    seconds: float
    """Of all of them, or of those since the last checkpoint where a kill cut them."""
    resumed: bool
    """A kill cut them once."""
    log: list[dict]
    """What the Trainer logged of every step: its `loss` and more."""


def take_steps(
    model: PeftModel,
    plan: Plan,
    inputs: Inputs,
    trainer: Callable[..., Trainer] = Trainer,
    *,
    seed: int,
    folder: Path,
    say: Tell,
) -> Taken:
    """Take the optimiser steps of `plan` on what `inputs` makes of its passes, with the loss of
    `trainer`. `folder` keeps checkpoints, from which a call after a kill goes on.

    Several processes (`ranks.joined`) share the passes of every step; the loss stays the mean over
    the supervised tokens of all of them, so but for dropout they end with the weights of one.
    Raises ValueError where the processes do not know of one another.
    """
    ranks.check_joined()
    recipe, steps = plan.recipe, len(plan.batches)
    progress, layers = _Progress(say, plan), layer_count(model)
    data = _Passes(plan, inputs, lambda layout: Watched(layout, layers, progress.within_pass))
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=data.width,
        train_sampling_strategy="sequential",  # the plan is the order
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(recipe.warmup_ratio * steps),  # rounded down: the first trains at rate 0
        optim="paged_adamw_8bit" if on_gpu() else "adamw_torch",
        bf16=on_gpu(),
        **(_AGAIN if on_gpu() else {}),
        use_cpu=not on_gpu(),  # without it processes on CPUs would not find one another
        ddp_find_unused_parameters=False,
        logging_steps=1,
        save_strategy="steps",
        save_steps=max(1, steps // 5),
        save_total_limit=2,  # a kill while one is written leaves the one before
        disable_tqdm=True,
        report_to=recipe.report_to,
        run_name=f"{folder.parents[1].name}/{folder.name}",
        project="trajnb",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        seed=seed,
    )
    stepping = trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=lambda items: items[0],
        callbacks=[progress],
    )
    stepping.remove_callback(PrinterCallback)
    together = stepping.accelerator.num_processes
    assert together == ranks.count(), f"{together} of {ranks.count()} processes train together"
    _keep_events(stepping, folder)
    began = time.monotonic()
    checkpoint = ranks.from_first(lambda: _last_checkpoint(folder))
    with written_by_a_library(folder):
        stepping.train(resume_from_checkpoint=checkpoint)
    return Taken(
        seconds=time.monotonic() - began,
        resumed=checkpoint is not None,
        log=[entry for entry in stepping.state.log_history if "loss" in entry],
    )


def check_tracker(name: str) -> None:
    """Raise ValueError where losses are to be told to a tracker that is not installed."""
    if name != "none" and name not in get_available_reporting_integrations():
        raise ValueError(f"report_to is {name!r}, which is not installed: pip install {name}")


def _keep_events(trainer: Trainer, folder: Path) -> None:
    """Let TensorBoard write beside the checkpoints, which are deleted, unless its own variable
    TENSORBOARD_LOGGING_DIR names a place.
    """
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(folder.parents[1] / "tracking" / folder.name)


def _last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: the Trainer writes trainer_state.json
    last.
    """
    complete = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            state = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
            complete.append((state["global_step"], str(checkpoint)))
        except (OSError, ValueError, KeyError):
            shutil.rmtree(checkpoint, ignore_errors=True)
    return max(complete)[1] if complete else None
