"""Repairs: a candidate that is wrong, or right and poor, is made anew by a repairer.

`world.repairers` says where a repair begins and what is asked there; who is asked, and what is
accepted, is given (`trees.Ask`, `scoring.quality.acceptance`). What a repair begins with is carried
out in a fresh world, and so is every reply; nothing of the candidate's own world is left.

The verdict on a repair knows the reference, for that is what acceptance means, and so does the most
replies that a trajectory may have; of the repairers only the oracle does.
"""

import json
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace

from trajnb.formatting.documents import apis_of
from trajnb.formatting.replies import meaning
from trajnb.known import check_known
from trajnb.world.candidates import Sampling, Trajectory, is_over, judged, moved, played, trajectory_of
from trajnb.world.grow import together
from trajnb.world.lines import read_line
from trajnb.world.repairers import FAILURES, READS_GOLD, REPAIRERS, Case, failure
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Ask, Draw, Said, Wanted
from trajnb.world.turns import TurnTask, replay

Accepts = Callable[[Trajectory, Trajectory], bool]
"""Whether a repair is accepted: takes the candidate and the repair."""


@dataclass(frozen=True)
class Repairing:
    """How repairs are made."""

    attempts: int = 3
    """Of one candidate, until one is accepted: the first greedy, the others at a temperature."""
    temperature: float = 0.7
    """See `run.ask`."""

    def __post_init__(self):
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}: a repair needs at least 1")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(
                f"temperature is {self.temperature}: give one above 0; the first attempt is greedy "
                "whatever it is"
            )


@dataclass(frozen=True)
class Repair:
    """What came of one candidate: one line of `repairs.jsonl`."""

    task: str
    number: int
    """Of the candidate."""
    repairer: str
    failure: str
    """A word of `FAILURES`."""
    attempts: tuple[Trajectory, ...]
    """All of them; the last one is accepted, or none."""
    accepted: bool
    edits: int
    """Replies put in, left out or changed from the candidate to the last attempt."""
    reads_gold: bool
    """Its repairer was told the reference: an upper bound."""

    @property
    def trajectory(self) -> Trajectory | None:
        """The repaired trajectory, where one was accepted."""
        return self.attempts[-1] if self.accepted else None


def repair_candidates(
    sandbox: Sandbox,
    tasks: Sequence[TurnTask],
    candidates: Sequence[Trajectory],
    repairer: str,
    ask: Ask,
    accepts: Accepts,
    *,
    repairing: Repairing,
    sampling: Sampling,
) -> list[Repair]:
    """What a repairer makes of each candidate, in their order; all advance together.

    Args:
        candidates: those to be repaired, of any of `tasks`, each once.
        repairer: a name in `REPAIRERS`.
        ask: who is asked; never by the oracle.
        sampling: whose most replies bound a repair too.

    Raises:
        ValueError: a repairer that is not known, a candidate of another task, or one that stands
            here twice; and what `ask` raises: a request that failed is no repair that failed.
    """
    check_known("repairer", repairer, REPAIRERS)
    by_id = {task.id: task for task in tasks}
    repairs = {}
    for one in candidates:
        if one.task not in by_id:
            raise ValueError(f"candidate of task {one.task}, which is not among the tasks")
        if (one.task, one.number) in repairs:
            raise ValueError(f"candidate {one.number} of task {one.task} stands here twice")
        repairs[one.task, one.number] = _repaired(
            sandbox,
            by_id[one.task],
            one,
            repairer,
            accepts,
            repairing.attempts,
            sampling.most(len(by_id[one.task].reference)),
        )
    return together(repairs, ask)


def _repaired(
    sandbox: Sandbox,
    task: TurnTask,
    candidate: Trajectory,
    repairer: str,
    accepts: Accepts,
    most_attempts: int,
    most_moves: int,
) -> Generator[list[Wanted], list[list[Said]], Repair]:
    reads_gold = repairer in READS_GOLD
    told = task if reads_gold else replace(task, reference=())
    case = Case(told, candidate, failure(candidate), sandbox, most_moves)
    start = REPAIRERS[repairer](case)
    goal = replay(sandbox, task, task.reference)
    begun = played(sandbox, told, start.calls)
    attempts: list[Trajectory] = []
    accepted = False
    while not accepted and len(attempts) < (most_attempts if start.asks else 1):
        moves = begun
        if start.asks is None:
            moves += (moved(sandbox, told, moves, Said("[]")),)
        while not is_over(moves, most_moves) and start.asks:
            history, messages = start.asks(moves)
            forms = tuple(move.form for move in moves)
            purpose = f"{repairer} {candidate.number}"
            draw = Draw(task.id, forms, len(attempts), purpose)
            [[said]] = yield [Wanted(task.id, history, (draw,), messages=messages)]
            moves += (moved(sandbox, told, moves, said),)
        number, attempt = candidate.number, len(attempts)
        made = judged(sandbox, task, goal, moves, repairer, number, attempt)
        attempts.append(made)
        accepted = accepts(candidate, made)
    return Repair(
        task=task.id,
        number=candidate.number,
        repairer=repairer,
        failure=case.failure,
        attempts=tuple(attempts),
        accepted=accepted,
        edits=edits(task, candidate, attempts[-1]),
        reads_gold=reads_gold,
    )


def edits(task: TurnTask, one: Trajectory, other: Trajectory) -> int:
    """The fewest replies to put in, leave out or change that make one trajectory the other; replies
    of the same `replies.meaning` are the same.
    """
    apis = apis_of(task.documents)
    here = [meaning(move.text, apis) for move in one.moves]
    there = [meaning(move.text, apis) for move in other.moves]
    costs = list(range(len(there) + 1))
    for row, reply in enumerate(here, 1):
        above, costs = costs, [row]
        for column, wanted in enumerate(there, 1):
            changed = above[column - 1] + (reply != wanted)
            costs.append(min(changed, above[column] + 1, costs[column - 1] + 1))
    return costs[-1]


def to_line(repair: Repair) -> str:
    """A repair as one line of JSON, without its end."""
    return json.dumps(asdict(repair))


def _repair_of(content: dict) -> Repair:
    attempts = tuple(map(trajectory_of, content.pop("attempts")))
    return Repair(attempts=attempts, **content)


def from_line(line: str) -> Repair:
    """The repair of a line.

    Raises:
        ValueError: the line holds no repair.
    """
    repair = read_line(line, _repair_of, "repair", "repair")
    check_known("repairer", repair.repairer, REPAIRERS)
    check_known("failure", repair.failure, FAILURES)
    return repair
