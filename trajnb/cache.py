"""The user's cache: folders that are made once, checked on every use, and made anew where damaged.

A process may be killed at any time: what it was making is removed by the next one that makes
something.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import platformdirs

from trajnb import machine

MANIFEST = "manifest.json"
EVERY = 10.0
"""Seconds from one line about a wait to the next; a shorter wait is silent."""
UNFINISHED = "unfinished-"
"""What the name of a folder begins with in which something is made."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system calls a full disk."""


class CacheError(RuntimeError):
    """The cache cannot hold what was asked for; the message says what to do."""


def cache_folder() -> Path:
    """Where downloads and what is made of them are kept: `TRAJNB_CACHE`, or the user's cache
    folder.
    """
    return Path(os.environ.get("TRAJNB_CACHE") or platformdirs.user_cache_dir("trajnb"))


def build_once(name: str, build: Callable[[Path], None]) -> Path:
    """The cached folder `name`, filled by `build`, and filled anew where a file is missing or
    changed.

    It is filled beside its place and then renamed, so nobody ever sees half of it. Change `name`
    when what `build` writes changes. Any number of processes may call this at once.

    What is there and whole is only read: a cache that was filled may be read-only.

    Raises:
        CacheError: the disk is full, or the cache may not be written to.
    """
    folder = cache_folder() / name
    if not _is_intact(folder):
        with _disk_named(name):
            cache_folder().mkdir(parents=True, exist_ok=True)
            with workplace(cache_folder()) as place:
                _fill(place, folder, build)
    return folder


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Within, no other process makes `name`, as far as the file system has locks: it waits instead of
    doing the same work. A cache that cannot be written to locks nothing.
    """
    with suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with suppress(OSError):
            number = hashlib.sha256(name.encode()).hexdigest()[:2]  # at most 256 files in all
            file = held.enter_context(open(cache_folder() / f".making-{number}", "ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(place: Path, folder: Path, build: Callable[[Path], None]) -> None:
    fresh = place / "fresh"
    fresh.mkdir()
    build(fresh)
    files = sorted(path for path in fresh.rglob("*") if path.is_file())
    manifest = {path.relative_to(fresh).as_posix(): sha256(path) for path in files}
    (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
    _move_into_place(fresh, folder, place / "damaged")


def os_error(error: OSError) -> str:
    """An error of the file system in one sentence: what is wrong with which path, and what to set."""
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    if error.errno in FULL:
        remedy = "make room, or choose a folder on a larger disk"
    else:
        remedy = "make it readable and writable for you, or choose another path"
    path = error.filename or error.filename2
    if path is None or isinstance(path, int):
        return f"{reason}: {remedy}"
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    for folder, variable in ((cache_folder(), "TRAJNB_CACHE"), (hub, "HF_HOME")):
        if Path(os.fsdecode(path)).is_relative_to(folder):
            return f"{os.fsdecode(path)}: {reason}: {remedy} with {variable}"
    return f"{os.fsdecode(path)}: {reason}: {remedy}"


def check_room(needed: int, what: str) -> None:
    """Raise CacheError where the disk of the cache has fewer free bytes than `what` needs."""
    free = shutil.disk_usage(cache_folder()).free
    if free < needed:
        raise CacheError(
            f"{what} needs {needed / 1e6:,.0f} MB in {cache_folder()}, where {free / 1e6:,.0f} MB are "
            "free: make room, or set TRAJNB_CACHE to a folder on a larger disk"
        )


@contextmanager
def told(describe: Callable[[float], str]) -> Iterator[None]:
    """Within, a line is said every `EVERY` seconds; `describe` makes it of the seconds so far."""
    ended, start = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(EVERY):
            machine.say(describe(time.monotonic() - start))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """A folder of this process's own in `parent`, gone at the end; those that killed processes have
    left there are removed first.
    """
    with _locked(parent):
        left = [*parent.glob(f"{UNFINISHED}*"), *parent.glob("building-*")]  # of older versions
        for other in left:
            if _is_abandoned(other):
                shutil.rmtree(other, ignore_errors=True)
        place = Path(tempfile.mkdtemp(dir=parent, prefix=UNFINISHED))
        held = os.open(place, os.O_RDONLY)
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)  # until this process ends, however it ends
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(held)


def sha256(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_intact(folder: Path) -> bool:
    """Whether the files of the manifest are there, byte for byte, and no others, which could be
    imported or loaded in their place.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        if _files_in(folder) != {MANIFEST, *manifest} or len(manifest) == 0:
            return False
        with told(lambda seconds: f"checking {folder.name}, {seconds:.0f} s"):
            return all(sha256(folder / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False


def _files_in(folder: Path) -> set[str]:
    """The files of a folder by their path in it, but for bytecode, which nobody here reads."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def _move_into_place(fresh: Path, folder: Path, damaged: Path) -> None:
    """One process at a time, and never in place of what another one has made well: it may be read
    already.
    """
    with _locked(folder.parent):
        if _is_intact(folder):
            return
        if folder.exists():
            os.replace(folder, damaged)
        os.replace(fresh, folder)


@contextmanager
def _disk_named(what: str) -> Iterator[None]:
    """A disk that is full or read-only, as an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise CacheError(
                f"the disk of {cache_folder()} became full while {what} was made: make room, or set "
                "TRAJNB_CACHE to a folder on a larger disk, and run again"
            ) from error
        refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
        if refused and error.filename:
            raise CacheError(f"{what} is not in the cache and cannot be made: {os_error(error)}") from error
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone among processes that ask for the same, as far as the file system has locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_abandoned(folder: Path) -> bool:
    """Whether no process holds it any more; never where the file system has no locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
