"""Calls as others' evaluators read them, so that a report can show what the parser alone changes.

Written anew from how those evaluators behave, faults included. Like `calls.parse` they look at the first
`LIMIT` characters, take linear time, evaluate nothing and raise nothing but `CallSyntaxError`. Two calls are
the same under a reading where the `Call`s it returns are equal; values are text throughout.
"""

import re
from collections.abc import Iterator

from trajnb.formatting.calls import LIMIT, CallSyntaxError
from trajnb.formatting.dialogue import Call

_OFFICIAL_OPENING = re.compile(r"\[(\w++)\(")
_OFFICIAL_KEY = re.compile(r"\b(\w++)\s*+=\s*+")
_WORD = re.compile(r"\w+")
_QUOTE = re.compile(r"['\"]")
_PAPER_OPENING = re.compile(r"\[\s*([A-Za-z_][A-Za-z0-9_]*)\(")
_PAPER_CLOSING = re.compile(r"\)\s*+\]")
_PAPER_ARGUMENT = re.compile(r"\b(\w++)='([^']*+)'")


def official(text: str) -> Call:
    """As API-Bank's own evaluator reads (Li et al., EMNLP 2023).

    The first line with `[Name(` and, behind it, `)]` holds the call; its last `)]` ends it, white space
    within either is not allowed. Arguments are found wherever `key=` is followed by

    - a quote of either kind: the value goes to the next quote of either kind, and has at least one
      character. `'['John', 'Jane']'` is cut to `[`, `'John's'` to `John`; an empty value is dropped or, where
      more quotes follow, swallows what stands before the next one;
    - `[`: the value goes to the last `]` of all arguments;
    - a letter, digit or underscore: the value is that run of them, `3.5` is cut to `3`.

    Anything else is passed over; of a repeated key the last counts. That evaluator goes on to execute the
    call and compares results; here name and arguments must be equal, case included.
    """
    for line in text[:LIMIT].split("\n"):
        opening, end = _OFFICIAL_OPENING.search(line), line.rfind(")]")
        if opening and opening.end() <= end:
            return Call(opening[1], dict(_official_arguments(line[opening.end() : end])))
    raise CallSyntaxError("no line holds [Name( and then )]")


def _official_arguments(text: str) -> Iterator[tuple[str, str]]:
    last_bracket, position = text.rfind("]"), 0
    while key := _OFFICIAL_KEY.search(text, position):
        start = position = key.end()
        if _QUOTE.match(text, start):
            if closing := _QUOTE.search(text, start + 2):
                position = closing.end()
                yield key[1], text[start + 1 : closing.start()]
        elif text.startswith("[", start) and start < last_bracket:
            position = last_bracket + 1
            yield key[1], text[start:position]
        elif word := _WORD.match(text, start):
            position = word.end()
            yield key[1], word[0]


def paper(text: str) -> Call:
    """As the public evaluation of arXiv 2605.09734 reads.

    The call goes from the first `[Name(` to the first `)` and `]` behind it, over lines if need be. Only
    `key='value'` counts: single quotes, no white space around `=`; the value goes to the next single quote
    and may be empty. `'['John', 'Jane']'` is cut to `[`, and typed or double-quoted values are passed over.
    All is in lower case, keys and values without white space around them; of a repeated key the last counts.
    Exact is the same name and the same arguments.
    """
    text = text[:LIMIT]
    opening = _PAPER_OPENING.search(text)
    closing = opening and _PAPER_CLOSING.search(text, opening.end())
    if not closing:
        raise CallSyntaxError("no [Name( that a ) and a ] follow")
    arguments = dict(_PAPER_ARGUMENT.findall(text, opening.end(), closing.start()))
    return Call(
        opening[1].lower(), {key.strip().lower(): value.strip().lower() for key, value in arguments.items()}
    )


READINGS = {"API-Bank's evaluator": official, "arXiv 2605.09734": paper}
