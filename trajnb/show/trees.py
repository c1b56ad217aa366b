"""Trees of replies as HTML: one tree as nested lists that fold, and what became of all replies.

No scripts: browsers fold `details` by themselves. Everything that a model, an API or a corpus says
is escaped; the style sheet is that of the dialogues.
"""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from IPython.display import HTML

from trajnb.escaping import in_html as escape
from trajnb.formatting.replies import KINDS, NOT_DRAWN, REFUSED, ROOT, STOP
from trajnb.show.dialogue import style

LONGEST = 600
"""Characters of a reply or of a response that are drawn."""
WORDS = {
    "executed": "carried out",
    "failed": "told of an error",
    "refused": "not carried out",
    "stop": "no further call",
}
"""What came of a reply, by `replies.KINDS`."""


def show_tree(line: Mapping, title: str, asked: str = "") -> HTML:
    """A tree: a list of the replies to each state in the order of draws, each with those after it.

    The success path is green and unfolded; a reply beside it that does no harm has a dashed line;
    a dead end (not carried out, or a `[]` that fails) a red one.

    Args:
        line: a line of `trees.jsonl`, see `world.trees.to_line`.
        title: what stands above.
        asked: the user's line.
    """
    nodes = line["nodes"]
    children: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        children.setdefault(node["parent"], []).append(place)
    body = "".join(_drawn(nodes, children, ROOT)) or "<p>(no reply)</p>"
    won = "succeeds" if line["won"] else "does not succeed"
    counts = f"{line['replies']} replies, {line['duplicates']} said before; it {won}"
    said = f'<div class="line user">User: {escape(asked)}</div>' if asked else ""
    head = f'<div class="head"><b>{escape(title)}</b> {counts}</div>'
    return HTML(f'{style()}<div class="trajnb trajnb-colours tree">{head}{said}{body}</div>')


def counts_by_kind(lines: Iterable[Mapping]) -> pd.DataFrame:
    """How many distinct replies came of models, a row for each block and kind.

    Columns: `block`, `kind`, `on_path`, and of those beside a success path `beside` and, of these,
    `harmless`; `away`: at states off such a path, or in trees without one.
    """
    rows = []
    for line in lines:
        for node in line["nodes"]:
            if node["draw"] == NOT_DRAWN:
                continue
            beside = node["harmless"] is not None
            rows.append(
                {
                    "block": line["block"],
                    "kind": node["kind"],
                    "on_path": node["on_path"],
                    "beside": beside,
                    "harmless": bool(node["harmless"]),
                    "away": not beside and not node["on_path"],
                }
            )
    columns = ["block", "kind", "on_path", "beside", "harmless", "away"]
    table = pd.DataFrame(rows, columns=columns)
    blocks = list(dict.fromkeys(table["block"]))
    table["kind"] = pd.Categorical(table["kind"], KINDS)
    table["block"] = pd.Categorical(table["block"], blocks)
    counted = table.groupby(["block", "kind"], observed=True)[columns[2:]].sum()
    return counted.astype(int).reset_index().astype({"block": str, "kind": str})


def counts_html(counts: pd.DataFrame) -> str:
    """`counts_by_kind` as a table, in words, with the blocks' sums below."""
    sums = counts.drop(columns=["block", "kind"]).sum().to_dict()
    rows = [row | {"kind": WORDS[row["kind"]]} for row in counts.to_dict("records")]
    rows.append({"block": "all", "kind": ""} | sums)
    heads = {
        "kind": "what came of it",
        "on_path": "on the success path",
        "beside": "beside it",
        "harmless": "of these harmless",
        "away": "elsewhere",
    }
    return pd.DataFrame(rows).rename(columns=heads).to_html(index=False, classes="text")


def _drawn(nodes: Sequence[Mapping], children: Mapping[int, list[int]], state: int) -> list[str]:
    """The replies to a state as a list, with all that comes after them."""
    if state not in children:
        return []
    items = ["<ol>"]
    for place in sorted(children[state], key=lambda one: nodes[one]["draw"]):
        node = nodes[place]
        below = _drawn(nodes, children, place)
        items.append(f'<li class="{_classes(node)}">')
        if below:
            state_of = " open" if node["on_path"] else ""
            items += [f"<details{state_of}><summary>", _reply(node), "</summary>", *below]
            items.append("</details>")
        else:
            items.append(_reply(node))
        items.append("</li>")
    return [*items, "</ol>"]


def _classes(node: Mapping) -> str:
    if node["on_path"]:
        return "path"
    if node["harmless"]:
        return "harmless"
    return "dead" if node["kind"] == REFUSED or node["won"] is False else "beside"


def _reply(node: Mapping) -> str:
    notes = [_verdict(node)]
    notes += ["the reference's"] if node["draw"] == NOT_DRAWN else []
    notes += ["cut"] if node["cut"] else []
    notes += ["harmless"] if node["harmless"] else []
    got = ""
    if node["kind"] != STOP:
        kind = "got" if node["kind"] == "executed" else "got failed"
        got = f'<span class="line response {kind}">→ {short(node["response"])}</span>'
    said = f'<span class="line request">{short(node["form"])}</span>'
    return f'{said} <span class="note">{escape(", ".join(notes))}</span>{got}'


def _verdict(node: Mapping) -> str:
    what = WORDS[node["kind"]]
    if node["won"] is None:
        return what
    return f"{what}: {'✓ succeeds' if node['won'] else '✗ fails'}"


def short(text: str) -> str:
    """Escaped, and shortened where it is long, which is said."""
    rest = len(text) - LONGEST
    return escape(text[:LONGEST]) + (f" … {rest} characters more" if rest > 0 else "")
