"""What stands between the parentheses of a call: literals of Python, or API-Bank's looser text.

API-Bank nests quotes without escaping them, `attendees='['John', 'Jane']'`, and leaves values bare,
`mode=engage`; so do models. Nothing is evaluated, and time is linear in the text.

The name of an argument may be any text, as a key of JSON may be. Names such as `n`, `port-name`, `$filter` or
`größe` stand as they are, others between quotes, `'due date'='today'`.
"""

import ast
import re
import warnings
from collections.abc import Iterable

NAME = r"[$@]?[^\W\d][\w.$@-]*+(?<=[\w$])"  # of an argument, where it stands without quotes
QUOTED = r"'(?:[^'\\\n]|\\.)*+'|\"(?:[^\"\\\n]|\\.)*+\""  # a name as `repr` writes it
WORDS = {"true": True, "false": False, "null": None}
NOT_A_LITERAL = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)

_MARKS = re.compile(r"\\.|['\"()\[\]{},]", re.DOTALL)
_SPACE = re.compile(r"\s*")
_KEY = re.compile(rf"\s*({NAME}|{QUOTED})\s*=(?!=)\s*")
_NEXT_KEY = re.compile(rf",(?=\s*(?:{NAME}|{QUOTED})\s*=(?!=))")
_IS_NAME = re.compile(NAME).fullmatch
_CLOSING_QUOTE = {  # before another key, or before the end of the call and of its line or a further call
    quote: re.compile(
        rf"{quote}(?=\s*+(?:,\s*(?:{NAME}|{QUOTED})\s*=|,?+\s*+\)\s*(?:\]|$|,\s*{NAME}\()))",
        re.MULTILINE,
    )
    for quote in "'\""
}


class CallSyntaxError(ValueError):
    """The text holds no call that can be read."""


def read_arguments(text: str, start: int) -> tuple[tuple, dict[str, object], int]:
    """Positional and keyword arguments, and where the call ends; `start` is behind its parenthesis."""
    try:
        return _read_python(text, start)
    except NOT_A_LITERAL:
        return _read_loose(text, start)


def _read_python(text: str, start: int) -> tuple[tuple, dict[str, object], int]:
    """Arguments that are Python literals. They are split here, for a key may be a keyword of Python."""
    positional, keywords = [], []
    pieces, end = split(text, start)
    for piece in pieces:
        if key := _KEY.match(piece):
            keywords.append((unquoted(key[1]), literal(piece[key.end() :])))
        elif keywords:
            raise ValueError("an argument without a name follows one with a name")
        else:
            positional.append(literal(piece))
    return tuple(positional), _unique(keywords), end


def _read_loose(text: str, start: int) -> tuple[tuple, dict[str, object], int]:
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
            raise CallSyntaxError(f"an argument without a name is not a literal: {excerpt(text[begin:])}")
        if key:
            keywords.append((unquoted(key[1]), value))
        else:
            positional.append(value)
        position = _SPACE.match(text, end).end()
        if text[position : position + 1] == ",":
            position = _SPACE.match(text, position + 1).end()
    return tuple(positional), _unique(keywords), position + 1


def _loose_quoted(text: str, start: int) -> tuple[object, int]:
    """A quoted value and where it ends: the first same quote before another `key=` or the end of the call."""
    closing = _CLOSING_QUOTE[text[start]].search(text, start + 1)
    if closing is None:
        raise CallSyntaxError(f"a quote is never closed: {excerpt(text[start:])}")
    try:
        value = literal(text[start : closing.end()])
    except NOT_A_LITERAL:
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
        raise CallSyntaxError(f"the call is never closed: {excerpt(text[start:])}")
    value = text[start : mark.start()].strip().removesuffix(",")
    try:
        return WORDS[value] if value in WORDS else literal(value), mark.start()
    except NOT_A_LITERAL:
        return value, mark.start()


def split(text: str, start: int) -> tuple[list[str], int]:
    """The arguments from `start` to the closing parenthesis and where the call ends, quotes as in Python."""
    pieces, depth, quote = [], 0, ""
    for mark in _MARKS.finditer(text, start):
        if quote:
            quote = "" if mark[0] == quote else quote
        elif mark[0] in "'\"":
            quote = mark[0]
        elif depth == 0 and mark[0] in ",)":
            pieces.append(text[start : mark.start()].strip())
            start = mark.end()
            if mark[0] == ")":
                return pieces if pieces[-1] else pieces[:-1], start
        else:
            depth += (mark[0] in "([{") - (mark[0] in ")]}")
            if not 0 <= depth <= 50:  # no target nests deeper than 2, and Python's parser recurses
                break
    raise ValueError("the call is never closed, or nested too deeply")


def quoted(name: str) -> str:
    """The name of an argument as a call writes it."""
    return name if _IS_NAME(name) else repr(name)


def unquoted(name: str) -> str:
    """A name that a call writes, of an API or an argument; what stands between quotes is read as `repr`
    wrote it, or as it is where Python reads no text there.
    """
    if name[0] not in "'\"":
        return name
    try:
        return str(literal(name))
    except NOT_A_LITERAL:
        return name[1:-1]


def literal(text: str) -> object:
    """The value of a Python literal that `repr` can write again, and that is text where it says so:
    1e999, ... and halves of characters such as '\\ud800' are no values.
    """
    with warnings.catch_warnings():  # an invalid escape such as '\d' is only warned about
        warnings.simplefilter("ignore")
        value = ast.literal_eval(text)
        if not isinstance(value, str) and ast.literal_eval(repr(value)) != value:
            raise ValueError("a value that does not read back")
        if "\\" in text:  # escapes alone can make what is no text
            _check_text(value)
    return value


def _check_text(value: object) -> None:
    """Raise ValueError where a text in a literal, nested or not, cannot be written."""
    if isinstance(value, str):
        value.encode()  # a UnicodeEncodeError, which is a ValueError
    elif isinstance(value, list | tuple | set | dict):
        for part in [*value, *(value.values() if isinstance(value, dict) else [])]:
            _check_text(part)


def _unique(keywords: Iterable[tuple[str, object]]) -> dict[str, object]:
    arguments: dict[str, object] = {}
    for key, value in keywords:
        if key in arguments:
            raise CallSyntaxError(f"argument {key} is given twice")
        arguments[key] = value
    return arguments


def excerpt(text: str) -> str:
    """A text as an error message shows it."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
