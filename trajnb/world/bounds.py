"""How much a call may ask for, and how large a world may grow.

Literals alone can burn a processor for hours (`power(base=9, exponent=387420489)`), and two copies that each
double a tree, 24 times over, fill any memory. Python does not interrupt big-integer arithmetic, so arguments
are bounded before a call runs. All bounds lie far above what BFCL's own calls need.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

LONGEST = 10_000  # characters of a call's arguments, and of a response
LARGEST = 1e30  # a number's distance from zero
DEEPEST = 30  # folders within folders, lists within lists
NODES = 1_000  # files and folders of a tree
TEXT = 1_000_000  # characters of a tree: all its contents, and the path of every node
PARTS = 20_000  # values of an instance: messages, orders, comments, with every list and key of them
WORDS = 1_000_000  # characters of these
DIGITS = {  # what sets the size of a number, or of the work to find it: at most this far from zero
    ("power", "exponent"): 1_000,
    ("logarithm", "precision"): 1_000,
    ("square_root", "precision"): 1_000,
    ("round_number", "decimal_places"): 1_000,
}


class Refused(ValueError):
    """The call asks for more than an environment gives; it is not carried out."""


def check_arguments(name: str, arguments: Mapping[str, object]) -> None:
    """Raise `Refused` unless the arguments are plain data of bearable size, and all numbers finite."""
    for argument, value in arguments.items():
        _check_value(value, DEEPEST)
        most = DIGITS.get((name, argument))
        number = as_number(value)
        if most is not None and number is not None and not abs(number) <= most:
            raise Refused(f"{argument} must lie between -{most} and {most}")
    if len(repr(arguments)) > LONGEST:
        raise Refused(f"the arguments are longer than {LONGEST} characters")


def as_number(value: object) -> float | None:
    """The number that an API makes of an argument: mpmath and `float` read texts too, '20000000' and
    '2e7'; None where it makes none.
    """
    if isinstance(value, str):
        try:
            return float(Fraction(value)) if "/" in value else float(value)
        except (ValueError, ArithmeticError):
            return None
    return float(value) if isinstance(value, int | float) else None


def check_response(result: object, text: str) -> None:
    """Raise `Refused` where a response is too long or holds a number that is not finite."""
    if len(text) > LONGEST:
        raise Refused(f"the response is longer than {LONGEST} characters")
    _check_finite(result)


def check_world(instances: Iterable[object]) -> None:
    """Raise `Refused` where a number is not finite (an API made it of the text 'nan'), or a tree too large.

    A folder that was removed can still be the working folder: a copy shares its subfolders with the original,
    and so leads back to it.
    """
    for instance in instances:
        _check_parts(vars(instance))
        if hasattr(instance, "root"):
            _check_tree(instance.root)
            _check_tree(instance._current_dir)


def _check_tree(root) -> None:
    """What stands in two places counts twice, as for `find` and `du`, and a circle is too deep."""
    nodes = text = 0
    folders = [(root, 0, 0)]  # with their depth and the length of their path
    while folders:
        folder, depth, path = folders.pop()
        if depth > DEEPEST:
            raise Refused(f"folders may not be nested more than {DEEPEST} deep")
        for name, item in folder.contents.items():
            nodes += 1
            text += path + len(name)
            if hasattr(item, "contents"):
                folders.append((item, depth + 1, path + len(name) + 1))
            else:
                text += len(str(item.content))
        if nodes > NODES or text > TEXT:
            raise Refused(f"a file system may hold {NODES} files and folders, and {TEXT} characters")


def _check_value(value: object, depth: int) -> None:
    if depth < 0:
        raise Refused(f"lists may not be nested more than {DEEPEST} deep")
    if isinstance(value, int | float):
        if not abs(value) <= LARGEST:  # so written, it holds for nan too
            raise Refused(f"numbers must lie between -{LARGEST:g} and {LARGEST:g}")
    elif isinstance(value, list | tuple | set | dict):
        for part in _children(value):
            _check_value(part, depth - 1)
    elif not isinstance(value, str | None):
        raise Refused(f"an argument may not be of type {type(value).__name__}")


def _check_parts(attributes: dict) -> None:
    """All that an instance holds, of which no kind may grow without end: it is looked at after every
    call.
    """
    count = text = 0
    for part in _parts(attributes):
        count += 1
        text += len(part) if isinstance(part, str | bytes) else 0
        if isinstance(part, float) and not math.isfinite(part):
            raise Refused("a number would no longer be finite")
        if count > PARTS or text > WORDS:
            raise Refused(f"a world may hold {PARTS} values and {WORDS} characters of an API")


def _check_finite(value: object) -> None:
    if any(isinstance(part, float) and not math.isfinite(part) for part in _parts(value)):
        raise Refused("a number would no longer be finite")


def _parts(value: object) -> Iterator[object]:
    """The value and everything in it."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        yield value
        waiting.extend(_children(value))


def _children(value: object) -> list:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple | set) else []
