import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from trajnb.formatting.calls import render
from trajnb.world.environment import Environment
from trajnb.world.rule import Played, judge
from trajnb.world.sandbox import UNTOLD, Sandbox, SandboxError

posix = pytest.mark.skipif(os.name != "posix", reason="only the clock limits a child elsewhere")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the system has no such limit")
TOO_MUCH = "Error during execution: the call takes more time or memory than a call may take"


def test_it_answers_as_an_environment_of_this_process_does(sandbox, bfcl, worlds):
    dialogues = bfcl.dialogues[::8]
    handles = {dialogue.id: sandbox.open(*worlds[dialogue.id]) for dialogue in dialogues}
    here = {dialogue.id: Environment(*worlds[dialogue.id]) for dialogue in dialogues}
    for place in range(max(len(dialogue.turns) for dialogue in dialogues)):
        for dialogue in dialogues:  # all of them at once, turn by turn
            call = dialogue.turns[place].call if place < len(dialogue.turns) else None
            if call:
                assert sandbox.execute(handles[dialogue.id], render(call)) == here[dialogue.id].respond(call)
    for name, handle in handles.items():
        assert sandbox.state(handle) == here[name].state()
    assert sandbox.replaced == 0


def test_dialogues_know_nothing_of_each_other(sandbox):
    one, other = (sandbox.open(["GorillaFileSystem"], {}) for _ in range(2))
    sandbox.execute(one, "mkdir(dir_name='new')")
    assert "new" in sandbox.execute(one, "ls()").text
    assert "new" not in sandbox.execute(other, "ls()").text
    sandbox.close(one)
    assert not sandbox.execute(other, "mkdir(dir_name='new')").failed
    with pytest.raises(KeyError):
        sandbox.execute(one, "ls()")


def test_what_cannot_be_opened_is_an_error(sandbox):
    with pytest.raises(ValueError, match="class 'WebSearchAPI' is not among those that may run"):
        sandbox.open(["WebSearchAPI"], {})
    with pytest.raises(ValueError, match="AttributeError"):
        sandbox.open(["GorillaFileSystem"], {"GorillaFileSystem": {"root": []}})
    assert sandbox.open(["GorillaFileSystem"], {}) >= 0 and sandbox.replaced == 0


def with_a_past(sandbox):
    """A dialogue with random numbers drawn, a call that raised half-way, and one that was refused."""
    dialogue = sandbox.open(["VehicleControlAPI"], {})
    for text in ("get_current_speed()", "lockDoors(False, ['driver', 'roof'])", "unlink(path='x')"):
        sandbox.execute(dialogue, text)
    return dialogue


@posix
@pytest.mark.parametrize("when", ["idle", "working"])
def test_a_child_that_dies_is_replaced_and_its_dialogues_rebuilt(when):
    with Sandbox(wall_seconds=2) as sandbox, Sandbox() as undisturbed:
        dialogue, undisturbed_one = with_a_past(sandbox), with_a_past(undisturbed)
        other = sandbox.open(["GorillaFileSystem"], {})
        sandbox.execute(other, "mkdir(dir_name='new')")
        first = sandbox.pid
        if when == "idle":
            os.kill(first, signal.SIGKILL)
            os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        else:
            os.kill(first, signal.SIGSTOP)  # it will not answer
            response = sandbox.execute(dialogue, "get_current_speed()")
            assert response.refused and response.text == TOO_MUCH
        assert sandbox.state(dialogue) == undisturbed.state(undisturbed_one)
        speed = undisturbed.execute(undisturbed_one, "get_current_speed()")
        assert sandbox.execute(dialogue, "get_current_speed()") == speed, "random numbers go on as they would"
        assert "new" in sandbox.execute(other, "ls()").text
        assert sandbox.replaced == 1 and not psutil.pid_exists(first)


@posix
def test_a_dialogue_opens_though_the_child_was_stopped():
    with Sandbox(wall_seconds=2) as sandbox:
        os.kill(sandbox.pid, signal.SIGSTOP)  # it will not answer
        dialogue = sandbox.open(["GorillaFileSystem"], {})
        assert not sandbox.execute(dialogue, "mkdir(dir_name='new')").failed
        assert sandbox.replaced == 1


@posix
def test_a_world_that_cannot_be_rebuilt_is_as_no_other_and_others_go_on():
    with Sandbox() as sandbox:
        lost, other = with_a_past(sandbox), with_a_past(sandbox)
        state = sandbox.state(other)
        past = sandbox._dialogues[lost].past
        past[0] = past[0][0], replace(past[0][1], text="of another day")
        os.kill(sandbox.pid, signal.SIGKILL)
        os.waitid(os.P_PID, sandbox.pid, os.WEXITED | os.WNOWAIT)
        first, second = sandbox.state(lost), sandbox.state(lost)
        assert set(first) == {UNTOLD} and first != second
        turn = [Played(("x",), first)]
        assert not judge(turn, [Played(("x",), second)]).success
        assert sandbox.execute(lost, "get_current_speed()").refused
        assert sandbox.state(other) == state
        sandbox.close(lost)


def test_responses_that_print_a_set_are_always_the_same():
    texts = set()
    for _ in range(3):
        with Sandbox() as sandbox:
            world = sandbox.open(["TicketAPI"], {})
            for text in ("ticket_login('me', 'pw')", "create_ticket(title='t')"):
                assert not sandbox.execute(world, text).failed
            texts.add(sandbox.execute(world, "edit_ticket(1, {'a': 1, 'b': 2, 'c': 3, 'd': 4})").text)
    assert len(texts) == 1 and "Invalid fields for update" in texts.pop()


def test_no_child_stays_behind():
    with Sandbox() as sandbox:
        pid = sandbox.pid
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)
    script = "from trajnb.world.sandbox import Sandbox; print(Sandbox().pid)"  # ends without stopping it
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(done.stdout)).wait(timeout=10)


@posix
def test_a_child_that_does_not_start_says_how_to_find_out(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(SandboxError, match="run python -m trajnb.world.child 2 256"):
        Sandbox()


def test_the_child_needs_no_torch():
    script = "import sys, trajnb.world.child; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


ATTEMPTS = {
    "read a file": "open('/etc/hostname')",
    "write a file": "open('F', 'w')",
    "open a socket": "socket.socket()",
    "open a pipe": "os.pipe()",
    "start a program": "subprocess.run(['true'])",
    "list a folder": "os.listdir('.')",
    "take memory": "bytearray(2**28)",
}


@linux
@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
@pytest.mark.parametrize("filtered", [True, False], ids=["filter", "limits alone"])
def test_a_locked_down_process_cannot(attempt, filtered, tmp_path):
    script = "import os, socket, subprocess\nfrom trajnb.world import child\n"
    script += "" if filtered else "child.close_system = lambda: False\n"
    script += f"child.lock_down(256)\n{attempt}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    refusals = ["OSError: [Errno 24]", "MemoryError"] + filtered * ["PermissionError: [Errno 1]"]
    assert any(refusal in done.stderr for refusal in refusals), done.stderr
    assert not list(tmp_path.iterdir())


@linux
def test_a_locked_down_process_cannot_write_to_what_is_open(tmp_path):
    script = "from trajnb.world.child import lock_down\nfile = open('F', 'w')\nlock_down(256)\n"
    command = [sys.executable, "-c", script + "file.write('x')\nfile.flush()"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "OSError: [Errno 27]" in done.stderr
    assert (tmp_path / "F").read_text() == ""


@posix
def test_the_processor_is_limited_even_within_big_integers():
    script = "from trajnb.world.child import allow\nallow(1)\n9 ** 387420489"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGXCPU
    assert time.perf_counter() - began < 30


@posix
def test_the_processor_time_of_earlier_calls_does_not_count():
    script = "import time\nfrom trajnb.world.child import allow\nfor _ in range(4):\n    allow(1)\n"
    script += "    until = time.process_time() + 0.6\n    while time.process_time() < until: pass\n"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_call_costs_little(sandbox, bfcl, worlds, capsys):
    seconds = []
    for dialogue in bfcl.dialogues:
        world = sandbox.open(*worlds[dialogue.id])
        for turn in dialogue.turns:
            if turn.call:
                text = render(turn.call)
                began = time.perf_counter()
                sandbox.execute(world, text)
                seconds.append(time.perf_counter() - began)
        sandbox.close(world)
    median = statistics.median(seconds)
    with capsys.disabled():
        print(f"\n{len(seconds)} calls in the sandbox: median {1e3 * median:.2f} ms, child included")
    assert median < 0.02, "ten times what it takes on two busy cores"
