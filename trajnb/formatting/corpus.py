"""Corpora by name: dialogues in blocks, split by dialogue, with an account of what they hold."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trajnb.assets import ASSETS, cache_folder
from trajnb.formatting import bfcl, calls
from trajnb.formatting.dialogue import Dialogue
from trajnb.formatting.storage import content_hash, dump, read_dialogues, write_dialogues
from trajnb.world import environment

NAMES = ("bfcl", "sample")
SAMPLE_FILE = Path(__file__).with_name("sample.jsonl")


@dataclass(frozen=True)
class Corpus:
    """Dialogues in split order, block by block."""

    name: str
    blocks: tuple[str, ...]
    dialogues: tuple[Dialogue, ...]
    held_out: frozenset[str]  # dialogue ids
    account: dict  # what was counted, see `_account`
    hash: str  # sha256 over the documents setting, the dialogues and the split


def load_corpus(
    name: str, *, documents: str = "ten", train_dialogues: int = 1000, held_out_dialogues: int = 1000
) -> Corpus:
    """A corpus, or an even part of it.

    Args:
        name: "bfcl" (200 dialogues; fetches 1.9 MB the first time) or "sample" (12 of them, shipped with the
            package, documents "used").
        documents: "used", "ten" or "all", see `bfcl.build_bfcl`.
        train_dialogues, held_out_dialogues: at most this many per block, spread evenly over the split order.

    Raises:
        ValueError: an unknown name or setting, or a count below one.
        trajnb.assets.AssetError: the wheel cannot be had.
    """
    _check(name, NAMES, "corpus")
    _check(documents, bfcl.DOCUMENTS, "documents")
    counts = {"train_dialogues": train_dialogues, "held_out_dialogues": held_out_dialogues}
    for parameter, count in counts.items():
        if count < 1:
            raise ValueError(f"{parameter} is {count}; a block needs at least one dialogue")
    if name == "sample":
        if documents != "used":
            raise ValueError(f"the corpus 'sample' is shipped with documents 'used' only, not {documents!r}")
        dialogues, held_out = read_dialogues(SAMPLE_FILE)
    else:
        dialogues, held_out = _cached_bfcl(documents)
    blocks = tuple(dict.fromkeys(dialogue.block for dialogue in dialogues))
    kept: set[str] = set()
    for block in blocks:
        for is_held_out, count in ((False, train_dialogues), (True, held_out_dialogues)):
            side = [d for d in dialogues if d.block == block and (d.id in held_out) == is_held_out]
            kept.update(dialogue.id for dialogue in _spread(side, count))
    part = tuple(dialogue for dialogue in dialogues if dialogue.id in kept)
    held_out &= kept
    digest = content_hash([documents, *dump(part, held_out)])
    account = _account(part, held_out, blocks)
    account |= {"dialogues_left_out": len(dialogues) - len(part), "documents": documents, "hash": digest}
    return Corpus(name, blocks, part, held_out, account, digest)


def _check(value: str, known: Sequence[str], what: str) -> None:
    if value not in known:
        nearest = difflib.get_close_matches(str(value), known, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown {what} {value!r}; did you mean {nearest!r}? (known: {', '.join(known)})")


def _cached_bfcl(documents: str) -> tuple[tuple[Dialogue, ...], frozenset[str]]:
    """Built once per version of the builder's own code, checked by content hash, built anew where damaged."""
    version = hashlib.sha256(ASSETS["bfcl"].sha256.encode())
    for module in (bfcl, calls, environment):
        version.update(Path(module.__file__).read_bytes())
    path = cache_folder() / "corpora" / f"bfcl-{documents}-{version.hexdigest()[:16]}.jsonl"
    try:
        return read_dialogues(path)
    except (FileNotFoundError, ValueError):
        dialogues, held_out = bfcl.build_bfcl(documents)
    write_dialogues(path, dialogues, held_out, ASSETS["bfcl"].requirement)
    return dialogues, held_out


def _spread(dialogues: Sequence[Dialogue], count: int) -> list[Dialogue]:
    """At most `count` of them, at even distances."""
    count = min(count, len(dialogues))
    return [dialogues[(2 * i + 1) * len(dialogues) // (2 * count)] for i in range(count)]


def _account(dialogues: Sequence[Dialogue], held_out: frozenset[str], blocks: Sequence[str]) -> dict:
    by_block = {}
    for block in blocks:
        row = by_block[block] = {}
        for split in ("train", "held_out"):
            side = [d for d in dialogues if d.block == block and (d.id in held_out) == (split == "held_out")]
            row[f"{split}_dialogues"] = len(side)
            row[f"{split}_examples"] = sum(turn.call is not None for d in side for turn in d.turns)
    return {
        "dialogues": len(dialogues),
        "examples": sum(row["train_examples"] + row["held_out_examples"] for row in by_block.values()),
        "train_examples": sum(row["train_examples"] for row in by_block.values()),
        "held_out_examples": sum(row["held_out_examples"] for row in by_block.values()),
        "blocks": by_block,
        "user_turns_without_call": sum(map(_empty_turns, dialogues)),
        "dropped": {},  # reason -> examples
    }


def _empty_turns(dialogue: Dialogue) -> int:
    roles = [turn.role for turn in dialogue.turns] + ["user"]
    return sum(role == following == "user" for role, following in zip(roles, roles[1:], strict=False))
