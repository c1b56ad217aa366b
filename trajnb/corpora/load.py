"""Corpora by name: dialogues in blocks, split by dialogue, with an account of what they hold."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from trajnb.assets import ASSETS, AssetError, cache_folder
from trajnb.corpora import api_bank, bfcl, clusters, jsonl, splits
from trajnb.corpora import blocks as block_rules
from trajnb.corpora.kept import read_once
from trajnb.corpora.storage import content_hash, dump, read_dialogues, write_dialogues
from trajnb.formatting import arguments, calls, conditions
from trajnb.formatting.dialogue import NO_FOLD, Corpus, CorpusChoice, Dialogue, hub_id
from trajnb.known import check_known
from trajnb.machine import resolve
from trajnb.world import environment

NAMES = ("bfcl", "sample", "api-bank", "jsonl")
EXECUTED = ("bfcl", "sample")
"""The corpora whose calls can be executed."""
BLOCK_RULES = ("semantic", "balanced")
"""Of API-Bank."""
OWN_BLOCK_RULES = ("semantic", "clusters", "one")
"""Of "jsonl", beside the keys of its rows."""
SAMPLE_FILE = Path(__file__).with_name("sample.jsonl")


def load_corpus(
    name: str, *, count_tokens: Callable[[str], int] | None = None, **settings
) -> Corpus:
    """A corpus, or an even part of it: `load_corpus("sample")`, `load_corpus("bfcl",
    documents="all")`.

    Args:
        name, settings: the fields of `CorpusChoice`, which says what they are.
        count_tokens: text -> tokens, which "balanced" blocks are balanced by; without it a quarter
            of the characters. The hash of a corpus so depends on the tokenizer.

    Raises:
        ValueError: an unknown name or setting, a count below one, or a file that cannot be read.
        trajnb.assets.AssetError: the wheel cannot be had.
    """
    return load_chosen(CorpusChoice(name, **settings), count_tokens)


def corpus_of(parameters: Mapping, count_tokens: Callable[[str], int] | None = None) -> Corpus:
    """The corpus that a run's parameters choose, see `load_corpus`; read once for each choice.

    A relative `corpus_path` starts at the clone, if it names no dataset of the hub.
    """
    choice = CorpusChoice.of(parameters)
    path = choice.corpus_path
    unpinned = choice.corpus == "jsonl" and hub_id(f"{path}@main") and not resolve(path).exists()
    if path and not (hub_id(path) or unpinned):
        choice = replace(choice, corpus_path=str(resolve(path)))
    counts = choice.blocks == "balanced"  # nothing else of a corpus depends on tokens
    return _cached(choice, count_tokens if counts else None)


def corpora_of(chosen: Mapping[str, Mapping]) -> dict[str, Corpus]:
    """By hash, the corpora that records name, as far as they can be had here.

    `chosen`: the hash of a record's corpus -> the parameters of its run. One that cannot be read,
    or that is another version by now, is left out.
    """
    found = {}
    for digest, parameters in chosen.items():
        with suppress(ValueError, OSError, AssetError):
            corpus = corpus_of(parameters)
            found |= {digest: corpus} if corpus.hash == digest else {}
    return found


@cache
def _cached(choice: CorpusChoice, count_tokens: Callable[[str], int] | None) -> Corpus:
    return read_once(choice, lambda chosen: load_chosen(chosen, count_tokens))


def load_chosen(choice: CorpusChoice, count_tokens: Callable[[str], int] | None = None) -> Corpus:
    """The corpus of a choice; arguments and errors as `load_corpus`."""
    documents = _check_choice(choice)
    dialogues, held_out, counted = _read(choice, documents, count_tokens)
    names = tuple(dict.fromkeys(dialogue.block for dialogue in dialogues))
    counts = {"train": choice.train_dialogues, "held_out": choice.held_out_dialogues}
    kept: set[str] = set()
    for block, side in itertools.product(names, counts):
        spread = _spread(splits.on_side(dialogues, held_out, block, side), counts[side])
        kept.update(dialogue.id for dialogue in spread)
    chosen = tuple(dialogue for dialogue in dialogues if dialogue.id in kept)
    held_out &= kept
    digest = content_hash([documents, *dump(chosen, held_out)])
    if choice.fresh_ids:
        counted["fresh_ids"] = _changes(chosen, _cached_bfcl(documents, False)[0])
    account = _account(chosen, held_out, names) | counted
    account |= {
        "dialogues_left_out": len(dialogues) - len(chosen),
        "documents": documents,
        "hash": digest,
    }
    return Corpus(choice.corpus, names, chosen, held_out, account, digest)


def _check_choice(choice: CorpusChoice) -> str:
    """Raise ValueError for a choice that no corpus allows; returns which documents prompts hold."""
    name = choice.corpus
    check_known("corpus", name, NAMES)
    documents = choice.documents or ("ten" if name == "bfcl" else "used")
    check_known("documents", documents, bfcl.DOCUMENTS)
    for side in ("train_dialogues", "held_out_dialogues"):
        if (count := getattr(choice, side)) < 1:
            raise ValueError(f"{side} is {count}; a block needs at least one dialogue")
    if name != "bfcl" and documents != "used":
        raise ValueError(f"the corpus {name!r} comes with documents 'used' only, not {documents!r}")
    if name != "bfcl" and choice.fresh_ids:
        raise ValueError(f"fresh_ids is for the corpus 'bfcl', not for {name!r}")
    if name in EXECUTED and choice.corpus_path:
        raise ValueError(f"corpus_path is for the corpora 'api-bank' and 'jsonl', not for {name!r}")
    if name in EXECUTED and choice.blocks != "semantic":
        raise ValueError(f"the corpus {name!r} has its own blocks: leave blocks out")
    if name in EXECUTED and choice.split == "row":
        raise ValueError(f"the corpus {name!r} has no rows: its split is dialogue or gold-disjoint")
    if name != "jsonl":
        check_known("blocks", choice.blocks, BLOCK_RULES)
        if choice.skip_unusable:
            raise ValueError(f"skip_unusable is for the corpus 'jsonl', not for {name!r}")
    check_known("split", choice.split, splits.SPLITS)
    if choice.fold != NO_FOLD:
        splits.check_fold(choice.fold, choice.folds)
    return documents


def _read(
    choice: CorpusChoice, documents: str, count_tokens: Callable[[str], int] | None
) -> tuple[tuple[Dialogue, ...], frozenset[str], dict]:
    """All dialogues of a corpus, which are held out, and what was counted on the way."""
    stated: frozenset[str] = frozenset()
    counted: dict = {}
    if choice.corpus == "sample":
        dialogues, stated = read_dialogues(SAMPLE_FILE)
    elif choice.corpus == "bfcl":
        dialogues, stated = _cached_bfcl(documents, choice.fresh_ids)
    elif choice.corpus == "api-bank":
        dialogues, counted = _api_bank(choice, count_tokens)
    else:
        dialogues, stated, counted = _jsonl(choice)
    if choice.fold != NO_FOLD:
        held_out = _fold(choice, dialogues, stated)
    else:
        held_out = stated or splits.hold_out(dialogues, choice.split, choice.held_out_share)
    if choice.split == "gold-disjoint":
        counted["groups"] = _groups(dialogues)
        dialogues, counted["targets_not_learnt"] = splits.without_targets_of(dialogues, held_out)
    return dialogues, held_out, counted


def _fold(
    choice: CorpusChoice, dialogues: Sequence[Dialogue], stated: frozenset[str]
) -> frozenset[str]:
    """The ids that a fold holds out; ValueError where a file of one's own says it already."""
    if stated and choice.corpus == "jsonl":
        raise ValueError(
            f"fold is {choice.fold}, but {len(stated)} dialogues of {choice.corpus_path} say that "
            "they are held out: leave fold out, or take held_out out of the file"
        )
    return splits.deal(dialogues, choice.split, choice.fold, choice.folds)


def _groups(dialogues: Sequence[Dialogue]) -> dict[str, int]:
    """Numbers of groups of dialogues that share a call, by their size, the largest first."""
    sizes = Counter(map(len, splits.by_gold(dialogues)))
    return {str(size): sizes[size] for size in sorted(sizes, reverse=True)}


def _cached_bfcl(documents: str, fresh_ids: bool) -> tuple[tuple[Dialogue, ...], frozenset[str]]:
    """Built once per version of the builder's own code, checked by content hash, built anew where
    damaged.
    """
    version = hashlib.sha256(ASSETS["bfcl"].sha256.encode())
    for module in (bfcl, calls, arguments, environment):
        version.update(Path(module.__file__).read_bytes())
    kind = f"{documents}-fresh" if fresh_ids else documents
    path = cache_folder() / "corpora" / f"bfcl-{kind}-{version.hexdigest()[:16]}.jsonl"
    try:
        return read_dialogues(path)
    except (FileNotFoundError, ValueError):
        dialogues, held_out = bfcl.build_bfcl(documents, fresh_ids)
    with suppress(OSError):  # what cannot be kept is made again
        write_dialogues(path, dialogues, held_out, ASSETS["bfcl"].revision)
    return dialogues, held_out


def _changes(dialogues: Sequence[Dialogue], plain: Sequence[Dialogue]) -> dict[str, int]:
    """How many calls, and of how many dialogues, are others than in the plain corpus."""
    turns = {dialogue.id: dialogue.turns for dialogue in plain}
    changed = [
        sum(
            turn.call != was.call
            for turn, was in zip(dialogue.turns, turns[dialogue.id], strict=True)
        )
        for dialogue in dialogues
    ]
    return {"calls_changed": sum(changed), "dialogues_changed": sum(map(bool, changed))}


def _api_bank(
    choice: CorpusChoice, count: Callable[[str], int] | None
) -> tuple[tuple[Dialogue, ...], dict]:
    """The dialogues of API-Bank's files, or under the split "row" its rows, in blocks."""
    rule, split = choice.blocks, choice.split
    files = api_bank.find_files(choice.part, choice.levels, choice.corpus_path)
    rows = [row for file in files for row in api_bank.read_rows(file)]
    account: dict = {"rows": len(rows), "dropped": {}, "not_extending": []}
    if split == "row":
        rows = api_bank.drop_unlabelled(rows, account)
        dialogues = api_bank.one_by_one(rows)
    else:
        dialogues = api_bank.rebuild(rows, account)
    account["calls_in_ai_lines"] = api_bank.calls_in_speech(dialogues)
    if rule == "semantic":
        return _in_blocks(dialogues, block_rules.semantic(dialogues)), account
    labels = (
        [row.label for row in rows] if split == "row" else list(map(block_rules.label, dialogues))
    )
    texts = ["\n".join([*d.documents, *(line.text for line in _lines(d))]) for d in dialogues]
    bins = block_rules.balanced(labels, texts, count or (lambda text: len(text) / 4))
    return _in_blocks(dialogues, bins), account


def _jsonl(choice: CorpusChoice) -> tuple[tuple[Dialogue, ...], frozenset[str], dict]:
    """The dialogues of a file or of a dataset of the hub, in blocks that all have both sides, the ids that
    are held out (where folds are wanted, those that say so), and what was counted.
    """
    path, rule = choice.corpus_path, choice.blocks
    if not path:
        raise ValueError(
            "the corpus 'jsonl' needs corpus_path: a file of dialogues, or owner/name@revision of the hub"
        )
    if rule == "balanced" or choice.split == "row":
        raise ValueError(
            "the corpus 'jsonl' has its own blocks or those that `blocks` names (one, clusters, or a key of "
            "its rows), and is split by dialogue"
        )
    field = "block" if rule in OWN_BLOCK_RULES else rule
    reading = jsonl.read_dialogues(path, field=field, skip_unusable=choice.skip_unusable)
    dialogues = reading.dialogues
    if rule == "one":
        named = ["all"] * len(dialogues)
    else:
        without = [d for d in dialogues if rule == "clusters" or not d.block]
        found = iter(clusters.clusters(without) if without else ())
        named = [next(found) if rule == "clusters" or not d.block else d.block for d in dialogues]
    dialogues = _in_blocks(dialogues, named)
    stated = reading.held_out
    if stated and rule != "clusters" and all(d.block for d in reading.dialogues):
        remedy = "let held_out say so of some of its dialogues and not of all, or of no line at all"
        splits.check_sides(dialogues, stated, remedy)
    held_out = stated
    if not stated and choice.fold == NO_FOLD:
        held_out = splits.draw_some(dialogues, choice.split, choice.held_out_share)

    def is_whole(group: Sequence[Dialogue]) -> bool:
        """Whether dialogues are enough for a block: one for every fold, else one on each side."""
        if choice.fold != NO_FOLD:
            return len(group) >= choice.folds
        return len({dialogue.id in held_out for dialogue in group}) == 2

    dialogues, merged = clusters.merge_small(dialogues, is_whole)
    if choice.fold == NO_FOLD:
        splits.check_sides(dialogues, held_out, "add dialogues")
    counted = {"left_out": reading.left_out} | reading.account
    return dialogues, held_out, counted | ({"blocks_merged": merged} if merged else {})


def _in_blocks(dialogues: Sequence[Dialogue], names: Sequence[str]) -> tuple[Dialogue, ...]:
    """The dialogues with their blocks, block by block: API-Bank's domains in their order, others by
    first appearance or, if they are bins, by number.
    """
    order = [
        *block_rules.BLOCKS,
        *sorted(n for n in set(names) if n.startswith("bin_")),
        *dict.fromkeys(names),
    ]
    placed = [
        replace(dialogue, block=name) for dialogue, name in zip(dialogues, names, strict=True)
    ]
    return tuple(sorted(placed, key=lambda dialogue: order.index(dialogue.block)))


def _lines(dialogue: Dialogue) -> Sequence[conditions.Line]:
    return conditions.lines(conditions.History(dialogue.documents, dialogue.turns, 1))


def _spread(dialogues: Sequence[Dialogue], count: int) -> list[Dialogue]:
    """At most `count` of them, at even distances."""
    count = min(count, len(dialogues))
    return [dialogues[(2 * i + 1) * len(dialogues) // (2 * count)] for i in range(count)]


def _account(
    dialogues: Sequence[Dialogue], held_out: frozenset[str], blocks: Sequence[str]
) -> dict:
    by_block = {}
    for block in blocks:
        row = by_block[block] = {}
        for side in ("train", "held_out"):
            chosen = splits.on_side(dialogues, held_out, block, side)
            row[f"{side}_dialogues"] = len(chosen)
            row[f"{side}_examples"] = sum(
                d.turns[place].call is not None for d in chosen for place in d.places
            )
    return {
        "dialogues": len(dialogues),
        "examples": sum(
            row["train_examples"] + row["held_out_examples"] for row in by_block.values()
        ),
        "train_examples": sum(row["train_examples"] for row in by_block.values()),
        "held_out_examples": sum(row["held_out_examples"] for row in by_block.values()),
        "blocks": by_block,
        "user_turns_without_call": sum(map(_empty_turns, dialogues)),
        "dropped": {},  # reason -> examples
    }


def _empty_turns(dialogue: Dialogue) -> int:
    """User turns with no call before the next one, whatever is said in between."""
    answered: list[bool] = []
    for turn in dialogue.turns:
        if turn.role == "user":
            answered.append(False)
        elif turn.role == "api" and answered:
            answered[-1] = True
    return answered.count(False)
