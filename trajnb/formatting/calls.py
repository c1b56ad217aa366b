"""The call grammar, `[Name(key='value', n=3)]`: the one place that reads and writes it.

Values are Python literals; other text is read by the rules of API-Bank's files, whose quotes nest without
escapes (see `formatting.arguments`). What a model writes goes through here, so `parse` evaluates nothing and
raises nothing but `CallSyntaxError`.

A name is read whole: all that stands before the parenthesis up to white space, a bracket (`<` and `>` too,
hence also the arrow `->`) or a quote. So `[un-lock(door='a')]` and `[math.factorial(n=5)]` call `un-lock` and
`math.factorial`, never `lock` and `factorial`. Two things before a name are none of it: `REQUEST_PREFIX`, and
the comma or semicolon between two calls.

Any text is a name, of an API and of an argument: a name that would not be read whole where it stands alone is
written between quotes, `['get tide'('due date'='today')]`, as `repr` writes it.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress

from trajnb.formatting.arguments import (
    NOT_A_LITERAL,
    QUOTED,
    WORDS,
    CallSyntaxError,
    excerpt,
    literal,
    quoted,
    read_arguments,
    split,
    unquoted,
)
from trajnb.formatting.dialogue import Call, Turn

REQUEST_PREFIX = "API-Request:"  # what opens the line of a call, in prompts and answers
LIMIT = 20_000  # characters of a text that are looked at; the longest target of any corpus has under 1,000
NO_CALL = "[]"  # written in place of a call where the user's turn asks for no further one
SHOWN = 500  # characters of a text without a readable call that stay in a history
MOST = 20  # openings after the first call that are looked at: a model that repeats itself says no more

_OF_NAME = r"[^\s()\[\]{}<>（）［］【】「」'\"`‘’“”«»]"  # what a name in a text may be made of
_WHOLE = rf"(?={_OF_NAME}*?[^\W\d])({_OF_NAME}++)(?<=\w)"  # it has a letter and ends like a word
_BRACKETED = rf"\[\s*+(?:{_WHOLE}\s*+|({QUOTED}))\("
_BARE = rf"(?<!{_OF_NAME}){_WHOLE}\("
_OPENINGS = (  # tried in this order, so that a word of prose such as "file(s)" does not hide a bracketed call
    re.compile(rf"\s*+(?:{REQUEST_PREFIX}\s*+)?(?:{_BRACKETED}|{_WHOLE}\()").match,
    re.compile(_BRACKETED).search,
    re.compile(_BARE).search,
)
_FURTHER_OPENING = re.compile(rf"{_BRACKETED}|{_BARE}")
_CLOSING_BRACKET = re.compile(r"\][ \t]*$", re.MULTILINE)
_IS_WHOLE = re.compile(_WHOLE).fullmatch
_BEFORE_A_NAME = (",", ";", REQUEST_PREFIX)


def parse(text: str) -> Call:
    """The first call in `text`, whatever stands before and after it.

    The closing `]` may be missing, and so may the closing `)` of a bracketed call before a `]` that ends the
    line; where both are, the call was cut off and is none. Time is linear in the text, of which the first
    `LIMIT` characters count. A name is read whole, see the top of this module.

    Raises:
        CallSyntaxError: on any text without a readable call, and nothing else on any text.
    """
    text = text[:LIMIT]
    return _read(text, _first_opening(text))[0]


def read_or_none(text: str, read: Callable[[str], Call] = parse) -> Call | None:
    """What a reading of calls, `parse` or one of `formatting.readings`, makes of a text, if anything."""
    try:
        return read(text)
    except CallSyntaxError:
        return None


def made_turn(text: str, response: str) -> Turn:
    """What a model said and what it got, as they stand in the histories to come.

    That is the first call that can be read, else what was said, on one line.
    """
    call = read_or_none(text)
    if call is not None:
        return Turn("api", response, call)
    shown = " ".join(text.removeprefix(REQUEST_PREFIX).split())[:SHOWN]
    return Turn("api", response, None, shown or "(nothing)")


def opened_name(text: str) -> str | None:
    """The API that a text opens a call of, whether or not the call can be read; None where it opens none.

    Where `parse` reads a call, it is the name of that call.
    """
    opening = _find_opening(text[:LIMIT])
    return _name(opening) if opening else None


def parse_all(text: str) -> tuple[Call, ...]:
    """The call that `parse` reads and those written after it; none exactly where `parse` raises.

    Only the first counts as an answer; the others say that a model went on. Unreadable ones are passed over,
    and at most `MOST` openings are looked at.
    """
    text = text[:LIMIT]
    calls: list[Call] = []
    with suppress(CallSyntaxError):
        call, end = _read(text, _first_opening(text))
        calls.append(call)
        for _ in range(MOST):
            opening = _FURTHER_OPENING.search(text, end)
            if opening is None:
                break
            end = opening.end()
            with suppress(CallSyntaxError):
                call, end = _read(text, opening)
                calls.append(call)
    return tuple(calls)


def is_no_call(text: str) -> bool:
    """Whether a text says, with or without the line's opening, that there is no further call."""
    return without_prefix(text) == NO_CALL


def without_prefix(text: str) -> str:
    """A line without `REQUEST_PREFIX`, where it has one, and without white space around it."""
    return text.strip().removeprefix(REQUEST_PREFIX).strip()


def render(call: Call) -> str:
    """`[Name(key='value', n=3)]`; `parse` reads it back, whatever text follows, as this call.

    Values are written as `repr` writes them, with one exception: a text in brackets or braces that holds a
    single quote stands unescaped between single quotes, `attendees='['John', 'Jane']'`, as in API-Bank's
    files, provided that the whole then reads back as the same call. Where it would not (`['']` would read as
    `[]`), all values are escaped. Holds for finite literals, up to `LIMIT` characters; see `writable`.

    Raises:
        ValueError: an API without a name.
    """
    if not call.name:
        raise ValueError("a call names no API: its name is empty")
    escaped, nested = _write(call, repr), _write(call, _as_it_stands)
    return nested if nested != escaped and _reads_as(nested, call) else escaped


def writable(call: Call) -> Call:
    """The call, provided that what `render` writes of it reads back.

    Raises:
        ValueError: it does not, and why.
    """
    text, reason = render(call), ""
    if len(text) > LIMIT:
        reason = f"it takes {len(text):,} characters, over {LIMIT:,}"
    elif read_or_none(text) != call:
        reason = "a value is nested too deeply, or is no text, finite number, list or dict"
    if reason:
        what = f"a call of {excerpt(call.name)} that cannot be written as [name(key=value)]"
        raise ValueError(f"{what}: {reason}")
    return call


def canonical(call: Call, parameters: Sequence[str] | None = None) -> Hashable:
    """What two calls must share to be the same call: name and arguments, free of order, quotes and types.

    Numbers compare as numbers (`3`, `3.0` and `'3'` are equal), containers as literals (`'[1, 2]'` equals
    `[1, 2]`). `parameters` are the documented argument names in order, see `by_name`.
    """
    arguments = by_name(call, parameters or ())
    return call.name, frozenset((key, _canonical_value(value)) for key, value in arguments.items())


def by_name(call: Call, parameters: Sequence[str]) -> dict[str | int, object]:
    """The arguments of a call, positional ones under the documented name (`parameters`, in order). One that
    cannot be bound stays under its position, and so equals no keyword form.
    """
    arguments: dict[str | int, object] = dict(call.arguments)
    for position, value in enumerate(call.positional):
        key = parameters[position] if position < len(parameters) else position
        arguments[position if key in arguments else key] = value
    return arguments


def _write(call: Call, write: Callable[[object], str]) -> str:
    values = [write(value) for value in call.positional]
    values += [f"{quoted(key)}={write(value)}" for key, value in call.arguments.items()]
    return f"[{_spelt(call.name)}({', '.join(values)})]"


def _spelt(name: str) -> str:
    """The name of an API as a call writes it."""
    stands_alone = _IS_WHOLE(name) and name.isprintable() and not name.startswith(_BEFORE_A_NAME)
    return name if stands_alone else repr(name)


def _as_it_stands(value: object) -> str:
    nests = isinstance(value, str) and value[:1] + value[-1:] in ("[]", "{}") and "'" in value
    return f"'{value}'" if nests else repr(value)


def _reads_as(text: str, call: Call) -> bool:
    """Whether a rendered text is this call: quotes pair up within it, so that no text behind it matters."""
    try:
        return split(text, len(_spelt(call.name)) + 2)[1] == len(text) - 1 and parse(text) == call
    except ValueError:
        return False


def _find_opening(text: str) -> re.Match | None:
    return next(filter(None, (find(text) for find in _OPENINGS)), None)


def _name(opening: re.Match) -> str:
    """What is opened there, without what only stands before a name: the prefix, a comma between calls."""
    name = next(filter(None, opening.groups()))
    if name[0] in "'\"":
        return unquoted(name)
    return name.lstrip(",;").removeprefix(REQUEST_PREFIX)


def _first_opening(text: str) -> re.Match:
    opening = _find_opening(text)
    if opening is None:
        raise CallSyntaxError(f"no call of the form [Name(key='value')] in {excerpt(text)}")
    return opening


def _read(text: str, opening: re.Match) -> tuple[Call, int]:
    """The call that opens there, and where it ends."""
    try:
        positional, arguments, end = read_arguments(text, opening.end())
    except CallSyntaxError as error:
        bracket = _CLOSING_BRACKET.search(text, opening.end())
        if bracket is None or "[" not in opening[0]:
            raise  # cut off
        try:
            positional, arguments, end = read_arguments(f"{text[: bracket.start()]})]", opening.end())
        except CallSyntaxError:
            raise error from None
    return Call(_name(opening), arguments, positional), end


def _canonical_value(value: object) -> Hashable:
    if isinstance(value, str):
        try:
            return _canonical_value(WORDS[value] if value in WORDS else literal(value))
        except NOT_A_LITERAL:
            return value
    if isinstance(value, bool) or value is None:
        return "literal", str(value)  # kept from the numbers: True == 1 in Python
    if isinstance(value, int | float):
        return "number", value
    if isinstance(value, list | tuple):
        return "list", tuple(_canonical_value(item) for item in value)
    if isinstance(value, set):
        return "set", frozenset(_canonical_value(item) for item in value)
    if isinstance(value, dict):
        items = ((_canonical_value(key), _canonical_value(item)) for key, item in value.items())
        return "dict", frozenset(items)
    return "other", repr(value)
