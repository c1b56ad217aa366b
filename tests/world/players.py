"""Models for tests of trees, made of the reference: one that follows it, and ones that go wrong by
a rule.
"""

import random
from collections.abc import Callable, Sequence

from trajnb.formatting.calls import NO_CALL
from trajnb.world.trees import Ask, Draw, Said, Wanted
from trajnb.world.turns import TurnTask

Change = Callable[[Wanted, Draw, str], str]

HOSTILE = (
    "",
    "I would rather not.",
    "[]",
    "API-Request: []",
    "[no_such_function(x=1)]",
    "[ls(",
    "[ls(a=True)] [rm(file_name='x')]",
    "<script>alert('x')</script>",
    "[echo(content='<img src=x onerror=alert(1)>')]",
    "[power(base=9, exponent=387420489)]",
    "[cd(folder='no such folder')]",
    f"[echo(content='{'x' * 12_000}')]",
    f"{'[' * 30_000}",
    "x" * 100_000,
    "\ud800 \x00 ünïcode ]][[",
    "[__init__()]",
    "[ls(a=__import__('os').system('true'))]",
    "[über(x=1)]",
)


def player(tasks: Sequence[TurnTask], change: Change = lambda wanted, draw, right: right) -> Ask:
    """A model that says the reference's next call by number, or what `change` makes of it."""
    by_id = {task.id: task for task in tasks}

    def ask(wave: Sequence[Wanted]) -> list[list[Said]]:
        said = []
        for wanted in wave:
            calls = by_id[wanted.task].reference
            place = wanted.history.ordinal - 1
            right = f"API-Request: {calls[place]}" if place < len(calls) else NO_CALL
            said.append([Said(change(wanted, draw, right)) for draw in wanted.draws])
        return said

    return ask


def wanderer(seed: int = 0, right: float = 0.4) -> Change:
    """Right so often, else anything of `HOSTILE`, a call of the past, or another call that does no
    harm; what it says depends on the name of the reply alone.
    """

    def change(wanted: Wanted, draw: Draw, wanted_call: str) -> str:
        rng = random.Random(draw.seed(seed))
        if rng.random() < right:
            return wanted_call
        made = [turn for turn in wanted.history.turns if turn.call]
        texts = [
            *HOSTILE,
            "[ls()]",
            "[pwd()]",
            "[get_watchlist()]",
            "[displayCarStatus(option='fuel')]",
        ]
        if made and rng.random() < 0.2:
            return f"[{rng.choice(made).call.name}()]"
        return rng.choice(texts)

    return change
