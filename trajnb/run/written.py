"""Examples of one side of a corpus under one condition, written and tokenised once: all runs that read the
same share a folder of the user's cache.

What lies there is a function of its name: of the corpus, the condition, how prompts are written, tokenizer
and template, and the code that writes them. Text and tokens are Arrow files, of which a run holds what it
looks at.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import tokenizers
import transformers
from datasets import Dataset, Features, List, Value
from transformers import PreTrainedTokenizerBase

from trajnb import formatting
from trajnb.cache import CacheError, alone, build_once, told
from trajnb.files import digest, read_json, write_json
from trajnb.formatting import conditions, examples
from trajnb.formatting.dialogue import Corpus
from trajnb.known import check_known
from trajnb.qlora import chat, control, lines
from trajnb.qlora.prefixes import Prefixes, array
from trajnb.qlora.rows import COLUMNS, EncodedRows

TEXTS, TOKENS, ABOUT = "examples.arrow", "tokens.arrow", "about.json"
_CHECKED: dict[str, Path] = {}
"""Folders that this process has found whole."""
_OF_TOKENS = Features({COLUMNS[0]: List(Value("int32")), COLUMNS[1]: Value("int32")})


@dataclass(frozen=True)
class Counts:
    """What was counted while examples were written."""

    examples: int
    """Those with a target."""
    dropped: int
    """Those of which a cut left no target; they are not among the rows."""
    tokens: int
    """Of prompts and completions."""
    distinct: int
    """Of these, where the examples of a dialogue share prefixes."""
    pairs: int
    """Of distinct tokens, each with those that it looks at, itself too."""
    supervised: int
    """Of completions."""
    digest: str
    """`files.digest` of the examples as tokens."""


@dataclass(frozen=True)
class Written:
    """Examples as text and as tokens, in the same order."""

    rows: Dataset
    """See `formatting.examples.build_examples`."""
    encoded: EncodedRows
    counts: Counts


def written(
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerBase,
    condition: str,
    split: str,
    shape: Mapping,
    cut: chat.PaperCut | None = None,
    stops: bool = False,
) -> Written:
    """The examples of one side of a corpus, read from the cache, or written there first. Where the cache
    cannot be written to, they lie in a folder that goes with this process.

    Args:
        shape: arguments of `build_examples`.
        stops: the ends of turns stand behind the calls.

    Raises:
        ValueError: as `build_examples` and `chat.encode`, when they are written.
    """

    check_known("condition", condition, conditions.CONDITIONS)

    def build(folder: Path) -> None:
        _write_all(folder, corpus, tokenizer, condition, split, shape, cut, stops)

    name = f"examples-{_print(corpus, tokenizer, condition, split, shape, cut, stops)[:32]}"
    return _read(_folder(name, build) if _is_known(condition) else _own_folder(name, build))


def _is_known(condition: str) -> bool:
    """Whether a condition is the one of its name: what a person tries out in a notebook may be another
    one tomorrow.
    """
    return conditions.CONDITIONS[condition].__module__ == conditions.__name__


def _folder(name: str, build: Callable[[Path], None]) -> Path:
    if name in _CHECKED and (_CHECKED[name] / ABOUT).exists():
        return _CHECKED[name]
    try:
        with alone(name):
            _CHECKED[name] = build_once(name, build)
    except CacheError:
        _CHECKED[name] = _own_folder(name, build)
    return _CHECKED[name]


def _own_folder(name: str, build: Callable[[Path], None]) -> Path:
    """A new folder that is removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix=name, dir=_temporary().name))
    build(folder)
    return folder


@cache
def _temporary() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="trajnb-examples-")


def _read(folder: Path) -> Written:
    table = Dataset.from_file(str(folder / TOKENS))
    counts = Counts(**read_json(folder / ABOUT))
    return Written(Dataset.from_file(str(folder / TEXTS)), EncodedRows(table), counts)


def _write_all(
    folder: Path,
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerBase,
    condition: str,
    split: str,
    shape: Mapping,
    cut: chat.PaperCut | None,
    stops: bool,
) -> None:
    def rows() -> Iterator[dict]:
        found = examples.example_rows(corpus, condition, split, **shape)
        if not stops:
            return found
        return chain(found, examples.example_rows(corpus, condition, split, stops=True, **shape))

    def progress(seconds: float) -> str:
        return f"preparing {condition} prompts, {split}, {seconds:.0f} s"

    with told(progress):
        try:
            counts = _write(folder, rows(), tokenizer, cut, by_line=True)
        except chat.LinesDiffer:
            counts = _write(folder, rows(), tokenizer, cut, by_line=False)
    write_json(folder / ABOUT, asdict(counts))


def _write(folder: Path, rows: Iterator[dict], tokenizer, cut, by_line: bool) -> Counts:
    """Write text and tokens of rows, a thousand of them in memory at a time."""
    count = _Count()
    with (
        open(folder / TEXTS, "wb") as texts,
        open(folder / TOKENS, "wb") as tokens,
        pa.ipc.new_stream(texts, examples.FEATURES.arrow_schema) as to_texts,
        pa.ipc.new_stream(tokens, _OF_TOKENS.arrow_schema) as to_tokens,
    ):
        seen: list[dict] = []  # rows that are not written yet

        def passing() -> Iterator[dict]:
            for row in rows:
                seen.append(row)
                yield row

        encoded = chat.encode_each(tokenizer, passing(), cut, by_line)
        while batch := list(islice(encoded, examples.BATCH)):
            pairs = zip(seen[: len(batch)], batch, strict=True)
            kept = [(row, one) for row, one in pairs if count.add(row, one)]
            del seen[: len(batch)]
            ids = {
                COLUMNS[0]: [one.tokens for _, one in kept],
                COLUMNS[1]: [one.prompt for _, one in kept],
            }
            to_tokens.write_table(pa.Table.from_pydict(ids, schema=_OF_TOKENS.arrow_schema))
            listed = [row for row, _ in kept]
            to_texts.write_table(pa.Table.from_pylist(listed, schema=examples.FEATURES.arrow_schema))
    return count.counts()


class _Count:
    """`Counts` in the making."""

    def __init__(self):
        self.examples = self.dropped = self.tokens = self.supervised = 0
        self.distinct = self.pairs = 0
        self.hash = hashlib.sha256(b"[")
        self.dialogue = ""
        self.prefixes = Prefixes()

    def add(self, row: Mapping, example: chat.Encoded) -> bool:
        """Count an example; whether it has a target."""
        if not example.completion:
            self.dropped += 1
            return False
        if row["dialogue_id"] != self.dialogue:
            self.distinct += self.prefixes.size
            self.dialogue, self.prefixes = row["dialogue_id"], Prefixes()
        shared, _ = self.prefixes.add(array(example.tokens))
        self.pairs += _up_to(len(example.tokens)) - _up_to(shared)
        text = json.dumps(vars(example), sort_keys=True)  # as `files.digest` writes it
        self.hash.update(f"{', ' if self.examples else ''}{text}".encode())
        self.examples += 1
        self.tokens += len(example.tokens)
        self.supervised += len(example.completion)
        return True

    def counts(self) -> Counts:
        found = self.hash.copy()
        found.update(b"]")
        return Counts(
            self.examples,
            self.dropped,
            self.tokens,
            self.distinct + self.prefixes.size,
            self.pairs,
            self.supervised,
            found.hexdigest(),
        )


def _up_to(count: int) -> int:
    """1 + 2 + ... + count."""
    return count * (count + 1) // 2


def _print(corpus: Corpus, tokenizer, condition, split, shape: Mapping, cut, stops) -> str:
    """What examples are a function of, as one hash."""
    return digest(
        [
            [corpus.name, corpus.hash, condition, split, stops, asdict(cut) if cut else None],
            {name: value for name, value in shape.items() if name != "count_tokens"},
            _print_of_tokenizer(tokenizer, tokenizer.get_chat_template()),
            _print_of_code(),
        ]
    )


@cache
def _print_of_tokenizer(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
    rules = backend.to_str() if backend else sorted(tokenizer.get_vocab().items())
    return digest([type(tokenizer).__name__, template, tokenizer.special_tokens_map, added, rules])


@cache
def _print_of_code() -> str:
    """The code that writes texts and tokens, and the libraries that do."""
    files = [*Path(formatting.__file__).parent.glob("*.py")]
    files += [Path(module.__file__) for module in (chat, control, lines)] + [Path(__file__)]
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return digest([found, transformers.__version__, tokenizers.__version__])
