"""The process behind `world.sandbox`: it holds environments and answers requests, locked down.

Started with its limits, `python -m trajnb.world.child CPU_SECONDS MEGABYTES`. A request is a line of JSON,
`[verb, dialogue, ...]`; its reply is one too, `[true, result]` or `[false, complaint]`, and last the
seconds of the processor that it has used.
"""

# Python imports these when it first reads a date or an accented name, but then no file opens any more
import _strptime  # noqa: F401
import dataclasses
import json
import math
import os
import sys
import time
import unicodedata  # noqa: F401

from trajnb.world.environment import MODULES, Environment
from trajnb.world.filter import close_system

try:
    import resource
except ImportError:  # not POSIX: the clock of the parent is the only limit
    resource = None


LIFE = 600
"""Seconds of the processor that a child has in all; its parent replaces it before half of them."""


def main() -> None:
    cpu_seconds, megabytes = map(int, sys.argv[1:])
    Environment(list(MODULES), {})  # imports the classes
    replies = sys.stdout.buffer
    sys.stdout = sys.stderr = None  # what an API prints is no reply
    os.environ.clear()
    lock_down(megabytes)
    environments: dict[int, Environment] = {}
    for line in sys.stdin.buffer:
        allow(cpu_seconds)
        reply = [*_answer(environments, *json.loads(line)), time.process_time()]
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


def lock_down(megabytes: int) -> None:
    """From here on no file opens and none is written, no socket and no process is made, memory is
    bounded, and on Linux the kernel refuses every system call but the few that answering takes (see
    `world.filter`), as it does for good: what happens in here has no way to any other process, file
    or network.

    Elsewhere new processes are the one thing that root may make all the same.
    """
    if resource is None:
        return
    # NOFILE 0: no descriptor can be opened, whatever is closed; those that are open stay
    # DATA and not AS: what a system maps of its own files (locales: 200 MB and more on some) is no harm
    limits = {"DATA": megabytes * 2**20, "NOFILE": 0, "FSIZE": 0, "NPROC": 0, "CORE": 0}
    limits["CPU"] = math.ceil(time.process_time()) + LIFE
    for name, limit in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY or hard > limit:
            resource.setrlimit(kind, (limit, limit))
    close_system()


def allow(cpu_seconds: int) -> None:
    """Let this process use so much more of the processor; then the system ends it, even within C code.
    """
    if resource is not None:
        soft = math.ceil(time.process_time()) + cpu_seconds
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _answer(environments: dict[int, Environment], verb: str, dialogue: int, *rest) -> list:
    """What is not foreseen ends the process: the parent starts another, and nothing half done counts."""
    result = None
    if verb == "open":
        try:
            environments[dialogue] = Environment(*rest)
        except Exception as error:  # whatever a configuration of another kind leads to
            return [False, f"{type(error).__name__}: {error}"]
    elif verb == "execute":
        result = dataclasses.astuple(environments[dialogue].respond(*rest))
    elif verb == "state":
        result = environments[dialogue].state()
    elif verb == "close":
        del environments[dialogue]
    return [True, result]


if __name__ == "__main__":
    main()
