"""The examples of finished runs as they were asked, built anew from the corpus."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from trajnb.corpora.load import corpora_of
from trajnb.formatting.conditions import CONDITIONS
from trajnb.formatting.dialogue import Corpus
from trajnb.formatting.examples import build_examples
from trajnb.records import Run

UNCUT = (
    "Prompts are whole: where a run had to cut the oldest user turns for a prompt to fit into "
    "`max_length`, it is the uncut one that stands here."
)
"""What is not as a run with long dialogues had it."""


@dataclass(frozen=True)
class Asked:
    """One way to ask for the calls of a corpus, which some runs share."""

    name: str
    """The condition; with a number behind it where runs ask under it in several ways."""
    condition: str
    corpus: Corpus
    parameters: Mapping
    """Of a run that asks so."""
    runs: tuple[Run, ...]

    def rows(self, split: str) -> list[dict]:
        """The examples of one side of the split, see `examples.build_examples`."""
        rows = build_examples(
            self.corpus,
            self.condition,
            split,
            prompt_format=self.parameters.get("prompt_format", "own"),
            cue=self.parameters.get("cue", "ordinal"),
            responses=self.parameters.get("responses", False) and split == "train",
        )
        return [dict(row) for row in rows]


def asked_of(runs: Sequence[Run], evaluated: bool = False) -> list[Asked]:
    """The ways in which these runs were trained, or `evaluated`, each once.

    Raises:
        ValueError: records were kept without texts, or a corpus is not to be had.
    """
    check_texts(runs)
    corpora = corpora_of({run.record.corpus["hash"]: run.record.parameters for run in runs})
    found: dict[tuple, list[Run]] = {}
    for run in runs:
        for condition in _conditions(run, evaluated):
            found.setdefault(_way(run, condition), []).append(run)
    names = [way[1] for way in found]
    counted: dict[str, int] = {}
    asked = []
    for (digest, condition, *_), own in found.items():
        if digest not in corpora:
            corpus = own[0].record.corpus["name"]
            raise ValueError(
                f"the corpus {corpus} of {own[0].folder.name} is not to be had here, or is another "
                "version of it: without it there are no prompts"
            )
        counted[condition] = counted.get(condition, 0) + 1
        name = condition if names.count(condition) == 1 else f"{condition}-{counted[condition]}"
        parameters = own[0].record.parameters
        asked.append(Asked(name, condition, corpora[digest], parameters, tuple(own)))
    return asked


def check_texts(runs: Sequence[Run]) -> None:
    """Raise ValueError where records were kept without texts."""
    if any(run.record.scores_only for run in runs):
        raise ValueError(
            "these records were kept without texts (trajnb records --scores-only), so there is "
            "nothing to export but adapters"
        )


def _conditions(run: Run, evaluated: bool) -> list[str]:
    """Those that are still known."""
    wanted: Iterable[str] = run.record.matrix if evaluated else [run.record.parameters["condition"]]
    return [name for name in wanted if name in CONDITIONS]


def _way(run: Run, condition: str) -> tuple:
    own = run.record.parameters
    shaping = [own.get(name) for name in ("prompt_format", "cue", "responses")]
    return run.record.corpus["hash"], condition, *shaping


def without_objects(rows: Iterable[Mapping]) -> Iterator[dict]:
    """Rows as JSON has them: numbers, texts and lists of messages."""
    for row in rows:
        messages = {
            key: [dict(message) for message in row[key]] for key in ("prompt", "completion")
        }
        yield {**row, **messages}
