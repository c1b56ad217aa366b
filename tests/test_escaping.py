"""Foreign text reaches a sink through `trajnb.escaping` alone: what it makes, and that nobody passes by."""

import ast
import html
import json
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
    import matplotlib.pyplot as plt

    from trajnb.show import plots

    with plt.rc_context():
        plots.use_style()
        figure, axes = plots.subplots(1, 1)
        axes[0, 0].set(title=text, xlabel=text, xticks=[0.5], xticklabels=[text])
        figure.suptitle(text)
        plots.finish(figure).canvas.draw()


TERMINAL = ("print", "click.echo", "click.ClickException", "sys.stdout.write", "sys.stderr.write")
DOORS = ("in_terminal(", "json.dumps(", "_echo(")


def code() -> list[tuple[str, ast.AST]]:
    """Every module, and every code cell of a notebook, as a tree."""
    found = [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in (ROOT / "trajnb").rglob("*.py")]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        found += [(f"{path.name}, cell {cell['id']}", ast.parse("".join(cell["source"]))) for cell in cells]
    return found


CODE = code()


def uses(kind: type) -> list[tuple[str, ast.AST]]:
    """Nodes of one kind, and where they are."""
    return [(f"{place}, line {node.lineno}", node) for place, tree in CODE for node in ast.walk(tree)
            if isinstance(node, kind)]  # fmt: skip


def calls_of(*names: str) -> list[tuple[str, ast.Call]]:
    """Calls of a function or a method of one of these names."""
    return [(place, node) for place, node in uses(ast.Call)
            if ast.unparse(node.func).rpartition(".")[2] in names]  # fmt: skip


def is_made(node: ast.AST) -> bool:
    """Whether HTML is made by a function of `show` that is named for it, or is a constant."""
    if isinstance(node, ast.BinOp):
        return is_made(node.left) and is_made(node.right)
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).endswith("_html")
    return isinstance(node, ast.Constant) or isinstance(node, ast.Attribute) and node.attr.isupper()


def test_html_of_a_notebook_is_made_by_functions_that_escape():
    found = [(place, node) for place, node in calls_of("HTML") if "cell" in place]
    assert len(found) >= 15
    for place, node in found:
        assert is_made(node.args[0]), f"{place}: {ast.unparse(node)}: say it by a function *_html of trajnb.show"


def test_nothing_is_said_in_markdown():
    assert not calls_of("Markdown", "Latex", "Math", "Javascript", "SVG"), "HTML of `show` takes its place"


def test_a_table_is_styled_by_the_door_alone():
    stylers = [place for place, node in uses(ast.Attribute) if node.attr == "style" and "cell" in place]
    stylers += [place for place, node in uses(ast.Attribute)
                if node.attr == "style" and isinstance(node.value, ast.Name) and node.value.id != "self"]  # fmt: skip
    stylers += [place for place, _ in calls_of("Styler")]
    assert {place.partition(",")[0] for place in stylers} == {"trajnb/show/tables.py"}, stylers
    assert len(calls_of("styled")) >= 10


def test_nobody_else_escapes_or_passes_a_table_by():
    for place, node in uses(ast.ImportFrom):
        assert node.module != "html" or "escape" not in {one.name for one in node.names}, f"{place}: use escaping"
    raw = [place for place, node in calls_of("to_html")
           if {"escape": False} in [{one.arg: getattr(one.value, "value", None)} for one in node.keywords]]  # fmt: skip
    assert {place.partition(",")[0] for place in raw} <= {"trajnb/show/results.py"}, raw


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
