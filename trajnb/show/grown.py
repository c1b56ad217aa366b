"""What runs grew and repaired on training turn tasks, as rows of the page of rollouts: trees of replies
(`trees.jsonl`), and candidates beside their repairs (`candidates.jsonl`, `repairs.jsonl`).

They lie in the homes of stages, of a run or of a study (`run.homes`); kept records have none.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from trajnb.files import read_lines
from trajnb.formatting.dialogue import Corpus
from trajnb.records import Run
from trajnb.show.aligning import aligned, slot_of
from trajnb.show.reader import Numbered

TREES, CANDIDATES, REPAIRS = "trees.jsonl", "candidates.jsonl", "repairs.jsonl"
MOST = 250
"""Trees, and repairs, of a study that the page holds: those with most to see."""
KEPT_TEXTS = 1000
"""Characters of a reply or a response that the page keeps."""


class Move(TypedDict):
    """A reply and what it got; there is more, see `world.candidates.Move`."""

    form: str
    response: str
    kind: str


class Node(Move):
    """A reply in a tree, see `world.trees.Node`."""

    parent: int
    draw: int
    won: bool | None
    on_path: bool
    harmless: bool | None


class Tree(TypedDict):
    """A line of `trees.jsonl`, see `world.trees.Tree`."""

    task: str
    block: str
    source: str
    nodes: list[Node]
    won: bool


class Trajectory(TypedDict):
    """A line of `candidates.jsonl`, see `world.candidates.Trajectory`."""

    task: str
    block: str
    number: int
    moves: list[Move]
    won: bool


class Repair(TypedDict):
    """A line of `repairs.jsonl`, see `world.repair.Repair`."""

    task: str
    number: int
    repairer: str
    failure: str
    attempts: list[Trajectory]
    accepted: bool
    edits: int
    reads_gold: bool


def homes(runs: Iterable[Run]) -> list[tuple[str, Path]]:
    """The homes of stages, each with a name for people: the run's and the stage's."""
    found: dict[Path, str] = {}
    for run in runs:
        folders = [run.folder]
        if run.folder.parent.name == "runs":  # what runs of a study share
            folders.append(run.folder.parent.parent)
        for folder in folders:
            whose = run.folder.name if folder == run.folder else "shared by arms"
            for file in (TREES, REPAIRS):
                for path in sorted(folder.glob(f"*/*/{file}")):
                    found.setdefault(path.parent, f"{whose}, {path.parent.name}")
    return [(name, home) for home, name in found.items()]


def rows_of(
    texts: Numbered, runs: Sequence[Run], corpora: Mapping[str, Corpus]
) -> tuple[list[dict], list[str]]:
    """The rows, and what of all there is the page does not hold; what users say is from `corpora`."""
    dialogues = {one.id: one for corpus in corpora.values() for one in corpus.dialogues}
    trees, repairs = [], []
    for name, home in homes(runs):
        for line in read_lines(home / TREES, Tree) if (home / TREES).is_file() else []:
            trees.append((name, line))
        repairs += [(name, *pair) for pair in _repairs(home)]
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


def _repairs(home: Path) -> list[tuple[Trajectory, Repair]]:
    """Repairs with the candidates that they repair."""
    if not (home / REPAIRS).is_file() or not (home / CANDIDATES).is_file():
        return []
    candidates = {
        (line["task"], line["number"]): line for line in read_lines(home / CANDIDATES, Trajectory)
    }
    repairs = read_lines(home / REPAIRS, Repair)
    return [
        (candidates[line["task"], line["number"]], line)
        for line in repairs
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
