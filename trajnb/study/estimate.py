"""What a run will cost: from what was counted of its examples and measured of its model on this machine,
see `run.written` and `run.calibrate`; else estimated from the text of its corpus, before anything is
downloaded for its model.

Estimates are for planning an evening, not for reporting: a record holds what was counted and
measured.
"""

import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from trajnb.assets import ASSETS
from trajnb.corpora.load import corpus_of
from trajnb.formatting.dialogue import CorpusChoice
from trajnb.objectives import objective_of, preference_of
from trajnb.run.settings import asked_with
from trajnb.strategies import Strategy, strategy_of
from trajnb.world.repairers import READS_GOLD
from trajnb.world.rule import reference_calls

if TYPE_CHECKING:  # torch takes seconds to import
    from trajnb.run.calibrate import Speed
    from trajnb.run.written import Counts

# SmolLM2's tokenizer on `bfcl`: of whole prompts, and where shared beginnings count once. What is
# left then are calls, responses and the chat template's own marks, which have fewer characters a
# token than documents.
CHARACTERS_PER_TOKEN = 3.8
CHARACTERS_PER_UNSHARED_TOKEN = 3.0

# SmolLM2-135M, LoRA rank 16 on all linear layers, float32, two cores of an AMD EPYC: training on
# the runs under reports/quick, reading and decoding on their held-out calls. Another model of the
# assets is taken to be slower as it has more parameters, for each is multiplied with every token.
TRAIN_TOKENS_PER_SECOND = 230
READ_TOKENS_PER_SECOND = 560
SECONDS_A_WAVE = 7.0  # until the longest of the answers that are written at one time has ended
SECONDS_PER_ANSWER = 0.2  # beside that
NEW_TOKENS = 96  # at most, in both
TOKENS_PER_SHOT = 200
SECONDS_OF_START = 15  # a notebook's kernel, imports and pictures
SECONDS_OF_COPYING = 30  # `bfcl`: its tokens are counted, 22 s of one core, and no model is loaded
MEASURED = "smollm2-135m"

# preferences, from the runs under reports/prefer-quick: what a model says is not known before
REPLIES_OF_CHAIN = 2.0  # of a greedy one, a wave of all turn tasks each, which reads their prompts
SHARE_OF_BUDGET = 0.3  # of a search, the replies that it takes
PAIRS_A_STATE = 1.5  # of a tree along the reference: 144 of 93
TOKENS_A_PAIR = 60  # of both sides

# repair: what a weak adapter does
REPLIES_OF_CANDIDATE = 2.0  # waves until all of a few dialogues' candidates have ended
SHARE_REPAIRED = 0.8  # of candidates, those that are wrong or poor
TOKENS_A_TRAJECTORY = 120  # calls and responses, beside the prompt


@dataclass(frozen=True)
class Estimate:
    """Tokens trained on and read in evaluation; seconds are None for a model of which neither the
    size nor a record is known, bytes for one that is no asset.
    """

    trained: int
    """Distinct ones, where packing shares prefixes."""
    read: int
    seconds: float | None
    disk: float | None
    tokens: int = 0
    """Of all that is trained on: what a trainer computes that shares nothing."""


Sizes = Callable[[str, str, bool], tuple[int, int]]
"""(condition, side of the split, whether shared) -> tokens, examples."""


def estimate(
    run: dict,
    pace: float | None = None,
    counted: "Mapping[tuple[str, str], Counts] | None" = None,
    speed: "Speed | None" = None,
) -> Estimate:
    """The cost of `run` from start to end, whatever of it is done already.

    Args:
        pace: how many times as long its model takes as MEASURED does, where it was measured (see
            `paces`); else the parameters of an asset say it.
        counted: its examples, see `run.prepare.count_examples`; without them they are estimated.
        speed: of its model on this machine. With both, time is told by them where a run only learns
            from examples.
    """
    corpus, strategy = CorpusChoice.of(run), strategy_of(run)
    if strategy.recalls:  # no model reads or learns anything
        return Estimate(0, 0, SECONDS_OF_COPYING, 0)
    sizes = _sizes(corpus, counted)
    shared = run["packing"] == "trie"
    blocks = len(corpus_of(run).blocks)
    passes_of_training = _passes(run, sizes, blocks)
    trained, tokens = (
        round(sizes(run["condition"], "train", way)[0] * passes_of_training)
        for way in (shared, False)
    )
    conditions = asked_with(run)
    stages, waves = _evaluations(run, strategy, blocks), 2 if strategy.one_stage else blocks + 1
    objective = objective_of(run)
    if objective.repairs or objective.prefers and preference_of(run).learns:
        stages, waves = 2 * stages - 1, 2 * waves - 1  # before the second part too, but for stage 0
    passes = [sizes(condition, "held_out", shared) for condition in conditions]
    read, answers = (round(stages * sum(counts)) for counts in zip(*passes, strict=True))
    replies, waves = answers, len(conditions) * waves
    if objective.plays:
        of = _preferring if objective.prefers else _repairing
        more = of(run, corpus, stages)
        trained, read = trained + more.trained, read + more.read
        replies, waves = replies + more.replies, waves + more.waves
    if strategy.with_shots:  # a shot is about as long as an example without its documents
        read += sum(count for _, count in passes) * run["shots"] * TOKENS_PER_SHOT
    size = ASSETS[run["model"]].model if run["model"] in ASSETS else None
    if pace is None and size:
        pace = size.parameters / ASSETS[MEASURED].model.parameters
    training = trained / TRAIN_TOKENS_PER_SECOND
    asking = _seconds_to_ask(run, read, replies, waves)
    if counted and speed and shared:
        to_train, to_ask = _paces(run, counted, speed)
        seconds = SECONDS_OF_START + speed.load + to_train * training + to_ask * asking
    else:
        seconds = None if pace is None else (training + asking) * pace + SECONDS_OF_START
    # one adapter a block, and in the last checkpoint the adapter with its optimizer's two moments
    disk = 4 * size.adapter * run["lora_rank"] * (blocks + 3) if size else None
    return Estimate(trained, read, seconds, disk, tokens)


def _paces(
    run: dict, counted: "Mapping[tuple[str, str], Counts]", speed: "Speed"
) -> tuple[float, float]:
    """How many times as long as MEASURED took the model of this run takes here, to train and to be asked: by
    what was counted of its examples and measured on this machine.
    """
    from trajnb.run.calibrate import config_of

    config = config_of(run["model"], run["revision"])
    learnt = counted[run["condition"], "train"]
    to_train = speed.seconds_to_train(config, run["lora_rank"], learnt)
    to_train /= learnt.distinct / TRAIN_TOKENS_PER_SECOND
    asked = [counted[condition, "held_out"] for condition in asked_with(run)]
    to_ask = sum(speed.seconds_to_ask(config, counts, run["max_new_tokens"]) for counts in asked)
    usual = sum(_seconds_to_ask(run, counts.distinct, counts.examples, 1) for counts in asked)
    return to_train, to_ask / usual


def _seconds_to_ask(run: dict, read: int, answers: int, waves: int) -> float:
    """Of MEASURED: `read` tokens of prompts, and `answers` that are written in `waves`, or in more where
    memory wants it.
    """
    from trajnb.qlora.decode import WAVE_TOKENS

    waves += read // WAVE_TOKENS
    writing = waves * SECONDS_A_WAVE + answers * SECONDS_PER_ANSWER
    return read / READ_TOKENS_PER_SECOND + writing * run["max_new_tokens"] / NEW_TOKENS


def _sizes(corpus: CorpusChoice, counted: "Mapping[tuple[str, str], Counts] | None") -> Sizes:
    """What is counted, and estimates of what is not."""

    def sizes(condition: str, split: str, shared: bool) -> tuple[int, int]:
        counts = (counted or {}).get((condition, split))
        if counts is None:
            return _pass(corpus, condition, split, shared)
        return counts.distinct if shared else counts.tokens, counts.examples

    return sizes


@dataclass(frozen=True)
class _More:
    """What turn tasks, and trees and pairs or candidates, repairs and rewards, add to a run."""

    trained: int
    read: int
    replies: int
    waves: int
    """Of replies that are written at one time."""


def _preferring(run: dict, corpus: CorpusChoice, stages: float) -> _More:
    """What a run that learns preferences takes beside its supervised training and its answers; its
    held-out turn tasks are played `stages` times.
    """
    held_out, _ = _turns(corpus, held_out=True)
    tokens, _ = _pass(corpus, run["condition"], "held_out", True)
    blocks = len(corpus_of(run).blocks)
    replies_a_task = stages * REPLIES_OF_CHAIN + SHARE_OF_BUDGET * run["budget"]
    read, replies, trained = replies_a_task * tokens, replies_a_task * held_out, 0.0
    waves = _plays(blocks) * REPLIES_OF_CHAIN + run["budget"]
    if preference_of(run).learns:
        tasks, calls = _turns(corpus, held_out=False)
        states = tasks + calls  # and the end of each turn
        learnt, _ = _pass(corpus, run["condition"], "train", True)
        of_pairs = learnt + PAIRS_A_STATE * states * TOKENS_A_PAIR
        trained = run["preference_epochs"] * of_pairs
        read += learnt + of_pairs  # the trees' states, and the reference's reading
        replies += states * run["width"]
        waves += blocks
    return _More(round(trained), round(read), round(replies), round(waves))


def _plays(blocks: int) -> int:
    """How often held-out turn tasks are played: once untrained, twice after each block."""
    return 1 + 2 * blocks


def _repairing(run: dict, corpus: CorpusChoice, stages: float) -> _More:
    """The same of a run that repairs. A wave of replies reads the prompts of its turn tasks; what is
    drawn, repaired and compared is taken to be as long as replies are on average.
    """
    held_out, _ = _turns(corpus, held_out=True)
    asked, _ = _pass(corpus, run["condition"], "held_out", True)
    tasks, _ = _turns(corpus, held_out=False)
    learnt, _ = _pass(corpus, run["condition"], "train", True)
    read, replies = stages * REPLIES_OF_CHAIN * asked, stages * REPLIES_OF_CHAIN * held_out
    drawn = 2 if run["lessons"] == "resampled" else 1
    models = [name for name in run["repairers"] if name not in READS_GOLD]
    rounds = drawn + SHARE_REPAIRED * run["attempts"] * len(models)
    read += REPLIES_OF_CANDIDATE * rounds * learnt
    replies += REPLIES_OF_CANDIDATE * rounds * tasks * run["candidates"]
    own = tasks * run["candidates"] * (1 + SHARE_REPAIRED) * TOKENS_A_TRAJECTORY
    trained = run["lesson_epochs"] * (learnt + tasks * TOKENS_A_TRAJECTORY)  # about one of each task
    trained += run["reward_epochs"] * (1 - run["reward_held_out"]) * (learnt + own)
    blocks = len(corpus_of(run).blocks)
    waves = _plays(blocks) * REPLIES_OF_CHAIN + blocks * rounds * REPLIES_OF_CANDIDATE
    played = blocks * run["grpo_steps"] * run["grpo_tasks"] / tasks  # of all tasks, by GRPO
    own = tasks * run["group"] * TOKENS_A_TRAJECTORY
    trained += played * (learnt + own)
    looks = 1 + -(-run["grpo_steps"] // run["follow_every"]) if run["grpo_steps"] else 0
    played += blocks * 2 * looks * run["followed_tasks"] / tasks
    waves += blocks * (run["grpo_steps"] + 2 * looks) * REPLIES_OF_CANDIDATE
    read += played * REPLIES_OF_CANDIDATE * learnt
    replies += played * REPLIES_OF_CANDIDATE * tasks * run["group"]
    return _More(round(trained), round(read), round(replies), round(waves))


@cache
def _turns(corpus: CorpusChoice, held_out: bool) -> tuple[int, int]:
    """(turn tasks, calls of the reference in them) on one side of the split."""
    loaded = corpus_of(vars(corpus))
    counts = []
    for dialogue in loaded.dialogues:
        if (dialogue.id in loaded.held_out) == held_out:
            counts += [len(calls) for calls in reference_calls(dialogue) if calls]
    return len(counts), sum(counts)


def _evaluations(run: dict, strategy: Strategy, blocks: int) -> float:
    """How often the held-out examples are asked under a condition; once is before training."""
    if strategy.one_stage:
        return 2
    # of the ends alone, all but the last block once more, each right after it was learnt
    return blocks + 1 if run["eval_stages"] == "all" else 2 + (blocks - 1) / blocks


def _passes(run: dict, sizes: Sizes, blocks: int) -> float:
    """How often the training examples of a run are learnt."""
    strategy = strategy_of(run)
    if not strategy.trains:
        return 0
    passes = float(run["epochs"])
    if run["match_tokens"]:
        as_many, own = (
            sizes(name, "train", False)[0]
            for name in (run["match_tokens"], run["condition"])
        )
        passes *= as_many / own
    return passes * strategy.learnt_passes(blocks, run["replay_share"])


@cache
def _pass(corpus: CorpusChoice, condition: str, split: str, shared: bool) -> tuple[int, int]:
    """(estimated tokens, examples) of a split; if `shared`, a beginning two examples share counts
    once.
    """
    from trajnb.formatting.examples import build_examples  # imports datasets, which takes a second

    rows = build_examples(corpus_of(vars(corpus)), condition, split)
    texts = sorted(
        "".join(message["content"] for message in [*prompt, *completion])
        for prompt, completion in zip(rows["prompt"], rows["completion"], strict=True)
    )
    characters = sum(map(len, texts))
    if not shared:
        return round(characters / CHARACTERS_PER_TOKEN), len(texts)
    characters -= sum(len(os.path.commonprefix(pair)) for pair in itertools.pairwise(texts))
    return round(characters / CHARACTERS_PER_UNSHARED_TOKEN), len(texts)
