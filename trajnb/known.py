"""Words that are known, and a hint for one that is not."""

import difflib
from collections.abc import Iterable


def check_known(what: str, value: str, known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest of the known words, where `value` is none of them."""
    known = list(known)
    if value not in known:
        hint = nearest(value, known)
        raise ValueError(f"unknown {what} {value!r:.80}{hint}; known: {', '.join(known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'seed'?)`, or nothing where no known word is near."""
    short = str(name)[:80]  # the search takes the square of its length
    near = difflib.get_close_matches(short, [str(word) for word in known], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
