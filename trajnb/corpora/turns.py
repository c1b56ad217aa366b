"""Messages to turns: which call a result belongs to, and which calls were made together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trajnb.corpora.messages import Message, Result, read_message, told_apart
from trajnb.corpora.tools import Tool, to_call
from trajnb.corpora.values import Notes, within
from trajnb.formatting.dialogue import Turn


@dataclass
class _Waiting:
    """A call without a result yet."""

    place: int
    id: str | None
    message: int


@dataclass
class _Written:
    """The turns so far, and what is open."""

    turns: list[Turn] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    """Of each turn, the position of its message."""
    group: list[_Waiting] = field(default_factory=list)
    """The calls made last, together, that wait for results."""
    size: int = 0
    """How many calls were made together last."""
    user_spoke: bool = False
    """The user spoke after these calls."""

    def say(self, role: str, text: str, position: int) -> None:
        self.turns.append(Turn(role, text))
        self.origins.append(position)


def to_turns(
    messages: Sequence[object], tools: Mapping[str, Tool], notes: Notes
) -> tuple[tuple[Turn, ...], tuple[int, ...]]:
    """The turns of a dialogue, and of each the position of its message, from 1.

    An assistant message is an ai turn, if it says something, and an api turn per call. Calls of one
    message are made `together`, before any of them is answered, and so are those of messages that come
    before any result of the first. A result belongs to the call with its id; one without an id to the
    first of the calls made last that has no result and agrees in name, as far as both say it. A call
    without a result has the response "".

    Raises:
        ValueError: messages are malformed, or a result has no call; the error names the message.
    """
    if not messages:
        raise ValueError("messages is empty")
    written, results = _Written(), []
    read: list[Message] = []
    for position, raw in enumerate(messages, 1):
        with within("message", position):
            read.append(read_message(raw, tools.keys(), notes))
    awaiting = _awaiting(read)
    for position, message in enumerate(read, 1):
        results += [(position, result) for result in message.results]
        if message.role == "tool":
            continue
        _answer(written, results)
        results = []
        with within("message", position):
            _add(written, position, message, position in awaiting, tools, notes)
    _answer(written, results)
    return tuple(written.turns), tuple(written.origins)


def _add(
    written: _Written,
    position: int,
    message: Message,
    awaits: bool,
    tools: Mapping[str, Tool],
    notes: Notes,
) -> None:
    """Write a message that is no result; if it `awaits`, the calls made last had none before it."""
    if message.role == "system":
        notes.left_out["system_messages"] += 1
    elif message.role == "user":
        if not message.text and not message.results:
            raise ValueError("content is missing")
        if message.text:
            written.say("user", message.text, position)
            written.user_spoke = True
    elif message.empty:
        notes.left_out["empty_messages"] += 1
    elif not message.calls:
        written.say("ai", message.text, position)
    elif awaits and written.group and len(written.group) == written.size and not written.user_spoke:
        _add_calls(written, position, message, tools, notes, written.group[-1].place + 1)
        if message.text:
            written.say("ai", message.text, position)
    else:
        if message.text:
            written.say("ai", message.text, position)
        written.group, written.size, written.user_spoke = [], 0, False
        _add_calls(written, position, message, tools, notes, len(written.turns))


def _awaiting(messages: Sequence[Message]) -> set[int]:
    """Positions of messages with calls that come before the results of the message with calls before them:
    by ids, or because the results that follow are too many for the last message alone.
    """
    last_result = {
        result.id: position
        for position, message in enumerate(messages, 1)
        for result in message.results
        if result.id
    }
    found: set[int] = set()
    chain: list[int] = []
    results = 0
    before: Message | None = None
    for position, message in enumerate([*messages, Message("user", "end")], 1):
        if message.results:
            results += len(message.results)
        if message.role == "tool" or message.empty:
            continue
        if results or not message.calls:
            if chain and results > len(messages[chain[-1] - 1].calls):
                found.update(chain[1:])
            chain, results = [], 0
        if message.calls:
            chain.append(position)
            ids = (call.id for call in before.calls) if before else ()
            if any(last_result.get(name, 0) > position for name in ids if name):
                found.add(position)
            before = message
    return found


def _add_calls(
    written: _Written,
    position: int,
    message: Message,
    tools: Mapping[str, Tool],
    notes: Notes,
    place: int,
) -> None:
    """Write the calls of a message at a place, behind those that they are made with."""
    for index, call in enumerate(message.calls, 1):
        with within("tool call", index):
            turn = Turn("api", "", to_call(call, tools, notes), together=bool(written.group))
        written.turns.insert(place, turn)
        written.origins.insert(place, position)
        written.group.append(_Waiting(place, call.id, position))
        place += 1
    written.size = len(written.group)


def _answer(written: _Written, results: Sequence[tuple[int, Result]]) -> None:
    """Give the results of messages that follow one another to their calls."""
    if not results:
        return
    waiting = written.group
    if len(results) == 1 and len(waiting) > 1:
        results = [(results[0][0], result) for result in told_apart(results[0][1])]
    nameless = all(result.id is None and result.name is None for _, result in results)
    several = bool(waiting) and waiting[0].message < waiting[-1].message
    if several and nameless and len(results) < len(waiting):
        waiting = [one for one in waiting if one.message == waiting[-1].message]
    left = Counter(result.id for _, result in results)
    for position, result in results:
        with within("message", position):
            found = _call_of(written, waiting, result, left[result.id])
        left[result.id] -= 1
        waiting.remove(found)
        if found in written.group:
            written.group.remove(found)
        written.turns[found.place] = replace(written.turns[found.place], text=result.text)


def _call_of(
    written: _Written, waiting: Sequence[_Waiting], result: Result, left: int
) -> _Waiting:
    """The call that a result belongs to; where more wait under its id than `left` results, a later one."""
    found = []
    for one in waiting:
        same_id = result.id == one.id if None not in (result.id, one.id) else not written.user_spoke
        if same_id and result.name in (None, written.turns[one.place].call.name):
            found.append(one)
    if not found:
        raise ValueError("a tool result without a call in the assistant message before it")
    return found[max(0, len(found) - left)] if result.id is not None else found[0]
