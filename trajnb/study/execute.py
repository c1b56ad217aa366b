"""Execute notebooks through papermill, one process each, some at a time, and show how far they are.

A notebook says how far it is by printing lines that start with `» `. All it prints goes to its log; the last
such line is what a person sees here.
"""

import fcntl
import json
import os
import shutil
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

from trajnb.machine import FASTER, cores

PROGRESS = "» "
QUIET = 15  # seconds between two progress lines of a notebook where no terminal shows a live line
POLL = 0.2  # seconds between two looks at the processes
PATIENCE = 10  # seconds that a process gets to end by itself when a study is stopped

Slots = list[dict[str, str]]  # one environment for each process at a time


@dataclass(frozen=True)
class Job:
    """One notebook to execute: with which parameters, and where what it leaves goes."""

    name: str
    notebook: Path
    executed: Path
    parameters_file: Path
    log: Path
    parameters: dict


@dataclass
class _Process:
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


def slots(jobs: int | None) -> Slots:
    """A slot for each of `jobs` processes at a time: one GPU, or an equal share of the cores.

    `None` makes as many as there are GPUs, or one. More jobs than GPUs share them in turn.
    """
    gpus = visible_gpus()
    count = jobs or len(gpus) or 1
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} for place in range(count)]
    if "OMP_NUM_THREADS" in os.environ:  # someone knows better
        return [{}] * count
    return [{"OMP_NUM_THREADS": str(max(1, cores() // count))}] * count


def visible_gpus() -> list[str]:
    """The names that CUDA_VISIBLE_DEVICES may hold, found without torch, which takes seconds to import."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        names = (name.strip() for name in os.environ["CUDA_VISIBLE_DEVICES"].split(","))
        return [name for name in names if name not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True).stdout
    return [str(place) for place in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]


@contextmanager
def own_kernel() -> Iterator[dict[str, str]]:
    """An environment whose kernel `python3` is the interpreter that runs this, whatever is installed."""
    with tempfile.TemporaryDirectory(prefix="trajnb-kernel-") as folder:
        spec = Path(folder, "kernels", "python3", "kernel.json")
        spec.parent.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec.write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
        path = os.pathsep.join(filter(None, [folder, os.environ.get("JUPYTER_PATH")]))  # the first one wins
        yield os.environ | {"JUPYTER_PATH": path}


def execute(
    jobs: list[Job],
    slots: Slots,
    is_finished: Callable[[Job], bool],
    changed: Callable[[Job, str], None],
) -> dict[str, str]:
    """Execute `jobs`, `len(slots)` at a time, and return the error of each one that failed, by name.

    `changed(job, state)` hears `running`, `finished` and `failed`. A job that another process still works on
    (a trajnb that was killed leaves its notebooks running) waits for that one, and starts unless it then
    `is_finished`. Ctrl-C stops what runs and is raised again.
    """
    waiting, running, free, errors = list(jobs), [], list(slots), {}
    held: set[str] = set()

    def tell(job: Job, state: str, text: str) -> None:
        say(f"{job.name}: {text}")
        changed(job, state)

    def start_some(environment: dict[str, str]) -> None:
        for job in waiting[:]:
            if not free:
                return
            try:
                process = _start(job, free[-1], environment, is_finished)
            except Held:
                if job.name not in held:
                    say(f"{job.name}: waiting, another process is still at work on it ({job.log})")
                held.add(job.name)
                continue
            waiting.remove(job)
            if process is None:
                tell(job, "finished", "finished by another process")
                continue
            free.pop()
            running.append(process)
            tell(job, "running", "running")

    def end_some() -> None:
        for process in running[:]:
            ended = process.popen.poll() is not None
            _read_progress(process)
            if not ended:
                continue
            running.remove(process)
            free.append(process.slot)
            process.log.close()
            job, took = process.job, elapsed(time.monotonic() - process.started)
            if process.popen.returncode == 0:
                tell(job, "finished", f"finished in {took}")
            else:
                errors[job.name] = f"{last_error(job)} (see {job.log})"
                tell(job, "failed", f"failed after {took}: {errors[job.name]}")

    with own_kernel() as environment:
        try:
            while waiting or running:
                start_some(environment)
                end_some()
                _show(running)
                time.sleep(POLL)
        except BaseException:  # Ctrl-C first of all; whatever it is, no process may stay behind
            _stop(running)
            raise
    return errors


def _start(
    job: Job, slot: dict[str, str], environment: dict[str, str], is_finished: Callable[[Job], bool]
) -> _Process | None:
    """Start papermill on `job`; None where it is finished already, Held where another process works on it."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        try:
            # Papermill and its kernel inherit the log and so the lock: it lasts as long as either lives.
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held from None
        except OSError:
            pass  # a file system without locks
        if is_finished(job):
            return None
        job.parameters_file.write_text(yaml.safe_dump(job.parameters, sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "papermill", str(job.notebook), str(job.executed)]
        command += ["-f", str(job.parameters_file), "-k", "python3", "--log-output", "--no-progress-bar"]
        reader = job.log.open("rb")
        reader.seek(0, os.SEEK_END)
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=FASTER | environment | slot,
            cwd=job.notebook.parents[1],  # the repository's root, which relative paths start from
        )
    return _Process(job, popen, slot, reader)


def last_error(job: Job) -> str:
    """The error that ended `job`, in one line: that of the notebook's cell, else the last line of its log."""
    try:
        cells = json.loads(job.executed.read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        errors = [f"{one['ename']}: {one['evalue']}" for one in outputs if one["output_type"] == "error"]
    except (OSError, ValueError):
        errors = []
    lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = (errors or [line for line in lines if line.strip()] or ["it ended without a word"])[-1]
    return " ".join(last.split())


def say(text: str) -> None:
    """Print a line that stays, in place of the live line if there is one."""
    print(f"\r\x1b[2K{text}" if sys.stdout.isatty() else text, flush=True)


def elapsed(seconds: float) -> str:
    """`3:12` or `1:03:12`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _read_progress(process: _Process) -> None:
    *lines, process.unread = (process.unread + process.log.read()).split(b"\n")
    for line in (line.decode(errors="replace") for line in lines):
        if line.startswith(PROGRESS):
            process.progress = line.removeprefix(PROGRESS).strip()


def _show(running: list[_Process]) -> None:
    """On a terminal one live line; elsewhere each notebook's new progress, every so often."""
    now = time.monotonic()
    if sys.stdout.isatty():
        parts = [f"{one.job.name} {elapsed(now - one.started)} {one.progress}" for one in running]
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[2K{' | '.join(parts)[:width]}", end="", flush=True)
        return
    for one in running:
        if one.progress != one.said and now - one.said_at >= QUIET:
            say(f"{one.job.name}: {elapsed(now - one.started)} {one.progress}")
            one.said, one.said_at = one.progress, now


def _stop(running: list[_Process]) -> None:
    """End the processes; their kernels see them go and follow."""
    for process in running:
        process.popen.terminate()
    end = time.monotonic() + PATIENCE
    for process in running:
        try:
            process.popen.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
