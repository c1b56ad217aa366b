"""What of the history a prompt shows.

A condition is a pure function from a `History` to its lines, each marked shown or hidden.
`messages` turns lines into the prompt, in training, evaluation and rollouts alike; views draw the
same lines, the hidden too.

A new condition is one function here and one line in `CONDITIONS`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trajnb.formatting.calls import REQUEST_PREFIX, render
from trajnb.formatting.dialogue import Turn

INSTRUCTION = (
    "You are an assistant that answers the user by calling APIs. Generate the next API call as one line, "
    f"{REQUEST_PREFIX} [Name(key='value')], with argument values as Python literals. API documents:"
)


PAPER_INSTRUCTION = (
    "You are an assistant that can use tools. Write an API call as [ApiName(key='value', ...)], or a "
    "response to the user, whichever comes next."
)


@dataclass(frozen=True)
class History:
    """What stands before a target, and what controls put in its place."""

    documents: tuple[str, ...]
    turns: tuple[Turn, ...]
    ordinal: int
    """Which call of its user turn the target is, from 1; 0 where a response to the user is asked
    for.
    """
    donated: tuple[Turn, ...] = ()
    """For each api turn one of another dialogue, see `examples.donors`."""
    needed: tuple[str, ...] = ()
    """What the target takes from responses: nobody said it, no document has it."""
    awaited: int = 0
    """How many of the last turns are calls whose responses are not there yet, for they and the target
    are made in one message. The texts of these turns are empty.
    """


KINDS = ("user", "ai", "request", "response", "values")
"""Said by the user, said by the assistant, a call, what it got, values that are known."""


@dataclass(frozen=True)
class Line:
    """One line of the history as the prompt writes it."""

    kind: str  # one of `KINDS`
    text: str
    shown: bool
    turn: int  # the user turn it belongs to, from 0


def full(history: History) -> tuple[Line, ...]:
    """The whole trajectory (the paper's B)."""
    return lines(history)


def stripped(history: History) -> tuple[Line, ...]:
    """What was said, without calls and responses. With the plain cue it shows what the paper's A shows;
    with an ordinal it also tells how many calls of the user turn were made.
    """
    return lines(history, hidden={"request", "response"})


def requests(history: History) -> tuple[Line, ...]:
    """Calls kept, responses dropped: what the model did, not what came of it."""
    return lines(history, hidden={"response"})


def responses(history: History) -> tuple[Line, ...]:
    """Responses kept, calls dropped: what came of it, not what the model did."""
    return lines(history, hidden={"request"})


def placebo(history: History) -> tuple[Line, ...]:
    """Calls and responses of another dialogue, as many as in `full` and about as long.

    What they are worth depends on the donor, see `examples.donors`. One of the same block
    (`placebo-near`) names APIs that the dialogue goes on to call, and holds ids that it shares; one
    of another block (`placebo`) seldom does. `formatting.leaks` counts how often.
    """
    if len(history.donated) < sum(turn.role == "api" for turn in history.turns):
        raise ValueError(
            "placebo: there is no other dialogue on this side of the split to take calls from; "
            "placebo needs one of another block, placebo-near any other one"
        )
    donated = iter(history.donated)
    answered = sum(turn.role == "api" for turn in history.turns) - history.awaited
    written: list[Line] = []
    for line in stripped(history):
        if line.kind == "request":
            shown = _write(next(donated))
            shown = shown if answered > 0 else shown[:1]
            answered -= 1
            written += [Line(kind, text, True, line.turn) for kind, text in shown]
        written.append(line)
    return tuple(written)


def stripped_and_values(history: History) -> tuple[Line, ...]:
    """Stripped, and in one line what the target takes from responses: the information without the
    trace.
    """
    if not history.needed:
        return stripped(history)
    values = Line("values", f"Known values: {', '.join(history.needed)}", True, _last_turn(history))
    return (*stripped(history), values)


CONDITIONS = {
    "stripped": stripped,
    "full": full,
    "requests": requests,
    "responses": responses,
    "placebo": placebo,
    "placebo-near": placebo,
    "stripped+values": stripped_and_values,
}
PLACEBOS = ("placebo", "placebo-near")
"""The conditions that show another dialogue's calls."""
CUES = ("ordinal", "plain")
"""Whether the line that asks for a call says which one of its user turn it is."""


def lines(history: History, hidden: Iterable[str] = ()) -> tuple[Line, ...]:
    """The lines of a history in order, those of the `hidden` kinds marked as not shown. A call whose
    response is awaited has none.
    """
    hidden = set(hidden)
    written: list[Line] = []
    user_turn = -1
    answered = len(history.turns) - history.awaited
    for place, turn in enumerate(history.turns):
        user_turn += turn.role == "user"
        for kind, text in _write(turn)[: None if place < answered else 1]:
            written.append(Line(kind, text, kind not in hidden, max(user_turn, 0)))
    return tuple(written)


def messages(
    history: History, lines: Sequence[Line], cue: str = "ordinal"
) -> list[dict[str, str]]:
    """The prompt: instruction and documents as the system message, shown lines and the cue (one of
    `CUES`) as the user's.

    What a dialogue's prompts share comes first, so that they share a prefix of tokens.
    """
    said = [line.text for line in lines if line.shown]
    return [
        {"role": "system", "content": "\n".join([INSTRUCTION, *history.documents])},
        {"role": "user", "content": "\n".join([*said, cue_line(history, cue)])},
    ]


def cue_line(history: History, cue: str = "ordinal") -> str:
    """The line that asks for the next call. Its ordinal is what tells stripped prompts of one turn
    apart, and with them how many calls were made; the plain one says neither.
    """
    if not history.ordinal:
        return "Generate AI Response:"
    return f"Generate API Request {history.ordinal}:" if cue == "ordinal" else "Generate API Request:"


def paper_messages(history: History, lines: Sequence[Line], condition: str) -> list[dict[str, str]]:
    """The prompt as arXiv 2605.09734 has it: a short system text, and API-Bank's own lines as the
    user's.

    Documents stand among these lines, a call and its response are one line, and the cue has no
    ordinal. The paper strips by what a line starts with or says: `stripped` loses the cue of a
    request too, while what follows the first line of a response stays.
    """
    said = list(history.documents)
    for place, line in enumerate(lines):
        response = line.text.removeprefix("API-Response: ") if line.kind == "response" else ""
        if response and line.shown and lines[place - 1].shown:
            said[-1] += f"->{response}"
        elif line.shown:
            said.append(line.text)
        elif "\n" in response and condition == "stripped":
            said.append(response.partition("\n")[2])
    if not history.ordinal:
        said.append("Generate AI Response: ")
    elif condition != "stripped":
        said.append("Generate API Request: ")
    return [
        {"role": "system", "content": PAPER_INSTRUCTION},
        {"role": "user", "content": "\n".join(said)},
    ]


def _last_turn(history: History) -> int:
    return max(sum(turn.role == "user" for turn in history.turns) - 1, 0)


def _request(text: str) -> tuple[str, str]:
    return "request", f"{REQUEST_PREFIX} {text}"


_written: dict[int, tuple[Turn, list[tuple[str, str]]]] = {}


def _write(turn: Turn) -> list[tuple[str, str]]:
    """The lines of a turn, each with its kind; of the last turns they are kept, for every later prompt
    of a dialogue has them again.
    """
    kept = _written.get(id(turn))
    if kept is None or kept[0] is not turn:
        if len(_written) >= 1000:
            _written.clear()
        kept = _written[id(turn)] = turn, _lines_of(turn)
    return kept[1]


def _lines_of(turn: Turn) -> list[tuple[str, str]]:
    if turn.call is not None:
        return [_request(render(turn.call)), ("response", f"API-Response: {turn.text}")]
    if turn.request:
        return [_request(turn.request), ("response", f"API-Response: {turn.text}")]
    if turn.role == "api":  # a request that cannot be read
        return [_request(turn.text)]
    prefix = {"user": "User", "ai": "AI"}[turn.role]
    return [(turn.role, f"{prefix}: {turn.text}")]
