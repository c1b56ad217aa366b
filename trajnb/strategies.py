"""What is learnt when, as data: one `Strategy` each, whose properties everything else asks.

A strategy says which blocks a stage learns; how a stage learns them is not its business.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trajnb.known import check_known, unheeded_by


@dataclass(frozen=True)
class Stage:
    """One stretch of training, after which all held-out examples are asked."""

    name: str
    """Of its folder and in tables."""
    blocks: tuple[str, ...]
    """Learnt here for the first time."""
    examples: tuple[int, ...]
    """Indices of what is trained on; none where nothing is trained."""
    fresh: bool = False
    """Begins with a new adapter."""


@dataclass(frozen=True)
class Examples:
    """What stages are made of: the training examples of a run and what draws among them."""

    order: tuple[str, ...]
    """The blocks in the order learnt."""
    blocks: Sequence[str]
    """Of every example, its block."""
    dialogues: Sequence[str]
    """Of every example, the id of its dialogue."""
    replay_share: float
    """Share of the dialogues of every earlier block that stays in memory, at least one."""
    seed: int

    def of(self, block: str) -> tuple[int, ...]:
        """Indices of the examples of a block."""
        return tuple(place for place, name in enumerate(self.blocks) if name == block)


@dataclass(frozen=True)
class Strategy:
    """One way to learn a stream of blocks."""

    name: str
    words: str
    """What it is, for people."""
    stages: Callable[[Examples], list[Stage]]
    heeds: tuple[str, ...] = ()
    """Parameters that shape runs of this strategy and no others."""
    trains: bool = True
    """Weights are learnt; else a prompt is all there is."""
    one_stage: bool = False
    """All blocks are learnt, or asked, at once."""
    in_sequence: bool = False
    """One adapter goes from block to block, so that forgetting and transfer can be measured."""
    own_adapters: bool = False
    """Every block has an adapter of its own: final for a block is the stage that learnt it."""
    with_shots: bool = False
    """Prompts hold worked examples."""
    recalls: str = ""
    """What answers are copied from training examples, where no model gives them: those of the
    "nearest" example, or the "commonest" of a block, see `run.recall`.
    """
    learnt_passes: Callable[[int, float], float] = lambda blocks, replay_share: 1.0
    """(blocks, replay share) -> how often an epoch learns the training examples of a block, on
    average.
    """

    @property
    def ends_with_one_model(self) -> bool:
        """After the last stage there is one trained model that knows all blocks."""
        return self.trains and not self.own_adapters


def _one_by_one(examples: Examples) -> list[Stage]:
    return [Stage(block, (block,), examples.of(block)) for block in examples.order]


def _replay(examples: Examples) -> list[Stage]:
    """A reservoir of whole dialogues: of every block a share stays in memory when it is left."""
    found: list[Stage] = []
    memory: tuple[int, ...] = ()
    for block in examples.order:
        own = examples.of(block)
        found.append(Stage(block, (block,), own + memory))
        memory += _remembered(examples, block)
    return found


def _remembered(examples: Examples, block: str) -> tuple[int, ...]:
    own = examples.of(block)
    names = sorted({examples.dialogues[place] for place in own})
    draw = random.Random(f"{examples.seed} {block}")
    kept = set(draw.sample(names, math.ceil(examples.replay_share * len(names))))
    return tuple(place for place in own if examples.dialogues[place] in kept)


def _joint(examples: Examples) -> list[Stage]:
    every = tuple(place for block in examples.order for place in examples.of(block))
    return [Stage("joint", examples.order, every)]


def _independent(examples: Examples) -> list[Stage]:
    return [
        Stage(block, (block,), examples.of(block), fresh=place > 0)
        for place, block in enumerate(examples.order)
    ]


def _few_shot(examples: Examples) -> list[Stage]:
    return [Stage("few-shot", (), ())]


def _recall(examples: Examples) -> list[Stage]:
    return [Stage("recall", (), ())]


_ALL = (  # in the order in which tables and figures show them
    Strategy(
        "sequential",
        "block after block, the paper's",
        _one_by_one,
        in_sequence=True,
    ),
    Strategy(
        "replay",
        "block after block, with a share of every earlier block's dialogues again",
        _replay,
        heeds=("replay_share",),
        in_sequence=True,
        learnt_passes=lambda blocks, replay_share: 1 + replay_share * (blocks - 1) / 2,
    ),
    Strategy(
        "joint",
        "all blocks at once, the usual upper bound",
        _joint,
        one_stage=True,
    ),
    Strategy(
        "independent",
        "an adapter for every block",
        _independent,
        own_adapters=True,
    ),
    Strategy(
        "few-shot",
        "nothing is trained: worked examples stand in the prompt",
        _few_shot,
        heeds=("shots",),
        trains=False,
        one_stage=True,
        with_shots=True,
    ),
    Strategy(
        "lookup",
        "no model: the target of the most similar training example is copied",
        _recall,
        trains=False,
        one_stage=True,
        recalls="nearest",
    ),
    Strategy(
        "most-frequent",
        "no model: the commonest call of the block's training examples is copied",
        _recall,
        trains=False,
        one_stage=True,
        recalls="commonest",
    ),
)
STRATEGIES: Mapping[str, Strategy] = {strategy.name: strategy for strategy in _ALL}
PLAIN = _ALL[0]
"""The strategy of a run that names none."""


def strategy_of(parameters: Mapping) -> Strategy:
    """The strategy of a run's parameters.

    Raises:
        ValueError: an unknown one.
    """
    name = parameters.get("strategy", PLAIN.name)
    check_known("strategy", name, STRATEGIES)
    return STRATEGIES[name]


def unheeded(parameters: Mapping) -> set[str]:
    """The parameters that shape runs of other strategies only, and so do not shape this run."""
    return unheeded_by(strategy_of(parameters), _ALL)
