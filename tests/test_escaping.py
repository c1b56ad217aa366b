"""Foreign text reaches a sink through `trajnb.escaping` alone: what it makes, and that nobody passes by."""

import ast
import html
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajnb import escaping
from trajnb.machine import ROOT

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(0)>", "[x](javascript:alert(1))", "![x](http://a/b.png)",
    "`y`", "a\n# heading", "a\n\n<b>", "$\\frac{$", "&lt;script&gt;", "http://evil.example", "*a* _b_ ~~c~~",
    "| a | b |", "- a", "1. a", "> a", "<!-- a", "\\<b>", "x' onclick='y", 'x" onclick="y',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_the_text_and_nothing_else(text):
    import mistune  # what nbconvert renders Markdown with

    page = mistune.create_markdown(escape=False, plugins=["strikethrough", "table", "url"])(
        f"before {escaping.in_markdown(text)} after"
    )
    assert set(re.findall(r"<[^>]*>", page)) == {"<p>", "</p>"}, page
    shown = " ".join(text.split())
    assert html.unescape(html.unescape(page.strip()[3:-4])) == html.unescape(f"before {shown} after")


@given(st.text())
def test_html_holds_no_tag(text):
    made = escaping.in_html(text)
    assert not set("<>\"'") & set(made) and html.unescape(made) == html.unescape(html.escape(text))


@given(st.text())
def test_a_terminal_is_told_one_line_that_can_be_seen(text):
    made = escaping.in_terminal(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", made) and len(made.splitlines()) <= 1


def test_a_terminal_shows_what_can_be_seen_as_it_is():
    assert escaping.in_terminal("größe » 日本 [a](b)") == "größe » 日本 [a](b)"
    assert escaping.in_terminal("\x1b]52;c;x\x07\n» done") == "\\x1b]52;c;x\\x07\\n» done"
    assert len(escaping.in_terminal("x" * 10**6)) < 3_000


@pytest.mark.parametrize("text", ["$\\frac{$", "$x$", "plain"])
def test_a_label_is_no_mathematics(text):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.text(0, 0, escaping.in_mathtext(text))
    figure.canvas.draw()


TERMINAL = ("print", "click.echo", "click.ClickException", "sys.stdout.write", "sys.stderr.write")
DOORS = ("in_terminal(", "json.dumps(", "_echo(")


def sinks() -> list[tuple[Path, ast.Call]]:
    """Calls that print or display, outside `show`, which has tests of its own."""
    found = []
    for path in sorted((ROOT / "trajnb").rglob("*.py")):
        if "show" in path.relative_to(ROOT).parts or path.name == "explore.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (*TERMINAL, "Markdown", "HTML"):
                found.append((path.relative_to(ROOT), node))
    return found


def test_every_line_for_a_terminal_goes_through_the_door():
    assert len(sinks()) >= 4
    for path, call in sinks():
        said = ast.unparse(call.args[0]) if call.args else "''"
        plain = all(isinstance(one, ast.Constant) for one in call.args)
        assert plain or any(door in said for door in DOORS), f"{path}, line {call.lineno}: {said}"


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx", "\r=x"])
def test_a_spreadsheet_reads_no_formula(text):
    assert escaping.in_csv(text) == f"'{text}" and escaping.in_csv(f"a{text}") == f"a{text}"


@given(st.text())
def test_latex_sees_marks_as_text(text):
    made = escaping.in_latex(text)
    known = r"\\[&%$#_{}]|\\\w+(?=\{\})|\{\}|\{[\[*]\}|\$\\?[\w-]+\$"
    assert not set("\\&%$#_{}~^\n") & set(re.sub(known, "", made))


def test_latex_spells_what_it_cannot_set():
    assert escaping.in_latex("full → 50 % of $x_1$") == r"full $\rightarrow$ 50 \% of \$x\_1\$"
    assert escaping.in_latex("Köln\n日 ą") == "Köln [U+65E5] [U+0105]"
    assert escaping.in_latex("[a]*\\input{x}") == r"{[}a]{*}\textbackslash{}input\{x\}"
