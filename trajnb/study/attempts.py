"""Attempts at a run: each works in a folder of its own, and one rename makes it the run's.

A cluster starts a job again where it has lost sight of a machine, and the first attempt may still
be alive; two people may run one study; a file system may have no locks. So an attempt touches
nothing that another one works on, and who publishes second finds the run there and leaves it. What
a dead attempt has finished (adapters, checkpoints, answers) is copied into the next one.
"""

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from trajnb.files import OCCUPIED, read_bytes, sync_files, sync_folder, write_bytes
from trajnb.study.job import Job, hold


def begin(job: Job) -> Job:
    """The job, to be worked on in a fresh folder of `job.attempts`: it begins with what is whole in
    the folder of the run, or in the attempt that came farthest.

    Raises:
        Held: a process that works in the run's folder itself is still at it.
    """
    if job.log.exists():
        with hold(job.log):
            pass
    folder = job.attempts / uuid.uuid4().hex
    before = max([job.folder, *_others(job)], key=_how_far)
    fresh = folder.with_name(f".{folder.name}")
    fresh.mkdir(parents=True)
    own = {path.name for path in (job.log, job.executed, job.parameters_file)}
    if before.is_dir():
        _copy_whole(before, fresh, own)
    fresh.rename(folder)
    written = _written(job, folder)
    return replace(
        job,
        executed=folder / job.executed.name,
        parameters_file=folder / job.parameters_file.name,
        log=folder / job.log.name,
        parameters=job.parameters | {"run_folder": written},
    )


def newest_log(job: Job) -> Path:
    """The log of the attempt that was begun last, or of the job itself."""
    logs = [folder / job.log.name for folder in _others(job)] if job.attempts else []
    logs = [log for log in logs if log.exists()]
    return max(logs, key=_begun, default=job.log)


def _begun(log: Path) -> float:
    try:
        return log.parent.stat().st_ctime
    except OSError:  # it was published, or removed
        return 0.0


def _others(job: Job) -> list[Path]:
    """Attempts at the job that were begun, dead or alive."""
    if not job.attempts.is_dir():
        return []
    return [path for path in job.attempts.iterdir() if not path.name.startswith(".")]


def _how_far(folder: Path) -> tuple[int, ...]:
    """How much of a run is there: adapters first, then answers, then checkpoints."""
    steps = [int(path.parent.name.rpartition("-")[2]) for path in _checkpoints(folder)]
    whole = sum(1 for path in folder.glob("adapters/[!.]*"))
    files = sum(1 for path in [*folder.glob("stages/*"), *folder.glob("preferences/*/*")])
    return folder.is_dir(), whole, files, max(steps, default=0)


def _checkpoints(folder: Path) -> list[Path]:
    """The file of every checkpoint that the Trainer writes last."""
    return list(folder.glob("checkpoints/*/checkpoint-*/trainer_state.json"))


def _copy_whole(source: Path, target: Path, leave: set[str]) -> None:
    """Copy a folder that another attempt may still be writing: drafts, whose names begin with a
    dot, stay behind, and so does a folder of which a file vanishes meanwhile.
    """
    try:
        entries = sorted(source.iterdir())  # as they are now: of a checkpoint the last one, or not
    except FileNotFoundError:
        return
    target.mkdir(exist_ok=True)
    try:
        for entry in entries:
            if entry.is_symlink() or entry.name.startswith(".") or entry.name in leave:
                continue
            if entry.is_dir():
                _copy_whole(entry, target / entry.name, set())
            else:
                shutil.copyfile(entry, target / entry.name)
    except FileNotFoundError:
        if not leave:  # of the attempt's own folder what was copied is kept
            shutil.rmtree(target)


def publish(attempt: Job, job: Job, is_done: Callable[[Job], bool]) -> None:
    """Make the folder of a finished attempt the run's, unless another attempt was first; the other
    attempts are removed.
    """
    while not is_done(job):
        try:
            _name_anew(attempt, job)
            sync_files(attempt.folder)
            job.folder.parent.mkdir(parents=True, exist_ok=True)
            os.rename(attempt.folder, job.folder)
            sync_folder(job.folder.parent)
        except FileNotFoundError:
            if not is_done(job):  # else another one is published, and has removed this one
                raise
        except OSError as error:
            if error.errno not in OCCUPIED:
                raise
            _set_aside(job)
    shutil.rmtree(job.attempts, ignore_errors=True)


def _set_aside(job: Job) -> None:
    """Make room where a run stands that lacks something; it counts as one more attempt."""
    try:
        os.rename(job.folder, job.attempts / uuid.uuid4().hex)
    except FileNotFoundError:  # another attempt does the same
        pass


def _name_anew(attempt: Job, job: Job) -> None:
    """Let the record, the parameters and the executed notebook name the folder that they will be
    in. Only what is the attempt's alone is replaced, so that no other text can be meant.
    """
    old = f"{job.attempts.parent.name}/{job.attempts.name}/{attempt.folder.name}"
    new = f"{job.folder.parent.name}/{job.folder.name}"
    for path in (attempt.folder / "record.json", attempt.parameters_file, attempt.executed):
        if path.is_file():
            write_bytes(path, read_bytes(path).replace(old.encode(), new.encode()))


def _written(job: Job, folder: Path) -> str:
    """The folder as the job's parameters write that of the run: from the clone where they do."""
    given = Path(job.parameters["run_folder"])
    return str(folder) if given.is_absolute() else str(folder.relative_to(job.notebook.parents[1]))
