"""Whether plain data has the shape that a type says: one check for all that is read from files."""

import math
from functools import cache
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints, is_typeddict


def check_shape(value: object, kind: object, where: str) -> None:
    """Raise ValueError, in one sentence that names `where` it is, unless `value` is of `kind`.

    `kind` is what annotations say of JSON: int, float, str, bool, None and unions of them, list,
    dict, `list[..]`, `dict[str, ..]`, a TypedDict. Of a TypedDict further keys may be there: they
    are of a later version. A whole number is a float too, True is no number, and none is nan.
    """
    if isinstance(kind, UnionType):
        _check_union(value, kind, where)
    elif is_typeddict(kind):
        _check_object(value, kind, where)
    elif (whole := get_origin(kind)) in (list, dict):
        _check_plain(value, whole, where)
        inner = get_args(kind)[-1]
        for place, part in value.items() if whole is dict else enumerate(value):
            check_shape(part, inner, f"{where}[{_shown(place)}]")
    else:
        _check_plain(value, kind, where)


def _check_union(value: object, kind: UnionType, where: str) -> None:
    said = None
    for one in get_args(kind):
        try:
            check_shape(value, one, where)
            return
        except ValueError as error:
            said = error if said is None and one is not NoneType else said
    if all(isinstance(one, type) for one in get_args(kind)):
        raise ValueError(f"{where} is {_name(value)}, not {kind}")
    raise said


def _check_object(value: object, kind: type, where: str) -> None:
    _check_plain(value, dict, where)
    if missing := sorted(kind.__required_keys__ - value.keys()):
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    for name, part, usual in _parts(kind):
        found = value.get(name, _ABSENT)
        if found is not _ABSENT and type(found) not in usual:
            check_shape(found, part, f"{where}.{name}")


_ABSENT = object()


@cache
def _parts(kind: type) -> list[tuple[str, object, frozenset]]:
    """Of a TypedDict (key, its kind, types that need no second look): of a hundred thousand
    predictions most values are plain.
    """
    parts = []
    for name, part in get_type_hints(kind).items():
        kinds = set(get_args(part) if isinstance(part, UnionType) else [part])
        parts.append((name, part, frozenset(kinds & {bool, str, NoneType})))
    return parts


def _check_plain(value: object, kind: type, where: str) -> None:
    wanted = {float: (int, float), None: NoneType}.get(kind, kind)
    fits = isinstance(value, wanted) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise ValueError(f"{where} is {_name(value)}, not {getattr(kind, '__name__', kind)}")
    if kind in (int, float) and not _is_small(value):
        raise ValueError(f"{where} is no number that can be counted with")


def _is_small(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def _name(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def _shown(place: object) -> str:
    text = str(place)
    return text if len(text) <= 60 else f"{text[:57]}..."
