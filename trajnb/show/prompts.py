"""What each held-out call was asked with, rebuilt from the corpus: the lines of its prompts."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from trajnb.formatting.conditions import CONDITIONS, PLACEBOS, cue_line, paper_messages
from trajnb.formatting.dialogue import Corpus, Dialogue
from trajnb.formatting.examples import Step, donors, sides, steps

BOTH = ("stripped", "full")
"""The two prompts that every reader wants to see."""

View = list[tuple[str, str, bool]]
"""Lines of a prompt: kind, text, and whether the prompt shows it."""


@dataclass(frozen=True)
class Asked:
    """What stands before one held-out call."""

    documents: tuple[str, ...]
    cue: str
    views: dict[str, View]
    """By condition."""


def prompts(
    corpus: Corpus, conditions: Iterable[str], parameters: Mapping
) -> dict[tuple[str, int], Asked]:
    """The prompts of all held-out calls, by dialogue and step, under `BOTH` and these conditions.

    `parameters`: of the run; `cue` and `prompt_format` shape a prompt. A condition that is known
    here no more, or that has no donor, is left out.
    """
    held_out = sides(corpus)["held_out"]
    wanted = [name for name in dict.fromkeys([*BOTH, *conditions]) if name in CONDITIONS]
    donor_of = {name: donors(held_out, name) for name in wanted if name in PLACEBOS}
    found = {}
    for dialogue in held_out:
        donated = {name: donor_of[name].get(dialogue.id) for name in donor_of}
        for step, others in _steps(dialogue, donated):
            views = {}
            for name in wanted:
                if name not in donated or donated[name]:
                    views[name] = _view(others.get(name, step), name, parameters)
            cue = cue_line(step.history, parameters.get("cue", "ordinal"))
            found[dialogue.id, step.step] = Asked(dialogue.documents, cue, views)
    return found


def _steps(
    dialogue: Dialogue, donated: Mapping[str, Dialogue | None]
) -> Iterator[tuple[Step, dict[str, Step]]]:
    """Every target of a dialogue, and the same with the donors of each placebo."""
    names, columns = list(donated), [steps(dialogue, donor) for donor in donated.values()]
    for step, *others in zip(steps(dialogue), *columns, strict=True):
        yield step, dict(zip(names, others, strict=True))


def _view(step: Step, condition: str, parameters: Mapping) -> View:
    lines = CONDITIONS[condition](step.history)
    if parameters.get("prompt_format") == "paper":
        message = paper_messages(step.history, lines, condition)[-1]
        return [("paper", message["content"], True)]
    return [(line.kind, line.text, line.shown) for line in lines]


def without_oldest(view: View, turns: int) -> View:
    """A view whose oldest user turns were cut for it to fit, marked as not shown."""
    if not turns:
        return view
    starts = [place for place, line in enumerate(view) if line[0] == "user"]
    kept_from = starts[turns] if turns < len(starts) else 0
    return [
        (kind, text, shown and place >= kept_from) for place, (kind, text, shown) in enumerate(view)
    ]
