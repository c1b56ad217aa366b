"""Trajectories as examples: what was said in one turn, call by call, and `[]` at its end.

The rows are those of `formatting.examples`: a prompt and the next call, so that what a call got is
always part of a prompt and never of the loss. Which trajectories are learnt is the arm's matter;
all arms of one comparison have as many examples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from datasets import Dataset

from trajnb.formatting.dialogue import Dialogue
from trajnb.formatting.examples import TARGETS, Step, ends, steps
from trajnb.formatting.pairs import Wording
from trajnb.known import check_known

ARMS = ("kept", "kept+repaired", "gold", "resampled")
"""What is learnt: the model's own good trajectories; these and repaired ones; the reference's of
the same tasks; or the good ones and further good ones that were sampled, in place of the repaired.
"""


@dataclass(frozen=True)
class Lesson:
    """A trajectory to be learnt."""

    task: str
    author: str
    dialogue: Dialogue
    """It ends with the calls of the task's turn, which are its targets."""
    refused: int = 0
    """Replies that were not carried out and are left out."""


@dataclass(frozen=True)
class Arm:
    """The examples of one arm."""

    rows: tuple[dict, ...]
    lessons: int
    """Trajectories that they come from."""
    distinct: int
    """Rows before any is repeated."""

    @property
    def repeated(self) -> int:
        """Rows that stand here for another time, so that all arms have as many."""
        return len(self.rows) - self.distinct

    def dataset(self) -> Dataset:
        return Dataset.from_list(list(self.rows))


def trajectory_rows(lesson: Lesson, wording: Wording) -> list[dict]:
    """An example for each call of a trajectory, and one for the end of its turn.

    Columns as of `examples.build_examples`, without those that only tables of held-out calls need,
    and `task`, `author`; `step` is the place among the replies of the turn, from 0.

    Raises:
        ValueError: a prompt that does not fit, or a trajectory without a call.
    """
    if not lesson.dialogue.targets:
        raise ValueError(
            f"a trajectory of task {lesson.task} has no call: there is nothing to learn"
        )
    *_, end = ends(lesson.dialogue)
    found = [*steps(lesson.dialogue), end]
    return [_row(lesson, replace(step, step=place), wording) for place, step in enumerate(found)]


def _row(lesson: Lesson, step: Step, wording: Wording) -> dict:
    name = f"task {lesson.task}, step {step.step}"
    return {
        "prompt": wording.prompt(step.history, name),
        "completion": [{"role": "assistant", "content": step.completion}],
        "dialogue_id": step.dialogue_id,
        "step": step.step,
        "block": lesson.dialogue.block,
        "split": "train",
        "target": TARGETS[step.target.role],
        "turn": step.turn,
        "ordinal": step.history.ordinal,
        "gold": step.gold,
        "task": lesson.task,
        "author": lesson.author,
    }


def choose_lessons(
    arm: str,
    *,
    kept: Sequence[Lesson],
    repaired: Sequence[Lesson],
    gold: Mapping[str, Lesson],
    further: Sequence[Lesson],
) -> list[Lesson]:
    """The trajectories of an arm, of `ARMS`.

    Args:
        kept: candidates worth learning, each once.
        repaired: accepted repairs.
        gold: by task, the reference's; the arm has one for each trajectory of "kept+repaired".
        further: candidates worth learning, sampled later than `kept` and other than they.
            "resampled" takes one for each repair: of the same task where there is one, else of
            another.

    Raises:
        ValueError: an arm that is not known, or one that has nothing to learn.
    """
    check_known("arm", arm, ARMS)
    chosen = {
        "kept": list(kept),
        "kept+repaired": [*kept, *repaired],
        "gold": [gold[lesson.task] for lesson in (*kept, *repaired)],
        "resampled": [*kept, *_in_place_of(repaired, further)],
    }[arm]
    if not chosen:
        raise ValueError(
            f"arm {arm!r} has no trajectory to learn: sample more candidates, or learn the block "
            "longer before they are sampled"
        )
    return chosen


def _in_place_of(repaired: Sequence[Lesson], further: Iterable[Lesson]) -> list[Lesson]:
    """As many of `further` as there are repairs, as far as there are."""
    left = list(further)
    found: list[Lesson | None] = []
    for repair in repaired:
        same = next((lesson for lesson in left if lesson.task == repair.task), None)
        found.append(same)
        if same is not None:
            left.remove(same)
    others = iter(left)
    return [one for one in (lesson or next(others, None) for lesson in found) if one is not None]


def equal_arms(
    arms: Mapping[str, Sequence[Lesson]], wording: Wording, examples: int | None = None
) -> dict[str, Arm]:
    """The examples of every arm, each with as many: smaller ones begin anew, and the last round of
    one may end within a trajectory. With as many examples, and a step of so many of them, all take
    as many steps.

    `examples`: how many, where another arm says it; by default as many as the largest has.
    """
    rows = {}
    for name, lessons in arms.items():
        rows[name] = [row for lesson in lessons for row in trajectory_rows(lesson, wording)]
        if not rows[name]:
            raise ValueError(f"arm {name!r} has no trajectory to learn")
    most = max(map(len, rows.values()), default=0) if examples is None else examples
    return {
        name: Arm(
            rows=tuple(islice(cycle(rows[name]), most)),
            lessons=len(lessons),
            distinct=min(len(rows[name]), most),
        )
        for name, lessons in arms.items()
    }
