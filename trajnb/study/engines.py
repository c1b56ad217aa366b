"""Where jobs run. An engine takes jobs and the number that may run at a time, and returns what
failed.

`local` are processes of this machine. Those of clusters (`on_ray`, `on_slurm`) are called alike.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from trajnb.escaping import in_terminal
from trajnb.machine import cores
from trajnb.study import attempts
from trajnb.study.job import (
    Held,
    Job,
    Process,
    has_locks,
    last_error,
    own_kernel,
    read_progress,
    start,
    stop,
)
from trajnb.study.live import Outlook, live_line

QUIET = 15
"""Seconds between two progress lines of a notebook where no terminal shows a live line."""
POLL = 0.2
"""Seconds between two looks at the processes."""
REDRAW = 1.0
"""Seconds between two live lines."""

Slots = list[dict[str, str]]
"""One environment for each process at a time."""


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
    """The names that CUDA_VISIBLE_DEVICES may hold, found without torch, which takes seconds to
    import.
    """
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        names = (name.strip() for name in os.environ["CUDA_VISIBLE_DEVICES"].split(","))
        return [name for name in names if name not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True).stdout
    return [
        str(place) for place in range(sum(line.startswith("GPU ") for line in listed.splitlines()))
    ]


def local(
    jobs: list[Job],
    slots: Slots,
    is_done: Callable[[Job], bool],
    changed: Callable[[Job, str], None],
) -> dict[str, str]:
    """Execute `jobs`, `len(slots)` at a time, and return the error of each one that failed, by
    name.

    `changed(job, state)` hears `running`, `finished` and `failed`. A job that another process still
    works on (a trajnb that was killed leaves its notebooks running) waits for that one, and starts
    unless it then `is_done`. Ctrl-C stops what runs and is raised again.
    """
    engine = _Local(list(jobs), list(slots), is_done, changed)
    with own_kernel() as environment:
        try:
            while engine.waiting or engine.running:
                engine.start_some(environment)
                engine.end_some()
                engine.show()
                time.sleep(POLL)
        except BaseException:  # Ctrl-C first of all; whatever it is, no process may stay behind
            stop(engine.running)
            raise
    return engine.errors


@dataclass
class _Local:
    """Jobs on their way through the processes of this machine."""

    waiting: list[Job]
    free: Slots
    is_done: Callable[[Job], bool]
    changed: Callable[[Job, str], None]
    running: list[Process] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    """Names of jobs of which was said that another process works on them."""
    apart: dict[str, Job] = field(default_factory=dict)
    """By name, the jobs that run as attempts."""
    outlook: Outlook = field(init=False)
    drawn: float = field(default=float("-inf"), init=False)
    """When the live line was drawn."""

    def __post_init__(self):
        self.outlook = Outlook(len(self.waiting), max(len(self.free), 1))

    def start_some(self, environment: dict[str, str]) -> None:
        """Start what waits, as far as there are free slots."""
        for job in self.waiting[:]:
            if not self.free:
                return
            try:
                process = self._start(job, environment)
            except Held:
                self._say_held(job)
                continue
            except OSError as error:  # a full disk: others may have room
                self.waiting.remove(job)
                self.errors[job.name] = f"it cannot be started: {error.strerror}: {error.filename}"
                self._tell(job, "failed", f"failed: {self.errors[job.name]}")
                continue
            self.waiting.remove(job)
            if process is None:
                self.outlook.end(_kind(job))
                self._tell(job, "finished", "finished by another process")
                continue
            self.free.pop()
            self.running.append(process)
            self._tell(job, "running", "running")

    def _start(self, job: Job, environment: dict[str, str]) -> Process | None:
        """Start a job; where a file system has no locks, as an attempt that no other one disturbs,
        for two machines may have begun the same.
        """
        if job.attempts is None or has_locks(job.attempts.parent.parent):
            return start(job, self.free[-1], environment, self.is_done)
        if self.is_done(job):
            return None
        self.apart[job.name] = job
        return start(attempts.begin(job), self.free[-1], environment, lambda _: False)

    def end_some(self) -> None:
        """Hear what the running ones say, and part with those that have ended."""
        for process in self.running[:]:
            ended = process.popen.poll() is not None  # before the last lines are read
            read_progress(process)
            if ended:
                self._end(process)

    def _end(self, process: Process) -> None:
        self.running.remove(process)
        self.free.append(process.slot)
        process.log.close()
        job = self.apart.pop(process.job.name, process.job)
        seconds = time.monotonic() - process.started
        took = elapsed(seconds)
        if process.popen.returncode == 0:
            if job is not process.job:
                attempts.publish(process.job, job, self.is_done)
            self.outlook.end(_kind(job), seconds)
            self._tell(job, "finished", f"finished in {took}")
            return
        self.outlook.end(_kind(job))
        self.errors[job.name] = f"{last_error(process.job)} (see {process.job.log})"
        self._tell(job, "failed", f"failed after {took}: {self.errors[job.name]}")

    def show(self) -> None:
        """On a terminal one live line; elsewhere each notebook's new progress, every so often."""
        now = time.monotonic()
        if not sys.stdout.isatty():
            for one in self.running:
                if one.progress != one.said and now - one.said_at >= QUIET:
                    say(f"{one.job.name}: {elapsed(now - one.started)} {one.progress}")
                    one.said, one.said_at = one.progress, now
            return
        if now - self.drawn < REDRAW:
            return
        self.drawn = now
        running = [(_kind(one.job), now - one.started) for one in self.running]
        left = self.outlook.left(running, list(map(_kind, self.waiting)))
        jobs = [(one.job.name, one.progress) for one in self.running]
        width = shutil.get_terminal_size().columns - 1
        line = live_line(self.outlook, left, jobs, now, width)
        print("\r\x1b[2K" + in_terminal(line)[:width], end="", flush=True)

    def _say_held(self, job: Job) -> None:
        if job.name not in self.held:
            say(f"{job.name}: waiting, another process is still at work on it ({job.log})")
        self.held.add(job.name)

    def _tell(self, job: Job, state: str, text: str) -> None:
        say(f"{job.name}: {text}")
        self.changed(job, state)


def say(text: str) -> None:
    """Print a line that stays, in place of the live line if there is one."""
    print(("\r\x1b[2K" if sys.stdout.isatty() else "") + in_terminal(text), flush=True)


def elapsed(seconds: float) -> str:
    """`3:12` or `1:03:12`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _kind(job: Job) -> str:
    """Jobs of a kind take about as long."""
    return f"{job.notebook.stem} {job.parameters.get('strategy', '')}"
