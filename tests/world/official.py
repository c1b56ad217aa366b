"""BFCL's own multi-turn checker as the reference that our rule is held against, run in a child process.

The checker `eval`s the text of every call. So only answers that this project's own code has made may go in:
the reference calls, or corruptions of them written by `formatting.calls.render`. Never what a model wrote.

It keeps instances in module globals, changes default arguments in place and sets the precision of mpmath and
decimal, so that an answer would start from what the one before it left behind. Here the child forks for every
answer: each sees the modules as they were imported. POSIX only.
"""

import importlib
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping

from trajnb.assets import fetch
from trajnb.world.environment import MODULES

SECONDS, BYTES = 20, 2 * 2**30  # of processor and of address space, for one answer
_PACKAGE = "bfcl_eval.eval_checker.multi_turn_eval"


def check(answers: Iterable[Mapping]) -> list[dict]:
    """The checker's verdicts, in the order of the answers.

    Args:
        answers: each with "id" (the dialogue's), "initial_config", "involved_classes", and "truth" and
            "answer": a list of calls as text for every turn.

    Returns:
        For each "id", "valid", "turn" (the first that fails, or None), "error" (BFCL's type of error, or the
        exception that the checker died of; None where valid).
    """
    lines = "".join(json.dumps(answer) + "\n" for answer in answers)
    command = [sys.executable, __file__, str(fetch("bfcl"))]
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    assert done.returncode == 0, f"the official checker stopped:\n{done.stderr[-2000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def _serve(wheel: str) -> None:
    """One line of JSON on the standard output for each on the standard input."""
    sys.path.insert(0, wheel)
    checker = importlib.import_module(f"{_PACKAGE}.multi_turn_checker").multi_turn_checker
    for module in MODULES.values():  # imported here once, not in every fork
        importlib.import_module(f"{_PACKAGE}.func_source_code.{module}")
    for line in sys.stdin:
        answer = json.loads(line)
        if os.fork() == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
            print(json.dumps(_verdict(checker, answer)), flush=True)
            os._exit(0)
        if status := os.wait()[1]:
            raise SystemExit(f"{answer['id']}: the checker ended with wait status {status}")


def _verdict(checker, answer: Mapping) -> dict:
    steps = [[[call] for call in turn] for turn in answer["answer"]]
    entry = {key: answer[key] for key in ("id", "initial_config", "involved_classes")}
    try:
        result = checker(steps, answer["truth"], entry, "multi_turn_base", "answer")
    except Exception as error:
        return {"id": answer["id"], "valid": False, "turn": None, "error": repr(error)}
    verdict = {"id": answer["id"], "valid": result["valid"], "turn": None, "error": None}
    if not result["valid"]:
        told = re.search(r"for turn (\d+)", result["error_message"])  # a difference in state does not tell
        turn = int(told[1]) if told else len(result["execution_result"]) - 1
        verdict |= {"turn": turn, "error": result["error_type"]}
    return verdict


if __name__ == "__main__":
    _serve(sys.argv[1])
