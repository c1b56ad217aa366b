import json
import re
from dataclasses import replace

from trajnb.show.trees import counts_by_kind, counts_html, show_tree
from trajnb.world.trees import Node, Tree, to_line

ATTACK = "<script>alert(\"x\")</script><img src=x onerror='alert(1)'>&amp;"
RIGHT = Node(-1, -1, "[cd(folder='a')]", "[cd(folder='a')]", "in a", "executed", on_path=True)
NODES = (
    RIGHT,
    Node(0, -1, "[]", "[]", "", "stop", won=True, on_path=True),
    Node(-1, 0, "[pwd()]", "[pwd()]", "/", "executed", harmless=True),
    Node(-1, 1, ATTACK, ATTACK, ATTACK, "refused", cut=True, harmless=False),
    Node(-1, 2, "[]", "[]", "", "stop", won=False, harmless=False),
    Node(0, 0, "[cd(folder='b')]", "[cd(folder='b')]", "no such", "failed", harmless=False),
)
TREE = Tree("d#0", "file_system", "expert", NODES, 6, 1, True)


def line(**changes):
    return json.loads(to_line(replace(TREE, **changes)))


def body(html):
    return html.data.partition("</style>")[2]


def items(html):
    """The class and the text of every reply, in their order."""
    found = re.findall(r'<li class="(\w+)">.*?class="line request">(.*?)</span>', body(html))
    return [(kind, text) for kind, text in found]


def test_a_tree_shows_its_path_its_dead_ends_and_what_does_no_harm():
    html = show_tree(line(), "A tree", asked="Where?")
    assert [(kind, text[:9]) for kind, text in items(html)] == [
        ("path", "[cd(folde"),
        ("path", "[]"),
        ("beside", "[cd(folde"),
        ("harmless", "[pwd()]"),
        ("dead", "&lt;scrip"),
        ("dead", "[]"),
    ]
    drawn = body(html)
    assert drawn.count("<details open>") == 1 == drawn.count("<details")
    assert "User: Where?" in drawn and "6 replies, 1 said before; it succeeds" in drawn
    assert drawn.count("no further call: ✓ succeeds, the reference&#x27;s") == 1
    assert "no further call: ✗ fails" in drawn and "carried out, harmless" in drawn
    assert "not carried out, cut" in drawn and drawn.count('class="line response got failed"') == 2


def test_all_text_is_escaped_and_nothing_runs():
    html = show_tree(line(), ATTACK, asked=ATTACK)
    tags = {tag.removeprefix("/") for tag in re.findall(r"<(/?\w+)", body(html))}
    assert tags == {"div", "b", "ol", "li", "span", "details", "summary"}
    assert "onerror=&#x27;" in body(html) and "&amp;amp;" in body(html)


def test_lists_and_folds_are_closed():
    drawn = body(show_tree(line(), "A tree"))
    for tag in ("ol", "li", "details", "summary", "span", "div"):
        assert len(re.findall(rf"<{tag}[ >]", drawn)) == drawn.count(f"</{tag}>"), tag


def test_long_replies_are_shortened_and_that_is_said():
    long = replace(RIGHT, form="x" * 900, text="x" * 900, response="y" * 601, on_path=False)
    drawn = body(show_tree(line(nodes=(long,), won=False), "A tree"))
    assert "x" * 600 + " … 300 characters more" in drawn and "y … 1 characters more" in drawn
    assert "it does not succeed" in drawn
    assert "(no reply)" in body(show_tree(line(nodes=()), "A tree"))


def test_replies_are_counted_by_block_and_kind():
    lost = line(block="travel", won=False, nodes=(Node(-1, 0, "x", "x", "no", "refused"),))
    counts = counts_by_kind([line(), line(), lost])
    assert counts.to_dict("records") == [
        dict(zip(counts.columns, values, strict=True))
        for values in (
            ("file_system", "executed", 0, 2, 2, 0),
            ("file_system", "failed", 0, 2, 0, 0),
            ("file_system", "refused", 0, 2, 0, 0),
            ("file_system", "stop", 0, 2, 0, 0),
            ("travel", "refused", 0, 0, 0, 1),
        )
    ]
    rows = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in counts_html(counts).split("<tr")]
    assert rows[-1] == ["all", "", "0", "8", "2", "1"]
    assert [row[1] for row in rows[1:4]] == ["what came of it", "carried out", "told of an error"]
    empty = counts_by_kind([])
    assert list(empty.columns) == list(counts.columns) and not len(empty)
    assert "<table" in counts_html(empty)


def test_a_block_is_escaped():
    assert "<script>" not in counts_html(counts_by_kind([line(block=ATTACK)]))
