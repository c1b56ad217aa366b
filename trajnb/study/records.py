"""What a run leaves behind, written and read: `record.json`, `items.jsonl`, `predictions.jsonl`. The README
lists their keys; keys are only added.

Every file appears whole or not at all; `record.json` comes last and marks a run as finished.
"""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import trajnb

ROOT = Path(trajnb.__file__).parents[1]
"""The clone: notebooks, params and reports lie here."""

PACKAGES = ("trajnb", "torch", "transformers", "peft", "bitsandbytes", "datasets", "tokenizers", "numpy")


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    record: dict
    items: list[dict]
    predictions: list[dict]


def resolve(path: str | Path) -> Path:
    """A path as notebooks take it: relative ones start at the clone, wherever the notebook is run from."""
    return ROOT / Path(path).expanduser()


def read_run(folder: Path) -> Run:
    """One finished run. Raises ValueError, naming the file, where one is missing or damaged."""
    try:
        record = json.loads((folder / "record.json").read_text())
        return Run(
            folder, record, read_lines(folder / "items.jsonl"), read_lines(folder / "predictions.jsonl")
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the records in {folder} cannot be read ({error}); delete the folder and run again"
        ) from error


def runs_folder(study: Path) -> Path:
    """Where the runs of a study lie: in its `runs/`, or in its `records/` where only these were kept, or in
    it.
    """
    return next((study / part for part in ("runs", "records") if (study / part).is_dir()), study)


def read_study(folder: Path) -> list[Run]:
    """The finished runs of a study folder, by name."""
    return [read_run(path.parent) for path in sorted(runs_folder(folder).glob("*/record.json"))]


def read_lines(path: Path) -> list[dict]:
    """The objects of a JSON-lines file."""
    with path.open() as lines:
        return [json.loads(line) for line in lines]


def write_json(path: Path, value) -> None:
    """Write `value` as JSON, atomically."""
    _write(path, json.dumps(value, indent=1) + "\n")


def write_lines(path: Path, rows: Iterable[dict]) -> None:
    """Write one JSON object a line, atomically."""
    _write(path, "".join(json.dumps(row) + "\n" for row in rows))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    os.replace(fresh, path)


def digest(value) -> str:
    """The sha256 of a value as JSON; a dataclass counts as its fields."""
    return hashlib.sha256(json.dumps(value, default=vars, sort_keys=True).encode()).hexdigest()


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a number."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> str:
    """The machine in words: processor and cores, memory, GPU."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words = f"{_processor()}, {cores} cores, {memory:.0f} GiB"
    torch = sys.modules.get("torch")  # never imported for this alone
    if torch and torch.cuda.is_available():
        words += f", {torch.cuda.get_device_name(0)}"
    return words


def _processor() -> str:
    try:
        names = [
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
        ]
        return names[0].split(":", 1)[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def peak_memory_mb() -> float:
    """The most memory this process has held, in MB; on a GPU, the most its tensors took there."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    )


def git_commit() -> str:
    """The commit of the clone, with `+changes` where tracked files differ; empty outside a clone."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        return commit + (
            "+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except FileNotFoundError:
        return ""
