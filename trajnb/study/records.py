"""What a run leaves behind, written and read: `record.json`, `items.jsonl`, `predictions.jsonl`. The README
lists their keys; keys are only added.

Every file appears whole or not at all; `record.json` comes last and marks a run as finished.
"""

import gzip
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

import trajnb

ROOT = Path(trajnb.__file__).parents[1]
"""The clone: notebooks, params and reports lie here."""

BESIDE = ("stops.jsonl", "rollouts.jsonl", "rollout.json")  # of runs that learn to stop, or are rolled out
CHANGES = "+changes"  # behind a commit from which the tree differed
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
        items, predictions = (
            read_lines(_present(folder / name)) for name in ("items.jsonl", "predictions.jsonl")
        )
        return Run(folder, record, items, predictions)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(
            f"the records in {folder} cannot be read ({error}); delete the folder and run again"
        ) from error


def runs_folder(study: Path) -> Path:
    """Where the runs of a study lie: in its `runs/`, or in its `records/` where only these were kept, or in
    it.
    """
    return next((study / part for part in ("runs", "records") if (study / part).is_dir()), study)


def read_study(folder: Path) -> list[Run]:
    """The finished runs of a study folder, by name. Raises ValueError where they cannot be pooled."""
    runs = [read_run(path.parent) for path in sorted(runs_folder(folder).glob("*/record.json"))]
    check_pool(runs)
    return runs


def check_pool(runs: Sequence[Run]) -> None:
    """Raise ValueError, naming two runs, where runs that ask for the same were made from other things:
    another corpus hash, other model weights or revision, another major version of trajnb.
    """
    from trajnb.study.params import CORPUS  # which imports this module

    found: dict[tuple, tuple[Run, str]] = {}
    for run in runs:
        record = run.record
        parameters, model = record["parameters"], record["model"]
        asked = json.dumps([parameters.get(name) for name in CORPUS if name != "corpus_path"])
        major = record["versions"].get("trajnb", "").partition(".")[0]
        for what, key, value in (
            ("corpus hash", asked, record["corpus"]["hash"]),
            (
                "model",
                f"{model['id']} {parameters.get('revision', '')}",
                f"{model['revision']} {model['sha256']}",
            ),
            ("major version of trajnb", "", major),
        ):
            first, before = found.setdefault((what, key), (run, value))
            if value != before:
                raise ValueError(
                    f"runs that cannot be pooled: {first.folder.name} has {what} {before}, {run.folder.name} "
                    f"has {value}; keep them in two folders, or run one of them again"
                )


def with_changes(folder: Path) -> list[str]:
    """The names of a run's records that were made from a tree with uncommitted changes."""
    found = []
    for path in (folder / "record.json", folder / "rollout.json"):
        commit = json.loads(path.read_text()).get("git_commit", "") if path.is_file() else ""
        if commit.endswith(CHANGES):
            found.append(path.name)
    return found


def keep(study: Path, out: Path, allow_changes: bool = False) -> list[str]:
    """Copy the finished runs of a study folder to `out` as records, predictions compressed, with the
    study's own description; returns their names. `out` is what `trajnb run --records` and `trajnb report`
    take, on any machine; of the path of a corpus only the last name is kept.

    Raises:
        ValueError: records made from a tree with uncommitted changes, without `allow_changes`.
    """
    runs = read_study(study)
    changed = {run.folder.name: names for run in runs if (names := with_changes(run.folder))}
    if changed and not allow_changes:
        named = "; ".join(f"{name}: {', '.join(files)}" for name, files in changed.items())
        raise ValueError(
            "records made from a tree with uncommitted changes, which nobody can have again "
            f"({named}). Commit the changes, delete the folder of each such run, or rollout.json "
            "where it is that alone, and run the study again; --allow-changes takes them as they are"
        )
    for run in runs:
        folder = out / "records" / run.folder.name
        write_json(folder / "record.json", run.record | {"parameters": _at_home(run.record["parameters"])})
        write_lines(folder / "items.jsonl", run.items)
        write_lines(folder / "predictions.jsonl.gz", run.predictions)
        for name in BESIDE:
            if (run.folder / name).is_file():
                _write(folder / name, (run.folder / name).read_bytes())
    if (study / "study.yaml").is_file():
        about = yaml.safe_load((study / "study.yaml").read_text(encoding="utf-8"))
        about["runs"] = {name: _at_home(run) for name, run in about["runs"].items()}
        _write(out / "study.yaml", yaml.safe_dump(about, sort_keys=False, allow_unicode=True).encode())
    return [run.folder.name for run in runs]


def _at_home(parameters: dict) -> dict:
    """The parameters without the folders of this machine."""
    path = parameters.get("corpus_path")
    return parameters | ({"corpus_path": Path(path).name} if path else {})


def adopt(folder: Path, kept: Path) -> None:
    """Take the record of a run, kept elsewhere, as that of `folder`; the marker of the end comes last."""
    run = read_run(kept)
    write_lines(folder / "items.jsonl", run.items)
    write_lines(folder / "predictions.jsonl", run.predictions)
    for name in BESIDE:
        if (kept / name).is_file():
            _write(folder / name, (kept / name).read_bytes())
    write_json(folder / "record.json", run.record)


def read_lines(path: Path) -> list[dict]:
    """The objects of a JSON-lines file, which may be compressed (`.gz`)."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _present(path: Path) -> Path:
    """The file, or the compressed one beside it."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.is_file() and not path.is_file() else path


def write_json(path: Path, value) -> None:
    """Write `value` as JSON, atomically."""
    _write(path, f"{json.dumps(value, indent=1)}\n".encode())


def write_lines(path: Path, rows: Iterable[dict]) -> None:
    """Write one JSON object a line, atomically; compressed where the name ends with `.gz`."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    _write(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
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
            CHANGES if commit and git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except FileNotFoundError:
        return ""
