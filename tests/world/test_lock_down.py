"""What code in the child could do, if any ever ran there: each act is tried, locked down."""

import json
import os
import platform
import subprocess
import sys
import threading

import pytest

from trajnb.world import bounds
from trajnb.world.sandbox import Sandbox

ACTS = {
    "read a file": "open('/etc/hostname').read()",
    "read a file after closing stdin": "os.close(0), open('/etc/hostname').read()",
    "list a folder": "os.listdir('/')",
    "connect": "__import__('socket').create_connection(('127.0.0.1', 1))",
    "make a socket after closing stdin": "socket.socket()",
    "remove": "os.unlink(FILE)",
    "rename": "os.rename(FILE, FILE + '2')",
    "cut": "os.truncate(FILE, 0)",
    "change a mode": "os.chmod(FILE, 0)",
    "change a time": "os.utime(FILE, (0, 0))",
    "signal its parent": "os.kill(os.getppid(), 0)",
    "signal everyone": "os.kill(-1, 0)",
    "start a process": "os.fork() or os._exit(0)",
    "become another program": "os.execv('/bin/true', ['/bin/true'])",
    "share memory": "mmap.mmap(-1, 2**30)",
    "limit another process": "resource.prlimit(PARENT, resource.RLIMIT_CPU, (9, 9))",
    "raise its own limit": "resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))",
    "ignore the end of its time": "signal.signal(signal.SIGXCPU, signal.SIG_IGN)",
    "change the folder": "os.chdir('/')",
    "see a token": "os.environ['TOKEN']",
    "write a file that is open": "os.write(HELD, b'x')",
}
FILTERED = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
SCRIPT = """
import json, mmap, os, resource, signal, socket, sys
from trajnb.world import child
FILE, PARENT, ACTS = sys.argv[1], os.getppid(), json.loads(sys.argv[2])
HELD = os.open(FILE, os.O_WRONLY)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
os.environ.clear()
child.lock_down(256)
done = []
for name, code in ACTS.items():
    try:
        eval(code)
        done.append(name)
    except BaseException:
        pass
print(json.dumps(done))
"""


@pytest.mark.skipif(not FILTERED, reason="the filter is of Linux on x86_64 and aarch64")
def test_code_in_the_child_reaches_nothing(tmp_path):
    file = tmp_path / "held"
    file.write_text("kept")
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file), json.dumps(ACTS)],
        capture_output=True, text=True, env=os.environ | {"TOKEN": "secret"},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == []
    assert file.read_text() == "kept" and file.stat().st_mode & 0o777


def test_without_the_lock_the_acts_are_acts(tmp_path):
    """The list above is worth something: most of it works where nobody forbids it."""
    file = tmp_path / "held"
    file.write_text("kept")
    tame = {name: ACTS[name] for name in ("read a file", "signal its parent", "share memory", "cut")}
    script = SCRIPT.replace("child.lock_down(256)", "")
    told = subprocess.run(
        [sys.executable, "-c", script, str(file), json.dumps(tame)], capture_output=True, text=True
    )
    assert json.loads(told.stdout) == list(tame), told.stderr


def test_the_child_has_nothing_of_its_parents_environment(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Sandbox() as sandbox:
        path = f"/proc/{sandbox.pid}/environ"
        if not os.path.exists(path):
            pytest.skip("no /proc")
        names = {entry.partition("=")[0] for entry in open(path).read().split("\0") if entry}
        assert names == {"TRAJNB_CACHE", "PYTHONPATH", "PYTHONHASHSEED"}
        assert os.getsid(sandbox.pid) == sandbox.pid, "a session of its own"


def test_threads_get_their_own_answers():
    with Sandbox() as sandbox:
        worlds = [sandbox.open(["GorillaFileSystem"], {}) for _ in range(2)]
        wrong = []

        def ask(world: int) -> None:
            for number in range(50):
                told = sandbox.execute(world, f"[echo(content='{world}-{number}')]").text
                if f"{world}-{number}" not in told:
                    wrong.append(told)

        threads = [threading.Thread(target=ask, args=(world,)) for world in worlds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_child_is_replaced_before_its_time_is_up(monkeypatch):
    with Sandbox() as sandbox:
        world = sandbox.open(["GorillaFileSystem"], {})
        sandbox.execute(world, "[mkdir(dir_name='kept')]")
        sandbox._child.used = 10**6
        assert "kept" in sandbox.execute(world, "[ls()]").text
        assert sandbox.replaced == 1


@pytest.mark.parametrize("text", ["20000000", "2e7", "-1e9", " 20_000_000 ", "1e999", "nan", "20000000/1"])
def test_a_number_as_text_is_bounded_as_the_number(text):
    with pytest.raises(bounds.Refused, match="precision"):
        bounds.check_arguments("logarithm", {"value": 2, "base": 3, "precision": text})


@pytest.mark.parametrize("text", ["20", "", "many", "1/0", "٣"])
def test_other_texts_are_the_apis_own_business(text):
    bounds.check_arguments("logarithm", {"value": 2, "base": 3, "precision": text})


def test_a_world_that_grows_is_refused_in_time():
    text = "A" * 9000
    config = {"TwitterAPI": {"authenticated": True, "tweets": {"0": {"id": 0, "content": "x", "mentions": []}}}}
    with Sandbox() as sandbox:
        world = sandbox.open(["TwitterAPI"], config)
        told = [
            sandbox.execute(world, f"[post_tweet(content='{text}')]") for _ in range(130)
        ]
        assert not told[0].refused and told[-1].refused and "a world may hold" in told[-1].text
        assert sandbox.replaced == 0


def test_a_world_that_cannot_be_replayed_is_a_refusal(monkeypatch):
    from trajnb.world.environment import Response

    with Sandbox() as sandbox:
        world = sandbox.open(["GorillaFileSystem"], {})
        sandbox.execute(world, "[mkdir(dir_name='new')]")
        known = sandbox._dialogues[world]
        known.past[0] = known.past[0][0], Response("something else", failed=False)
        sandbox._child.stop()
        assert sandbox.execute(world, "[ls()]").refused


def test_halves_of_characters_are_no_response():
    with Sandbox() as sandbox:
        world = sandbox.open(["GorillaFileSystem"], {})
        for call in (r"[echo(content='\ud800')]", r"[touch(file_name='\ud800')]", r"[touch(file_name='\ud800')]"):
            sandbox.execute(world, call).text.encode()
