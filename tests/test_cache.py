import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from trajnb import cache
from trajnb.cache import CacheError, build_once, cache_folder, check_room, told

ROOT = Path(__file__).parents[1]


@pytest.fixture
def home(monkeypatch, tmp_path):
    """The folder of the cache."""
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_folder_follows_the_environment(home, monkeypatch):
    assert cache_folder() == home
    monkeypatch.delenv("TRAJNB_CACHE")
    assert cache_folder().name == "trajnb"


def test_a_build_that_fails_leaves_nothing(home):
    def build(folder):
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once("model", build)
    assert list(home.iterdir()) == []


def _build_slowly(folder):
    for number in range(50):
        (folder / f"{number}.txt").write_text("x" * 10_000)


def _use(_):
    folder = build_once("model", _build_slowly)
    return sum(len(file.read_text()) for file in folder.glob("*.txt"))


@pytest.mark.parametrize("damaged", [False, True])
def test_many_processes_build_at_once(home, damaged):
    if damaged:
        (build_once("model", _build_slowly) / "7.txt").write_text("")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.map(_use, range(8), chunksize=1) == [500_000] * 8
    assert [path.name for path in home.iterdir()] == ["model"]


STUCK = """
import time
from trajnb.cache import build_once

def build(folder):
    (folder / "half").write_text("half")
    print("half done", flush=True)
    time.sleep(600)

build_once("model", build)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_makes_is_not(home):
    command = [sys.executable, "-c", STUCK]
    makers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for maker in makers:
            assert maker.stdout.readline() == b"half done\n"
        assert len(list(home.iterdir())) == 2
        makers[0].send_signal(signal.SIGKILL)
        makers[0].wait()
        build_once("other", _build_slowly)
        (living,) = home.glob(f"{cache.UNFINISHED}*")
        assert (living / "fresh" / "half").is_file()
    finally:
        for maker in makers:
            maker.kill()
            maker.wait()
    build_once("model", _build_slowly)
    assert {path.name for path in home.iterdir()} == {"model", "other"}


def test_a_full_disk_is_named_and_nothing_is_left(home):
    def build(folder):
        (folder / "half").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CacheError, match=f"disk of {home} became full while model .*TRAJNB_CACHE"):
        build_once("model", build)
    assert list(home.iterdir()) == []


def test_another_error_of_the_disk_stays_what_it_is(home):
    def build(folder):
        raise PermissionError(errno.EACCES, "not yours")

    with pytest.raises(PermissionError, match="not yours"):
        build_once("model", build)


def _fill(folder):
    (folder / "file").write_text("x")


def _as_nobody(results):
    os.setuid(65534)  # root may write anywhere
    try:
        results.put(str(build_once("model", _fill)))
        results.put(str(build_once("other", _fill)))
    except CacheError as error:
        results.put(str(error))


def test_a_cache_that_was_filled_may_be_read_only(monkeypatch):
    if os.getuid() != 0:
        pytest.skip("only root can become someone who may not write there")
    with tempfile.TemporaryDirectory() as folder:  # nobody may enter pytest's own folders
        os.chmod(folder, 0o755)
        monkeypatch.setenv("TRAJNB_CACHE", folder)
        build_once("model", _fill)
        context = multiprocessing.get_context("fork")  # nobody may not enter this user's home either
        results = context.SimpleQueue()
        child = context.Process(target=_as_nobody, args=(results,))
        child.start()
        child.join()
        assert results.get() == f"{folder}/model"
        error = results.get()
    assert error.startswith(f"other is not in the cache and cannot be made: {folder}/unfinished-")
    assert error.endswith("permission denied: make it readable and writable for you, or choose another path "
                          "with TRAJNB_CACHE")  # fmt: skip


def test_a_cache_that_is_a_file_is_named(home):
    home.parent.mkdir(exist_ok=True)
    home.write_text("not a folder")
    with pytest.raises(CacheError, match=f"model is not in the cache and cannot be made: {home}: file exists"):
        build_once("model", _fill)


def test_too_little_room_is_said_in_numbers(home):
    home.mkdir()
    check_room(1, "a byte")
    with pytest.raises(
        CacheError, match=rf"a moon needs 1,000,000,000,000 MB in {home}, where [\d,]+ MB"
    ):
        check_room(10**18, "a moon")


def test_a_long_wait_is_told_and_a_short_one_is_silent(monkeypatch, capsys):
    with told("waited {:.0f} s".format):
        time.sleep(0.02)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(cache, "EVERY", 0.01)
    with told("waited {:.0f} s".format):
        time.sleep(0.2)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == second == "» waited 0 s"


def test_a_wait_that_fails_is_told_no_longer(monkeypatch, capsys):
    monkeypatch.setattr(cache, "EVERY", 0.01)
    with pytest.raises(KeyboardInterrupt), told("waited {:.0f} s".format):
        raise KeyboardInterrupt
    capsys.readouterr()
    time.sleep(0.05)
    assert capsys.readouterr().out == ""


def fill(folder):
    (folder / "a.py").write_text("x = 1\n")


@pytest.mark.parametrize("added", ["mpmath.py", "sub/more.py", "a.pyc"])
def test_a_file_that_nobody_put_there_is_damage(home, added):
    folder = cache.build_once("thing", fill)
    path = folder / added
    path.parent.mkdir(exist_ok=True)
    path.write_text("raise SystemExit\n")
    assert not (cache.build_once("thing", fill) / added).exists()


@pytest.mark.parametrize("manifest", ["{}", "[]", "[" * 100_000, '{"a.py": 1}', "7"])
def test_a_manifest_that_is_none_is_damage(home, manifest):
    folder = cache.build_once("thing", fill)
    (folder / cache.MANIFEST).write_text(manifest)
    assert json.loads((cache.build_once("thing", fill) / cache.MANIFEST).read_text())["a.py"]


def test_bytecode_is_neither_read_nor_damage(home):
    folder = cache.build_once("thing", fill)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"cut")
    made = []
    assert cache.build_once("thing", made.append) == folder and not made


def test_what_older_versions_left_is_swept(home):
    left = cache.cache_folder() / "building-thing-x"
    left.mkdir(parents=True)
    cache.build_once("thing", fill)
    assert not left.exists()
