"""The data that everything else passes around: a dialogue, its turns, the calls in them; and a
corpus of these.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from trajnb.known import given_fields


@dataclass(frozen=True)
class Call:
    """One API call. Equality is by value; `formatting.calls` alone reads and writes the text form.
    """

    name: str
    arguments: dict[str, object] = field(default_factory=dict)
    positional: tuple[object, ...] = ()


@dataclass(frozen=True)
class Turn:
    """What a user or the assistant says, or a call together with its response text."""

    role: str  # "user" | "ai" | "api", and "end" of a target: no further call
    text: str  # for an api turn: the response
    call: Call | None = None  # of api turns; None where the call cannot be read, `text` is all then
    request: str = ""  # where the call cannot be read: what was written, and `text` is what it got
    together: bool = field(default=False, compare=False)
    """Made in one message with the api turn before it, so before that one had its response. It says when,
    not what: turns are equal without it.
    """


@dataclass(frozen=True)
class Dialogue:
    """One conversation and what its prompts need to know about the APIs it may use."""

    id: str
    block: str
    documents: tuple[str, ...]  # one JSON document, on one line, per API
    turns: tuple[Turn, ...]
    targets: tuple[int, ...] | None = None  # turns to learn and to predict; None: every call

    @property
    def places(self) -> tuple[int, ...]:
        """The places of its targets among its turns."""
        if self.targets is not None:
            return self.targets
        return tuple(place for place, turn in enumerate(self.turns) if turn.call)


_HUB_ID = re.compile(r"(\w[\w.-]*/\w[\w.-]*?)(?::([\w.-]+))?@([\w./-]+)").fullmatch
_SUFFIXES = (".jsonl", ".json", ".gz", ".parquet")  # of files
NO_FOLD = -1
"""The fold of a run that takes the split, or the corpus's own, instead of folds."""


@dataclass(frozen=True)
class CorpusChoice:
    """Which dialogues a run learns from and is asked about, as its parameters say it.

    What each corpus allows, and what is wrong with a choice, `corpora.load.load_corpus` says.
    """

    corpus: str
    """"bfcl" (200 dialogues; fetches 1.9 MB the first time), "sample" (12 of them, shipped with the
    package), "api-bank", or "jsonl", a file of one's own.
    """
    corpus_path: str = ""
    """The folder with API-Bank's files (empty: from the hub); of "jsonl" a file of any layout in
    `corpora.layouts`, or a dataset of the hub as owner/name@revision.
    """
    documents: str = ""
    """Of "bfcl" "used", "ten" or "all", see `corpora.bfcl.build_bfcl`; empty: "ten" of "bfcl", and
    "used" of the others, which have what they need.
    """
    part: str = "test-data"
    levels: tuple[str, ...] = ("1", "2")
    """Which files of API-Bank, see `corpora.api_bank.FILES`."""
    blocks: str = "semantic"
    split: str = "dialogue"
    held_out_share: float = 0.2
    """Of API-Bank and of a "jsonl" that does not say: "semantic" or "balanced", see
    `corpora.blocks`, and "dialogue", "gold-disjoint" or "row", see `corpora.splits`. "bfcl" and
    "sample" have their own split; under "gold-disjoint" none of its training targets is held out.

    `blocks` of a "jsonl": "one", "clusters" (see `corpora.clusters`), or the key of its rows that
    names the block; "semantic" takes `block` and, where a row has none, clusters.
    """
    fold: int = NO_FOLD
    folds: int = 5
    """Which of how many folds is held out, from 0; -1 is the split above, or the corpus's own, and
    heeds no `folds`. Every dialogue is in one fold, and which one depends on the corpus alone.
    """
    train_dialogues: int = 1000
    held_out_dialogues: int = 1000
    """At most this many per block, spread evenly over the split order."""
    fresh_ids: bool = False
    """Of "bfcl": ids that no other dialogue has, so that none can be known by heart."""
    skip_unusable: bool = False
    """Of "jsonl": leave out, and count by reason, rows that cannot be used; else they are an error."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The parameters of a run that choose a corpus."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def of(cls, parameters: Mapping) -> "CorpusChoice":
        """What a run's parameters, or a notebook's `globals()`, choose; what they leave out stays
        as it is.

        Raises:
            ValueError: a value of another type.
        """
        chosen = given_fields(cls, parameters)
        if "levels" in chosen:
            chosen["levels"] = tuple(chosen["levels"])
        return cls(**chosen)


def hub_id(corpus_path: str) -> tuple[str, str | None, str] | None:
    """Repository, config and revision of a `corpus_path` that names a dataset of the hub, as
    owner/name@revision or owner/name:config@revision do; None where it names a file or a folder.
    """
    found = _HUB_ID(corpus_path)
    if not found or corpus_path.endswith(_SUFFIXES):
        return None
    return found[1], found[2], found[3]


def name_of_path(corpus_path: str) -> str:
    """What is told of a `corpus_path`, wherever it lies: a file's name; a dataset of the hub whole."""
    return corpus_path if hub_id(corpus_path) else Path(corpus_path).name


@dataclass(frozen=True)
class Corpus:
    """Dialogues in split order, block by block."""

    name: str
    blocks: tuple[str, ...]
    dialogues: Sequence[Dialogue]
    held_out: frozenset[str]  # dialogue ids
    account: dict  # what was counted, see `corpora.load`
    hash: str  # sha256 over the documents setting, the dialogues and the split
