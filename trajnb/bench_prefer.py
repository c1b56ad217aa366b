"""How fast training on pairs in shared rows is, against TRL's DPOTrainer: same model, pairs and
machine, one optimiser step over all pairs, the reference's reading included.

As in `bench`, every timed run is a process of its own that does a first part untimed, arms take
turns, and the median of the ratios within a turn counts.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from trajnb import bench, machine
from trajnb.known import check_known

ARMS = ("trie", "trl")
BETA = 0.1
RATE = 5e-5
NOTES = (
    "trie: transformers.Trainer on rows that hold whole pairs of a dialogue, shared prefixes once, logits at "
    "the nodes that predict a completion; the reference reads the same rows once, which is timed",
    "trl: DPOTrainer, one pair (two padded sequences) a forward pass, max_length=None, no gradient "
    "checkpointing; the reference, a copy of the adapter, reads every pair as it comes. Timed without the "
    "preparation of its data set. It also reports entropy, token accuracy and mean logits",
    "tokens: of both sides of all pairs, which TRL feeds twice, to the policy and to the reference",
)
STAND_INS = (
    "pairs: stand-ins, at each state of the dialogues their own next target before another target of the "
    "same dialogue; with --pairs FILE, the pairs that a run kept"
)


@dataclass(frozen=True)
class PairWork:
    """What is timed."""

    model: str
    corpus: str
    documents: str
    condition: str
    block: str
    dialogues: int
    """Of the block: those whose number of pairs is nearest to the mean."""
    pairs: str = ""
    """A run's `pairs.jsonl`, of which those of `dialogues` are timed; empty for stand-ins."""


def prefer(work: PairWork, repeats: int, say: Callable[[str], None] = print) -> dict:
    """Time one optimiser step on the same pairs under each of `ARMS`.

    Raises ValueError where TRL is not installed, for an unknown block or file, and where there
    are no pairs.
    """
    if find_spec("trl") is None:
        raise ValueError("the benchmark compares with TRL: pip install -e '.[bench]'")
    rows = pair_rows(work)  # errors come before anything is timed
    say(f"{len(rows)} pairs of {len({row['dialogue_id'] for row in rows})} dialogues")
    result = bench.compare(_prefer_once, ARMS, work, repeats, say)
    cpu = _cpu_ratio(result["runs"])
    notes = [*NOTES, f"cpu: TRL takes {cpu:.1f} times as many seconds of the cores"]
    return result | {"times_the_cpu": cpu, "notes": notes + ([] if work.pairs else [STAND_INS])}


def _cpu_ratio(runs: dict[str, list[dict]]) -> float:
    """The median of TRL's seconds of the cores by ours within a turn."""
    turns = zip(runs["trl"], runs["trie"], strict=True)
    return statistics.median(trl["cpu_seconds"] / trie["cpu_seconds"] for trl, trie in turns)


def pair_rows(work: PairWork) -> list[dict]:
    """The pairs that are timed: dicts of `prompt`, `chosen`, `rejected` (lists of messages) and
    `dialogue_id`.
    """
    if work.pairs:
        if not Path(work.pairs).is_file():
            raise ValueError(f"there is no file of pairs {work.pairs}: name a run's pairs.jsonl")
        lines = Path(work.pairs).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    else:
        rows = _stand_ins(work)
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["dialogue_id"], []).append(row)
    if not groups:
        raise ValueError("there are no pairs to time: choose another block or another file of pairs")
    mean = statistics.mean(map(len, groups.values()))
    names = sorted(groups, key=lambda name: abs(len(groups[name]) - mean))
    return sum([groups[name] for name in names[: work.dialogues]], [])


def _stand_ins(work: PairWork) -> list[dict]:
    """At every state of the block's training dialogues, calls and ends of turns, the target and
    the next target of the same dialogue that is another one.
    """
    from trajnb.corpora.load import load_corpus
    from trajnb.formatting.examples import build_examples

    data = load_corpus(work.corpus, documents=work.documents)
    check_known("block", work.block, data.blocks)
    groups: dict[str, list[dict]] = {}
    for stops in (False, True):
        for row in build_examples(data, work.condition, "train", stops=stops):
            if row["block"] == work.block:
                groups.setdefault(row["dialogue_id"], []).append(row)
    pairs = []
    for name, rows in groups.items():
        for place, row in enumerate(rows):
            others = [*rows[place + 1 :], *rows[:place]]
            other = next((o for o in others if o["completion"] != row["completion"]), None)
            if other:
                sides = {"chosen": row["completion"], "rejected": other["completion"]}
                pairs.append({"prompt": row["prompt"], **sides, "dialogue_id": name})
    return pairs


def _prefer_once(arm: str, work: PairWork) -> dict:
    """One optimiser step over all pairs, after one pair untimed: the longest."""
    from trajnb.qlora.model import add_adapter, find_model, load_base, load_tokenizer
    from trajnb.qlora.prefer import PreferRecipe, plan_pairs

    rows = pair_rows(work)
    tokenizer = load_tokenizer(work.model)
    pairs = [_encode(tokenizer, row) for row in rows]
    names = [row["dialogue_id"] for row in rows]
    recipe = PreferRecipe(BETA, RATE, 1, len(set(names)), 0.0, bench.TOKEN_BUDGET)
    plan = plan_pairs(pairs, names, recipe, seed=0)
    longest = max(range(len(rows)), key=lambda i: len(pairs[i].chosen.tokens))
    first = plan_pairs([pairs[longest]], [names[longest]], recipe, seed=0)
    model = add_adapter(
        load_base(find_model(work.model)), rank=bench.RANK, alpha=2 * bench.RANK, dropout=0.0, seed=0
    )
    with tempfile.TemporaryDirectory() as folder:
        if arm == "trl":
            found = _trl_step(model, tokenizer, rows, pairs, longest, Path(folder))
        else:
            found = _our_step(model, first, plan, Path(folder))
    return {
        "pairs": len(rows),
        **asdict(plan.cost),
        **found,
        "tokens_per_second": plan.cost.tokens / found["seconds"],
        "peak_memory_mb": machine.peak_memory_mb(),
    }


def _encode(tokenizer, row: dict):
    """A pair as tokens. Raises ValueError as `chat.encode` does."""
    from trajnb.qlora import chat
    from trajnb.qlora.pairs import Pair

    named = {"dialogue_id": row["dialogue_id"], "step": row.get("step", "?"), "prompt": row["prompt"]}
    chosen, rejected = [
        chat.encode(tokenizer, named | {"completion": row[side]}) for side in ("chosen", "rejected")
    ]
    return Pair(chosen, rejected)


def _our_step(model, first, plan, folder: Path) -> dict:
    from trajnb.qlora.prefer import train_pairs
    from trajnb.qlora.progress import silent

    train_pairs(model, first, seed=0, folder=folder / "first", say=silent)
    began = time.monotonic(), time.process_time()
    trained = train_pairs(model, plan, seed=0, folder=folder / "all", say=silent)
    return _since(*began) | {"loss": trained.steps[0].loss}


def _trl_step(model, tokenizer, rows: Sequence[dict], pairs, longest: int, folder: Path) -> dict:
    import torch
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    # Texts, for of messages it would also score what the chat template writes after the end token.
    texts = []
    for pair in pairs:
        end = pair.chosen.prompt
        tokens = {
            "prompt": pair.chosen.tokens[:end],
            "chosen": pair.chosen.completion,
            "rejected": pair.rejected.completion,
        }
        texts.append({name: tokenizer.decode(some) for name, some in tokens.items()})
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=str(folder),
            beta=BETA,
            max_steps=1,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=len(rows),
            gradient_checkpointing=False,
            max_length=None,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            bf16=torch.cuda.is_available(),
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            report_to="none",
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(texts),
        processing_class=tokenizer,
    )
    for row, pair in zip(trainer.train_dataset, pairs, strict=True):
        for side in ("chosen", "rejected"):
            fed = row["prompt_ids"] + row[f"{side}_ids"]
            assert fed == getattr(pair, side).tokens, "TRL reads other tokens than we do"
    batch = trainer.data_collator([trainer.train_dataset[longest]])
    model.train()
    trainer.compute_loss(model, trainer._prepare_inputs(batch)).backward()
    model.zero_grad()
    trainer._metrics["train"].clear()
    began = time.monotonic(), time.process_time()
    trainer.train()
    return _since(*began) | {"loss": trainer.state.log_history[0]["loss"]}


def _since(seconds: float, cpu_seconds: float) -> dict[str, float]:
    """What passed since then. On a busy machine the seconds of its cores are the steadier ones."""
    return {
        "seconds": time.monotonic() - seconds,
        "cpu_seconds": time.process_time() - cpu_seconds,
    }
