"""The rows of a user's file or of a dataset of the hub, whatever they are packed in.

The file is not trusted: a row has a largest size, and what is malformed is named by its place. A file of
lines goes on behind a malformed one; of other JSON nothing behind it can be told.
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trajnb import hub
from trajnb.formatting.dialogue import hub_id

ROW_LIMIT = 2_000_000  # bytes; the longest dialogue of bfcl has 18,000, with all its documents
_CHUNK = 1 << 16  # bytes read at a time where rows are no lines
_BEGINS = {  # what else a file may begin with, and what to do then
    b"PK\x03\x04": "a zip archive: unpack it",
    b"BZh": "compressed by bzip2: unpack it",
    b"\xfd7zXZ": "compressed by xz: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstandard: unpack it",
    b"ARROW1": "an Arrow file: write it as parquet or JSON lines",
    b"\xff\xfe": "UTF-16: save it as UTF-8",
    b"\xfe\xff": "UTF-16: save it as UTF-8",
}


@dataclass(frozen=True)
class Rows:
    """What a path holds."""

    packing: str
    """In words: "JSON lines", "JSON array, gzip", "dataset of the hub"."""
    rows: Iterator[tuple[str, object]]
    """Place of a row, such as "line 3", and the row: a JSON object, or a ValueError that says what is
    wrong there.
    """


def read_rows(path: str) -> Rows:
    """The rows of a file, or of a dataset of the hub.

    Raises:
        ValueError: there is no such file, or it begins like none that is read.
    """
    if hub_id(path):
        return Rows("dataset of the hub", _of_hub(path))
    file = Path(path).expanduser()
    if not file.exists() and hub_id(f"{path}@main"):
        hub.dataset_rows(path.partition(":")[0], None, None)  # an error that names today's revision
    if not file.is_file():
        raise ValueError(
            f"{file} is no file: corpus_path must name a file of JSON lines, or a dataset of the hub as "
            "owner/name@revision"
        )
    with _opened(file) as opened:
        start = opened.read(_CHUNK).removeprefix(codecs.BOM_UTF8).lstrip()
    if start.startswith(b"PAR1"):
        return Rows("parquet", _of_parquet(file))
    if begin := next((begin for begin in _BEGINS if start.startswith(begin)), None):
        raise ValueError(f"{file} is {_BEGINS[begin]}; read are JSON lines, a JSON array, parquet, gzip")
    packed = ", gzip" if _is_gzip(file) else ""
    if _is_lines(start):
        return Rows(f"JSON lines{packed}", _of_lines(file))
    name = "JSON array" if start.startswith(b"[") else "JSON values"
    return Rows(name + packed, _of_values(file))


def _is_gzip(file: Path) -> bool:
    with open(file, "rb") as opened:
        return opened.read(2) == b"\x1f\x8b"


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """A file for reading, unpacked where it is gzip; ValueError where it is damaged."""
    try:
        with (gzip.open if _is_gzip(file) else open)(file, "rb") as opened:
            yield opened
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{file} is damaged: {str(error) or type(error).__name__}") from None


def _is_lines(start: bytes) -> bool:
    """Whether the first line is a row of its own, or at least the beginning of no other form."""
    first, _, rest = start.partition(b"\n")
    if first[:1] == b"[":
        return False
    return not (first.strip() == b"{" or (rest and first.rstrip().endswith((b"{", b"[", b","))))


def _of_lines(file: Path) -> Iterator[tuple[str, object]]:
    """Every line that is not blank; one may hold several objects."""
    with _opened(file) as opened:
        number = 0
        while line := opened.readline(ROW_LIMIT + 1):
            number += 1
            rest = line
            while len(rest) > ROW_LIMIT and not rest.endswith(b"\n"):
                rest = opened.readline(ROW_LIMIT + 1)
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # Windows writes one
            if line.strip():
                yield from _rows_of_line(f"line {number}", line)


def _rows_of_line(place: str, line: bytes) -> Iterator[tuple[str, object]]:
    try:
        value = _json(line)
    except ValueError as error:
        several = _several(line)
        if several is None:
            yield place, error
            return
        for index, value in enumerate(several, 1):
            yield f"{place}, object {index}", value
        return
    yield place, value


def _json(line: bytes) -> dict:
    """The object of a line."""
    if len(line) > ROW_LIMIT:
        raise ValueError(f"longer than {ROW_LIMIT:,} bytes")
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _several(line: bytes) -> list[dict] | None:
    """The objects of a line that holds nothing else, without line breaks between them."""
    if not line.lstrip().startswith(b"{") or len(line) > ROW_LIMIT:
        return None
    decoder, values, position = json.JSONDecoder(), [], 0
    try:
        text = line.decode().strip()
        while position < len(text):
            value, position = decoder.raw_decode(text, position)
            values.append(value)
            while text[position : position + 1] in (" ", "\t", ","):
                position += 1
    except (ValueError, RecursionError):
        return None
    return values if len(values) > 1 and all(isinstance(value, dict) for value in values) else None


def _of_values(file: Path) -> Iterator[tuple[str, object]]:
    """The objects of a JSON array, of JSON values one behind another, or of the one list that an object
    holds; as many bytes are held at a time as the largest of them has.
    """
    number = 0
    for value in _values(file):
        number += 1
        place = f"item {number}"
        listed = _only_list(value)
        if listed is not None and number == 1:
            for index, one in enumerate(listed, 1):
                yield f"item {index}", _row(one)
        elif isinstance(value, ValueError):
            yield place, ValueError(f"{value}; nothing behind it can be read")
        else:
            yield place, _row(value)


def _row(value: object) -> object:
    return value if isinstance(value, dict) else ValueError("not a JSON object")


def _only_list(value: object) -> list | None:
    """The rows of an object that is no row itself but holds a list of them, as `{"data": [...]}` does."""
    if not isinstance(value, dict):
        return None
    lists = [one for one in value.values() if isinstance(one, list) and one and isinstance(one[0], dict)]
    if len(lists) != 1 or not lists[0][0].keys().isdisjoint(["role", "from"]):
        return None
    return lists[0] if len(value) == 1 or "data" in value else None


def _values(file: Path) -> Iterator[object]:
    """JSON values of a file, those of an array at its top one by one; a ValueError is the last of them."""
    decode = codecs.getincrementaldecoder("utf-8-sig")()
    decoder = json.JSONDecoder()
    text, wanted, begun = "", _CHUNK, False
    with _opened(file) as opened:
        ended = False
        while True:
            text = text.lstrip(" \t\r\n," if begun else " \t\r\n")
            if not begun and text:
                text, begun = text.removeprefix("["), True
                continue
            if begun and text.startswith("]"):
                text = text[1:]
                continue
            try:
                value, end = decoder.raw_decode(text) if text else (None, 0)
            except RecursionError:
                yield ValueError("nested too deeply")
                return
            except ValueError as error:
                failed = error
                end = 0
            if end and (ended or end < len(text)):
                yield value
                text, wanted = text[end:], _CHUNK
                continue
            if ended:
                if text:
                    yield ValueError(f"not JSON: {getattr(failed, 'msg', failed)}")
                return
            if len(text) > ROW_LIMIT:
                yield ValueError(f"not JSON, or longer than {ROW_LIMIT:,} bytes")
                return
            try:
                more = opened.read(wanted)
                text += decode.decode(more, final=not more)
            except UnicodeDecodeError as error:
                yield ValueError(f"not UTF-8: {error.reason}")
                return
            ended, wanted = not more, min(2 * wanted, ROW_LIMIT)


def _of_parquet(file: Path) -> Iterator[tuple[str, object]]:
    from datasets import load_dataset

    try:
        rows = load_dataset("parquet", data_files=str(file), split="train", streaming=True)
        for number, row in enumerate(rows, 1):
            yield f"row {number}", row
    except Exception as error:  # of datasets, pyarrow, fsspec: each has exceptions of its own
        said = str(error).strip().partition("\n")[0][:200]
        raise ValueError(f"{file} cannot be read as parquet: {type(error).__name__}: {said}") from None


def _of_hub(path: str) -> Iterator[tuple[str, object]]:
    """The rows of all splits; where there are several, each says its own under `split` and in its id."""
    repo, config, revision = hub_id(path)
    for split, rows in hub.dataset_rows(repo, config, revision).items():
        for number, row in enumerate(rows, 1):
            if split is not None:
                own = {} if row.get("id") is None else {"id": f"{split}-{row['id']}"}
                row = row | {"split": split} | own
            yield f"{split or 'row'} {number}", row
