"""Lines of JSON that hold trees, candidates and repairs, read again."""

import json
from collections.abc import Callable
from typing import TypeVar

Held = TypeVar("Held")


def read_line(line: str, build: Callable[[dict], Held], what: str, again: str) -> Held:
    """What `build` makes of the object of a line.

    Raises:
        ValueError: the line holds no `what`; the message says to make it `again`.
    """
    try:
        return build(json.loads(line))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"this line holds no {what}; {again} it again: {line[:80]}") from error
