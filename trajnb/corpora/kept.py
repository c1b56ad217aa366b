"""A large file of one's own, read once: later runs have its account at once, and its dialogues when they
look at them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from trajnb import formatting
from trajnb.cache import CacheError, build_once, sha256
from trajnb.corpora.storage import read_dialogues, write_dialogues
from trajnb.formatting.dialogue import Corpus, CorpusChoice, Dialogue

LARGE = 2**23
"""Bytes of a file that takes seconds to read."""
DIALOGUES, ABOUT = "dialogues.jsonl", "about.json"


class KeptDialogues(Sequence[Dialogue]):
    """Dialogues that are read when one of them is looked at."""

    def __init__(self, path: Path, count: int):
        self.path, self.count = path, count

    @cached_property
    def _all(self) -> tuple[Dialogue, ...]:
        return read_dialogues(self.path)[0]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place):
        return self._all[place]

    def __iter__(self) -> Iterator[Dialogue]:
        return iter(self._all)


def read_once(choice: CorpusChoice, read: Callable[[CorpusChoice], Corpus]) -> Corpus:
    """What `read` makes of a choice; of a large file it is kept in the user's cache.

    Raises:
        ValueError: as `read`.
    """
    file = Path(choice.corpus_path).expanduser()
    if choice.corpus != "jsonl" or not file.is_file() or file.stat().st_size < LARGE:
        return read(choice)
    found: list[Corpus] = []

    def build(folder: Path) -> None:
        corpus = read(choice)
        found.append(corpus)
        write_dialogues(folder / DIALOGUES, corpus.dialogues, corpus.held_out, corpus.name)
        about = {
            "blocks": corpus.blocks,
            "held_out": sorted(corpus.held_out),
            "account": corpus.account,
            "hash": corpus.hash,
            "dialogues": len(corpus.dialogues),
        }
        (folder / ABOUT).write_text(json.dumps(about), "utf-8")

    with suppress(CacheError):  # what cannot be kept is read again
        folder = build_once(f"corpus-{_print(file, choice)[:32]}", build)
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        dialogues = KeptDialogues(folder / DIALOGUES, about["dialogues"])
        blocks, held_out = tuple(about["blocks"]), frozenset(about["held_out"])
        return Corpus(choice.corpus, blocks, dialogues, held_out, about["account"], about["hash"])
    return found[0] if found else read(choice)


def _print(file: Path, choice: CorpusChoice) -> str:
    """The file, the choice, and the code that reads it, as one hash. Names of the file are no part."""
    code = [*Path(__file__).parent.glob("*.py"), *Path(formatting.__file__).parent.glob("*.py")]
    read = {path.name: sha256(path) for path in sorted(code)}
    said = [sha256(file), asdict(choice) | {"corpus_path": file.name}, read]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
