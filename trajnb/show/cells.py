"""The cells of an executed notebook, on their way to a page: sections without anything to say are left
out, and figures are made small.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from trajnb.show.vector import inline_svg

OPTIONAL = "optional"
"""The tag of a markdown cell that has nothing to say where the code below it shows nothing."""


def with_something_to_say(cells: Sequence) -> list:
    """The cells without optional sections that show nothing; a heading among these may have others
    below it, which keep it.
    """
    kept: list = []
    for part in reversed(_parts(cells)):
        first, *code = part
        is_optional = OPTIONAL in first.metadata.get("tags", [])
        shown = any(cell.get("outputs") for cell in code)
        below = bool(kept) and _level(kept[0]) > _level(first)
        if shown or below or not is_optional:
            kept = [*part, *kept]
    return kept


def _parts(cells: Sequence) -> list[list]:
    """The cells, parted before every markdown cell."""
    parts: list[list] = []
    for cell in cells:
        if cell.cell_type == "markdown" or not parts:
            parts.append([])
        parts[-1].append(cell)
    return parts


def _level(cell) -> int:
    """How deep the heading is with which a cell begins; 7 where it begins with none."""
    marks = re.match(r"#{1,6}(?= )", cell.source)
    return len(marks[0]) if cell.cell_type == "markdown" and marks else 7


def make_small(data: dict, words: str) -> None:
    """Make the figure of an output fit for a page: of a vector figure what a page needs; 256
    colours are enough for another, which makes it a third of its size.
    """
    if "image/svg+xml" in data:
        data["image/svg+xml"] = inline_svg(data["image/svg+xml"], words)
    if "image/png" in data:
        figure = Image.open(BytesIO(b64decode(data["image/png"]))).convert("RGB")
        small = BytesIO()
        few = figure.quantize(256, dither=Image.Dither.NONE)
        few.save(small, "PNG", optimize=True)
        data["image/png"] = b64encode(small.getvalue()).decode()
