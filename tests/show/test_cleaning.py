"""Pages of notebooks from elsewhere: nothing runs, nothing is loaded, and what harmless cells made stays."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajnb.show.cleaning import _ELEMENTS, cleaned
from trajnb.show.dialogue import style

GONE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/a.js></script >",
    "<img src=x onerror=alert(0)>",
    "<img src='http://evil.example/0.png'>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<svg><style>&#117;rl(http://evil.example)</style></svg>",
    "<style>@import 'http://evil.example/a.css'</style>",
    "<style>a{background:url(http://evil.example)}</style>",
    "<style>a{background:\\75 rl(http://evil.example)}</style>",
    "<p style='background:url(//evil.example)'>",
    "<p style='background:image-set(\"http://evil.example\" 1x)'>",
    "<a href='javascript:alert(1)'>",
    "<a href='java\tscript:alert(1)'>",
    "<a href='&#1;javascript&colon;alert(1)'>",
    "<a href='data:text/html,<script>alert(1)</script>'>",
    "<a href='//evil.example'>",
    "<a href='vbscript:x'>",
    "<svg><a xlink:href='javascript:alert(1)'>",
    "<svg><use href='http://evil.example/a.svg#x'/></svg>",
    "<svg><image href='http://evil.example/0.png'/></svg>",
    "<svg><animate attributeName=href to=javascript:x /></svg>",
    "<iframe src='http://evil.example'></iframe>",
    "<iframe src=javascript:alert(1)>",
    "<object data=x></object>",
    "<embed src=x>",
    "<link rel=stylesheet href=http://evil.example>",
    "<meta http-equiv=refresh content=0;url=x>",
    "<base href=http://evil.example>",
    "<form action=http://evil.example><input></form>",
    "<body onload=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<!--><script>alert(1)</script>-->",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></math>",
    "<![foo[ x ]]>",
    "<p/onclick=alert(1)>",
    "<video src=http://evil.example></video>",
    "<table background=http://evil.example>",
    "<template><script>alert(1)</script></template>",
    "<svg><foreignObject><script>x</script></foreignObject></svg>",
]
LOADS = ("src", "href", "xlink:href", "data", "action", "background", "srcset", "poster")


class Read(HTMLParser):
    """Elements, attributes and addresses of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.elements, self.attributes, self.addresses = set(), set(), set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {value for name, value in attrs if name in LOADS}


@pytest.mark.parametrize("html", GONE)
def test_what_runs_or_loads_is_gone(html):
    found = cleaned(f"<p>before</p>{html}<p>after</p>")
    page = Read(found)
    assert page.elements <= _ELEMENTS | {"style"} and not {one for one in page.attributes if one[:2] == "on"}
    assert page.addresses == set() and not re.search("evil.example|alert|javascript", found), found
    assert found.startswith("<p>before</p>") and cleaned(found) == found


@given(st.text("<>/!-[]&;='\" abipstyle\\:()\n", max_size=60))
def test_every_tag_of_any_text_is_a_listed_one(html):
    for tag in re.findall(r"<[^>]*>?", cleaned(html)):
        assert re.fullmatch(r'</?(\w+)(?: [\w:-]+="[^"<>]*")*/?>', tag), tag
        assert tag.strip("</>").split(" ")[0].lower() in _ELEMENTS | {"style"}, tag


HARMLESS = [
    '<details class="code" open=""><summary>code</summary><pre><span class="n">a</span> &lt; 1</pre></details>',
    '<table border="1" class="dataframe"><tr style="text-align: right;"><th colspan="2">a</th></tr></table>',
    '<img alt="No description" src="data:image/png;base64,iVBORw0KGgo=">',
    '<a href="#The-answer">a</a><a href="items.html#arm+full=right">b</a><a href="https://arxiv.org/abs/1">c</a>',
    '<svg viewBox="0 0 9 9"><g clip-path="url(#p1)"><path d="M 0 0 L 1 1" style="fill: none; stroke: #262626"/>'
    '<use xlink:href="#m1" x="1"/></g></svg>',
    "<p>before &amp; after &lt;script&gt;</p>",
]


@pytest.mark.parametrize("html", HARMLESS)
def test_what_cells_of_ours_make_stays_as_it_is(html):
    assert cleaned(html) == html


def test_the_style_of_dialogues_stays():
    assert cleaned(style()) == style()


def test_a_frame_holds_what_it_has_and_may_do_what_ours_may():
    found = cleaned(
        "<iframe srcdoc='<p>x</p>' sandbox='allow-same-origin allow-scripts' onload=x></iframe><p>y</p>"
    )
    assert found.startswith('<iframe sandbox="allow-scripts allow-downloads" title=""')
    assert "allow-same-origin" not in found and "onload" not in found and found.endswith("</iframe><p>y</p>")
