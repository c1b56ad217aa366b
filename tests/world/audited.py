"""Calls carried out under the eyes of Python's audit hooks, which see whatever would reach the system.

Run as a script, for a hook cannot be taken away again. In: one line of JSON, a list of [classes,
configuration, calls as text]. Out: another, with the kinds of events that were seen, and the responses.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence

HARMLESS = {  # of the events that https://docs.python.org/3/library/audit_events.html lists
    "builtins.id",  # copies
    "compile",  # literals are parsed, which runs nothing; "exec" is the event of code that runs
    "object.__getattr__",  # signatures
}


def audit(dialogues: Sequence[Sequence]) -> tuple[set[str], list[dict]]:
    """The kinds of events besides the harmless ones, and the responses of all calls."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(dialogues),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    events, responses = json.loads(done.stdout)
    return set(events) - HARMLESS, responses


def _main() -> None:
    from trajnb.world.child import lock_down
    from trajnb.world.environment import Environment

    dialogues = json.loads(sys.stdin.readline())
    worlds = [Environment(classes, config) for classes, config, _ in dialogues]
    lock_down(1024)
    events, responses, watching = set(), [], False

    def hook(event: str, _) -> None:
        if watching:
            events.add(event)

    sys.addaudithook(hook)
    for world, (_, _, texts) in zip(worlds, dialogues, strict=True):
        for text in texts:
            watching = True
            response = world.respond(text)
            watching = False
            responses.append(dataclasses.asdict(response))
    print(json.dumps([sorted(events), responses]))


if __name__ == "__main__":
    _main()
