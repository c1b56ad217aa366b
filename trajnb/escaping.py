"""The one door for foreign text: each function makes of any text what a sink shows as that text, and
runs, loads or obeys nothing of it.

Foreign is what a corpus, a model, a record, a params file or a folder's name says. Figures need no door:
`show.plots.use_style` lets no label be read as mathematics.
"""

import html
import re
import unicodedata

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$<>&:@^=\"'])")
_LINE_START = re.compile(r"\s*\n\s*")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def in_html(text: object) -> str:
    """In HTML, between tags and in quoted values of attributes that are no addresses."""
    return html.escape(str(text), quote=True)


def in_markdown(text: object) -> str:
    """In a line of Markdown, HTML within it included: letters, digits and spaces stand, and every
    mark is an entity, which Markdown, mathematics and links do not see.
    """
    line = _LINE_START.sub(" ", str(text))
    return _MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", line)


def in_terminal(text: object, most: int = 2_000) -> str:
    """In a line of a terminal or a log: what moves a cursor, colours, rings, or turns the direction
    of writing is spelt, `\\x1b`; of what is longer than `most` the beginning.
    """
    text = str(text)
    text = text if len(text) <= most else f"{text[:most]}..."
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def in_csv(text: object) -> str:
    """In a cell that a spreadsheet opens: what would begin a formula stands behind a quote."""
    text = str(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


_LATEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "[": "{[}",  # behind a line's end it would be that line's height
    "*": "{*}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "ø": r"\o{}",
    "→": r"$\rightarrow$",
    "−": r"$-$",
    "–": "--",
    "…": r"\ldots{}",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "±": r"$\pm$",
}


def in_latex(text: object) -> str:
    """In text of LaTeX, on one line: marks are marks, and what it cannot set without a package is
    spelt, `[U+4E2D]`.
    """
    line = " ".join(str(text).split())
    return "".join(map(_latex, line))


def _latex(letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    if " " <= letter < "\x7f":
        return letter
    base, _, accent = unicodedata.decomposition(letter).partition(" ")
    is_accented = base.isalnum() and letter <= "\u017f" and accent not in ("", _OGONEK)
    return letter if is_accented else f"[U+{ord(letter):04X}]"


_OGONEK = "0328"
"""The accent that LaTeX's first encoding lacks."""
