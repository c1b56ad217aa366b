"""DPO (arXiv 2305.18290) on packed rows: what a state had on the success path is made likelier than
what failed there, against the adapter as it stood when the block's preferences began.

The reference reads the rows of training once, before the first step. For rows, log-probabilities
and measures see `pairs`.
"""

import hashlib
import json
import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from peft import PeftModel
from transformers import Trainer

from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import on_gpu
from trajnb.qlora.pairs import (
    LogProbabilities,
    Measures,
    Pair,
    chain,
    log_probabilities,
    measure,
    pair_batch,
    pair_losses,
    pair_rows,
    side_sums,
)
from trajnb.qlora.plan import Cost, Pass, Plan, Recipe, by_dialogue, in_steps, one_pass
from trajnb.qlora.progress import Tell
from trajnb.qlora.train import take_steps


@dataclass(frozen=True)
class PreferRecipe:
    """The figures of preference training. Raises ValueError for a `beta` that is not above zero."""

    beta: float
    """How much a log-ratio counts: the larger, the nearer the adapter stays to its reference."""
    learning_rate: float
    """The highest: it rises before and decays to zero after, along a cosine."""
    epochs: int
    """Times that every pair is learnt."""
    dialogues_per_step: int
    """Dialogues of one optimiser step, each with all its pairs."""
    warmup_ratio: float
    """Share of a block's steps in which the learning rate rises."""
    token_budget: int
    """Distinct tokens of one forward pass, where a single pair does not need more."""
    report_to: str = "none"
    """As in `plan.Recipe`."""

    def __post_init__(self):
        if not self.beta > 0:
            raise ValueError(f"beta is {self.beta}: use a number above zero, such as 0.1")

    @property
    def steps(self) -> Recipe:
        """The same figures as steps of any training take them."""
        return Recipe(
            epochs=self.epochs,
            dialogues_per_step=self.dialogues_per_step,
            learning_rate=self.learning_rate,
            warmup_ratio=self.warmup_ratio,
            packing="trie",
            token_budget=self.token_budget,
            report_to=self.report_to,
        )


@dataclass(frozen=True)
class PairPlan:
    """What one block's preferences are learnt from, in order. Made by `plan_pairs`."""

    recipe: PreferRecipe
    pairs: Sequence[Pair]
    dialogue_ids: Sequence[str]
    """The dialogue of every pair."""
    batches: list[list[list[int]]]
    """For every optimiser step the indices of its pairs, grouped by dialogue."""
    rows: list[list[list[int]]]
    """For every optimiser step its rows: indices of the pairs in each."""
    sides: Plan
    """The same steps and rows over both sides of all pairs: those of pair i are its examples 2i
    (chosen) and 2i + 1 (rejected).
    """

    @property
    def cost(self) -> Cost:
        """What the plan takes, an example being one side of a pair; the reference's reading of
        every row is not counted.
        """
        return self.sides.cost


def plan_pairs(
    pairs: Sequence[Pair], dialogue_ids: Sequence[str], recipe: PreferRecipe, seed: int
) -> PairPlan:
    """The plan of a block: dialogues in a seeded order, shuffled anew for every epoch, each with
    all its pairs in one optimiser step. `dialogue_ids` names the dialogue of every pair.

    A dialogue's rows are the same in every epoch.
    """
    groups = by_dialogue(dialogue_ids)
    rows = {name: pair_rows(pairs, group, recipe.token_budget) for name, group in groups.items()}
    draw = random.Random(seed)
    epochs = [draw.sample(list(groups), len(groups)) for _ in range(recipe.epochs)]
    steps = in_steps(epochs, recipe.dialogues_per_step)
    batches = [[groups[name] for name in step] for step in steps]
    of_steps = [chain(rows[name] for name in step) for step in steps]
    both = _plan(recipe, chain(pair.sides for pair in pairs), batches, of_steps, _both)
    return PairPlan(recipe, pairs, dialogue_ids, batches, of_steps, both)


def chosen_plan(plan: PairPlan) -> Plan:
    """The control `more-sft`: supervised training on the chosen sides of the same pairs, in the
    same steps and rows, for `train.train_block`. A side stands there as often as it has pairs.
    """
    chosen = [pair.chosen for pair in plan.pairs]
    return _plan(plan.recipe, chosen, plan.batches, plan.rows, list)


def _both(pairs: Sequence[int]) -> list[int]:
    """The sides of pairs, by their places in `PairPlan.sides`."""
    return chain((2 * pair, 2 * pair + 1) for pair in pairs)


def _plan(
    recipe: PreferRecipe,
    examples: Sequence[Encoded],
    batches: list[list[list[int]]],
    rows: list[list[list[int]]],
    places: Callable[[Sequence[int]], list[int]],
) -> Plan:
    """Steps and rows of pairs as those of examples; `places` gives the examples of some pairs."""
    learnt = []
    for batch in batches:
        learnt.append([places(group) for group in batch])
    passes = []
    for step in rows:
        passes.append([one_pass(examples, places(row)) for row in step])
    return Plan(recipe.steps, examples, learnt, passes)


@dataclass(frozen=True)
class Preferred:
    """A block whose preferences were learnt."""

    cost: Cost
    """What its plan took; an example is one side of a pair."""
    seconds: float
    """Of training, without the reference's reading and what came before it."""
    resumed: bool
    """A kill cut the block once: `seconds` counts from the last checkpoint on."""
    steps: list[Measures]
    """Of every optimiser step, on its own pairs and before its weights are changed."""


def train_pairs(
    model: PeftModel, plan: PairPlan, *, seed: int, folder: Path, say: Tell = print
) -> Preferred:
    """Learn the preferences of `plan`: the adapter of `model` is trained in place, and as it
    stands is the reference. Dropout is off meanwhile.

    `folder` keeps the reference's log-probabilities and the Trainer's checkpoints; a call with the
    same arguments after a kill goes on from the last complete one and ends with the same weights.
    Delete it when the result is kept.

    Raises ValueError for a plan without pairs, and where the folder holds other pairs' reference.
    """
    if not plan.batches:
        raise ValueError("there is nothing to learn: the plan holds no pairs")
    reference = _kept_reference(model, plan, folder, say)
    counts = [sum(map(len, batch)) for batch in plan.batches]

    def inputs(step: int, one: Pass | None) -> dict:
        if one is None:
            return {"input_ids": torch.tensor([[plan.pairs[0].chosen.tokens[0]]])}
        pairs = [place // 2 for place in one.examples[::2]]
        batch = pair_batch([plan.pairs[pair] for pair in pairs], one.packed)
        known = torch.tensor([reference[pair] for pair in pairs])
        return batch | {"reference": known, "pairs_of_step": counts[step]}

    trainer = partial(_PairTrainer, plan.recipe.beta)
    with without_dropout(model):
        taken = take_steps(model, plan.sides, inputs, trainer, seed=seed, folder=folder, say=say)
    steps = [Measures(**entry["preference"]) for entry in taken.log]
    return Preferred(plan.cost, taken.seconds, taken.resumed, steps)


class _PairTrainer(Trainer):
    """transformers' Trainer with the loss of pairs, a mean over those of an optimiser step."""

    def __init__(self, beta: float, **kwargs):
        super().__init__(**kwargs)
        self.beta = beta
        self.ratios = []  # of the present step's rows

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if "reference" not in inputs:  # a pass that only fills its step up
            return 0.0 * model(input_ids=inputs["input_ids"]).logits.sum()
        reference, of = inputs.pop("reference"), inputs.pop("pairs_of_step")
        ratios = side_sums(model, inputs) - reference
        losses = pair_losses(ratios, self.beta)
        if self.state.global_step == 0:
            _check_first(losses)
        self.ratios.append(ratios.detach())
        return losses.sum() / of * self.current_gradient_accumulation_steps  # it divides by these

    def log(self, logs, start_time=None):
        if "loss" in logs:  # of a step, and not the summary at the end
            logs["preference"] = asdict(measure(torch.cat(self.ratios), self.beta))
            self.ratios = []
        super().log(logs, start_time)


def _check_first(losses: torch.Tensor) -> None:
    """Before any weight is changed the adapter is its reference, and every loss is log 2."""
    off = (losses.detach() - math.log(2)).abs().max().item()
    allowed = 2e-2 if on_gpu() else 1e-3  # bf16, fp32
    assert off <= allowed, (
        f"a pair's loss at the first step is {off:.2g} from log 2, so the adapter is not its own "
        "reference: is dropout on, or were other weights put in after the reference was read?"
    )


@contextmanager
def without_dropout(model: torch.nn.Module) -> Iterator[None]:
    """Within, no module of `model` drops anything; afterwards each does what it did before."""
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    before = [layer.p for layer in layers]
    for layer in layers:
        layer.p = 0.0
    try:
        yield
    finally:
        for layer, share in zip(layers, before, strict=True):
            layer.p = share


def _kept_reference(
    model: PeftModel, plan: PairPlan, folder: Path, say: Tell
) -> LogProbabilities:
    """The reference's log-probabilities from `folder`, or computed now and kept there: after a
    kill `model` need not be the reference any more.
    """
    path = folder / "reference.json"
    of = _digest(plan.pairs)
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["pairs"] != of:
            raise ValueError(f"{folder} holds the reference of other pairs: delete it")
        return [tuple(pair) for pair in kept["log_probabilities"]]
    budget = plan.recipe.token_budget
    found = log_probabilities(model, plan.pairs, plan.dialogue_ids, budget, say)
    folder.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    fresh.write_text(json.dumps({"pairs": of, "log_probabilities": found}))
    os.replace(fresh, path)
    return found


def _digest(pairs: Sequence[Pair]) -> str:
    said = [(pair.chosen.prompt, pair.chosen.tokens, pair.rejected.tokens) for pair in pairs]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
