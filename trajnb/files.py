"""Files as runs leave them: they appear whole or not at all, and are read as what may come from
anyone.

Only regular files are read: a link may lead to what is nobody's business, and a pipe has no end.
"""

import errno
import glob
import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from trajnb.plain import parse_json, parse_yaml
from trajnb.shapes import check_shape

MOST = 2**28
"""Bytes of a file, and of what it is unpacked; records of a whole study have a tenth of it."""
LINE = 2**24
"""Bytes of a line: a rollout has a few thousand."""
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
"""What the system calls a folder that stands where another one is to be renamed to."""
STALE = 3600
"""Seconds after which a draft is nobody's."""
YAML_MOST = 2**20
"""Bytes of a YAML file; study.yaml has under one thousand for a run."""


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is a link, a pipe, a device or a folder, or has more than `most` bytes.
    """
    with _opened(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it has grown since
        raise ValueError(f"{path.name} has more than {most:,} bytes")
    return content


def read_json(path: Path) -> object:
    """What a JSON file says; errors as of `read_bytes`, and ValueError for what is no JSON."""
    with _named(path):
        return parse_json(read_bytes(path).decode("utf-8"))


def read_yaml(path: Path) -> object:
    """What a YAML file says; errors as of `read_bytes`, and ValueError for what `plain` refuses."""
    with _named(path):
        return parse_yaml(read_bytes(path, YAML_MOST).decode("utf-8"))


def read_lines(path: Path, kind: type = dict) -> list[dict]:
    """The objects of a JSON-lines file, which may be compressed (`.gz`), each of which is a `kind`,
    see `shapes`; errors as of `read_json`, with the line, at the first that is wrong.
    """
    found = []
    with _named(path), _opened(path, MOST) as file:
        for line in _lines(gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file):
            with _named(f"line {len(found) + 1}"):
                value = parse_json(line.decode("utf-8"))
                check_shape(value, kind, "it")
            found.append(value)
    return found


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, which are never held in memory beyond what is allowed."""
    total = 0
    try:
        while line := file.readline(LINE + 1):
            total += len(line)
            if len(line) > LINE:
                raise ValueError(f"it has a line of more than {LINE:,} bytes")
            if total > MOST:
                raise ValueError(f"it holds more than {MOST:,} bytes")
            yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"it is no whole gzip file: {error}") from None


@contextmanager
def _opened(path: Path, most: int) -> Iterator[BinaryIO]:
    """A regular file, open for reading. Opening a pipe waits for nobody."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) and path.is_symlink():
            raise ValueError(f"{path.name} is a link, and links are not followed") from None
        if error.errno in (errno.ENXIO, errno.ENODEV):  # a socket, a device that is not there
            raise ValueError(f"{path.name} is no regular file") from None
        raise
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is no regular file")
    with open(descriptor, "rb") as file:
        if about.st_size > most:
            raise ValueError(f"{path.name} has {about.st_size:,} bytes, more than {most:,}")
        yield file


@contextmanager
def _named(what: Path | str) -> Iterator[None]:
    """Errors within begin with the name of the file, or the line."""
    name = what.name if isinstance(what, Path) else what
    try:
        yield
    except UnicodeDecodeError:
        raise ValueError(f"{name}: it is not UTF-8 text") from None
    except ValueError as error:
        told = str(error)
        raise ValueError(told if told.startswith(name) else f"{name}: {told}") from None


def present(path: Path) -> Path:
    """The file, or the compressed one beside it."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if os.path.lexists(packed) and not os.path.lexists(path) else path


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, atomically."""
    write_bytes(path, f"{json.dumps(value, indent=1)}\n".encode())


def write_lines(path: Path, rows: Iterable[Mapping]) -> None:
    """Write one JSON object a line, atomically; compressed where the name ends with `.gz`."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    write_bytes(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, with its folders: readers see the old one or the new one, never a half, also
    after the machine lost its power.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    fresh = _draft(path)
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:  # a full disk, of which Python says not where it is
        fresh.unlink(missing_ok=True)
        if error.filename:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    sync_folder(path.parent)


_NUMBER = re.compile(r"\(os error (\d+)\)")
"""How safetensors tells what the system said."""
_UNWRITTEN = ("PytorchStreamWriter failed", "inline_container.cc", "iostream error")
"""How torch tells that a file could not be written; it says not why."""


@contextmanager
def written_by_a_library(path: Path) -> Iterator[None]:
    """What keeps a library from writing into `path` is an OSError, as it is for all other files.

    safetensors and torch write past Python, and each says in words of its own that a disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.filename or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    except Exception as error:
        told = str(error)
        if number := _NUMBER.search(told):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        if any(words in told for words in _UNWRITTEN):
            raise OSError(errno.ENOSPC, "a file in it could not be written", str(path)) from error
        raise


def _draft(path: Path) -> Path:
    """Where `path` is written before it gets its name: another place each time, for processes of
    several machines, which may have one number, may write the same file.
    """
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")


def _sweep(path: Path, stale: float = STALE) -> None:
    """Remove what killed processes left of this file or folder: drafts that nobody has touched for
    so many seconds.
    """
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime >= stale:
                shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


@contextmanager
def whole_folder(path: Path, shared: bool = False) -> Iterator[Path]:
    """A folder to fill, which gets its name at the end: readers see all of it or nothing.

    `shared`: another process may be filling the same one; the first one's folder stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path, STALE if shared else 0)
    fresh = _draft(path)
    try:
        yield fresh
        sync_files(fresh)
        fresh.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        if not shared or error.errno not in OCCUPIED:
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def sync_files(folder: Path) -> None:
    """Let the disk have all that is in a folder, before its name says that it is whole."""
    for path in [*folder.rglob("*"), folder]:
        sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Let the disk have the names in a folder, or the content of a file, so that a name which says
    that others are whole never outlives them.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # a file system that cannot
        pass
    finally:
        os.close(descriptor)


def digest(value: object) -> str:
    """The sha256 of a value as JSON; a dataclass counts as its fields."""
    return hashlib.sha256(json.dumps(value, default=vars, sort_keys=True).encode()).hexdigest()
