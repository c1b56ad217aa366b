"""Values of a user's JSON: read by type, or refused by an error that says where they stand."""

import json
from collections import Counter
from dataclasses import dataclass, field
from math import isfinite

REQUIRED = object()
KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}


@dataclass(frozen=True)
class Notes:
    """What was read otherwise than it is written, or not read at all."""

    keys: Counter = field(default_factory=Counter)
    """Of keys that hold something and are not read, by level and name: how often."""
    left_out: Counter = field(default_factory=Counter)
    """Of what has no place in a dialogue, by kind: how often."""
    read_as: Counter = field(default_factory=Counter)
    """Of what was read from another place than its own, by kind: how often."""

    def update(self, other: "Notes") -> None:
        """Add the counts of `other`."""
        self.keys.update(other.keys)
        self.left_out.update(other.left_out)
        self.read_as.update(other.read_as)


def get(holder: object, key: str, kind: type, default: object = REQUIRED):
    """A value of an object by its type; `default` where it is missing or null.

    Raises:
        ValueError: `holder` is no object, or the value is missing or of another type.
    """
    if not isinstance(holder, dict):
        raise ValueError("not an object")
    value = holder.get(key)
    if value is None and default is not REQUIRED:
        return default
    if not isinstance(value, kind):
        raise ValueError(f"{key} is missing" if value is None else f"{key} is not {KINDS[kind]}")
    return value


def unread(holder: dict, read: frozenset[str], level: str, notes: Notes) -> None:
    """Count the keys that hold something and are none of those that are read."""
    for key in holder.keys() - read:
        if holder[key] is not None:
            notes.keys[f"{level}{key}"] += 1


def encodable(text: str) -> str:
    """The text, which must be one: half of a surrogate pair is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            "it holds half of a surrogate pair (\\ud800 to \\udfff), which is no text"
        ) from None
    return text


def parsed(text: str) -> object:
    """The JSON value of a text, and where that is a text of JSON again, its value.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        value = json.loads(text)
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            value = json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def as_text(value: object) -> str:
    """Any JSON value as text: a text as it is, nothing as nothing, all else as JSON."""
    if value is None:
        return ""
    return encodable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def check_numbers(value: object, where: str = "") -> None:
    """Raise ValueError, with its place, for a number that JSON has not: NaN and the infinities."""
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{where.lstrip('.') or 'a value'} is {value}, which is no number of JSON")
    if isinstance(value, dict):
        for key, inner in value.items():
            check_numbers(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            check_numbers(inner, f"{where}[{index}]")


class within:  # noqa: N801, it reads as the function that it could be, and is a third of its cost
    """Let errors say where they were met: `with within("message", 3): ...`."""

    __slots__ = ("place",)

    def __init__(self, *place: object):
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, ValueError):
            raise ValueError(f"{' '.join(map(str, self.place))}: {error}") from None
