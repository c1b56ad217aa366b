"""Turn tasks: one user turn to be played, from the state that the reference left before it.

A task is a user's line for which the reference makes calls. Its world is that of the dialogue with
all earlier reference calls carried out, its history theirs, and BFCL's rule decides on this turn
alone. What a call answers depends on the calls before it alone, so a world is replayed (opened,
past, calls) and never copied.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from trajnb.formatting.calls import made_turn
from trajnb.formatting.conditions import History
from trajnb.formatting.dialogue import Dialogue, Turn
from trajnb.world.environment import Response
from trajnb.world.rule import Played, judge, reference_calls
from trajnb.world.sandbox import Sandbox

Scenario = tuple[Sequence[str], Mapping[str, dict]]
"""What `Sandbox.open` takes: a world's classes and their initial configuration."""

FREE = (
    "multi_turn_base_33#2",
    "multi_turn_base_55#3",
    "multi_turn_base_60#3",
    "multi_turn_base_103#1",
    "multi_turn_base_114#2",
    "multi_turn_base_137#1",
    "multi_turn_base_139#1",
    "multi_turn_base_142#1",
)
"""Tasks of BFCL that any call passes which changes nothing: the reference leaves the world as it
was, and got earlier all that it is answered. Scores are given with and without them.
"""


@dataclass(frozen=True)
class TurnTask:
    """A user turn to be played, and what the reference does in it."""

    id: str
    """`{dialogue_id}#{turn}`."""
    dialogue_id: str
    block: str
    turn: int
    """The user turn, from 0."""
    held_out: bool
    scenario: Scenario
    documents: tuple[str, ...]
    turns: tuple[Turn, ...]
    """The history, with the reference's calls and what they got; the user's line comes last."""
    past: tuple[str, ...]
    """The reference's calls in earlier turns, as text."""
    reference: tuple[str, ...]
    """The reference's calls in this turn, as text; at least one."""


@dataclass(frozen=True)
class Replay:
    """What came of calls in the world of a task."""

    before: tuple[str, ...]
    """The responses to the past."""
    responses: tuple[Response, ...]
    """To the calls of this turn, in their order."""
    state: Mapping[str, dict]
    """Of the world after them, see `world.snapshot`."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Of the responses in this turn."""
        return tuple(response.text for response in self.responses)


def turn_tasks(
    dialogues: Sequence[Dialogue],
    scenarios: Mapping[str, Scenario],
    held_out: Collection[str] = (),
) -> list[TurnTask]:
    """All tasks of the dialogues, in their order.

    Args:
        scenarios: the world of each dialogue by its id, see `corpora.bfcl.scenarios`.
        held_out: the ids of the dialogues that are not learnt from.

    Raises:
        ValueError: a dialogue without a world.
    """
    strange = [dialogue.id for dialogue in dialogues if dialogue.id not in scenarios]
    if strange:
        raise ValueError(
            f"dialogue {strange[0]} has no world to be played in: turn tasks need the corpus bfcl "
            "or sample"
        )
    tasks: list[TurnTask] = []
    for dialogue in dialogues:
        tasks += _tasks(dialogue, scenarios[dialogue.id], dialogue.id in held_out)
    return tasks


def _tasks(dialogue: Dialogue, scenario: Scenario, held_out: bool) -> Iterator[TurnTask]:
    users = [place for place, turn in enumerate(dialogue.turns) if turn.role == "user"]
    past: tuple[str, ...] = ()
    for number, (place, calls) in enumerate(zip(users, reference_calls(dialogue), strict=True)):
        if calls:
            yield TurnTask(
                id=f"{dialogue.id}#{number}",
                dialogue_id=dialogue.id,
                block=dialogue.block,
                turn=number,
                held_out=held_out,
                scenario=scenario,
                documents=dialogue.documents,
                turns=dialogue.turns[: place + 1],
                past=past,
                reference=calls,
            )
        past += calls


def replay(sandbox: Sandbox, task: TurnTask, calls: Sequence[str]) -> Replay:
    """Carry out the past and then `calls`, in a fresh world that is closed again."""
    world = sandbox.open(*task.scenario)
    before = tuple(sandbox.execute(world, call).text for call in task.past)
    responses = tuple(sandbox.execute(world, call) for call in calls)
    state = sandbox.state(world)
    sandbox.close(world)
    return Replay(before, responses, state)


def succeeds(wanted: Replay, given: Replay) -> bool:
    """BFCL's rule on this turn alone: whether calls do what the reference does.

    The world is as `wanted` leaves it, every response that it got in this turn is among those of
    history and answer, as often, and at least one call is made.
    """
    history = Played(wanted.before, {})
    verdict = judge(
        (history, Played(wanted.texts, wanted.state)), (history, Played(given.texts, given.state))
    )
    return verdict.turns[-1]


def history_of(task: TurnTask, calls: Sequence[str], responses: Sequence[str]) -> History:
    """What stands before the next call of a turn in which `calls` were made and answered."""
    made = map(made_turn, calls, responses)
    return History(task.documents, (*task.turns, *made), len(calls) + 1)
