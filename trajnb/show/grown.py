"""What runs grew and repaired on training turn tasks, as rows of the page of rollouts: trees of replies,
and candidates beside their repairs.
"""

from collections.abc import Mapping, Sequence

from trajnb.formatting.dialogue import Corpus
from trajnb.grown import CANDIDATES, REPAIRS, TREES, Move, Node, Repair, Trajectory, Tree, homes, read_grown
from trajnb.records import Run
from trajnb.show.aligning import aligned, slot_of
from trajnb.show.reader import Numbered

MOST = 250
"""Trees, and repairs, of a study that the page holds: those with most to see."""
KEPT_TEXTS = 1000
"""Characters of a reply or a response that the page keeps."""


def rows_of(
    texts: Numbered, runs: Sequence[Run], corpora: Mapping[str, Corpus]
) -> tuple[list[dict], list[str]]:
    """The rows, and what of all there is the page does not hold; what users say is from `corpora`."""
    dialogues = {one.id: one for corpus in corpora.values() for one in corpus.dialogues}
    trees, repairs = [], []
    for name, home in homes(runs):
        lines = read_grown(home)
        trees += [(name, line) for line in lines[TREES]]
        repairs += [(name, *pair) for pair in _repairs(lines)]
    trees.sort(key=lambda one: -len(one[1]["nodes"]))
    repairs.sort(key=lambda one: (not one[2]["accepted"], -one[2]["edits"]))
    rows = [_tree(texts, dialogues, *one) for one in trees[:MOST]]
    rows += [_repair(texts, dialogues, *one) for one in repairs[:MOST]]
    notes = [
        f"Of {len(found)} {what} this page holds {MOST}: {which}."
        for what, found, which in (
            ("trees", trees, "those with most replies"),
            ("repairs", repairs, "accepted ones first, those with most changes"),
        )
        if len(found) > MOST
    ]
    return rows, notes


def _repairs(lines: Mapping[str, list]) -> list[tuple[Trajectory, Repair]]:
    """Repairs with the candidates that they repair."""
    candidates = {(line["task"], line["number"]): line for line in lines[CANDIDATES]}
    return [
        (candidates[line["task"], line["number"]], line)
        for line in lines[REPAIRS]
        if (line["task"], line["number"]) in candidates
    ]


def _tree(texts: Numbered, dialogues: Mapping, where: str, line: Tree) -> dict:
    """A tree: `nodes` are [parent, reply, response, what came of it, class]."""
    nodes = []
    for node in line["nodes"]:
        got = texts[node["response"][:KEPT_TEXTS]]
        said = texts[node["form"][:KEPT_TEXTS]]
        nodes.append([node["parent"], said, got, _words(node), _class(node)])
    won = "succeeds" if line["won"] else "fails"
    row = _row(texts, dialogues, "tree", line, where, f"{len(nodes)} replies, {won}")
    return row | {"nodes": nodes}


def _words(node: Node) -> str:
    verdict = {None: [], True: ["✓ the turn succeeds"], False: ["✗ the turn fails"]}[node["won"]]
    whose = ["the reference's"] if node["draw"] < 0 else []
    return ", ".join([node["kind"], *verdict, *whose, *(["harmless"] if node["harmless"] else [])])


def _class(node: Node) -> str:
    if node["on_path"]:
        return "path"
    if node["harmless"]:
        return "harmless"
    return "dead" if node["kind"] == "refused" or node["won"] is False else ""


def _repair(
    texts: Numbered, dialogues: Mapping, where: str, candidate: Trajectory, repair: Repair
) -> dict:
    """A candidate and the attempts to repair it, reply beside reply."""
    said = "accepted" if repair["accepted"] else "not accepted"
    facts = f"{repair['failure']} → {said}, {repair['edits']} replies changed"
    row = _row(texts, dialogues, "repair", candidate, where, facts)
    gold = " (reads the reference)" if repair["reads_gold"] else ""
    heads = [f"{repair['repairer']}{gold}, attempt {n}" for n in range(1, len(repair["attempts"]) + 1)]
    made = {
        head: [_call(move) for move in attempt["moves"]]
        for head, attempt in zip(heads, repair["attempts"], strict=True)
    }
    slots = aligned([move["form"] for move in candidate["moves"]], made)
    slots = [slot_of(texts, slot, heads) for slot in slots]
    own = [slot[0] for slot in slots if slot[0]]
    for reference, move in zip(own, candidate["moves"], strict=True):
        reference.append(texts[move["response"][:KEPT_TEXTS]])
    turn = {
        "user": row.pop("user"),
        "slots": slots,
        "passed": [attempt["won"] for attempt in repair["attempts"]],
    }
    first = f"candidate {candidate['number']}, {'succeeds' if candidate['won'] else 'fails'}"
    return row | {"heads": [first, *heads], "turns": [turn]}


def _call(move: Move) -> dict:
    failed = move["kind"] in ("failed", "refused")
    return {"text": move["form"], "response": move["response"], "failed": failed}


def _row(
    texts: Numbered, dialogues: Mapping, what: str, line: Mapping, where: str, facts: str
) -> dict:
    """What rows of both kinds have."""
    dialogue, _, turn = line["task"].rpartition("#")
    known = dialogues.get(dialogue)
    users = [one.text for one in known.turns if one.role == "user"] if known else []
    said = int(turn) if turn.isdecimal() and int(turn) < len(users) else None
    return {
        "d": line["task"],
        "user": texts[users[said]] if said is not None else None,
        "arms": [],
        "where": " · ".join([what, line["block"], where, facts]),
        "tags": {"what": [what], "block": [line["block"]], "run": [where]},
    }
