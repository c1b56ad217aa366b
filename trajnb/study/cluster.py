"""Jobs on other machines: what one of them does with a job, and how the study follows them.

The machines see the study's folder and the clone under the same paths, with the same environment.
An engine (`on_ray`, `on_slurm`) only says how a job gets there and what has become of it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from trajnb.study import attempts
from trajnb.study.engines import elapsed, say
from trajnb.study.job import Held, Job, last_error, last_progress, own_kernel, start, stop

Handle = TypeVar("Handle")

LOOK = 10.0
"""Seconds between two looks of an attempt at whether another one was first."""
POLL = 1.0
"""Seconds between two looks at the jobs."""
QUIET = 15.0
"""Seconds between two progress lines of a job."""
ATTEMPTS = 4
"""How often a job is started in all where its machine is lost, or its process killed."""


@contextmanager
def wanted(extra: str) -> Iterator[None]:
    """Within, a package of the extra is imported: where it is not installed, ValueError says how to
    install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--engine {extra} needs {error.name}, which is not installed: "
            f"pip install -e '.[{extra}]'"
        ) from error


def work(job: Job, is_done: Callable[[Job], bool]) -> str:
    """Execute a job on this machine; the error where it failed, empty where it is done, by this
    attempt or by another.
    """
    if is_done(job):
        return ""
    try:
        attempt = attempts.begin(job) if job.attempts else job
        status = _execute(attempt, job, is_done)
    except Held:
        return f"another process is still at work on it ({job.log})"
    if status != 0:
        return "" if is_done(job) else f"{last_error(attempt)} (see {attempt.log})"
    if job.attempts:
        attempts.publish(attempt, job, is_done)
    return ""


def _execute(attempt: Job, job: Job, is_done: Callable[[Job], bool]) -> int:
    """The exit status of an attempt; it is stopped where another one was first."""
    with own_kernel() as environment:
        process = start(attempt, {}, environment, lambda _: False)
        looked = time.monotonic()
        try:
            while process.popen.poll() is None:
                time.sleep(POLL / 5)
                if job.attempts and time.monotonic() - looked > LOOK:
                    looked = time.monotonic()
                    if is_done(job):
                        stop([process])
        except BaseException:  # the cluster wants the machine back
            stop([process])
            raise
        finally:
            process.log.close()
    return process.popen.returncode


@dataclass(frozen=True)
class Backend(Generic[Handle]):
    """How jobs get to other machines."""

    begin: Callable[[list[Job]], list[Handle]]
    """Starts jobs; a handle of each."""
    ended: Callable[[Handle], str | None]
    """None while a job waits or runs; then its error, empty where it is done."""
    cancel: Callable[[Handle], None]
    at_a_time: int | None = None
    """Jobs that are with the engine at once; None leaves that to it."""


def follow(
    backend: Backend,
    jobs: Sequence[Job],
    changed: Callable[[Job, str], None],
) -> dict[str, str]:
    """Have `jobs` executed, and return the error of each one that failed, by name.

    `changed(job, state)` hears `running`, `finished` and `failed`. Ctrl-C cancels what runs and is
    raised again.
    """
    waiting, going, errors = list(jobs), [], {}
    try:
        while waiting or going:
            room = len(waiting) if backend.at_a_time is None else backend.at_a_time - len(going)
            some, waiting = waiting[:room], waiting[room:]
            if some:
                handles = backend.begin(some)
                going += [_Going(job, handle) for job, handle in zip(some, handles, strict=True)]
            for one in going[:]:
                told = backend.ended(one.handle)
                if told is None:
                    _show(one, changed)
                    continue
                going.remove(one)
                _end(one, told, errors, changed)
            time.sleep(POLL)
    except BaseException:
        for one in going:
            backend.cancel(one.handle)
        raise
    return errors


@dataclass
class _Going(Generic[Handle]):
    """A job that is with the engine."""

    job: Job
    handle: Handle
    started: float | None = None
    """When its log was first seen."""
    said: str = ""
    said_at: float = float("-inf")


def _show(one: _Going, changed: Callable[[Job, str], None]) -> None:
    """Tell that a job runs, and its new progress every so often: its log lies where all see it."""
    now = time.monotonic()
    if now - one.said_at < QUIET and one.started is not None:
        return
    log = attempts.newest_log(one.job)
    if not log.exists():
        return
    if one.started is None:
        one.started = now
        say(f"{one.job.name}: running")
        changed(one.job, "running")
    progress = last_progress(log)
    if progress != one.said:
        say(f"{one.job.name}: {elapsed(now - one.started)} {progress}")
        one.said = progress
    one.said_at = now


def _end(
    one: _Going, told: str, errors: dict[str, str], changed: Callable[[Job, str], None]
) -> None:
    if told:
        errors[one.job.name] = told
        say(f"{one.job.name}: failed: {told}")
        changed(one.job, "failed")
        return
    seconds = time.monotonic() - one.started if one.started is not None else 0.0
    say(f"{one.job.name}: finished in {elapsed(seconds)}")
    changed(one.job, "finished")
