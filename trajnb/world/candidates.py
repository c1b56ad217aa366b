"""Candidates: trajectories of one turn task, drawn from a model, each judged by BFCL's rule.

A trajectory is what was said in a turn, with what it got, up to `[]`. A reply that is not carried
out does not end it: the model reads the complaint and goes on, as in `world.rollout`. Without `[]`
it is no answer and fails, whatever it did. Nothing here knows of models: one is asked through a
function (`trees.Ask`), and what comes of a task depends on its name alone.
"""

import json
import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from trajnb.formatting.calls import LIMIT, NO_CALL, is_no_call, made_turn
from trajnb.formatting.conditions import History
from trajnb.formatting.dialogue import Dialogue
from trajnb.formatting.documents import apis_of
from trajnb.formatting.replies import FAILED, KINDS, REFUSED, STOP, form, meaning
from trajnb.formatting.trajectories import Lesson
from trajnb.known import check_known
from trajnb.world.grow import together
from trajnb.world.lines import read_line
from trajnb.world.sandbox import Sandbox
from trajnb.world.sapling import kind_of, writable
from trajnb.world.trees import Ask, Draw, Said, Wanted
from trajnb.world.turns import Replay, TurnTask, history_of, replay, succeeds

STUDENT, GOLD = "student", "gold"
"""Authors of trajectories beside the repairers (`world.repair`): the model that is taught, and the
reference.
"""


@dataclass(frozen=True)
class Move:
    """A reply and what it got."""

    form: str
    """The reply for people, see `replies.form`."""
    text: str
    """As generated, at most `calls.LIMIT` characters."""
    response: str
    """Empty for `[]`."""
    kind: str
    """One of `replies.KINDS`."""
    cut: bool = False
    """It was ended by the limit of its length, and not by the model."""


@dataclass(frozen=True)
class Trajectory:
    """A turn task, played to its end: one line of `candidates.jsonl`."""

    task: str
    block: str
    author: str
    """`STUDENT`, `GOLD` or the name of a repairer."""
    number: int
    """Which candidate of its task, from 1; of a repair, that of the candidate which it repairs."""
    moves: tuple[Move, ...]
    won: bool
    """It ends with `[]`, and BFCL's rule has the turn succeed."""
    attempt: int = 0
    """Of a repair, which attempt, from 0."""
    repeats: int = 0
    """The number of an earlier candidate of the task that says the same; 0 where none does."""

    @property
    def calls(self) -> tuple[Move, ...]:
        """Its moves but `[]`: readable calls and what could not be read."""
        return tuple(move for move in self.moves if move.kind != STOP)

    @property
    def ended(self) -> bool:
        """Whether its author ended it."""
        return bool(self.moves) and self.moves[-1].kind == STOP

    @property
    def failed(self) -> int:
        """How many calls told of an error or were refused."""
        return sum(move.kind in (FAILED, REFUSED) for move in self.moves)


@dataclass(frozen=True)
class Sampling:
    """How candidates are drawn; the random numbers are the matter of who is asked."""

    candidates: int = 4
    """Of one task."""
    temperature: float = 0.7
    """Of every reply of every candidate, see `run.ask`."""
    extra_moves: int = 2
    most_moves: int = 8
    """A trajectory has at most so many replies more than the reference has calls, and at most
    `most_moves`; `[]` is a reply.
    """

    def __post_init__(self):
        for name in ("candidates", "extra_moves", "most_moves"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: sampling needs at least 1")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(
                f"temperature is {self.temperature}: give one above 0, or all candidates are the "
                "same"
            )

    def most(self, calls: int) -> int:
        """The most replies of a trajectory where the reference makes so many calls."""
        return min(calls + self.extra_moves, self.most_moves)


def sample_candidates(
    sandbox: Sandbox,
    tasks: Sequence[TurnTask],
    ask: Ask,
    sampling: Sampling,
    *,
    first: int = 1,
) -> list[Trajectory]:
    """`sampling.candidates` trajectories of each task, tasks in their order, candidates in theirs.
    Those that stand at one history are asked for with one prompt.

    Args:
        first: the number of each task's first candidate: further ones than those that are there.

    Raises:
        ValueError: `first` below 1, for the reply of number 0 is greedy.
    """
    if first < 1:
        raise ValueError(f"first is {first}: candidates are numbered from 1")
    numbers = range(first, first + sampling.candidates)
    sampled = together({task.id: _sampled(sandbox, task, numbers, sampling) for task in tasks}, ask)
    return [one for each in sampled for one in each]


def _sampled(
    sandbox: Sandbox, task: TurnTask, numbers: Sequence[int], sampling: Sampling
) -> Generator[list[Wanted], list[list[Said]], list[Trajectory]]:
    goal, most = replay(sandbox, task, task.reference), sampling.most(len(task.reference))
    made: dict[int, tuple[Move, ...]] = dict.fromkeys(numbers, ())
    while going := [number for number in numbers if not is_over(made[number], most)]:
        states: dict[tuple, list[int]] = {}
        for number in going:
            shown = tuple((move.form, move.response) for move in made[number])
            states.setdefault(shown, []).append(number)
        said = yield [_wanted(task, made[same[0]], same) for same in states.values()]
        for same, replies in zip(states.values(), said, strict=True):
            for number, reply in zip(same, replies, strict=True):
                made[number] += (moved(sandbox, task, made[number], reply),)
    found = [judged(sandbox, task, goal, made[number], STUDENT, number) for number in numbers]
    return mark_repeats(task, found)


def _wanted(task: TurnTask, moves: Sequence[Move], numbers: Iterable[int]) -> Wanted:
    forms = tuple(move.form for move in moves)
    draws = tuple(Draw(task.id, forms, number) for number in numbers)
    return Wanted(task.id, history_after(task, moves), draws)


def is_over(moves: Sequence[Move], most: int) -> bool:
    """Whether a trajectory has ended, or has its most replies."""
    return len(moves) == most or bool(moves) and moves[-1].kind == STOP


def history_after(task: TurnTask, moves: Sequence[Move]) -> History:
    """What stands before the next reply."""
    return history_of(task, [move.text for move in moves], [move.response for move in moves])


def moved(sandbox: Sandbox, task: TurnTask, moves: Sequence[Move], said: Said) -> Move:
    """What comes of a reply after `moves`, in a fresh world."""
    text, cut = writable(said.text[:LIMIT]), said.cut or len(said.text) > LIMIT
    if is_no_call(text):
        return Move(NO_CALL, text, "", STOP, cut)
    response = replay(sandbox, task, [*(move.text for move in moves), text]).responses[-1]
    return Move(form(text), text, writable(response.text), kind_of(response), cut)


def played(sandbox: Sandbox, task: TurnTask, calls: Sequence[str]) -> tuple[Move, ...]:
    """Calls as moves, with what they get in a fresh world."""
    moves: tuple[Move, ...] = ()
    for call in calls:
        moves += (moved(sandbox, task, moves, Said(call)),)
    return moves


def judged(
    sandbox: Sandbox,
    task: TurnTask,
    goal: Replay,
    moves: tuple[Move, ...],
    author: str,
    number: int,
    attempt: int = 0,
) -> Trajectory:
    """A trajectory with its verdict: its calls alone, carried out in a fresh world.

    `goal`: what the reference does, `replay(sandbox, task, task.reference)`.
    """
    found = Trajectory(task.id, task.block, author, number, moves, False, attempt)
    calls = [move.text for move in found.calls]
    won = found.ended and bool(calls) and succeeds(goal, replay(sandbox, task, calls))
    return replace(found, won=won)


def gold_trajectory(sandbox: Sandbox, task: TurnTask) -> Trajectory:
    """The reference's calls and `[]`, as a trajectory."""
    goal = replay(sandbox, task, task.reference)
    moves = played(sandbox, task, (*task.reference, NO_CALL))
    return judged(sandbox, task, goal, moves, GOLD, 0)


def mark_repeats(task: TurnTask, found: Iterable[Trajectory]) -> list[Trajectory]:
    """The trajectories of one task, each that says what an earlier one says marked: it counts once.
    They say the same where their replies, one by one, have the same `replies.meaning`.
    """
    apis, first, marked = apis_of(task.documents), {}, []
    for one in found:
        meant = tuple(meaning(move.text, apis) for move in one.moves)
        earlier = first.setdefault(meant, one.number)
        marked.append(replace(one, repeats=0 if earlier == one.number else earlier))
    return marked


def lesson(task: TurnTask, trajectory: Trajectory) -> Lesson:
    """A trajectory as something to be learnt: a dialogue that ends with its calls. What was refused
    is left out: it changed nothing, and nobody should learn to say it.
    """
    if trajectory.task != task.id:
        raise ValueError(f"a trajectory of task {trajectory.task} is none of task {task.id}")
    calls = [move for move in trajectory.calls if move.kind != REFUSED]
    turns = (*task.turns, *(made_turn(move.text, move.response) for move in calls))
    targets = tuple(range(len(task.turns), len(turns)))
    return Lesson(
        task=task.id,
        author=trajectory.author,
        dialogue=Dialogue(task.dialogue_id, task.block, task.documents, turns, targets),
        refused=len(trajectory.calls) - len(calls),
    )


def to_line(trajectory: Trajectory) -> str:
    """A trajectory as one line of JSON, without its end; ASCII, for replies may hold line ends."""
    return json.dumps(asdict(trajectory))


def from_line(line: str) -> Trajectory:
    """The trajectory of a line.

    Raises:
        ValueError: the line holds no trajectory.
    """
    trajectory = read_line(line, trajectory_of, "trajectory", "sample")
    for move in trajectory.moves:
        check_known("kind", move.kind, KINDS)
    return trajectory


def trajectory_of(content: dict) -> Trajectory:
    """The trajectory of a line's object."""
    moves = tuple(Move(**move) for move in content.pop("moves"))
    return Trajectory(moves=moves, **content)
