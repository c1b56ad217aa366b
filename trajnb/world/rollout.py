"""Whole dialogues: turn after turn the model calls, and its own calls are its history.

The paper asks for one next call after a correct history. Here the users' lines come as recorded, and what
the model calls is executed (`world.sandbox`); calls and responses stand in its next prompts as the condition
shows them. Nothing here knows of models: one is asked through a function.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from trajnb.formatting.calls import REQUEST_PREFIX, is_no_call, read_or_none
from trajnb.formatting.conditions import History
from trajnb.formatting.dialogue import Dialogue, Turn
from trajnb.world.rule import Played, Verdict, judge, play, reference_calls
from trajnb.world.sandbox import Sandbox

ENDS = ("oracle", "model")
"""Who ends a turn: it has as many calls as the reference makes, or the model says that there is no further
one, or has made the most calls allowed."""

Ask = Callable[[dict[str, History]], dict[str, str]]
"""What a model says after each history, by dialogue id."""
SHOWN = 500  # characters of a text without a readable call that stay in the history


@dataclass(frozen=True)
class Made:
    """A call that the model made."""

    turn: int  # user turn, from 0
    text: str  # as generated
    response: str
    failed: bool


@dataclass(frozen=True)
class Rollout:
    """A dialogue, played to its end."""

    dialogue_id: str
    block: str
    calls: tuple[Made, ...]
    reference: tuple[tuple[str, ...], ...]  # the reference's calls, by user turn
    cut: int  # turns that ended because the most calls were made
    verdict: Verdict


def roll(
    sandbox: Sandbox,
    dialogues: Sequence[Dialogue],
    scenarios: Mapping[str, tuple[Sequence[str], Mapping[str, dict]]],
    ask: Ask,
    *,
    ends: str = "oracle",
    max_calls: int = 12,
) -> list[Rollout]:
    """Play `dialogues` to their ends, all at once: a step asks every dialogue that is still going.

    Args:
        scenarios: the world of each dialogue by its id, see `formatting.bfcl.scenarios`.
        ends: one of `ENDS`.
        max_calls: in one turn, where the model ends it.

    Raises:
        ValueError: another word for `ends`, or a dialogue without a scenario.
    """
    if ends not in ENDS:
        raise ValueError(f"unknown ends {ends!r}: one of {', '.join(ENDS)}")
    strange = [dialogue.id for dialogue in dialogues if dialogue.id not in scenarios]
    if strange:
        raise ValueError(f"dialogue {strange[0]} has no world to be played in: rollouts need the corpus bfcl")
    limit = max_calls if ends == "model" else None
    playing = {d.id: _conduct(sandbox, d, scenarios[d.id], limit) for d in dialogues}
    done: dict[str, Rollout] = {}
    said: dict[str, str | None] = dict.fromkeys(playing)
    while said:
        asked = {}
        for name, text in said.items():
            try:
                asked[name] = playing[name].send(text)
            except StopIteration as end:
                done[name] = end.value
        said = ask(asked) if asked else {}
    return [done[dialogue.id] for dialogue in dialogues]


def _conduct(
    sandbox: Sandbox,
    dialogue: Dialogue,
    scenario: tuple[Sequence[str], Mapping[str, dict]],
    limit: int | None,
) -> Generator[History, str, Rollout]:
    """Yields the history before each call and is sent what the model says; returns the whole dialogue."""
    reference = reference_calls(dialogue)
    world = sandbox.open(*scenario)
    turns: list[Turn] = []
    made: list[Made] = []
    played: list[Played] = []
    cut = 0
    users = [turn for turn in dialogue.turns if turn.role == "user"]
    for number, (user, wanted) in enumerate(zip(users, reference, strict=True)):
        turns.append(user)
        responses: list[str] = []
        most = len(wanted) if limit is None else limit
        while len(responses) < most:
            text = yield History(dialogue.documents, tuple(turns), len(responses) + 1)
            if limit is not None and is_no_call(text):
                break
            response = sandbox.execute(world, text)
            turns.append(_turn(text, response.text))
            made.append(Made(number, text, response.text, response.failed))
            responses.append(response.text)
        else:
            cut += limit is not None
        played.append(Played(tuple(responses), sandbox.state(world)))
    sandbox.close(world)
    verdict = judge(play(sandbox, scenario, reference), played)
    return Rollout(dialogue.id, dialogue.block, tuple(made), reference, cut, verdict)


def _turn(text: str, response: str) -> Turn:
    """The call as it stands in the histories to come: the first one that can be read, else what was said."""
    if call := read_or_none(text):
        return Turn("api", response, call)
    shown = " ".join(text.removeprefix(REQUEST_PREFIX).split())[:SHOWN]
    return Turn("api", response, None, shown or "(nothing)")
