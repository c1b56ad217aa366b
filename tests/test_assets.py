import hashlib
import multiprocessing
import re
import zipfile

import pytest

from trajnb import assets
from trajnb.assets import AssetError, Wheel, build_once, cache_folder, fetch


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def toy(cache, monkeypatch, tmp_path):
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

    monkeypatch.setitem(assets.ASSETS, "toy", wheel)
    monkeypatch.setattr(assets, "_pip_download", pip)
    return downloads


def test_the_cache_folder_follows_the_environment(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("TRAJNB_CACHE")
    assert cache_folder().name == "trajnb"


def test_fetched_once_and_unpacked(toy):
    folder = fetch("toy")
    assert (folder / "toy" / "data.txt").read_text() == "data"
    assert fetch("toy") == folder and len(toy) == 1


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "no manifest", "half a manifest"])
def test_a_damaged_entry_is_made_anew(toy, damage):
    folder = fetch("toy")
    file = folder / (assets.MANIFEST if "manifest" in damage else "toy/data.txt")
    if damage in ("missing", "no manifest"):
        file.unlink()
    else:
        text = file.read_text()
        file.write_text("atad" if damage == "changed" else text[: len(text) // 2])
    assert (fetch("toy") / "toy" / "data.txt").read_text() == "data"
    assert len(toy) == 1, "the wheel in the cache was good"


def test_a_damaged_wheel_is_downloaded_again(toy, cache):
    folder = fetch("toy")
    (wheel,) = (cache / "wheels").iterdir()
    wheel.write_bytes(wheel.read_bytes()[:50])
    (folder / "toy" / "data.txt").unlink()
    assert (fetch("toy") / "toy" / "data.txt").read_text() == "data"
    assert len(toy) == 2


def test_a_wheel_with_another_hash_is_never_unpacked(toy, cache, monkeypatch):
    def pip(requirements, folder):
        (folder / "toy-1-py3-none-any.whl").write_bytes(b"something else")

    monkeypatch.setattr(assets, "_pip_download", pip)
    with pytest.raises(AssetError, match="it brought another file"):
        fetch("toy")
    assert list(cache.iterdir()) == [cache / "wheels"] and not list((cache / "wheels").iterdir())


def test_a_wheel_put_there_by_hand_needs_no_network(toy, cache, monkeypatch, tmp_path):
    monkeypatch.setattr(assets, "_pip_download", lambda *_: pytest.fail("pip was asked"))
    (cache / "wheels").mkdir(parents=True)
    name = "toy-1-py3-none-any.whl"
    (cache / "wheels" / name).write_bytes((tmp_path / name).read_bytes())
    assert (fetch("toy") / "toy" / "data.txt").is_file()


def test_no_network_is_one_sentence_that_says_which_file_to_put_where(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(AssetError) as error:
        fetch("bfcl")
    message = str(error.value)
    wheel = assets.ASSETS["bfcl"]
    for part in (
        wheel.requirement,
        wheel.file,
        wheel.sha256,
        str(cache / "wheels"),
        "No matching distribution",
    ):
        assert part in message
    assert "\n" not in message and not re.search(r"\. [A-Z]", message)


def test_an_unknown_asset_is_named():
    with pytest.raises(AssetError, match="no asset 'bfcI', only smollm2-135m, bfcl"):
        fetch("bfcI")


def test_a_build_that_fails_leaves_nothing(cache):
    def build(folder):
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once("model", build)
    assert list(cache.iterdir()) == []


def _build_slowly(folder):
    for number in range(50):
        (folder / f"{number}.txt").write_text("x" * 10_000)


def _use(_):
    folder = build_once("model", _build_slowly)
    return sum(len(file.read_text()) for file in folder.glob("*.txt"))


@pytest.mark.parametrize("damaged", [False, True])
def test_many_processes_build_at_once(cache, damaged):
    if damaged:
        (build_once("model", _build_slowly) / "7.txt").write_text("")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.map(_use, range(8), chunksize=1) == [500_000] * 8
    assert [path.name for path in cache.iterdir()] == ["model"]


def test_bfcl_is_really_there(cache):
    try:
        folder = fetch("bfcl")
    except AssetError as error:
        pytest.skip(f"the package index is out of reach: {error}")
    assert (folder / "bfcl_eval" / "data" / "BFCL_v4_multi_turn_base.json").is_file()
    assert fetch("bfcl") == folder
