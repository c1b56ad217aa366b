"""What a parameter may be: words that are known, with a hint for one that is not, and types."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Protocol

from trajnb.plain import parse_yaml

KINDS = ("int", "float", "bool", "str", "list[str]")
"""Types of a parameter, as parameters cells write them."""


def check_known(what: str, value: str, known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest of the known words, where `value` is none of them."""
    known = list(known)
    if value not in known:
        hint = nearest(value, known)
        raise ValueError(f"unknown {what} {value!r:.80}{hint}; known: {', '.join(known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'seed'?)`, or nothing where no known word is near."""
    short = str(name)[:80]  # the search takes the square of its length
    near = difflib.get_close_matches(short, [str(word) for word in known], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def with_type(value: object) -> str:
    """A value that is none of those wanted, after its type, in at most 80 characters."""
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) < 80 else f"{text[:77]}..."


class Heeding(Protocol):
    """A way of learning that some parameters are for: a strategy, an objective."""

    heeds: Sequence[str]


def unheeded_by(own: Heeding, ways: Iterable[Heeding]) -> set[str]:
    """The parameters that other ways than `own` heed, and it does not."""
    return {name for way in ways for name in way.heeds if name not in own.heeds}


def as_kind(value: object, kind: str) -> object | None:
    """`value` as `kind`, one of `KINDS`, or None where it is something else."""
    if kind == "float":
        try:  # YAML 1.1 reads 2e-4 as text, for want of a dot
            number = None if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return number if number is not None and math.isfinite(number) else None
    if kind == "list[str]":
        if isinstance(value, list | tuple) and all(type(one) is int for one in value):
            value = list(map(str, value))  # levels: [1, 2] is meant as text
        texts = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        return list(value) if texts else None
    expected = {"int": int, "bool": bool, "str": str}[kind]
    return value if type(value) is expected else None  # bool is an int to isinstance


def given(name: str, value: object, kind: str) -> object:
    """The value of a notebook's parameter as `kind`. papermill's `-p` hands over a list, and `true` in
    small letters, as text: it is read as the YAML that it is.

    Raises:
        ValueError: it is something else; the message says how papermill is told such a value.
    """
    found = as_kind(value, kind)
    if found is None and isinstance(value, str):
        with suppress(ValueError):
            found = as_kind(parse_yaml(value), kind)
    if found is None:
        how = {"list[str]": f"-y '{name}: [one, another]'", "str": f"-r {name} TEXT"}
        hint = f"; papermill is told it with {how[kind]}" if kind in how else ""
        raise ValueError(f"{name} must be {kind}, not {with_type(value)}{hint}")
    return found


def given_fields(kind: type, values: Mapping) -> dict:
    """What `values`, a notebook's `globals()` or the parameters of a record, say of the fields of the
    dataclass `kind`, each as its type; errors as `given`.
    """
    found = {}
    for field in fields(kind):
        if field.name in values:
            plain = field.type in (int, float, bool, str)
            word = field.type.__name__ if plain else "list[str]"
            found[field.name] = given(field.name, values[field.name], word)
    return found
