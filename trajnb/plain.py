"""JSON and YAML as plain data: what is nested too deep, refers to itself or says a thing twice is
refused, before it costs anything.

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
    """What a YAML text says; ValueError also for aliases, keys that are given twice, and depth."""
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
    nodes = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"line {_line(event)} refers to an anchor (*{event.anchor}): write it out")
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            if open_now and open_now[-1].is_mapping:
                _check_key(open_now[-1], event)
        if isinstance(event, yaml.CollectionStartEvent):
            open_now.append(_Open(isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            open_now.pop()
        if len(open_now) > DEEPEST:
            raise ValueError(f"line {_line(event)} is nested more than {DEEPEST} deep")
        if nodes > NODES:
            raise ValueError(f"it holds more than {NODES:,} values")


@dataclass
class _Open:
    """A list or a mapping whose end has not come."""

    is_mapping: bool
    keys: set[str] = field(default_factory=set)
    key_is_next: bool = True


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
