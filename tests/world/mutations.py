"""Mutated calls: what a model might write, and what it would not."""

import random
import re
from collections.abc import Sequence

NUMBERS = ["0", "-1", "1e999", "-1e999", "nan", "9" * 400, "1e30", "-1e-320", "387420489", "-100000000"]
NUMBERS += ["True", "1j", "0x" + "f" * 40, "20000000", "2.5", "1000"]
VALUES = ["None", "[]", "{}", "()", "{1}", "b'x'", "...", "''", "'..'", "'/'", "'/etc/passwd'", "'nan'"]
VALUES += ["'" + "A" * 3_000 + "'", "['a'] * 9", "f'{exit()}'", "open('F', 'w')", "__import__('os')"]
VALUES += ["[" * 40 + "]" * 40, "{'a': {'b': [1, (2,), {3}]}}", "'\\x00'", "'\\ud800'", "\ud800", "lambda: 0"]
PIECES = ["(", ")", "[", "]", "{", "}", "'", '"', ",", "=", "\\", "\n", " ", "**", "*", ".", "#", ";", "\x00"]
PIECES += ["exec(", "eval(", "__class__", "os.system('touch F')", ".__globals__", "self", "_", ":=", "é"]
NAMES = ["exit", "open", "__import__", "__init__", "_load_scenario", "__class__", "ls.__func__", "os.system"]
NAMES += ["cp", "mv", "mkdir", "cd", "power", "logarithm", "square_root", "round_number", "find", "du"]

_NUMBER = re.compile(r"(?<=[=\[ ,(])-?\d[\d.]*")
_QUOTED = re.compile(r"'[^']*'")
_NAME = re.compile(r"\w+(?=\()")


def mutate(rng: random.Random, text: str, others: Sequence[str]) -> str:
    """The text after up to three changes, none of which asks whether the last left a call."""
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        text = rng.choice(_CHANGES)(rng, text, others)[:30_000]
    return text


def _number(rng, text, others):
    return _NUMBER.sub(lambda _: rng.choice(NUMBERS), text, count=rng.randint(1, 2))


def _value(rng, text, others):
    return _QUOTED.sub(lambda _: rng.choice(VALUES), text, count=1)


def _other_value(rng, text, others):
    """A value of another call; two calls that share names make worlds grow."""
    found = _QUOTED.findall(rng.choice(others)) or ["'a'"]
    return _QUOTED.sub(lambda _: rng.choice(found), text, count=1)


def _name(rng, text, others):
    found = _NAME.findall(rng.choice(others)) + [rng.choice(NAMES)]
    return _NAME.sub(lambda _: rng.choice(found), text, count=1)


def _delete(rng, text, others):
    start = rng.randrange(len(text) + 1)
    return text[:start] + text[start + rng.randint(1, 8) :]


def _insert(rng, text, others):
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice(PIECES) * rng.choice([1, 1, 1, 2, 60]) + text[place:]


def _double(rng, text, others):
    start = rng.randrange(len(text) + 1)
    piece = text[start : start + rng.randint(1, 30)]
    return text[:start] + piece * rng.choice([2, 2, 3, 400]) + text[start:]


def _splice(rng, text, others):
    other = rng.choice(others)
    return text[: rng.randrange(len(text) + 1)] + other[rng.randrange(len(other)) :]


def _nest(rng, text, others):
    return _QUOTED.sub(lambda _: rng.choice(others).strip("[]"), text, count=1)


_CHANGES = [
    _number,
    _value,
    _other_value,
    _other_value,
    _name,
    _name,
    _delete,
    _insert,
    _double,
    _splice,
    _nest,
]
