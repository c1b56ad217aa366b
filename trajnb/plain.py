"""JSON and YAML as plain data: what is nested too deep, refers to itself, grows by aliases or says a
thing twice is refused, before it costs anything.

Texts may come from elsewhere. Whatever is wrong with one is a ValueError of one sentence.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import yaml

DEEPEST = 50
"""Lists and objects within each other; records and params files have under ten."""
NODES = 100_000
"""Words, lists and objects of a YAML text: a second of work."""

# libyaml is twenty times faster than Python, and comes with every wheel of pyyaml
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str) -> object:
    """What a JSON text says; ValueError also for depth, NaN and halves of characters."""
    try:
        value = json.loads(text, parse_constant=_no_number)
        if _HALF.search(text):  # seldom, and fine in pairs
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("a text in it holds half a character (a surrogate)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    return value


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def parse_yaml(text: str) -> object:
    """What a YAML text says; ValueError also for aliases that grow, keys that are given
    twice, and depth.
    """
    try:
        _check_events(yaml.parse(text, LOADER))
        value = yaml.load(text, LOADER)  # safe: LOADER makes plain data alone
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())[:300]}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:  # of a wrong tag
        raise ValueError(f"a value in it cannot be read ({error})") from None
    return value


def _check_events(events: Iterable[yaml.Event]) -> None:
    """Raise ValueError for what `parse_yaml` refuses, from the parser's events, so that nothing is
    built of it.
    """
    open_now: list[_Open] = []
    sizes: dict[str, tuple[int, int]] = {}  # of what an anchor names: values in it, depth of it
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            ended = open_now.pop()
            _count(event, ended.anchor, (ended.values, ended.depth), open_now, sizes)
        elif isinstance(event, yaml.NodeEvent):
            if open_now and open_now[-1].is_mapping:
                _check_key(open_now[-1], event)
            if isinstance(event, yaml.CollectionStartEvent):
                open_now.append(_Open(isinstance(event, yaml.MappingStartEvent), event.anchor))
            elif not isinstance(event, yaml.AliasEvent):
                _count(event, event.anchor, (1, 0), open_now, sizes)
            elif event.anchor in sizes:
                _count(event, None, sizes[event.anchor], open_now, sizes)
            else:
                raise ValueError(f"line {_line(event)}: *{event.anchor} refers to itself, or to nothing")
        if len(open_now) > DEEPEST:
            raise ValueError(f"line {_line(event)} is nested more than {DEEPEST} deep")


@dataclass
class _Open:
    """A list or a mapping whose end has not come."""

    is_mapping: bool
    anchor: str | None
    values: int = 1
    """In it so far, those that aliases stand for included."""
    depth: int = 1
    keys: set[str] = field(default_factory=set)
    key_is_next: bool = True


def _count(
    event: yaml.Event,
    anchor: str | None,
    size: tuple[int, int],
    open_now: list[_Open],
    sizes: dict[str, tuple[int, int]],
) -> None:
    """Add a value with all in it to what it stands in, and to what its anchor names."""
    values, depth = size
    if anchor is not None:
        sizes[anchor] = size
    if open_now:
        open_now[-1].values += values
        open_now[-1].depth = max(open_now[-1].depth, depth + 1)
    if len(open_now) + depth > DEEPEST:
        raise ValueError(f"line {_line(event)} is nested more than {DEEPEST} deep")
    if sum(one.values for one in open_now) > NODES:
        raise ValueError(f"line {_line(event)}: it holds more than {NODES:,} values")


def _check_key(mapping: _Open, event: yaml.NodeEvent) -> None:
    """Take note of the next node of a mapping, every other one of which is a key."""
    if mapping.key_is_next:
        if not isinstance(event, yaml.ScalarEvent):
            raise ValueError(f"line {_line(event)} has a list or a mapping for a key")
        if event.value in mapping.keys:
            raise ValueError(f"line {_line(event)} gives {event.value[:60]!r} a second time")
        mapping.keys.add(event.value)
    mapping.key_is_next = not mapping.key_is_next


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1
