"""How fast shared prefixes are, against what a user would pick instead: same model, examples,
batches and machine.

Every timed run is a process of its own, so that its peak memory is its own too; it does a first
part of its work untimed, for memory that is touched for the first time is slow. Arms take turns,
and what counts is the median of the ratios within a turn, for the machine's speed drifts.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from trajnb import machine
from trajnb.corpora import splits
from trajnb.machine import FASTER

TRAIN_ARMS = ("trie", "none", "trl")
EVALUATE_ARMS = ("trie", "generate")
RANK = 16
TOKEN_BUDGET = 2048
MAX_NEW_TOKENS = 96
BLOCKS = 4  # of every corpus here
NOTES = (
    "trie: transformers.Trainer, shared prefixes once, logits at supervised tokens only",
    "none: transformers.Trainer, one example a forward pass, logits at all tokens",
    "trl: SFTTrainer, completion-only loss, max_length=None, no gradient checkpointing, one example a "
    "forward pass; its padding-free packing needs flash attention, which a CPU has not. It also learns what "
    "the chat template writes after the end token, and reports entropy and token accuracy",
    "share_of_peak: operations per second against the fastest matrix product in the same process. A token "
    "needs 2 + 2 operations for each frozen weight (forward and backward to its input), 2 + 4 for each of an "
    "adapter's; a token and an ancestor 4 + 8 for each channel of attention; a supervised token 2 + 2 for "
    "each weight of the output layer",
)


@dataclass(frozen=True)
class Work:
    """What is timed."""

    model: str
    corpus: str
    documents: str
    condition: str
    dialogues: int
    """Of all blocks together, as many of each; one optimiser step holds them all."""
    corpus_path: str = ""
    levels: tuple[str, ...] = ("1", "2")
    """API-Bank's files, and which of them."""
    adapter: str = ""
    """Evaluation only: folder of the adapter that answers; empty for the untrained model."""
    batch: int = 8
    """Evaluation only: examples that `generate` answers at a time."""

    def __post_init__(self):
        if self.dialogues < BLOCKS or self.dialogues % BLOCKS:
            raise ValueError(
                f"dialogues is {self.dialogues}: use a multiple of {BLOCKS}, one for each block"
            )


def train(work: Work, repeats: int, say: Callable[[str], None] = print) -> dict:
    """Time one optimiser step over the same examples under each of `TRAIN_ARMS`."""
    if "trl" in TRAIN_ARMS and find_spec("trl") is None:
        raise ValueError("the benchmark compares with TRL: pip install -e '.[bench]'")
    return compare(_train_once, TRAIN_ARMS, work, repeats, say) | {"notes": NOTES}


def evaluate(work: Work, repeats: int, say: Callable[[str], None] = print) -> dict:
    """Time greedy answers to the same held-out examples under each of `EVALUATE_ARMS`.

    `different` has, for every example that the arms answer differently, the smallest gap between
    the two best logits on our way: padding on the left moves logits a little, and so decides
    near-ties.
    """
    result = compare(_evaluate_once, EVALUATE_ARMS, work, repeats, say)
    answers = {arm: [run.pop("answers") for run in runs][0] for arm, runs in result["runs"].items()}
    margins = [run.pop("margins") for run in result["runs"]["trie"]][0]
    pairs = zip(answers["trie"], answers["generate"], margins, strict=True)
    return result | {"different": [margin for ours, theirs, margin in pairs if ours != theirs]}


def growth(work: Work, repeats: int, say: Callable[[str], None] = print) -> dict:
    """Seconds of shared-prefix training for 1, 2 and 4 times the dialogues.

    `four_against_linear` is 1.0 where time grows with the dialogues; dialogues differ in length, so
    `per_operation` compares the seconds of an operation (`Plan.operations`) at 4 and at 1 times.
    """
    runs: dict[int, list[dict]] = {1: [], 2: [], 4: []}
    for _ in range(repeats):
        for times, done in runs.items():
            larger = replace(work, dialogues=times * work.dialogues)
            done.append(_alone(_train_once, "trie", larger))
            say(f"{larger.dialogues} dialogues: {done[-1]['seconds']:.1f} s")
    pairs = list(zip(runs[1], runs[4], strict=True))
    per_operation = [(b["seconds"] / b["flops"]) / (a["seconds"] / a["flops"]) for a, b in pairs]
    return {
        "runs": runs,
        "four_against_linear": statistics.median(
            b["seconds"] / (4 * a["seconds"]) for a, b in pairs
        ),
        "per_operation": statistics.median(per_operation),
    }


def table(result: dict) -> str:
    """The medians of a comparison as text, an arm a line."""
    columns = ("seconds", "tokens_per_second", "share_of_peak", "peak_memory_mb", "confirmed")
    lines = [["arm", *columns, "trie is faster by"]]
    for arm, runs in result["runs"].items():
        values = [[run.get(column) for run in runs] for column in columns]
        medians = [f"{statistics.median(v):.3g}" if None not in v else "" for v in values]
        lines.append([arm, *medians, f"{result['times_as_fast'][arm]:.2f}"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*text, *result.get("notes", ())])


def compare(once: Callable, arms: tuple[str, ...], work: Work, repeats: int, say) -> dict:
    runs: dict[str, list[dict]] = {arm: [] for arm in arms}
    for turn in range(repeats):
        for arm in arms if turn % 2 == 0 else arms[::-1]:
            runs[arm].append(_alone(once, arm, work))
            say(f"turn {turn + 1}/{repeats} · {arm} · {runs[arm][-1]['seconds']:.1f} s")
    first = arms[0]
    ratios = {
        arm: [
            other["seconds"] / ours["seconds"]
            for other, ours in zip(runs[arm], runs[first], strict=True)
        ]
        for arm in arms
    }
    return {
        "work": asdict(work),
        "runs": runs,
        "times_as_fast": {arm: statistics.median(ratios[arm]) for arm in arms},
        "machine": machine.describe(),
        "versions": machine.versions(),
        "finished": machine.now(),
    }


def _alone(once: Callable, arm: str, work: Work) -> dict:
    for name, value in FASTER.items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(once, arm, work).result()


def _load(work: Work, split: str):
    """The examples of `work` as rows, as tokens and as indices by dialogue; the tokenizer and the
    model.
    """
    from peft import PeftConfig

    from trajnb.corpora.load import load_corpus
    from trajnb.formatting.examples import build_examples
    from trajnb.qlora import chat
    from trajnb.qlora.model import (
        add_adapter,
        find_model,
        load_base,
        load_tokenizer,
        restore_adapter,
    )

    data = load_corpus(
        work.corpus, documents=work.documents, corpus_path=work.corpus_path, levels=work.levels
    )
    chosen = _typical(data, split, work.dialogues // BLOCKS)
    rows = build_examples(data, work.condition, split)
    rows = rows.select([i for i, name in enumerate(rows["dialogue_id"]) if name in chosen])
    tokenizer = load_tokenizer(work.model)
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(rows["dialogue_id"]):
        groups.setdefault(name, []).append(index)
    shape = {"rank": RANK, "alpha": 2 * RANK}
    if work.adapter:
        config = PeftConfig.from_pretrained(work.adapter)
        shape = {"rank": config.r, "alpha": config.lora_alpha}
    model = add_adapter(load_base(find_model(work.model)), **shape, dropout=0.0, seed=0)
    if work.adapter:
        restore_adapter(model, Path(work.adapter))
    return rows, chat.encode_all(tokenizer, rows), list(groups.values()), tokenizer, model


def _typical(corpus, split: str, count: int) -> set[str]:
    """From every block the `count` dialogues whose number of calls is nearest to the block's mean:
    what prefixes save depends on how often they are shared.
    """
    chosen = set()
    for block in corpus.blocks:
        side = splits.on_side(corpus.dialogues, corpus.held_out, block, split)
        calls = {d.id: sum(turn.call is not None for turn in d.turns) for d in side}
        mean = statistics.mean(calls.values())
        chosen.update(sorted(calls, key=lambda name: abs(calls[name] - mean))[:count])
    return chosen


def _longest(groups: list[list[int]], examples) -> list[int]:
    """The indices of the dialogue whose longest example is longest."""
    return max(groups, key=lambda group: max(len(examples[index].tokens) for index in group))


def _train_once(arm: str, work: Work) -> dict:
    """One optimiser step over all examples, after an untimed one over those of the longest
    dialogue.
    """
    from trajnb.qlora import plan
    from trajnb.qlora import train as training

    rows, examples, groups, tokenizer, model = _load(work, "train")
    recipe = plan.Recipe(
        1, len(groups), 1e-4, 0.0, "none" if arm == "none" else "trie", TOKEN_BUDGET
    )
    for step in ([_longest(groups, examples)], groups):
        planned = plan.pack(examples, [step], recipe)
        with tempfile.TemporaryDirectory() as folder:
            if arm == "trl":
                chosen = rows.select([index for group in step for index in group])
                seconds, loss = _trl_step(model, tokenizer, chosen, Path(folder))
            else:
                trained = training.train_block(
                    model, planned, seed=0, folder=Path(folder), say=lambda text: None
                )
                seconds, loss = trained.seconds, trained.losses[0]
    cost = planned.cost
    flops = planned.operations(model.config, rank=RANK)
    return {
        **asdict(cost),
        "seconds": seconds,
        "loss": loss,
        "tokens_per_second": cost.tokens / seconds,
        "flops": flops,
        "share_of_peak": flops / seconds / matmul_peak() if arm == "trie" else None,
        "peak_memory_mb": machine.peak_memory_mb(),
    }


def _trl_step(model, tokenizer, rows, folder: Path) -> tuple[float, float]:
    import torch
    from trl import SFTConfig, SFTTrainer

    gpu = torch.cuda.is_available()
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder),
            max_steps=1,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=len(rows),
            gradient_checkpointing=False,
            max_length=None,
            completion_only_loss=True,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            bf16=gpu,
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            report_to="none",
            dataloader_pin_memory=False,
        ),
        train_dataset=rows.select_columns(["prompt", "completion"]),
        processing_class=tokenizer,
    )
    began = time.monotonic()
    trainer.train()
    return time.monotonic() - began, trainer.state.log_history[0]["loss"]


def _evaluate_once(arm: str, work: Work) -> dict:
    """Greedy answers to all held-out examples, after untimed ones to those of the longest dialogue.
    """
    from trajnb.qlora import chat, generate

    rows, examples, groups, tokenizer, model = _load(work, "held_out")
    names, end = rows["dialogue_id"], chat.habits(tokenizer).end
    for chosen in ([_longest(groups, examples)], groups):
        began = time.monotonic()
        if arm == "trie":
            together = sum(chosen, [])
            told = generate.answer(
                model,
                [examples[index] for index in together],
                [names[index] for index in together],
                end_token=end,
                max_new_tokens=MAX_NEW_TOKENS,
            )
            found = dict(zip(together, told, strict=True))
            answers = {i: answer.tokens for i, answer in found.items()}
        else:
            answers = dict(_generate(model, examples, sum(chosen, []), end, work.batch))
        seconds = time.monotonic() - began
    result = {
        "examples": len(examples),
        "confirmed": sum(answers[i] == example.completion for i, example in enumerate(examples)),
        "generated_tokens": sum(map(len, answers.values())),
        "answers": [answers[i] for i in range(len(examples))],
        "seconds": seconds,
        "peak_memory_mb": machine.peak_memory_mb(),
    }
    return result | (
        {"margins": [found[i].margin for i in range(len(examples))]} if arm == "trie" else {}
    )


def _generate(model, examples, chosen, end: int, batch: int) -> Iterator[tuple[int, list[int]]]:
    """transformers' `generate`, prompts of similar length together, padded on the left."""
    import torch

    model.eval()
    order = sorted(chosen, key=lambda i: examples[i].prompt)
    for first in range(0, len(order), batch):
        together = order[first : first + batch]
        prompts = [torch.tensor(examples[i].tokens[: examples[i].prompt]) for i in together]
        width = max(map(len, prompts))
        tokens = torch.stack(
            [torch.nn.functional.pad(p, (width - len(p), 0), value=end) for p in prompts]
        )
        mask = torch.stack(
            [torch.nn.functional.pad(torch.ones_like(p), (width - len(p), 0)) for p in prompts]
        )
        with torch.inference_mode():
            written = model.generate(
                input_ids=tokens.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            )[:, width:].tolist()
        for i, text in zip(together, written, strict=True):
            yield i, text[: text.index(end) + 1] if end in text else text


def matmul_peak() -> float:
    """The most multiply-adds (counted twice) a second that this process reaches on matrices of a
    training step.
    """
    import torch

    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu else torch.float32
    size = 8192 if gpu else 2048
    left, right = (
        torch.randn(size, size, device="cuda" if gpu else "cpu", dtype=dtype) for _ in range(2)
    )
    best = float("inf")
    for _ in range(6):
        began = time.monotonic()
        left @ right
        if gpu:
            torch.cuda.synchronize()
        best = min(best, time.monotonic() - began)
    return 2 * size**3 / best
