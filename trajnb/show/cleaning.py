"""Pages of notebooks that came from elsewhere: what is not known to be harmless is not in them.

A page is read tag by tag and written anew. Every `<` of what is written is one of ours, in front of a
name that is listed here; so nothing but listed elements with listed attributes can be in it, however
a browser reads what was there before.
"""

import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser

from trajnb.escaping import in_html

_HTML = """a abbr article aside b blockquote br caption code col colgroup dd del details div dl dt em
 figcaption figure footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q s samp
 section small span strong sub summary sup table tbody td tfoot th thead tr tt u ul var wbr"""
_SVG = """circle clippath defs ellipse g image line lineargradient marker path pattern polygon polyline
 radialgradient rect stop svg symbol text tspan use"""
_EMPTY = frozenset("br col hr img wbr".split())
_DRAWN = frozenset(_SVG.split())
_ELEMENTS = _DRAWN.union(_HTML.split())
_WITHIN = frozenset(
    """applet audio button datalist desc embed foreignobject form frameset iframe map math metadata noembed
 noframes noscript object plaintext script select style template textarea title video xmp""".split()
)
"""Elements that go with all that is in them."""
_ATTRIBUTES = frozenset(
    """align border clip-path colspan cx cy d dir dominant-baseline dx dy fill fill-opacity
 fill-rule font-family font-size font-style font-weight gradienttransform gradientunits halign height
 offset opacity open points preserveaspectratio r rowspan rx ry scope scoped span start
 stop-color stop-opacity stroke stroke-dasharray stroke-linecap stroke-linejoin stroke-opacity
 stroke-width style tabindex text-anchor transform type valign value version viewbox width x x1 x2
 xml:space xmlns xmlns:xlink y y1 y2""".split()
)
_CASED = {"clippath": "clipPath", "lineargradient": "linearGradient", "radialgradient": "radialGradient",
          "viewbox": "viewBox", "preserveaspectratio": "preserveAspectRatio",
          "gradientunits": "gradientUnits", "gradienttransform": "gradientTransform"}  # fmt: skip
_WORDS = frozenset("alt class id lang role title".split())
"""Attributes that hold no style."""
_FETCHES = re.compile(
    r"[<\\&]|(?:url|src|image|image-set|cross-fade|expression)\s*\((?!#)|@(?!media\b)", re.IGNORECASE
)
"""In a style: what might load something, end the style, or be read otherwise within a figure."""
_LINK = re.compile(r"https?://|#|(?!//)[^:]*(?:[/?#]|\Z)", re.IGNORECASE)
"""An address that a link may have: of the web, within the page, or beside it."""
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[\w+/=\s]*\Z", re.IGNORECASE)
_FRAME = 'sandbox="allow-scripts allow-downloads"'
"""What a frame may do, see `explore.Page`; its scripts are those that the page's policy lets in."""


def cleaned(html: str) -> str:
    """HTML without scripts, handlers, addresses that run, forms, and all that would be loaded."""
    reader = _Cleaner()
    reader.feed(html.replace("<![", "&lt;!["))  # of sections that it does not know the reader raises
    reader.close()
    return "".join(reader.written)


class _Cleaner(HTMLParser):
    """Writes what it reads, as far as it is listed."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.written: list[str] = []
        self.within: list[str] = []
        """Elements that are left out, and in which the reader stands."""

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]], close: str = ""
    ) -> None:
        if tag in _WITHIN:
            if tag == "iframe" and not self.within:
                self.written.append(_frame(dict(attrs)))
            self.within.append(tag)
        elif tag in _ELEMENTS and not self.within:
            said = "".join(f' {name}="{in_html(value)}"' for name, value in _kept(tag, attrs))
            self.written.append(f"<{_CASED.get(tag, tag)}{said}{close}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DRAWN:
            self.handle_starttag(tag, attrs, close="/")
            return
        self.handle_starttag(tag, attrs)  # of HTML `<div/>` is no end, but it is written as one
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.within:
            del self.within[self.within.index(tag) :]
        elif tag in _ELEMENTS - _EMPTY and not self.within:
            self.written.append(f"</{_CASED.get(tag, tag)}>")

    def handle_data(self, data: str) -> None:
        if not self.within:
            self.written.append(in_html(data))
        elif self.within == ["style"] and not _FETCHES.search(data):
            self.written.append(f"<style>{data}</style>")


def _kept(tag: str, attrs: Iterable[tuple[str, str | None]]) -> Iterator[tuple[str, str]]:
    for name, value in attrs:
        value = value or ""
        if name in ("href", "src", "xlink:href"):
            if _may_lead(tag, name, re.sub(r"[\x00-\x20]", "", value)):
                yield name, value
        elif name in _WORDS or name.startswith("aria-"):
            yield name, value
        elif name in _ATTRIBUTES and not _FETCHES.search(value):
            yield _CASED.get(name, name), value


def _may_lead(tag: str, name: str, address: str) -> bool:
    """Whether an element may have this address, which is without blanks."""
    if tag == "a":
        return name == "href" and bool(_LINK.match(address))
    if tag in ("img", "image"):
        return bool(_PICTURE.match(address))
    return address.startswith("#")


def _frame(attrs: dict[str, str | None]) -> str:
    """A frame around what it holds itself; nothing for one that would load."""
    if not attrs.get("srcdoc"):
        return ""
    kept = {name: attrs.get(name) or "" for name in ("title", "width", "height", "srcdoc")}
    said = "".join(f' {name}="{in_html(value)}"' for name, value in kept.items())
    return f"<iframe {_FRAME}{said}></iframe>"
