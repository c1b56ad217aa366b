"""The page of rollouts: whole dialogues that models played, call by call beside the reference, and
what was grown and repaired on training turn tasks (`show.grown`).

Read by `templates/rollouts.js`. Rows are dialogues of one repetition (seed, block order, fold);
columns are arms, and how their turns end where a study has both ways.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trajnb.formatting.dialogue import Corpus
from trajnb.formatting.documents import apis_of
from trajnb.grown import homes
from trajnb.records import Run, read_beside
from trajnb.scoring.arms import Arm, arms_of, in_order
from trajnb.show import grown
from trajnb.show.aligning import aligned, slot_of
from trajnb.show.plots import condition_colours
from trajnb.show.reader import Numbered, choices, reader_html, repetition_words

FILE = "rollouts.jsonl"
WORDS = {
    "yes": "succeeds",
    "no": "fails",
    "rollout": "played dialogue",
    "tree": "tree of replies",
    "repair": "candidate and repairs",
}
ENDS = {"oracle": "", "model": ", ends turns itself"}


@dataclass(frozen=True)
class _Played:
    """A line of `rollouts.jsonl` and whose it is."""

    column: str
    """The arm, and how its turns end where a study has both ways."""
    condition: str
    repetition: tuple
    corpus: str
    """The hash of its corpus."""
    line: Mapping


def rollouts_html(
    title: str, runs: Sequence[Run], corpora: Mapping[str, Corpus], pages: Iterable[str] = ()
) -> str:
    """The page of the rollouts of these runs, see `rollouts_data`; `pages` lie beside it."""
    return reader_html("rollouts", title, rollouts_data(runs, corpora), pages)


def has_rollouts(runs: Iterable[Run]) -> bool:
    """Whether there is anything to show."""
    runs = list(runs)
    return any((run.folder / FILE).is_file() for run in runs) or bool(homes(runs))


def rollouts_data(runs: Sequence[Run], corpora: Mapping[str, Corpus]) -> dict:
    """What the page shows, as JSON; `corpora` by hash hold what the users say."""
    played = _played(runs)
    columns = dict.fromkeys(one.column for one in played)
    palette = condition_colours(one.condition for one in played)
    colour = {one.column: palette[one.condition] for one in played}
    repetitions = list(dict.fromkeys(one.repetition for one in played))
    named = repetition_words(repetitions) if repetitions else []
    texts, seen, rows = Numbered(), Counter(), []
    for (dialogue, repetition), lines in _grouped(played).items():
        row = _row(texts, list(columns), lines, corpora)
        row["id"] = f"{dialogue}:{seen[dialogue]}" if seen[dialogue] else dialogue
        seen[dialogue] += 1
        run = named[repetitions.index(repetition)]
        row["tags"] |= {"what": ["rollout"], "run": [run]}
        row["where"] = " · ".join(filter(None, [*row["tags"]["block"], run]))
        rows.append(row)
    others, notes = grown.rows_of(texts, in_order(runs), corpora)
    for place, row in enumerate(others):
        row["id"] = f"{row['d']}:{place}"
        row["tags"] |= {f"arm {name}": [] for name in columns}
    rows += others
    labels = {"what": "what"} | {f"arm {name}": name for name in columns}
    labels |= {"block": "block", "run": "run"}
    return {
        "arms": [{"name": name, "colour": colour[name]} for name in columns],
        "choices": choices(rows, labels, WORDS),
        "rows": rows,
        "texts": list(texts),
        "notes": [*_notes(runs, corpora), *notes],
    }


def _played(runs: Sequence[Run]) -> list[_Played]:
    """All lines of all runs, in the order of the arms."""
    runs = in_order(runs)
    found: list[tuple[Arm, Run, dict]] = []
    for arm, run in zip(arms_of([run.record.parameters for run in runs]), runs, strict=True):
        found += [(arm, run, line) for line in read_beside(run.folder).get(FILE, [])]
    crossed = any(line["eval_condition"] != arm.condition for arm, _, line in found)
    ends = {line["ends"] for _, _, line in found}
    played = []
    for arm, run, line in found:
        asked = f" → {line['eval_condition']}" if crossed else ""
        own = run.record.parameters
        repetition = own["seed"], tuple(run.record.blocks), own.get("fold", -1)
        ending = ENDS[line["ends"]] if len(ends) > 1 else ""
        digest = run.record.corpus["hash"]
        played.append(_Played(f"{arm}{asked}{ending}", arm.condition, repetition, digest, line))
    return played


def _grouped(played: Iterable[_Played]) -> dict[tuple, list[_Played]]:
    """What was played of one dialogue in one repetition."""
    found: dict[tuple, list[_Played]] = {}
    for one in played:
        found.setdefault((one.line["dialogue_id"], one.repetition), []).append(one)
    return found


def _notes(runs: Sequence[Run], corpora: Mapping[str, Corpus]) -> list[str]:
    if any(run.record.scores_only for run in runs):
        return ["Kept without texts: of each dialogue there is which user turns succeed, no more."]
    if any(run.record.corpus["hash"] not in corpora for run in runs):
        return ["What users say is not shown: the corpus of these runs is not to be had here."]
    return []


def _row(
    texts: Numbered, columns: Sequence[str], lines: Sequence[_Played], corpora: Mapping[str, Corpus]
) -> dict:
    """One dialogue: `verdicts` by arm and `turns`, each with what the user says and its slots."""
    first = lines[0]
    by_column = {one.column: one.line for one in lines}
    known = _dialogue(corpora.get(first.corpus), first.line["dialogue_id"])
    said = [turn.text for turn in known.turns if turn.role == "user"] if known else []
    apis = apis_of(known.documents) if known else {}
    reference = first.line.get("gold", [])
    turns, verdicts = [], {name: [None] * len(reference) for name in columns}
    verdicts |= {name: _verdicts(line) for name, line in by_column.items()}
    for number, gold in enumerate(reference):
        made = {name: _made(line, number) for name, line in by_column.items()}
        slots = aligned(gold, made, apis)
        turns.append(
            {
                "user": texts[said[number]] if number < len(said) else None,
                "slots": [slot_of(texts, slot, columns) for slot in slots],
                "passed": [verdicts[name][number] for name in columns],
            }
        )
    tags = {f"arm {name}": [] for name in columns}
    tags |= {f"arm {name}": [_success(line)] for name, line in by_column.items()}
    return {
        "d": first.line["dialogue_id"],
        "turns": turns,
        "arms": [_summary(by_column[name]) if name in by_column else None for name in columns],
        "tags": tags | {"block": [first.line["block"]]},
    }


def _dialogue(corpus: Corpus | None, dialogue_id: str):
    dialogues = corpus.dialogues if corpus else ()
    return next((one for one in dialogues if one.id == dialogue_id), None)


def _success(line: Mapping) -> str:
    return "yes" if line["success"] else "no"


def _summary(line: Mapping) -> str:
    """A mark for each user turn that asks for calls."""
    return "".join("✓" if passed else "✗" for passed in line["turns"])


def _verdicts(line: Mapping) -> list[bool | None]:
    """By user turn; None where the reference makes no call, so that there is none."""
    verdicts = iter(line["turns"])
    return [next(verdicts, None) if gold else None for gold in line.get("gold", [])]


def _made(line: Mapping, turn: int) -> list[Mapping]:
    return [call for call in line["calls"] if call["turn"] == turn]
