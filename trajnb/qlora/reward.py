"""A reward model learns from pairs of trajectories to one task (Bradley and Terry, as TRL's
RewardTrainer does).

A row holds all trajectories of a task, every distinct prefix once, each has one score, and the loss
looks at all pairs among these, so that nothing is read twice. For the model itself see `head`.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch.nn.functional import logsigmoid
from transformers import Trainer

from trajnb.qlora import trie
from trajnb.qlora.chat import Encoded
from trajnb.qlora.head import reward_batch, rewarding, row_scores
from trajnb.qlora.pairs import chain
from trajnb.qlora.plan import Cost, Pass, Plan, Recipe, in_steps, one_pass
from trajnb.qlora.progress import Tell
from trajnb.qlora.train import take_steps


@dataclass(frozen=True)
class RewardPlan:
    """What a reward model learns from, in order. Made by `plan_reward`."""

    steps: Plan
    """Rows hold whole tasks of one dialogue; an example is a trajectory."""
    worse: Mapping[int, Sequence[int]]
    """For a trajectory those that it is better than."""

    @property
    def cost(self) -> Cost:
        return self.steps.cost

    def pairs_of(self, places: Sequence[int]) -> list[tuple[int, int]]:
        """The pairs among trajectories, whose better ones are among these: (better, worse)."""
        found = []
        for better in places:
            found += [(better, worse) for worse in self.worse.get(better, ())]
        return found


def plan_reward(
    trajectories: Sequence[Encoded],
    tasks: Sequence[str],
    dialogue_ids: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    recipe: Recipe,
    seed: int,
) -> RewardPlan:
    """The plan of a reward model: dialogues in a seeded order, shuffled anew for every epoch, each
    with all its pairs in one optimiser step. Trajectories of no pair are not read.

    Args:
        tasks: of every trajectory its task; those of a pair have the same.
        dialogue_ids: of every trajectory its dialogue.
        pairs: places of the better and the worse trajectory of each.
        recipe: a task that needs more than its `token_budget` has a row to itself; `packing` says
            nothing here.

    Raises:
        ValueError: a pair of trajectories to two tasks, or of one with itself.
    """
    worse: dict[int, list[int]] = {}
    members: dict[str, list[int]] = {}  # task -> its trajectories that are compared
    for better, other in pairs:
        if tasks[better] != tasks[other] or better == other:
            raise ValueError(
                f"a pair has trajectory {better} of task {tasks[better]} and {other} of "
                f"{tasks[other]}: compare two trajectories to one task"
            )
        worse.setdefault(better, []).append(other)
        members.setdefault(tasks[better], []).extend([better, other])
    groups: dict[str, list[list[int]]] = {}  # dialogue -> its tasks
    for indices in members.values():
        once = sorted(set(indices))
        groups.setdefault(dialogue_ids[once[0]], []).append(once)
    rows = {name: _rows(trajectories, units, recipe) for name, units in groups.items()}
    draw = random.Random(seed)
    epochs = [draw.sample(list(groups), len(groups)) for _ in range(recipe.epochs)]
    steps = in_steps(epochs, recipe.dialogues_per_step)
    batches = [[chain(groups[name]) for name in step] for step in steps]
    passes = [chain(rows[name] for name in step) for step in steps]
    return RewardPlan(Plan(recipe, trajectories, batches, passes), worse)


def _rows(trajectories: Sequence[Encoded], tasks: list[list[int]], recipe: Recipe) -> list[Pass]:
    """The rows of one dialogue, none of which cuts a task in two."""
    units = [[trajectories[place].tokens for place in task] for task in tasks]
    rows = []
    for row in trie.pack_units(units, recipe.token_budget):
        places = chain(tasks[unit] for unit in row)
        rows.append(one_pass(trajectories, places))
    return rows


def losses(scores: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Of every pair -log sigmoid(score of the better - score of the worse), (pairs,); `pairs` are
    places among the scores, (pairs, 2): better, worse.
    """
    return -logsigmoid(scores[pairs[:, 0]] - scores[pairs[:, 1]])


@dataclass(frozen=True)
class Step:
    """What the pairs of an optimiser step say, before its weights are changed."""

    loss: float
    accuracy: float
    """Share of the pairs whose better trajectory has the higher score."""


@dataclass(frozen=True)
class Rewarded:
    """A reward model that was trained."""

    cost: Cost
    seconds: float
    """Of training."""
    resumed: bool
    """A kill cut it once: `seconds` counts from the last checkpoint on."""
    steps: list[Step]


def train_reward(
    model: PeftModel, plan: RewardPlan, *, seed: int, folder: Path, say: Tell = print
) -> Rewarded | None:
    """Learn the pairs of `plan`: the reward model of `model` (see `add_reward`) is trained in
    place, and nothing else. Where there is no pair this is said, and there is none: None.

    `folder` keeps the Trainer's checkpoints; a call with the same arguments after a kill goes on
    from the last complete one and ends with the same weights. Delete it when the result is kept.
    """
    if not plan.steps.batches:
        say(
            "no task has both a better and a worse trajectory: there is nothing to learn a reward "
            "from, and no reward model"
        )
        return None
    counts = [len(plan.pairs_of(chain(batch))) for batch in plan.steps.batches]

    def inputs(step: int, one: Pass | None) -> dict:
        if one is None:
            return {"input_ids": torch.tensor([[plan.steps.examples[0].tokens[0]]])}
        places = {index: place for place, index in enumerate(one.examples)}
        compared = []
        for better, worse in plan.pairs_of(one.examples):
            compared.append((places[better], places[worse]))
        row = reward_batch(one.packed)
        return row | {"pairs": torch.tensor(compared), "pairs_of_step": counts[step]}

    with rewarding(model):
        taken = take_steps(
            model, plan.steps, inputs, _RewardTrainer, seed=seed, folder=folder, say=say
        )
    steps = [Step(**entry["reward"]) for entry in taken.log]
    return Rewarded(plan.cost, taken.seconds, taken.resumed, steps)


class _RewardTrainer(Trainer):
    """transformers' Trainer with the loss of pairs of scores, a mean over those of a step."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.found = []  # losses of the present step's rows

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if "pairs" not in inputs:  # a pass that only fills its step up
            return 0.0 * model(input_ids=inputs["input_ids"]).logits.sum()
        found = losses(row_scores(model, inputs), inputs["pairs"])
        self.found.append(found.detach())
        return found.sum() / inputs["pairs_of_step"] * self.current_gradient_accumulation_steps

    def log(self, logs, start_time=None):
        if "loss" in logs:  # of a step, and not the summary at the end
            found = torch.cat(self.found).double()
            right = (found < math.log(2)).double().mean().item()
            logs["reward"] = asdict(Step(found.mean().item(), right))
            self.found = []
        super().log(logs, start_time)
