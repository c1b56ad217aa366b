"""Where this is: the clone, its commit, the versions that shape a number, the machine and its
memory.
"""

import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import trajnb
from trajnb.escaping import in_terminal

ROOT = Path(trajnb.__file__).parents[1]
"""The clone: notebooks, params and reports lie here."""

PACKAGES = (
    "trajnb",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "datasets",
    "tokenizers",
    "numpy",
)

CHANGED = "+changes"
"""What a commit ends with where tracked files differed from it."""

PROGRESS = "» "
"""What a line starts with that says how far something is; of a log, `trajnb run` shows the last
such line.
"""

FASTER = {"THP_MEM_ALLOC_ENABLE": "1"}
"""Environment of a process that trains: torch asks for large memory pages, which takes 5 % off on a
CPU.
"""


def say(text: str) -> None:
    """Print how far something is, for the reader of a notebook, of a log and of `trajnb run`."""
    print(in_terminal(f"{PROGRESS}{text}"), flush=True)


def resolve(path: str | Path) -> Path:
    """A path as notebooks take it: relative ones start at the clone, wherever they are run from."""
    return ROOT / Path(path).expanduser()


def found(path: str) -> str:
    """A path that a command or a params file names, as notebooks take it, see `resolve`.

    A relative one starts at the folder in which the command is run. Where nothing is there, and where
    that is the clone, it stays as it is, and starts at the clone.
    """
    here = Path.cwd() / Path(path).expanduser()
    if not path or here == resolve(path) or not here.exists():
        return path
    return str(here.relative_to(ROOT) if here.is_relative_to(ROOT) else here)


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


def versions_line(*packages: str) -> str:
    """What stands on top of a notebook: `python 3.11.7 · trajnb 0.1.0 · ...`.

    Raises:
        PackageNotFoundError: one of `packages` is not installed.
    """
    named = [("python", platform.python_version()), *((name, version(name)) for name in packages)]
    return " · ".join(f"{name} {number}" for name, number in named)


def describe() -> str:
    """The machine in words: processor and cores, memory, GPU."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    words = f"{_processor()}, {cores()} cores, {memory:.0f} GiB"
    torch = sys.modules.get("torch")  # never imported for this alone
    if torch and torch.cuda.is_available():
        words += f", {torch.cuda.get_device_name(0)}"
    return words


def cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line for line in lines if line.startswith("model name")]
        return names[0].split(":", 1)[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def peak_memory_mb() -> float:
    """The most memory this process has held, MB; on a GPU, the most its tensors took there."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes there, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def git_commit() -> str:
    """The commit of the clone, with `CHANGED` where tracked files differ; empty outside a clone."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = commit and _git("status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:  # no git on this machine
        return ""
    return commit + (CHANGED if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""
