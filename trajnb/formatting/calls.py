"""The call grammar, `[Name(key='value', n=3)]`: the one place that reads and writes it.

Values are Python literals. API-Bank also nests quotes without escaping them, `attendees='['John', 'Jane']'`,
and leaves values bare, `mode=engage`; text that is not Python is read again by the rules of such files. What
a model writes goes through here, so `parse` evaluates nothing and raises nothing but `CallSyntaxError`.
"""

import ast
import json
import re
import warnings
from collections.abc import Hashable, Iterable, Sequence

from trajnb.formatting.dialogue import Call

LIMIT = 20_000  # characters of a text that are looked at; the longest target of any corpus has under 1,000

_NAME = r"[A-Za-z_]\w*"
_OPENINGS = (  # tried in this order, so that a word of prose such as "file(s)" does not hide a bracketed call
    re.compile(rf"\s*(?:API-Request:\s*)?(?:\[\s*({_NAME})\s*|({_NAME}))\(", re.ASCII).match,
    re.compile(rf"\[\s*({_NAME})\s*\(", re.ASCII).search,
    re.compile(rf"\b({_NAME})\(", re.ASCII).search,
)
_MARKS = re.compile(r"\\.|['\"()\[\]{},]", re.DOTALL)
_SPACE = re.compile(r"\s*")
_KEY = re.compile(rf"\s*({_NAME})\s*=(?!=)\s*", re.ASCII)
_NEXT_KEY = re.compile(rf",(?=\s*{_NAME}\s*=(?!=))", re.ASCII)
_CLOSING_QUOTE = {
    quote: re.compile(rf"{quote}(?=\s*(?:,\s*{_NAME}\s*=|\)\s*(?:\]|$)))", re.ASCII | re.MULTILINE)
    for quote in "'\""
}
_WORDS = {"true": True, "false": False, "null": None}
_NOT_A_LITERAL = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)


class CallSyntaxError(ValueError):
    """The text holds no call that can be read."""


def parse(text: str) -> Call:
    """The first call in `text`, whatever stands before and after it.

    The closing `]` may be missing, the closing `)` may not: a call that was cut off is no call. Time is
    linear in the text, of which the first `LIMIT` characters count.

    Raises:
        CallSyntaxError: on any text without a readable call, and nothing else on any text.
    """
    text = text[:LIMIT]
    opening = next(filter(None, (find(text) for find in _OPENINGS)), None)
    if opening is None:
        raise CallSyntaxError(f"no call of the form [Name(key='value')] in {_excerpt(text)}")
    name = next(filter(None, opening.groups()))
    try:
        positional, arguments = _read_python(text, opening.end())
    except _NOT_A_LITERAL:
        positional, arguments = _read_loose(text, opening.end())
    return Call(name, arguments, positional)


def render(call: Call) -> str:
    """`[Name(key='value', n=3)]`, values as `repr` writes them; `parse` reads it back."""
    values = [repr(value) for value in call.positional]
    values += [f"{key}={value!r}" for key, value in call.arguments.items()]
    return f"[{call.name}({', '.join(values)})]"


def canonical(call: Call, parameters: Sequence[str] | None = None) -> Hashable:
    """What two calls must share to be the same call: name and arguments, free of order, quotes and types.

    Numbers compare as numbers (`3`, `3.0` and `'3'` are equal), containers as literals (`'[1, 2]'` equals
    `[1, 2]`). `parameters` are the documented argument names in order; they bind positional arguments. One
    that cannot be bound stays positional, and so equals no keyword form.
    """
    arguments: dict[str | int, object] = dict(call.arguments)
    for position, value in enumerate(call.positional):
        key = parameters[position] if parameters and position < len(parameters) else position
        arguments[position if key in arguments else key] = value
    return call.name, frozenset((key, _canonical_value(value)) for key, value in arguments.items())


def parameter_names(documents: Sequence[str]) -> dict[str, list[str]]:
    """API name to its argument names in documented order, from the one-line JSON documents of a dialogue."""
    parsed = (json.loads(document) for document in documents)
    return {document["name"]: list(document["parameters"]) for document in parsed}


def _read_python(text: str, start: int) -> tuple[tuple, dict[str, object]]:
    """Positional and keyword arguments of Python syntax; `start` is behind the opening parenthesis."""
    source = f"f({text[start : _balanced_end(text, start)]})"
    with warnings.catch_warnings():  # an invalid escape such as '\d' is only warned about
        warnings.simplefilter("ignore")
        node = ast.parse(source, mode="eval").body
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError("the parentheses do not hold the arguments of one call")
    return (
        tuple(ast.literal_eval(value) for value in node.args),
        _unique((keyword.arg, ast.literal_eval(keyword.value)) for keyword in node.keywords),
    )


def _read_loose(text: str, start: int) -> tuple[tuple, dict[str, object]]:
    """The same where quotes nest without escapes and words stand bare, as in API-Bank's files."""
    positional, keywords = [], []
    position = _SPACE.match(text, start).end()
    while text[position : position + 1] != ")":
        key = _KEY.match(text, position)
        begin = key.end() if key else position
        if text[begin : begin + 1] in _CLOSING_QUOTE:
            value, end = _loose_quoted(text, begin)
        elif key:
            value, end = _loose_bare(text, begin)
        else:
            raise CallSyntaxError(f"an argument without a name is not a literal: {_excerpt(text[begin:])}")
        if key:
            keywords.append((key[1], value))
        else:
            positional.append(value)
        position = _SPACE.match(text, end).end()
        if text[position : position + 1] == ",":
            position = _SPACE.match(text, position + 1).end()
    return tuple(positional), _unique(keywords)


def _loose_quoted(text: str, start: int) -> tuple[object, int]:
    """A quoted value and where it ends: the first same quote before another `key=` or the end of the call."""
    closing = _CLOSING_QUOTE[text[start]].search(text, start + 1)
    if closing is None:
        raise CallSyntaxError(f"a quote is never closed: {_excerpt(text[start:])}")
    try:
        value = _literal(text[start : closing.end()])
    except _NOT_A_LITERAL:
        value = None
    return value if isinstance(value, str) else text[start + 1 : closing.start()], closing.end()


def _loose_bare(text: str, start: int) -> tuple[object, int]:
    """A value without quotes and where it ends: balanced text up to another `key=` or the end of the call."""
    depth = 0
    for mark in _MARKS.finditer(text, start):
        if depth == 0 and (mark[0] == ")" or _NEXT_KEY.match(text, mark.start())):
            break
        depth += (mark[0] in "([{") - (mark[0] in ")]}")
    else:
        raise CallSyntaxError(f"the call is never closed: {_excerpt(text[start:])}")
    value = text[start : mark.start()].strip()
    try:
        return _WORDS[value] if value in _WORDS else _literal(value), mark.start()
    except _NOT_A_LITERAL:
        return value, mark.start()


def _balanced_end(text: str, start: int) -> int:
    """Where the parenthesis that was opened just before `start` closes, quotes read as Python does."""
    depth, quote = 1, ""
    for mark in _MARKS.finditer(text, start):
        if quote:
            quote = "" if mark[0] == quote else quote
        elif mark[0] in "'\"":
            quote = mark[0]
        else:
            depth += (mark[0] in "([{") - (mark[0] in ")]}")
        if depth == 0 and mark[0] == ")":
            return mark.start()
        if not 0 < depth <= 50:  # no target nests deeper than 2, and Python's parser recurses
            break
    raise ValueError("the call is never closed, or nested too deeply")


def _literal(text: str) -> object:
    with warnings.catch_warnings():  # an invalid escape such as '\d' is only warned about
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)


def _unique(keywords: Iterable[tuple[str | None, object]]) -> dict[str, object]:
    arguments: dict[str, object] = {}
    for key, value in keywords:
        if key is None or key in arguments:
            raise CallSyntaxError(f"argument {key} is given twice" if key else "** is no argument name")
        arguments[key] = value
    return arguments


def _canonical_value(value: object) -> Hashable:
    if isinstance(value, str):
        try:
            return _canonical_value(_WORDS[value] if value in _WORDS else _literal(value))
        except _NOT_A_LITERAL:
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


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
