"""Figures of matplotlib as parts of a page: SVG with text, in the colours of the page.

What is drawn in the colours of paper (white grounds, near-black texts, grey lines) takes those of
`templates/colours.css`; other colours keep their hue and get as much light as a dark page asks for.
"""

import re

from trajnb.escaping import in_html as escape

POINT = 4 / 3
"""Pixels of a screen; matplotlib measures figures in points."""
SHRINKS = 0.92
"""As much of its width as a figure keeps at least, for its smallest text to be 9 pixels high."""
PAPER = {
    "#ffffff": "var(--page)",
    "#262626": "var(--ink)",
    "#1d2330": "var(--ink)",
    "#4c4c4c": "var(--soft)",
    "#cccccc": "var(--line)",
    "#ebebeb": "var(--card)",
}
"""The colours of grounds, texts and lines (seaborn's whitegrid, and ours) on a page."""
BRIGHT = 0.49
"""The most light of an area on a dark page: black text on it can be read, and it does not dazzle."""


def inline_svg(svg: str, words: str = "") -> str:
    """A figure of matplotlib as an element of a page: without what is only for files (a prolog, a
    date, a style sheet that would be the whole page's) and names that every figure has. It is as
    wide as it was drawn and shrinks little, for its texts must stay readable; the page scrolls it.

    `words` say what it shows. Its texts were escaped by matplotlib. A figure that is not
    matplotlib's stays as it is.
    """
    opening, _, body = svg[max(svg.find("<svg"), 0) :].partition(">")
    drawn = re.search(r'width="([\d.]+)pt".* viewBox="([-\d. ]+)"', opening)
    if not drawn:
        return svg
    wide = POINT * float(drawn[1])
    body = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    body = re.sub(r"\n\s*", "\n", body)
    body = re.sub(r'<(\w+)[^>]* style="[^"]*"', _coloured, body)
    style = f"width: 100%; max-width: {wide:.0f}px; min-width: {SHRINKS * wide:.0f}px"
    label = f' role="img" aria-label="{escape(words)}"' if words else ""
    return f'<svg viewBox="{drawn[2]}" style="{style}"{label}>{body}'


def _coloured(element: re.Match) -> str:
    """An element with its colours as those of a page."""
    tag = element[1]

    def colour(found: re.Match) -> str:
        what, ink = found[1], found[2]
        if ink in PAPER and not (tag == "text" and ink == "#ffffff"):
            return f"{what}: {PAPER[ink]}"
        if tag == "text":
            return f"{what}: {_of_text(ink)}"
        is_area = tag == "path" and what == "fill"
        return f"{what}: {_of_area(ink) if is_area else _of_line(ink)}"

    return re.sub(r"(fill|stroke): (#[0-9a-f]{6})", colour, element[0])


def _of_text(ink: str) -> str:
    """Black and white texts stand on areas, and stay."""
    if ink in ("#000000", "#ffffff"):
        return ink
    return f"light-dark(oklch(from {ink} min(l, .55) c h), oklch(from {ink} max(l, .7) c h))"


def _of_line(ink: str) -> str:
    return f"light-dark({ink}, oklch(from {ink} max(l, .65) c h))"


def _of_area(ink: str) -> str:
    red, green, blue = (int(ink[place : place + 2], 16) / 255 for place in (1, 3, 5))
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    if light <= BRIGHT:
        return ink
    return f"light-dark({ink}, color-mix(in srgb, {ink} {100 * BRIGHT / light:.0f}%, black))"
