"""The one door for foreign text: each function makes of any text what a sink shows as that text, and
runs, loads or obeys nothing of it.

Foreign is what a corpus, a model, a record, a params file or a folder's name says. Figures need no door:
`show.plots.use_style` lets no label be read as mathematics.
"""

import html
import re

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
