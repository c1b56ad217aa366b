"""What BFCL's rule compares of an instance, as plain data: its public attributes, whatever is in them.

Two snapshots are equal exactly where Python finds the attributes equal, also after a journey through JSON,
which by itself knows neither tuples and sets nor keys that are no text.
"""

import json
from collections.abc import Iterable

_COMPARED = ("name", "content", "contents")  # of a file or folder; BFCL leaves times and the parent out


def snapshot(instance: object) -> dict[str, object]:
    """The public attributes of an instance, ready for JSON.

    The working folder of a file system is private in BFCL, so it is no part of the state.
    """
    return {name: _plain(value) for name, value in vars(instance).items() if not name.startswith("_")}


def _plain(value: object) -> object:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):  # 1 == 1.0 == True, and items are sorted by their text
        return int(value) if isinstance(value, int) or value.is_integer() else value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_plain(item) for item in value]}
    if isinstance(value, set):
        return {"set": _sorted(value)}
    if isinstance(value, dict):
        return {"dict": _sorted(map(list, value.items()))}
    return {type(value).__name__: [_plain(part) for name, part in vars(value).items() if name in _COMPARED]}


def _sorted(items: Iterable) -> list:
    return sorted(map(_plain, items), key=json.dumps)
