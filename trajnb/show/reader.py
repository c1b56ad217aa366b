"""A page that reads records: data, one script and one style sheet in a file that asks for nothing.

The data are compressed JSON, which a page cannot run; the script writes it as text. The content
security policy of the page lets only this script and this style sheet in, by their hashes.
"""

import gzip
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files

import jinja2

TEMPLATES = files("trajnb.show").joinpath("templates")
PAGES = {
    "index.html": "Answer",
    "items.html": "Items",
    "rollouts.html": "Rollouts",
    "03_evaluate.html": "Evaluation",
    "07_details.html": "Details",
}
"""What a page of this kind links, where it is there."""


class Numbered(dict):
    """Numbers of distinct values, from 0 in the order in which they come: `numbered[value]`."""

    def __missing__(self, value: object) -> int:
        self[value] = number = len(self)
        return number


def reader_html(
    kind: str, title: str, data: Mapping, pages: Iterable[str] = (), chosen: str = ""
) -> str:
    """The page `kind` ("items" or "rollouts") over its data, which are JSON.

    `title`: of the study; `pages`: the files beside it that may be linked; `chosen`: what is chosen
    where the address says nothing, as the address says it.
    """
    script = script_of(kind)
    style = template("colours.css") + template("reader.css")
    page = jinja2.Template(template("reader.html.j2"), autoescape=True)
    return page.render(
        kind=kind,
        title=title,
        style=style,
        script=script,
        policy=policy(style, script),
        data=packed(data),
        chosen=chosen,
        pages=[(name, words) for name, words in PAGES.items() if name in pages],
    )


def script_of(kind: str) -> str:
    """The script of a page of this kind."""
    return "\n".join(without_comments(template(f"{name}.js")) for name in ("reader", kind))


def policy_of_frames() -> str:
    """The content security policy of a page from a notebook: no script but those of pages in frames,
    which a frame is held to as well.
    """
    hashes = " ".join(_hash(script_of(kind)) for kind in ("items", "rollouts"))
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}"


def template(name: str) -> str:
    """The text of a file of the templates."""
    return TEMPLATES.joinpath(name).read_text("utf-8")


def policy(style: str, script: str = "") -> str:
    """A content security policy that lets in nothing but this style sheet and this script."""
    parts = ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "img-src data:"]
    parts += [f"style-src {_hash(style)}", f"script-src {_hash(script)}" if script else ""]
    return "; ".join(filter(None, parts))


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def packed(data: Mapping) -> str:
    """JSON, compressed, in base 64: the same bytes for the same data."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def without_comments(script: str) -> str:
    """A script without the lines that are comments alone."""
    return re.sub(r"^\s*//.*\n", "", script, flags=re.MULTILINE)


def choices(
    rows: Iterable[Mapping], labels: Mapping[str, str], words: Mapping[str, str]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What can be chosen among rows by their `tags`: key, label, and its values with their words.

    `labels` are those of the keys; `words` are those of values that do not say themselves, which
    come first, in this order. A key of one value is no choice.
    """
    rows, found = list(rows), []
    for key, label in labels.items():
        values = {value for row in rows for value in row["tags"][key]}
        ordered = [value for value in words if value in values]
        ordered += sorted(values - words.keys())
        if len(ordered) > 1:
            found.append((key, label, [(value, words.get(value, value)) for value in ordered]))
    return found


def repetition_words(repetitions: Sequence[tuple]) -> list[str]:
    """What tells repetitions (seed, order, fold) apart, for people; nothing for a lone one."""
    seeds, orders, folds = map(list, map(dict.fromkeys, zip(*repetitions, strict=True)))
    said = []
    for seed, order, fold in repetitions:
        parts = [f"seed {seed}" if len(seeds) > 1 else ""]
        parts += [f"fold {fold}" if len(folds) > 1 else ""]
        parts += [f"order {orders.index(order) + 1}" if len(orders) > 1 else ""]
        said.append(", ".join(filter(None, parts)))
    return said


def row_id(dialogue: str, step: int, repetition: int = 0) -> str:
    """What an item is called in the address of the page: that of its first repetition, unless said
    otherwise.
    """
    return f"{dialogue}:{step}:{repetition}" if repetition else f"{dialogue}:{step}"
