"""A run before its model is loaded: where it is kept, what it learns from, what it is asked, in
which order.

    settings = Settings.of(parameters)
    run = prepare(settings)

is all of it; 02_train takes the steps one by one, to show what each has made.
"""

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from trajnb import machine
from trajnb.corpora.load import corpus_of
from trajnb.formatting.dialogue import NO_FOLD, Corpus, CorpusChoice
from trajnb.formatting.examples import example_rows
from trajnb.qlora import chat, ranks
from trajnb.qlora.memory import row_tokens
from trajnb.qlora.model import ModelFiles, find_model, is_at_hand, load_tokenizer
from trajnb.qlora.plan import Plan, Recipe, make_plan
from trajnb.qlora.rows import select
from trajnb.qlora.train import check_tracker
from trajnb.run.settings import Settings, asked_with
from trajnb.run.written import Counts, Written, written
from trajnb.scoring import score
from trajnb.strategies import Examples, Stage
from trajnb.upgrades import condition_of_today


@dataclass(frozen=True)
class Place:
    """Where a run is kept and under which conditions it is asked."""

    folder: Path
    zero_shot: Path
    """Answers before training, which runs that ask the same share."""
    tested: tuple[str, ...]
    """Evaluation conditions: those asked for, and those that a finished record already has, for
    evaluations are only ever added.
    """
    started: str = field(default_factory=machine.now)
    began: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Source:
    """What a run is made from."""

    files: ModelFiles
    weights: str
    """sha256 of the model's weights."""
    tokenizer: PreTrainedTokenizerBase
    corpus: Corpus
    order: tuple[str, ...]
    """The blocks in the order learnt."""


@dataclass(frozen=True)
class Material:
    """The examples of a run: rows of `formatting.examples.build_examples`."""

    shape: dict
    """How examples are written, the same for all of them: arguments of `build_examples`."""
    cut: chat.PaperCut | None
    """Cuts tokens as the paper does; None where whole turns are cut."""
    learnt: Dataset
    encoded: Sequence[chat.Encoded]
    """Of `learnt`, as tokens."""
    dropped: int
    """Training examples of which a cut left no target."""
    asked: dict[str, Dataset]
    """Held-out examples under every evaluation condition: the same items in the same order."""
    digest: str
    """`files.digest` of `encoded`."""

    @property
    def items(self) -> Dataset:
        """The held-out examples, whatever the condition."""
        return next(iter(self.asked.values()))


@dataclass(frozen=True)
class Planned:
    """A stage of a run and what it trains on."""

    number: int
    """From 1; stage 0 is before training."""
    stage: Stage
    plan: Plan
    budget: int | None
    """Tokens that another condition would have learnt here, where a run matches them."""

    @property
    def folder(self) -> str:
        """What the folders of this stage are called."""
        return f"{self.number}-{self.stage.name}"


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to begin."""

    settings: Settings
    place: Place
    source: Source
    material: Material
    stages: tuple[Planned, ...]

    def blocks_asked(self, stage: int) -> tuple[str, ...]:
        """The blocks that are asked about after a stage: all, or, where only its ends are wanted
        and this is none, those that it has just learnt.
        """
        if self.settings.eval_stages == "all" or stage in (0, len(self.stages)):
            return self.source.order
        return self.stages[stage - 1].stage.blocks


def prepare(settings: Settings) -> Prepared:
    """All steps of this module at once; errors as in each of them."""
    check_tracker(settings.report_to)
    place = find_place(settings)
    source = find_source(settings)
    material = make_material(settings, source, place.tested)
    stages = plan_stages(settings, source, material)
    return Prepared(settings, place, source, material, stages)


def find_place(settings: Settings) -> Place:
    """The folders of a run; relative ones start at the clone.

    Raises:
        ValueError: what is there was kept without texts, or this is one of several processes that do
            not know of one another, as in a notebook under torchrun.
    """
    ranks.check_joined()
    now = machine.now()
    by_hand = f"runs/by-hand/{settings.condition}-{now.replace(':', '')}"
    folder = machine.resolve(settings.run_folder or by_hand)
    shared = settings.zero_shot_folder
    zero_shot = machine.resolve(shared) if shared else folder / "zero_shot"
    record = folder / "record.json"
    before = json.loads(record.read_text("utf-8")) if record.is_file() else {"matrix": {}}
    if before.get("scores_only"):
        raise ValueError(
            f"{folder} holds a record that was kept without texts, so nothing can be added to it: "
            "run the study in another folder, without it"
        )
    today = condition_of_today(before.get("parameters", {}))
    tested = dict.fromkeys([*asked_with(vars(settings)), *map(today, before["matrix"])])
    return Place(folder, zero_shot, tuple(tested), started=now)


def find_source(settings: Settings) -> Source:
    """The model's files, its tokenizer, the corpus.

    Raises:
        ValueError: one of them cannot be had, or the order does not name every block once.
    """
    files = find_model(settings.model, settings.revision)
    tokenizer = load_tokenizer(settings.model, settings.revision)
    corpus = corpus_of(vars(settings), count_tokens=chat.count_text(tokenizer))
    return Source(files, files.sha256(), tokenizer, corpus, block_order(settings, corpus))


def block_order(settings: Settings, corpus: Corpus) -> tuple[str, ...]:
    """The blocks in the order learnt; ValueError where the order does not name every block once."""
    order = tuple(settings.order or corpus.blocks)
    if sorted(order) != sorted(corpus.blocks):
        known = ", ".join(corpus.blocks)
        raise ValueError(f"order must name each of {known} once, not {', '.join(order)}")
    return order


def check(settings: Settings, seen: set[tuple]) -> bool:
    """Find what a run would refuse, without weights and without writing anything.

    Args:
        seen: prompts that were written for other runs are not written again; what is new is added. The
            folds of a corpus count as one: they have the same dialogues.

    Returns:
        Whether tokens were counted: not where the model is not on this machine yet.

    Raises:
        ValueError: what the run would refuse.
    """
    check_tracker(settings.report_to)
    model, count = (settings.model, settings.revision), None
    tokenizer = _tokenizer(*model)
    if tokenizer:
        count = chat.count_text(tokenizer)
    corpus = corpus_of(vars(settings), count_tokens=count)
    block_order(settings, corpus)
    for block, side in itertools.product(corpus.blocks, ("train", "held_out")):
        if not corpus.account["blocks"][block][f"{side}_examples"]:
            raise ValueError(f"block {block!r} has no call on the side {side!r}")
    shape, cut = _shape(settings, tokenizer)
    choice = replace(settings.corpus_choice, fold=NO_FOLD, folds=CorpusChoice.folds)
    for condition, split in _wanted(settings):
        named = {name: value for name, value in shape.items() if name != "count_tokens"}
        prompts = (choice, model, condition, split, settings.stop_targets, *named.items())
        if prompts in seen:
            continue
        seen.add(prompts)
        sides_of_all = ("train", "held_out") if settings.fold != NO_FOLD else (split,)
        for side in sides_of_all:
            if tokenizer and side == split:
                _written(settings, corpus, tokenizer, condition, side, shape, cut)
            else:
                for _ in example_rows(corpus, condition, side, **shape):
                    pass
    return tokenizer is not None


@cache
def _tokenizer(model: str, revision: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a model, the same for all runs of a grid; None where it is not on this machine."""
    return load_tokenizer(model, revision) if is_at_hand(model, revision) else None


def _wanted(settings: Settings) -> list[tuple[str, str]]:
    """(condition, side of the split) of all examples that a run reads."""
    trained = [settings.condition, *filter(None, [settings.match_tokens])]
    asked = asked_with(vars(settings))
    found = [(condition, "train") for condition in trained]
    found += [(condition, "held_out") for condition in asked]
    if settings.plan_of_learning.with_shots:
        found += [(condition, "train") for condition in asked]
    return list(dict.fromkeys(found))


def count_examples(settings: Settings) -> dict[tuple[str, str], Counts] | None:
    """What was counted of the examples that a run reads, by condition and side of the split: from the
    cache, or when they are written there first. None where the model is not on this machine yet.

    Raises:
        ValueError: as `check`.
    """
    tokenizer = _tokenizer(settings.model, settings.revision)
    if not tokenizer:
        return None
    corpus = corpus_of(vars(settings), count_tokens=chat.count_text(tokenizer))
    shape, cut = _shape(settings, tokenizer)
    return {
        (condition, side): _written(
            settings, corpus, tokenizer, condition, side, shape, cut
        ).counts
        for condition, side in _wanted(settings)
    }


def by_side(source: Source) -> pd.DataFrame:
    """Dialogues of every block (rows, in the order learnt) on both sides of the split."""
    counts = source.corpus.account["blocks"]
    rows = {
        block: {
            "train": counts[block]["train_dialogues"],
            "held out": counts[block]["held_out_dialogues"],
        }
        for block in source.order
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def make_material(settings: Settings, source: Source, tested: tuple[str, ...]) -> Material:
    """The examples that are learnt and those that are asked under each of `tested`.

    Raises:
        ValueError: there are none on one side or of a block, a dialogue is on both, or conditions
            differ in their items.
    """
    shape, cut = _shape(settings, source.tokenizer)

    def read(condition: str, split: str) -> Written:
        return _written(settings, source.corpus, source.tokenizer, condition, split, shape, cut)

    learnt = read(settings.condition, "train")
    asked = {name: read(name, "held_out").rows for name in tested}
    counts = learnt.counts
    material = Material(
        shape, cut, learnt.rows, learnt.encoded, counts.dropped, asked, counts.digest
    )
    _check_material(material, source.order)
    return material


def _shape(
    settings: Settings, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[dict, chat.PaperCut | None]:
    """How examples are written, arguments of `build_examples`, and what cuts their tokens. Without a
    tokenizer no turns are cut, for nothing is counted.
    """
    shape = {"prompt_format": settings.prompt_format, "cue": settings.cue}
    shape |= {"responses": settings.responses}
    if settings.truncation == "paper":
        return shape, chat.PaperCut(settings.max_length, settings.max_new_tokens)
    if tokenizer:
        count = chat.count_tokens(tokenizer)
        shape |= {"max_length": settings.max_length, "count_tokens": count}
    return shape, None


def _written(
    settings: Settings,
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerBase,
    condition: str,
    split: str,
    shape: dict,
    cut: chat.PaperCut | None,
) -> Written:
    """Calls and, where a run learns them, ends of turns of the training side."""
    if split == "held_out":  # all are asked about, also where a cut leaves nothing of the target
        return written(corpus, tokenizer, condition, split, shape)
    return written(corpus, tokenizer, condition, split, shape, cut, settings.stop_targets)


def _check_material(material: Material, blocks: tuple[str, ...]) -> None:
    items = material.items
    if not len(material.learnt) or not len(items):
        raise ValueError("no examples: raise train_dialogues and held_out_dialogues")
    for block in blocks:
        if block not in items["block"]:
            raise ValueError(
                f"block {block!r} has no held-out call, so nothing of it could be asked: hold out some of "
                "its dialogues, or give them the block of others"
            )
    if both := set(material.learnt.unique("dialogue_id")) & set(items.unique("dialogue_id")):
        raise ValueError(f"dialogue {min(both)} stands on both sides of the split")
    for name, rows in material.asked.items():
        if rows["gold"] != items["gold"]:
            raise ValueError(f"the items under {name} differ from those under another condition")
    wrong = [gold for gold in items.unique("gold") if not score.score(gold, gold)["canonical"]]
    if wrong:
        raise ValueError(f"a gold call is not scored right: {wrong[0]}")


def examples_table(settings: Settings, material: Material) -> pd.DataFrame:
    """How many examples there are, learnt and asked, and what of them was cut."""
    learnt = material.learnt
    rows = [("train", settings.condition, len(learnt), sum(learnt["cut_turns"]), material.dropped)]
    for name, asked in material.asked.items():
        rows.append(("held out", name, len(asked), sum(asked["cut_turns"]), 0))
    columns = [
        "split",
        "condition",
        "examples",
        "turns cut to fit max_length",
        "dropped, no target left",
    ]
    return pd.DataFrame(rows, columns=columns).set_index("split")


def plan_stages(settings: Settings, source: Source, material: Material) -> tuple[Planned, ...]:
    """What every stage trains on, step by step, before any of it runs.

    Raises:
        ValueError: a stage has nothing to learn from.
    """
    recipe = Recipe(
        settings.epochs,
        settings.dialogues_per_step,
        settings.learning_rate,
        settings.warmup_ratio,
        settings.packing,
        row_tokens(settings.token_budget),
        settings.report_to,
    )
    dialogues = material.learnt["dialogue_id"]
    share, seed = settings.replay_share, settings.seed
    examples = Examples(source.order, material.learnt["block"], dialogues, share, seed)
    budget_of = _budgets(settings, source, material)
    planned = []
    for number, stage in enumerate(settings.plan_of_learning.stages(examples), start=1):
        budget = budget_of(stage)
        encoded = select(material.encoded, stage.examples)
        names = [dialogues[place] for place in stage.examples]
        plan = make_plan(encoded, names, recipe, seed, budget)
        if settings.plan_of_learning.trains and not plan.cost.supervised:
            raise ValueError(f"stage {stage.name} has nothing to learn from")
        planned.append(Planned(number, stage, plan, budget))
    return tuple(planned)


def _budgets(
    settings: Settings, source: Source, material: Material
) -> Callable[[Stage], int | None]:
    """stage -> the tokens that `match_tokens` would learn in it; None where nothing is matched."""
    if not settings.match_tokens:
        return lambda stage: None
    corpus, tokenizer, shape = source.corpus, source.tokenizer, material.shape
    matched = _written(
        settings, corpus, tokenizer, settings.match_tokens, "train", shape, None
    ).encoded
    return lambda stage: settings.epochs * sum(matched.sizes(place)[0] for place in stage.examples)


def cost_table(stages: tuple[Planned, ...]) -> pd.DataFrame:
    """What every stage takes, see `qlora.plan.Cost`, and the budget of tokens where there is one.
    """
    costs = pd.DataFrame(
        [planned.plan.cost for planned in stages], index=[one.stage.name for one in stages]
    )
    if any(planned.budget is not None for planned in stages):
        costs["budget"] = [planned.budget for planned in stages]
    return costs
