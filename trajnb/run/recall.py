"""Answers without a model: each is copied from a training example.

They show how far memory alone gets, which is what a trained model has to beat. What is copied, the
strategy says (`Strategy.recalls`):

- `nearest`: the target of the training example with the most similar prompt. Three things are
  compared: the words of the last user turn and those of the last response shown (cosines of TF-IDF,
  fitted on training prompts), and whether the cue asks for the same number of call. Each gives from
  0 to 1, and they are added with equal weights: only held-out scores could say that one tells more,
  and nothing here was chosen by them.
- `commonest`: the call that most training examples of the item's block have. The block is told; a
  model sees it in the documents.

Of equals, the first in corpus order is taken. Prompts are read as text, as a model reads them, so
that what a condition hides, a cut leaves out or a plain cue does not say is never used. Memory
holds the calls that a model would learn and, with `stop_targets`, the ends of turns; no responses,
for no cue of a held-out call asks for one. Seeds and orders change nothing.

Before training memory is empty. There is nothing to copy then, so that every answer of stage 0 is
empty, and wrong.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from trajnb.run.prepare import Prepared

_OPENINGS = re.compile(
    r"^(User|AI|API-Request|API-Response|Known values"
    r"|Generate AI Response|Generate API Request ?\d*):",
    re.MULTILINE,
)
_NONE = "none"
"""Stands where there are no words, so that prompts without a response are alike in that."""


@dataclass(frozen=True)
class Shown:
    """What is compared of a prompt."""

    request: str
    """The last user turn."""
    response: str
    """The last one of an API; empty where none is shown."""
    number: str
    """Which call of its user turn the cue asks for; empty where it does not say."""


@dataclass(frozen=True)
class Copied:
    """An answer."""

    text: str
    tokens: int


NOTHING = Copied("", 0)
"""The answer of an empty memory."""


def copy(run: Prepared, rows: Sequence[Mapping], stage: int) -> list[Copied]:
    """The answer to every row of held-out examples after a stage.

    Raises:
        ValueError: the training side, or for the commonest call that of a block, has no call.
    """
    if stage == 0:
        return [NOTHING] * len(rows)
    learnt = list(run.material.learnt)
    places = [place for place, row in enumerate(learnt) if row["target"] != "response"]
    memory = [learnt[place] for place in places]
    _check_calls(memory, run.settings.strategy)
    choose = {"nearest": nearest, "commonest": commonest}[run.settings.plan_of_learning.recalls]
    return [
        Copied(
            memory[chosen]["completion"][0]["content"],
            len(run.material.encoded[places[chosen]].completion),
        )
        for chosen in choose(memory, rows)
    ]


def nearest(memory: Sequence[Mapping], rows: Sequence[Mapping]) -> list[int]:
    """For every row the place in `memory` of the example with the most similar prompt."""
    known, asked = ([read(row["prompt"]) for row in some] for some in (memory, rows))
    requests = _Words([one.request for one in known])
    responses = _Words([one.response for one in known])
    numbers = np.array([one.number for one in known])
    found = []
    for one in asked:
        alike = requests.cosines(one.request) + responses.cosines(one.response)
        alike = alike + (numbers == one.number)
        found.append(int(np.argmax(alike.round(9))))  # equals differ in the last digits of a float
    return found


def commonest(memory: Sequence[Mapping], rows: Sequence[Mapping]) -> list[int]:
    """For every row the place in `memory` of the first example with its block's commonest call."""
    counts: dict[str, Counter] = {}
    first: dict[tuple[str, str], int] = {}
    for place, row in enumerate(memory):
        if row["target"] == "call":
            counts.setdefault(row["block"], Counter())[row["gold"]] += 1
            first.setdefault((row["block"], row["gold"]), place)
    if without := sorted({row["block"] for row in rows} - counts.keys()):
        raise ValueError(
            f"block {without[0]!r} has no training call to copy: raise train_dialogues, or choose "
            "another split"
        )
    # max takes the first of equals
    most = {block: max(count, key=count.get) for block, count in counts.items()}
    return [first[row["block"], most[row["block"]]] for row in rows]


def read(prompt: Sequence[Mapping[str, str]]) -> Shown:
    """What is compared of a prompt, a list of messages."""
    _, *pieces = _OPENINGS.split(prompt[-1]["content"])
    last: dict[str, str] = {}
    for opening, text in zip(pieces[::2], pieces[1::2], strict=True):
        last[opening] = text.strip()
        if opening == "API-Request" and ")]->" in text:  # how prompts of the paper write a response
            last["API-Response"] = text.partition(")]->")[2].strip()
    cue = pieces[-2] if pieces else ""
    number = cue.removeprefix("Generate API Request").strip() if "API Request" in cue else ""
    return Shown(last.get("User", ""), last.get("API-Response", ""), number)


class _Words:
    """Texts by their words, TF-IDF; digits count, for they are values."""

    def __init__(self, texts: Iterable[str]):
        self._vectorizer = TfidfVectorizer(token_pattern=r"\w+")
        self._known = self._vectorizer.fit_transform(map(_or_none, texts))

    def cosines(self, text: str) -> np.ndarray:
        """(known texts,): how similar `text` is to each."""
        vector = self._vectorizer.transform([_or_none(text)])
        return (self._known @ vector.T).toarray().ravel()


def _or_none(text: str) -> str:
    return text if re.search(r"\w", text) else _NONE


def _check_calls(memory: Sequence[Mapping], strategy: str) -> None:
    if not any(row["target"] == "call" for row in memory):
        raise ValueError(
            f"strategy {strategy!r} has no training call to copy: raise train_dialogues, or choose "
            "another split"
        )
