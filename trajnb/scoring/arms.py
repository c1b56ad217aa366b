"""What runs of a study are called: by what they have in common apart from seed, fold and block order.

An arm is data. Its words are made where it is shown, by `str`, and read back by nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trajnb.objectives import OBJECTIVES, USUAL, objective_of
from trajnb.records import Run
from trajnb.strategies import PLAIN, STRATEGIES, strategy_of

Pairs = tuple[tuple[str, object], ...]
"""Parameters and their values, lists as tuples."""

# what may differ between runs of one arm: repetitions, places, and what is already said otherwise
_NOT_AN_ARM = {
    "condition",
    "strategy",
    "seed",
    "order",
    "eval_conditions",
    "eval_stages",
    "report_to",
    "fold",
    "folds",
    "run_folder",
    "zero_shot_folder",
    "preferences_folder",
    "repair_folder",
    "corpus_path",
    "rollout_dialogues",
    "rollout_calls",
}
_UNSAID = {
    "match_tokens": "",
    "fresh_ids": False,
    "skip_unusable": False,
    "stop_targets": False,
    "cue": "ordinal",
    "objective": USUAL.name,
}
"""No part of an arm at these values: all tokens, the corpus's own ids, all of its rows, calls
alone, a cue that counts them, supervised training alone.
"""


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but seed, fold and block order, and what they were asked with."""

    condition: str
    strategy: str = PLAIN.name
    settings: Pairs = ()
    """What its strategy heeds, where runs of that strategy differ in it."""
    variant: Pairs = ()
    """Whatever else runs of the study differ in."""
    asked: str = ""
    """The condition of the test prompts; nothing where every run was asked in its own."""

    def __str__(self) -> str:
        """For people: `full`, `full, strategy joint`, `full, lora_rank 64 → stripped`."""
        trained = ", ".join(filter(None, [self.condition, self.training()]))
        return f"{trained} → {self.asked}" if self.asked else trained

    def __lt__(self, other: "Arm") -> bool:
        """By the words, for tables that sort."""
        return str(self) < str(other)

    def training(self) -> str:
        """The words for all but conditions; nothing for what is plain."""
        strategy = "" if self.strategy == PLAIN.name else f"strategy {self.strategy}"
        return ", ".join(filter(None, [strategy, words(self.settings), words(self.variant)]))

    def in_its_own(self) -> bool:
        """Whether it was asked with the prompts that it was trained on."""
        return self.asked in ("", self.condition)

    def matched(self, condition: str) -> "Arm":
        """The arm whose tokens this one was given: that of `condition`, for training."""
        variant = tuple(pair for pair in self.variant if pair[0] != "match_tokens")
        return replace(self, condition=condition, variant=variant)


def words(pairs: Pairs) -> str:
    """Parameters for people: `learning_rate 0.001, lora_rank 64`."""
    return ", ".join(
        f"{name} {list(value) if isinstance(value, tuple) else value}" for name, value in pairs
    )


def arms_of(parameters: Sequence[Mapping]) -> list[Arm]:
    """The training arm of each run, from the parameters of all: condition, strategy, and whatever
    else sets it apart from the other runs.

    No part of it are what is plain (all tokens, the corpus's own ids), what an older record lacks,
    and what a strategy or an objective does not heed.
    """
    ways = [*STRATEGIES.values(), *OBJECTIVES.values()]
    heeded = set().union(*(way.heeds for way in ways))
    names = set().union(*parameters)
    varying = _varying(parameters, sorted(names - _NOT_AN_ARM - heeded))
    arms = []
    for own in parameters:
        strategy, objective = strategy_of(own), objective_of(own)
        alike = [other for other in parameters if strategy_of(other) == strategy]
        settings = _pairs(own, _varying(alike, strategy.heeds))
        alike = [other for other in parameters if objective_of(other) == objective]
        learnt = _pairs(own, _varying(alike, objective.heeds))
        arms.append(Arm(own["condition"], strategy.name, settings, _pairs(own, varying) + learnt))
    return arms


def in_order(runs: Iterable[Run]) -> list[Run]:
    """Runs by name: plain ones first, other strategies last, and among equals those of the paper's
    A (stripped), the usual baseline.
    """
    strategies = list(STRATEGIES)

    def place(run: Run) -> tuple:
        own = run.record.parameters
        unusual = [_value(own, name) != plain for name, plain in _UNSAID.items()]
        strategy = strategies.index(strategy_of(own).name)
        return strategy, unusual, own["condition"] != "stripped", run.folder.name

    return sorted(runs, key=place)


def order_words(order: Sequence[str]) -> str:
    """Blocks in the order learnt, for people."""
    return " > ".join(order)


def numbered(order: Sequence[str], orders: Sequence[Sequence[str]]) -> str:
    """What tells an order from the others behind a title: `, order 2`; nothing for a lone one."""
    return f", order {list(orders).index(order) + 1}" if len(orders) > 1 else ""


def _varying(parameters: Sequence[Mapping], names: Iterable[str]) -> list[str]:
    """Those of `names` in which the runs differ."""
    found = []
    for name in names:
        values = {json.dumps(_value(own, name)) for own in parameters}
        found += [name] if len(values) > 1 else []
    return found


def _pairs(own: Mapping, names: Iterable[str]) -> Pairs:
    said = [name for name in names if name in own and own[name] != _UNSAID.get(name)]
    return tuple((name, _hashable(own[name])) for name in said)


def _hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _value(parameters: Mapping, name: str) -> object:
    return parameters.get(name, _UNSAID.get(name))
