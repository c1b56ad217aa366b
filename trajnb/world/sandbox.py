"""Environments in a child process, so that no call harms the process that evaluates a model.

Arguments are bounded (`world.bounds`), but what nobody thought of must not matter either: the child has
limits on processor time, memory and the clock, can open no file and no socket, has no environment, and
on Linux may make no system call that reaches beyond itself (`world.filter`). This process sends it text
and reads JSON; it executes no call and unpickles nothing. Limits are POSIX; elsewhere the clock alone acts.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trajnb.assets import fetch
from trajnb.cache import cache_folder
from trajnb.formatting.calls import LIMIT
from trajnb.world.child import LIFE
from trajnb.world.environment import FAILED, Response

START = 120  # seconds that a child may take to import what it needs, on a busy machine
LINE = 2**26  # bytes of a reply that are read
UNTOLD = "a world that could not be told"


class SandboxError(RuntimeError):
    """The child process is gone or does not answer in time."""


@dataclass
class _Dialogue:
    involved_classes: Sequence[str]
    initial_config: Mapping[str, dict]
    past: list[tuple[str, Response]] = field(default_factory=list)  # calls that were carried out


class Sandbox:
    """The environments of many dialogues in one child process, which is replaced when it dies or overruns.

    The new child rebuilds a dialogue, when it is next asked for, from the calls that had been carried out.
    What a call answers depends on nothing else, so nobody can tell.

        with Sandbox() as sandbox:
            dialogue = sandbox.open(["GorillaFileSystem"], {})
            response = sandbox.execute(dialogue, "[mkdir(dir_name='new')]")

    Threads may share it: they wait for each other.

    Args:
        cpu_seconds: that a call may compute.
        wall_seconds: that it may last on the clock.
        megabytes: of memory, for the child with all its dialogues.
    """

    def __init__(self, *, cpu_seconds: int = 2, wall_seconds: float = 20, megabytes: int = 256):
        fetch("bfcl")  # here, for the child may only look
        self.replaced = 0  # children that died or overran
        self._limits = cpu_seconds, megabytes
        self._wall_seconds = wall_seconds
        self._dialogues: dict[int, _Dialogue] = {}
        self._opened = 0
        self._untold = 0  # worlds that could not be told
        self._known: set[int] = set()  # dialogues that the present child holds
        self._child = _Child(*self._limits)
        self._lock = threading.RLock()  # a reply is to the last request: one at a time

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_) -> None:
        self._child.stop()

    @property
    def pid(self) -> int:
        """Of the present child, so that others can watch it."""
        return self._child.pid

    def open(self, involved_classes: Sequence[str], initial_config: Mapping[str, dict]) -> int:
        """A new dialogue with instances of its own; the number by which the other methods know it.

        Raises:
            ValueError: a class that may not run, or a configuration that it cannot load.
        """
        with self._lock:
            dialogue = self._opened
            self._opened += 1
            self._dialogues[dialogue] = _Dialogue(involved_classes, initial_config)
            try:
                self._prepare(dialogue)
            except SandboxError:  # another dialogue may have cost the child its life
                self._prepare(dialogue)
            return dialogue

    def execute(self, dialogue: int, text: str) -> Response:
        """Carry out the first call in a text. One that costs the child its life gets a refusal as well."""
        text = text[:LIMIT]
        with self._lock:
            try:
                self._prepare(dialogue)
                response = Response(*self._child.ask("execute", dialogue, text, seconds=self._wall_seconds))
            except SandboxError:
                message = "the call takes more time or memory than a call may take"
                return Response(FAILED + message, failed=True, refused=True)
            if not response.refused:
                self._dialogues[dialogue].past.append((text, response))
            return response

    def state(self, dialogue: int) -> dict[str, dict]:
        """By class the public attributes, which BFCL's rule compares, see `world.snapshot`.

        A world that cannot be told, as one that two children could not rebuild, is as no other is:
        `UNTOLD` with a number of its own, so that the rule finds it different and others go on.
        """
        with self._lock:
            for _ in range(2):  # a child that was gone is replaced
                with contextlib.suppress(SandboxError):
                    self._prepare(dialogue)
                    return self._child.ask("state", dialogue, seconds=self._wall_seconds)
            self._untold += 1
            return {UNTOLD: {"number": self._untold}}

    def close(self, dialogue: int) -> None:
        """Forget a dialogue, and let the child forget it."""
        with self._lock:
            del self._dialogues[dialogue]
            if dialogue in self._known and self._child.is_alive():
                with contextlib.suppress(SandboxError):  # gone is forgotten
                    self._child.ask("close", dialogue, seconds=self._wall_seconds)
            self._known.discard(dialogue)

    def _prepare(self, dialogue: int) -> None:
        """See to a living child that holds the dialogue as it stands."""
        if not self._child.is_alive() or self._child.used > LIFE / 2:
            self.replaced += 1
            self._known.clear()
            self._child.stop()
            self._child = _Child(*self._limits)
        if dialogue not in self._known:
            known = self._dialogues[dialogue]
            start = known.involved_classes, known.initial_config
            self._child.ask("open", dialogue, *start, seconds=self._wall_seconds)
            for text, response in known.past:
                again = Response(*self._child.ask("execute", dialogue, text, seconds=self._wall_seconds))
                if again != response:
                    raise SandboxError(f"{text} was answered {response} before, and is answered {again} now")
            self._known.add(dialogue)


class _Child:
    """A process of `world.child`, and a thread that reads its lines, for pipes have no timeout everywhere."""

    def __init__(self, cpu_seconds: int, megabytes: int):
        command = [sys.executable, "-P", "-m", "trajnb.world.child", str(cpu_seconds), str(megabytes)]
        environ = {  # nothing of the parent's, which holds tokens
            "TRAJNB_CACHE": str(cache_folder().resolve()),
            "PYTHONPATH": os.pathsep.join(folder or os.getcwd() for folder in sys.path),
            "PYTHONHASHSEED": "0",  # some responses print a set
        }
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            # signals to a group stay there; Ctrl-C is for the parent, at whose end the child sees its
            # pipe closed
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.used = 0.0  # seconds of the processor
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.ask("start", 0, seconds=START)
        except SandboxError as error:
            again = f"python -m trajnb.world.child {cpu_seconds} {megabytes}"
            raise SandboxError(f"the process for API calls did not start; to see why, run {again}") from error

    def ask(self, verb: str, dialogue: int, *more: object, seconds: float) -> object:
        """What the child answers.

        Raises:
            ValueError: it cannot open the dialogue.
            SandboxError: it was gone, or it is now, because it did not answer in time.
        """
        request = json.dumps([verb, dialogue, *more]).encode() + b"\n"
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            done, result, self.used = json.loads(self._lines.get(timeout=seconds))
        except (OSError, queue.Empty, ValueError) as error:
            self.stop()
            raise SandboxError("the process for API calls is gone, or did not answer in time") from error
        except BaseException:  # Ctrl-C: this reply would be taken for that to the next request
            self.stop()
            raise
        if not done:
            raise ValueError(result)
        return result

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        with contextlib.suppress(OSError):  # what it was not sent any more
            self._process.stdin.close()
        self._process.stdout.close()

    def _read(self) -> None:
        while line := self._process.stdout.readline(LINE):
            self._lines.put(line)
        self._lines.put(b"")
