"""How good a trajectory is that succeeds, and what becomes of it: kept, low, wrong; repaired.

The thresholds are AutoTraj's (arXiv 2601.23032, its released code). Its score looks at the words of
a text, ours at calls and at what came of them. Both are here, as settings.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trajnb.formatting.calls import made_turn
from trajnb.formatting.documents import apis_of
from trajnb.formatting.replies import EXECUTED, meaning
from trajnb.known import check_known
from trajnb.scoring.errors import against_document
from trajnb.world.candidates import Move, Trajectory
from trajnb.world.turns import TurnTask

FORMS = ("calls", "published")
"""`calls`: the weighted `TERMS`. `published`: 0.4 C + 0.3 L + 0.3 R of the released code, see
`published_quality`.
"""
TERMS = ("validity", "schema", "execution", "economy", "non_repetition")
LABELS = ("kept", "low", "wrong")
"""What a candidate is: to be learnt; a success of little quality; no success. The others than kept
are to be repaired.
"""
KEPT, LOW, WRONG = LABELS


@dataclass(frozen=True)
class Rule:
    """How quality is measured, and what is good enough."""

    form: str = "calls"
    """One of `FORMS`."""
    validity: float = 0.1
    schema: float = 0.2
    execution: float = 0.3
    economy: float = 0.2
    non_repetition: float = 0.2
    """The weights of the terms, which sum to 1."""
    all_kept: float = 0.9
    """Where all successes of a task have as much, all are kept."""
    best_kept: float = 0.86
    """Else the best one is, if it has as much; a repair of a low one must have more."""
    repair_kept: float = 0.80
    """A repair of a wrong one must have more."""

    def __post_init__(self):
        check_known("quality", self.form, FORMS)
        for name in (*TERMS, "all_kept", "best_kept", "repair_kept"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number from 0 to 1")
        if not math.isclose(sum(self.weights.values()), 1):
            raise ValueError(
                f"the weights of quality ({self.weights}) sum to {sum(self.weights.values()):g}: "
                "make it 1"
            )

    @property
    def weights(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in TERMS}


@dataclass(frozen=True)
class Grade:
    """What a candidate is worth."""

    trajectory: Trajectory
    label: str
    """One of `LABELS`."""
    quality: float | None
    """In [0, 1]; None of what is wrong."""
    shortest: int
    """Words of the shortest success of its task, which the published form compares lengths with."""

    @property
    def counts(self) -> bool:
        """Whether it is not an earlier candidate said again."""
        return not self.trajectory.repeats


def terms(task: TurnTask, trajectory: Trajectory) -> dict[str, float]:
    """The `TERMS`, each in [0, 1]; all are 0 where no call can be read.

    - validity: readable calls in replies (but `[]`);
    - schema: calls that the documents have nothing against, see `errors.against_document`;
    - execution: calls that were carried out and told of no error;
    - economy: calls that the reference makes, in calls; at most 1;
    - non_repetition: calls that are no earlier one of the turn again.
    """
    apis = apis_of(task.documents)
    made = [(move, made_turn(move.text, "").call) for move in trajectory.calls]
    readable = [(move, call) for move, call in made if call is not None]
    if not readable:
        return dict.fromkeys(TERMS, 0.0)
    count = len(readable)
    return {
        "validity": count / len(made),
        "schema": sum(against_document(call, apis) is None for _, call in readable) / count,
        "execution": sum(move.kind == EXECUTED for move, _ in readable) / count,
        "economy": min(1.0, len(task.reference) / count),
        "non_repetition": len({meaning(move.text, apis) for move, _ in readable}) / count,
    }


def quality(task: TurnTask, trajectory: Trajectory, rule: Rule, shortest: int = 0) -> float:
    """Of a trajectory that succeeds, in [0, 1]. `shortest`: words of the shortest success of its
    task, for the published form; 0 takes its own length.
    """
    if rule.form == "published":
        return published_quality(text_of(trajectory.moves), shortest)
    found = terms(task, trajectory)
    return math.fsum(weight * found[name] for name, weight in rule.weights.items())


def published_quality(text: str, shortest: int = 0) -> float:
    """0.4 C + 0.3 L + 0.3 R, as the released code has it.

    C is 0 where a block of thought says one of ten vague words, else 1; there is no such block
    here, so it is 1. L = exp(-(n - n0)^2 / (2 (n0 / 2)^2)) for n words and n0 of the shortest;
    R = 1 minus the share of word trigrams that stood before, 1 below six words.
    """
    words = text.split()
    shortest = shortest or len(words) or 1
    length = math.exp(-((len(words) - shortest) ** 2) / (2 * (shortest / 2) ** 2))
    fresh = 1.0
    if len(words) >= 6:
        trigrams = list(zip(words, words[1:], words[2:], strict=False))
        fresh = len(set(trigrams)) / len(trigrams)
    return 0.4 + 0.3 * length + 0.3 * fresh


def text_of(moves: Sequence[Move]) -> str:
    """What was said, a line for each reply; what it got is none of it."""
    return "\n".join(move.form for move in moves)


def grade(tasks: Sequence[TurnTask], candidates: Sequence[Trajectory], rule: Rule) -> list[Grade]:
    """What each candidate is, in their order, one grade for each.

    Where all successes of a task have `rule.all_kept`, all are kept; else the best is (the first of
    equals), if it has `rule.best_kept`. A candidate that says what an earlier one says counts for
    nothing and is what that one is.
    """
    by_id, groups = {task.id: task for task in tasks}, {}
    for candidate in candidates:
        if candidate.task not in by_id:
            raise ValueError(f"candidate of task {candidate.task}, which is not among the tasks")
        groups.setdefault(candidate.task, []).append(candidate)
    found = {name: _grades(by_id[name], group, rule) for name, group in groups.items()}
    return [found[candidate.task][candidate.number] for candidate in candidates]


def _grades(task: TurnTask, group: Sequence[Trajectory], rule: Rule) -> dict[int, Grade]:
    """By number, of the candidates of one task."""
    names = [one.number for one in group]
    if len(set(names)) < len(names):
        raise ValueError(f"task {task.id} has two candidates of one number: sample it again")
    shortest = min((_words(one) for one in group if one.won), default=0)
    scores = {one.number: quality(task, one, rule, shortest) for one in group if one.won}
    kept = set(scores)
    if scores and min(scores.values()) < rule.all_kept:
        best = max(scores, key=lambda number: (scores[number], -number))
        kept = {best} if scores[best] >= rule.best_kept else set()
    grades: dict[int, Grade] = {}
    for one in group:
        same = grades.get(one.repeats)
        if same is not None:
            label = same.label
        else:
            label = KEPT if one.number in kept else LOW if one.won else WRONG
        grades[one.number] = Grade(one, label, scores.get(one.number), shortest)
    return grades


def _words(trajectory: Trajectory) -> int:
    return len(text_of(trajectory.moves).split())


def acceptance(
    tasks: Sequence[TurnTask], grades: Sequence[Grade], rule: Rule
) -> Callable[[Trajectory, Trajectory], bool]:
    """The function that says whether a repair is accepted: it takes the candidate and the repair.

    The repair must succeed; its quality must be above `rule.repair_kept` where the candidate was
    wrong, and where it was low, above `rule.best_kept` and the candidate's. For the published form
    a repair of a wrong candidate is the shortest itself, as in the released code.
    """
    by_id: Mapping[str, TurnTask] = {task.id: task for task in tasks}
    known = {(one.trajectory.task, one.trajectory.number): one for one in grades}

    def accepts(candidate: Trajectory, repair: Trajectory) -> bool:
        graded, task = known[candidate.task, candidate.number], by_id[candidate.task]
        if not repair.won:
            return False
        if graded.label == WRONG:
            return quality(task, repair, rule) > rule.repair_kept
        return quality(task, repair, rule, graded.shortest) > max(rule.best_kept, graded.quality)

    return accepts
