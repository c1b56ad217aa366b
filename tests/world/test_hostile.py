"""Calls that would harm a host that `eval`s them, or burn its time and memory: here they come to nothing.

The child is watched from outside: its open files, its processes, its memory, the folder that it runs in.
"""

import dataclasses
import os
import random
import sys
import time
from collections import Counter
from contextlib import contextmanager

import psutil
import pytest
from world.audited import audit
from world.mutations import mutate

from trajnb.formatting.calls import render
from trajnb.world.environment import MODULES
from trajnb.world.sandbox import Sandbox

MEGABYTES = 256
CONFIG = {
    "GorillaFileSystem": {
        "root": {"home": {"type": "directory", "contents": {"a": {"type": "file", "content": "hello"}}}}
    },
    "TradingBot": {"authenticated": True, "market_status": "Open"},
    "VehicleControlAPI": {"engineState": "running"},
    "TwitterAPI": {"authenticated": True},
}
NESTED = "[" * 5_000 + "]" * 5_000
HOSTILE = [
    # code, in every place of a call where `eval` would run it
    "__import__('os').getpid()",
    "open('F','w').write('x')",
    "cat(file_name=__import__('os').popen('echo hi').read())",
    "(exit)()",
    "ls(a=exit())",
    "ls(a=(lambda: exit())())",
    "ls(a=[exit() for _ in [1]])",
    "ls(a=(x:=exit()))",
    "ls(*[exit()])",
    "ls(**{'a': exit()})",
    "ls(a=f'{exit()}')",
    "echo(content='%s' % open('F', 'w'))",
    "touch(file_name=open('F', 'w').name)",
    "exit()",
    "quit()",
    "eval('exit()')",
    "exec('import os; os.kill(os.getppid(), 9)')",
    "os.system('touch F')",
    "subprocess.run(['touch', 'F'])",
    "compile('1', 'F', 'exec')",
    "breakpoint()",
    "input()",
    "globals()",
    "kill()",
    "unlink('F')",
    "popen('touch F')",
    "run('touch F')",
    "urlopen('http://127.0.0.1')",
    # what is no public method of a listed class
    "ls.__globals__['subprocess'].run(['touch', 'F'])",
    "ls.__func__.__code__()",
    "__class__.__mro__[1].__subclasses__()",
    "__init__()",
    "__reduce__()",
    "__setattr__('root', None)",
    "_load_scenario(scenario={})",
    "_current_dir()",
    "_random()",
    "root()",
    "_set_card_balance(card_id='1', balance=9)",
    # files of the host, by name
    "cat(file_name='/etc/passwd')",
    "cat(file_name='../../../etc/passwd')",
    "find(path='/etc')",
    "cd(folder='/etc')",
    "touch(file_name='F')",
    "mkdir(dir_name='F')",
    "echo(content='x', file_name='/tmp/F')",
    "mv(source='a', destination='/tmp/F')",
    # numbers and lengths that burn time or memory
    "echo(content='A'*10**9)",
    "power(base=9, exponent=387420489)",
    "power(base=9, exponent=-387420489)",
    "power(base=9, exponent=9**9**9)",
    "power(base=1000000000000000000000000000000, exponent=1000)",
    "power(base=1e30, exponent=1000)",
    "round_number(number=5, decimal_places=-100000000)",
    "round_number(number=5.5, decimal_places=100000000)",
    "square_root(number=2, precision=100000000)",
    "square_root(number=2, precision=99999999999999999999)",
    "logarithm(value=2, base=3, precision=20000000)",
    "logarithm(value=1e30, base=1.0000000000000002, precision=1000)",
    "fund_account(amount=1e999)",
    "fund_account(amount=-1e999)",
    "withdraw_funds(amount=nan)",
    "multiply(a=1e308, b=1e308)",
    "setCruiseControl(speed=5, activate=True, distanceToNextVehicle='nan')",
    "compute_exchange_rate(base_currency='USD', target_currency='JPY', value='" + "9" * 9_000 + "')",
    "compute_exchange_rate(base_currency='USD', target_currency='JPY', value=[" + "9," * 4_000 + "])",
    f"add(a={'9' * 4_000}, b=1)",
    f"add(a={'9' * 15_000}, b=1)",
    f"multiply(a={'9' * 30}, b={'9' * 30})",
    f"mean(numbers=[{'1e30,' * 3_000}])",
    "tail(file_name='a', lines=1000000000000000000000000000000)",
    "tail(file_name='a', lines=-1000000000000000000000000000000)",
    "filter_stocks_by_price(stocks='" + "A" * 9_000 + "', min_price=0, max_price=0)",
    # texts that burn a parser, or that an encoder chokes on
    f"ls(a={NESTED})",
    f"mean(numbers={NESTED})",
    f"ls(a={'(' * 9_000}",
    "ls(a=" + "'" * 9_001,
    "ls(" * 6_000,
    "[ls(a='" + "\\" * 9_000,
    "echo(content='" + "A" * 10_000_000 + "')",
    "echo(content='\ud800\x00\u202e')",
    "echo(content='\\ud800', file_name='a')",
    "touch(file_name='\x00')",
    '{"__reduce__": ["os.system", "touch F"]}',
    "cos\nsystem\n(S'touch F'\ntR.",
    # what is hard to compare, to hash or to encode
    "mkdir(dir_name=['F'])",
    "mv(source='a', destination=('F',))",
    "post_tweet(content={1: {2, 3}}, tags=(), mentions={})",
    "add(a=1j, b=1)",
    "add(a=b'x', b=b'y')",
    "get_user_tweets(username={})",
    "lockDoors(unlock=False, door={'driver': 1})",
]
DOUBLING = ["mkdir(dir_name='d')"]
for n in range(24):
    DOUBLING += [f"cp(source='d', destination='d{n}')", f"mv(source='d{n}', destination='d')"]
TOGETHER = {  # what harms only in sequence
    "doubling": [*DOUBLING, "du()", "find(path='/')", "ls()"],
    "circle": ["mkdir(dir_name='d')", "cp(source='d', destination='d')", "du()", "find()"],
    "deep": ["mkdir(dir_name='d')", "cd(folder='d')"] * 100 + ["pwd()", "cd(folder='/')", "du()"],
    "long": [f"echo(content='{'A' * 9_900}', file_name='a')", "cat(file_name='a')", "sort('a')"] * 9,
    "many posts": [f"post_tweet(content='{'A' * 9_000}')", "get_user_tweets('john')"] * 50,
}


@contextmanager
def untouched(folder, **limits):
    """A sandbox that is watched, and its process; at the end nothing may have happened to their host."""
    with Sandbox(megabytes=MEGABYTES, **limits) as sandbox:
        process = psutil.Process(sandbox.pid)
        handles = process.num_fds() if os.name == "posix" else None
        yield sandbox, process
        assert process.is_running() and sandbox.pid == process.pid and not sandbox.replaced
        assert not process.children(recursive=True), "a process was started"
        assert not process.net_connections(), "a connection was opened"
        assert handles is None or process.num_fds() == handles, "a file was opened"
        assert peak_megabytes(process) < MEGABYTES
    assert not list(folder.iterdir()), "a file was written"


def peak_megabytes(process):
    if sys.platform != "linux":
        return process.memory_info().rss / 2**20
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A sandbox, its process and the empty folder that it runs in."""
    folder = tmp_path_factory.mktemp("host")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with untouched(folder, wall_seconds=5) as (sandbox, process):
            yield sandbox, process, folder


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:40]))
def test_a_hostile_call_comes_to_nothing(watched, text):
    sandbox, process, folder = watched
    world = sandbox.open(list(MODULES), CONFIG)
    before = sandbox.state(world)
    response = sandbox.execute(world, text)
    assert not sandbox.replaced, "it ran into the limits, which nothing should come near"
    assert "[Errno" not in response.text, "it reached the system, which stopped it"
    assert not response.refused or sandbox.state(world) == before
    assert not sandbox.execute(world, "pwd()").failed, "it goes on"
    assert not process.children() and not list(folder.iterdir())
    sandbox.close(world)


@pytest.mark.parametrize("texts", TOGETHER.values(), ids=TOGETHER)
def test_hostile_calls_in_sequence_come_to_nothing(watched, texts):
    sandbox, _, _ = watched
    world = sandbox.open(list(MODULES), CONFIG)
    for text in texts:
        assert len(sandbox.execute(world, text).text) <= 10_000
    assert not sandbox.execute(world, "pwd()").failed and not sandbox.replaced
    sandbox.close(world)


def test_no_hostile_call_reaches_the_system():
    dialogues = [[list(MODULES), CONFIG, [text]] for text in HOSTILE]
    dialogues += [[list(MODULES), CONFIG, texts] for texts in TOGETHER.values()]
    events, responses = audit(dialogues)
    assert not events
    assert len(responses) == sum(len(texts) for *_, texts in dialogues)


@pytest.mark.parametrize("calls", [2_000, pytest.param(40_000, marks=pytest.mark.slow)])
def test_mutated_calls_come_to_nothing(calls, bfcl, worlds, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    dialogues = list(mutated(bfcl, worlds, calls))
    outcomes, slowest, answers = Counter(), 0.0, []
    with untouched(tmp_path) as (sandbox, process):
        for classes, config, texts in dialogues:
            world = sandbox.open(classes, config)
            for text in texts:
                began = time.perf_counter()
                response = sandbox.execute(world, text)
                slowest = max(slowest, time.perf_counter() - began)
                outcomes["refused" if response.refused else "failed" if response.failed else "done"] += 1
                answers.append(dataclasses.asdict(response))
                assert "[Errno" not in response.text, f"{text!r} reached the system: {response.text}"
            sandbox.close(world)
        peak = peak_megabytes(process)
    events, audited = audit(dialogues)
    assert not events
    assert audited == answers
    assert sum(outcomes.values()) == calls
    assert all(outcomes[kind] for kind in ("done", "failed", "refused"))
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(outcomes.items()))
    with capsys.disabled():
        print(f"\n{calls} mutated calls in {len(dialogues)} dialogues: {counts}; slowest {slowest:.3f} s,")
        print(f"peak {peak:.0f} MB; no file, process, connection, audit event or lost child")


def mutated(bfcl, worlds, calls, each=50):
    """Dialogues of mutated calls: all classes, BFCL's configurations, its own calls and hostile ones."""
    rng = random.Random(0)
    everything = [render(t.call) for d in bfcl.dialogues for t in d.turns if t.call]
    everything += [text for text in HOSTILE if len(text) < 20_000]
    for _ in range(calls // each):
        dialogue = rng.choice(bfcl.dialogues)
        own = [render(turn.call) for turn in dialogue.turns if turn.call]
        texts = [mutate(rng, rng.choice(rng.choice([own, own, everything])), everything) for _ in range(each)]
        yield [list(MODULES), worlds[dialogue.id][1], texts]
