"""Files as runs leave them: they appear whole or not at all."""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path


def read_lines(path: Path) -> list[dict]:
    """The objects of a JSON-lines file, which may be compressed (`.gz`)."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def present(path: Path) -> Path:
    """The file, or the compressed one beside it."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.is_file() and not path.is_file() else path


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, atomically."""
    write_bytes(path, f"{json.dumps(value, indent=1)}\n".encode())


def write_lines(path: Path, rows: Iterable[Mapping]) -> None:
    """Write one JSON object a line, atomically; compressed where the name ends with `.gz`."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    write_bytes(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, with its folders: readers see the old one or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def digest(value: object) -> str:
    """The sha256 of a value as JSON; a dataclass counts as its fields."""
    return hashlib.sha256(json.dumps(value, default=vars, sort_keys=True).encode()).hexdigest()
