"""One row of the page of items: an item of one repetition, its prompts and what each arm answered.

Rows are JSON; what is said more than once is a number in the tables of `Page`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan

from trajnb.formatting.calls import CallSyntaxError, by_name, canonical, read_or_none
from trajnb.formatting.dialogue import Call
from trajnb.formatting.documents import Api, apis_of
from trajnb.scoring.errors import kind
from trajnb.scoring.lead import Side
from trajnb.show.prompts import Asked, without_oldest
from trajnb.show.reader import Numbered

STRATA = {
    "same_prompt": "the same prompt under every condition",
    "answerable": "nothing of it stands in responses alone",
    "response_only": "a value stands in a response alone",
    "name_response_only": "its API is named in a response alone",
    "seen_target": "its text is a training target",
    "novel": "its text is no training target",
    "shared_api": "another block teaches its API too",
}
COURSES = {
    "right": "right",
    "wrong": "wrong",
    "forgot": "learnt, then forgotten",
    "never": "never right",
    "before": "right before training",
}
"""What an arm makes of an item, at the end and over stages."""
KEPT_TEXTS = 4000
"""Characters of an answer that the page keeps."""


@dataclass
class Page:
    """What is said more than once, by number."""

    texts: Numbered = field(default_factory=Numbered)
    lines: Numbered = field(default_factory=Numbered)
    calls: Numbered = field(default_factory=Numbered)
    kinds: Numbered = field(default_factory=Numbered)

    def line(self, kind: str, text: str) -> int:
        """The number of a line of a prompt."""
        return self.lines[kind, self.texts[text]]


@dataclass(frozen=True)
class Column:
    """What answers stand under."""

    side: Side
    colour: str

    @property
    def name(self) -> str:
        return str(self.side)


def text_of(value: object) -> str:
    """A text of the records; nothing where texts were not kept."""
    return value if isinstance(value, str) else ""


def row_of(
    page: Page,
    answers: Sequence,
    columns: Sequence[Column],
    known: Asked | None,
    cuts: Mapping[str, int],
) -> dict:
    """One item of one repetition with its answers, which are rows of `tables.frame`."""
    first = answers[0]
    apis = apis_of(known.documents) if known else {}
    gold = read_or_none(text_of(first.gold))
    strata = {name: bool(getattr(first, name)) for name in STRATA if name != "novel"}
    strata["novel"] = not strata["seen_target"]
    held = [name for name, holds in strata.items() if holds]
    row = {
        "d": first.dialogue_id,
        "s": int(first.step),
        "gold": page.texts[text_of(first.gold)],
        "call": _call(page, gold, apis),
        "facts": " · ".join([f"user turn {first.turn + 1}", *(STRATA[name] for name in held)]),
        "stages": _stages(answers),
        "answers": [
            _answers(page, own, gold, apis) if own else None
            for own in (_given(answers, column) for column in columns)
        ],
        "tags": {"block": [first.block], "stratum": held, "api": [gold.name] if gold else []},
    }
    if known:
        row |= {"cue": page.line("cue", known.cue), "views": _views(page, known, cuts)}
        row["documents"] = [page.line("document", text) for text in known.documents]
    return row


def _given(answers: Sequence, column: Column) -> list:
    """The answers of a column."""
    own = [row for row in answers if row.arm == column.side.arm]
    return [row for row in own if row.stage == 0] if column.side.is_untrained else own


def _stages(answers: Sequence) -> list[str]:
    """The names of the stages up to the last one of these answers."""
    order, most = answers[0].order, max(row.stage for row in answers)
    learnt = order if most == len(order) else [f"stage {number}" for number in range(1, most + 1)]
    return ["before training", *learnt]


def tags_of(row: dict, columns: Sequence[Column], kinds: Sequence[str]) -> dict[str, list[str]]:
    """What the row goes with, by the key of a choice."""
    tags = row["tags"] | {"run": [row["run"]], "error": [], "course": []}
    for column, answers in zip(columns, row["answers"], strict=True):
        words = _words(answers, kinds) if answers else []
        tags[f"arm {column.name}"] = words
        if not column.side.is_untrained:
            course = [word for word in words if word in COURSES]
            error = [word for word in words if word not in COURSES]
            tags |= {
                "course": _union(tags["course"], course),
                "error": _union(tags["error"], error),
            }
    return tags


def _union(some: Iterable[str], others: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*some, *others]))


def _words(answers: Mapping, kinds: Sequence[str]) -> list[str]:
    """What an arm made of an item: words of COURSES, and the kind of its error at the end."""
    right = [one[2] for one in answers["at"] if one]
    *_, is_right, kind, _, _ = answers["at"][answers["last"]][:6]
    if is_right:
        return ["right", *(["before"] if right[0] and len(right) > 1 else [])]
    course = "forgot" if any(right) else "never"
    return ["wrong", course, kinds[kind]] if len(right) > 1 else ["wrong", kinds[kind]]


def _views(page: Page, known: Asked, cuts: Mapping[str, int]) -> dict[str, list[int]]:
    """Lines of each prompt by number; one that the prompt does not show as `-1 - number`."""
    views = {}
    for name, view in known.views.items():
        lines = without_oldest(view, cuts.get(name, 0))
        numbers = [(page.line(kind, text), shown) for kind, text, shown in lines]
        views[name] = [number if shown else -1 - number for number, shown in numbers]
    return views


def _answers(page: Page, own: Sequence, gold: Call | None, apis: Mapping[str, Api]) -> dict:
    """What one arm said to an item: `at` by stage, `last` the stage that counts as final."""
    at: list[list | None] = [None] * (1 + max(row.stage for row in own))
    for row in own:
        at[row.stage] = _answer(page, row, gold, apis)
    return {"at": at, "last": next((row.stage for row in own if row.last), len(at) - 1)}


def _answer(page: Page, row, gold: Call | None, apis: Mapping[str, Api]) -> list:
    """Text, call, whether it is exact, kind of error, log-likelihood, tokens of the prompt, and the
    arguments that are the same although they are written otherwise.
    """
    text = text_of(row.prediction)
    call = read_or_none(text)
    likely = None if isnan(row.logp) else round(row.logp, 3)
    answer = [page.texts[text[:KEPT_TEXTS]], _call(page, call, apis), int(row.canonical)]
    answer += [page.kinds[_kind(row, apis)], likely, int(row.prompt_tokens)]
    alike = _alike(gold, call, apis) if gold and call else []
    return [*answer, alike] if alike else answer


def _kind(row, apis: Mapping[str, Api]) -> str:
    """What is wrong with an answer: as recorded, or as today's rule says, or, without the corpus,
    in the coarser words that scores allow.
    """
    if text_of(row.error):
        return row.error
    if not apis or not isinstance(row.prediction, str):
        return row.outcome
    try:
        return kind(row.prediction, row.gold, apis)
    except CallSyntaxError:  # the gold of a corpus that has another grammar
        return row.outcome


def _call(page: Page, call: Call | None, apis: Mapping[str, Api]) -> int:
    """The number of a call as pairs: its API, then its arguments for people; -1 for none."""
    if call is None:
        return -1
    arguments = _arguments(call, apis)
    pairs = [["API", call.name], *([f"{key} =", repr(value)] for key, value in arguments.items())]
    return page.calls[json.dumps(pairs)]


def _arguments(call: Call, apis: Mapping[str, Api]) -> dict:
    return by_name(call, apis[call.name].names if call.name in apis else ())


def _alike(gold: Call, call: Call, apis: Mapping[str, Api]) -> list[str]:
    """Arguments that are written otherwise and are the same all the same: '3' and 3."""
    wanted, given = _arguments(gold, apis), _arguments(call, apis)
    found = []
    for key in wanted.keys() & given.keys():
        one, other = (canonical(Call("", {"": side[key]})) for side in (wanted, given))
        if one == other and repr(wanted[key]) != repr(given[key]):
            found.append(f"{key} =")
    return sorted(found)
