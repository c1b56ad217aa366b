"""One notebook, executed through papermill in a process of its own.

A notebook says how far it is by lines that start with `machine.PROGRESS`. All it prints goes to its
log; the last such line is what a person sees.
"""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import yaml

from trajnb.files import read_json, write_bytes
from trajnb.machine import FASTER, PROGRESS

PATIENCE = 10
"""Seconds that a process gets to end by itself when a study is stopped."""
PAGE = {
    "PYTHONIOENCODING": "utf-8",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}
"""Environment of a process that makes a page: its log is UTF-8 and its figures stand in the page,
whatever else is exported.
"""


@dataclass(frozen=True)
class Job:
    """One notebook to execute: with which parameters, and where what it leaves goes."""

    name: str
    notebook: Path
    executed: Path
    parameters_file: Path
    log: Path
    parameters: dict
    attempts: Path | None = None
    """Where engines that may start a job twice work on it, each time in a folder of its own that
    then becomes that of the log, see `attempts`; None where the job makes no folder.
    """
    module: tuple[str, ...] = ()
    """Of Python, with its arguments: what is executed in place of the notebook."""

    @property
    def folder(self) -> Path:
        """Where it leaves what it makes."""
        return self.log.parent


@dataclass
class Process:
    """A job that runs."""

    job: Job
    popen: subprocess.Popen
    slot: dict[str, str]
    log: BinaryIO
    started: float = field(default_factory=time.monotonic)
    unread: bytes = b""  # the start of a line whose end is not written yet
    progress: str = ""
    said: str = ""  # the progress line printed last,
    said_at: float = float("-inf")  # and when


class Held(Exception):
    """Another process works on this job."""


@contextmanager
def own_kernel() -> Iterator[dict[str, str]]:
    """An environment whose kernel `python3` is the interpreter that runs this, whatever is
    installed.
    """
    with tempfile.TemporaryDirectory(prefix="trajnb-kernel-") as folder:
        spec = Path(folder, "kernels", "python3", "kernel.json")
        spec.parent.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec.write_text(
            json.dumps({"argv": command, "display_name": "Python 3", "language": "python"})
        )
        path = os.pathsep.join(
            filter(None, [folder, os.environ.get("JUPYTER_PATH")])
        )  # the first one wins
        yield os.environ | {"JUPYTER_PATH": path}


@contextmanager
def hold(log: Path) -> Iterator[BinaryIO]:
    """The log of a job, locked: who holds it works on the job alone.

    Raises:
        Held: another process does.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held from None
        except OSError:
            pass  # a file system without locks: there runs are attempts, see `engines`
        yield file


def has_locks(folder: Path) -> bool:
    """Whether the file system of a folder, which is made, has locks."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True  # someone has one
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def start(
    job: Job, slot: dict[str, str], environment: dict[str, str], is_done: Callable[[Job], bool]
) -> Process | None:
    """Start papermill on `job`; None where it is finished already, Held where another process works
    on it.
    """
    with hold(job.log) as log:  # papermill and its kernel inherit it: it lasts as long as they do
        if is_done(job):
            return None
        plain = json.loads(json.dumps(job.parameters))  # shared lists would become YAML anchors
        write_bytes(job.parameters_file, yaml.safe_dump(plain, sort_keys=False).encode())
        module = job.module or _papermill(job)
        reader = job.log.open("rb")
        reader.seek(0, os.SEEK_END)
        popen = subprocess.Popen(
            [sys.executable, "-m", *module],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=FASTER | environment | PAGE | slot,
            cwd=job.notebook.parents[1],  # the repository's root, which relative paths start from
        )
    return Process(job, popen, slot, reader)


def _papermill(job: Job) -> list[str]:
    files = [str(job.notebook), str(job.executed), "-f", str(job.parameters_file)]
    return ["trajnb.study.execute", *files, "-k", "python3", "--log-output", "--no-progress-bar"]


def last_progress(log: Path) -> str:
    """What a job on any machine has said last about how far it is; empty where it has not."""
    told = [line for line in _last_lines(log) if line.startswith(PROGRESS)]
    return told[-1].removeprefix(PROGRESS).strip() if told else ""


def last_error(job: Job) -> str:
    """The error that ended `job`, in one line: that of the notebook's cell, else the last line of
    its log.
    """
    try:
        cells = read_json(job.executed)["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        errors = [
            f"{one['ename']}: {one['evalue']}" for one in outputs if one["output_type"] == "error"
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # it was cut, or is none
        errors = []
    lines = _last_lines(job.log)
    last = (errors or [line for line in lines if line.strip()] or ["it ended without a word"])[-1]
    return " ".join(last.split())


def _last_lines(log: Path) -> list[str]:
    """The last 64 KiB of a log, as lines; nothing of one that cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2**16))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def read_progress(process: Process) -> None:
    """Take note of what the process has said since the last look."""
    *lines, process.unread = (process.unread + process.log.read()).split(b"\n")
    for line in (line.decode(errors="replace") for line in lines):
        if line.startswith(PROGRESS):
            process.progress = line.removeprefix(PROGRESS).strip()


def stop(running: list[Process]) -> None:
    """End the processes; their kernels see them go and follow."""
    for process in running:
        process.popen.terminate()
    end = time.monotonic() + PATIENCE
    for process in running:
        try:
            process.popen.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
