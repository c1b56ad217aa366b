"""Right and wrong answers to BFCL's dialogues, made from the reference calls, for two checkers to agree on.

An answer is a list of calls for every turn. Each corruption takes a random generator, an answer that it may
change, and a list of answers to other dialogues to take calls from.
"""

import itertools
import random
from collections.abc import Iterator, Sequence

from trajnb.formatting.dialogue import Call, Dialogue

Answer = list[list[Call]]


def reference(dialogue: Dialogue) -> Answer:
    turns: Answer = []
    for turn in dialogue.turns:
        if turn.call:
            turns[-1].append(turn.call)
        elif turn.role == "user":
            turns.append([])
    return turns


def as_python(call: Call) -> str:
    """The call as the official checker reads it; it knows no quotes that nest without escapes."""
    return f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})"


def answers(dialogue: Dialogue, others: Sequence[Dialogue], count: int) -> Iterator[tuple[str, Answer]]:
    """The true answer, then one corruption of every kind, then two combined; always the same ones."""
    rng = random.Random(dialogue.id)
    foreign = [reference(other) for other in others if other.id != dialogue.id]
    yield "true", reference(dialogue)
    for number, kind in zip(range(count - 1), itertools.cycle(CORRUPTIONS), strict=False):
        kinds = [kind] if number < len(CORRUPTIONS) else [kind, rng.choice(list(CORRUPTIONS))]
        answer = reference(dialogue)
        for corruption in kinds:
            CORRUPTIONS[corruption](rng, answer, foreign)
        yield " + ".join(kinds), answer


def _somewhere(rng: random.Random, answer: Answer) -> tuple[list[Call], int]:
    """A turn and the place of a call in it."""
    turn = rng.choice([turn for turn in answer if turn] or [_with_a_call(rng, answer)])
    return turn, rng.randrange(len(turn))


def _with_a_call(rng: random.Random, answer: Answer) -> list[Call]:
    turn = rng.choice(answer)
    turn.append(Call("pwd"))
    return turn


def _drop(rng, answer, others):
    turn, place = _somewhere(rng, answer)
    del turn[place]


def _repeat(rng, answer, others):
    turn, place = _somewhere(rng, answer)
    turn.insert(rng.randint(place + 1, len(turn)), turn[place])


def _swap(rng, answer, others):
    turn, place = _somewhere(rng, answer)
    other = rng.randrange(len(turn))
    turn[place], turn[other] = turn[other], turn[place]


def _swap_across(rng, answer, others):
    (turn, place), (other_turn, other) = _somewhere(rng, answer), _somewhere(rng, answer)
    turn[place], other_turn[other] = other_turn[other], turn[place]


def _reverse(rng, answer, others):
    _somewhere(rng, answer)[0].reverse()


def _move(rng, answer, others):
    """To a neighbouring turn: too early, or too late."""
    turn, place = _somewhere(rng, answer)
    call = turn.pop(place)
    index = next(index for index, candidate in enumerate(answer) if candidate is turn)
    target = answer[max(0, min(len(answer) - 1, index + rng.choice([-1, 1])))]
    target.insert(rng.randint(0, len(target)), call)


def _change(rng, answer, others):
    """Another value, of the same type or of another."""
    turn, place = _somewhere(rng, answer)
    call = turn[place]
    if call.arguments:
        name = rng.choice(list(call.arguments))
        turn[place] = Call(call.name, call.arguments | {name: _other_value(rng, call.arguments[name])})


def _other_value(rng, value):
    if rng.random() < 0.15:
        return rng.choice([None, True, 0, -1, 2.5, "", "x", [], ["x"], {}, ("a", 1)])
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice([value + 1, -value, value * 2, float(value), str(value), 0])
    if isinstance(value, list):
        return rng.choice([[*value, "x"], value[1:], value[::-1], [*value, *value[:1]], tuple(value)])
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if rng.random() < 0.5}
    text = str(value)
    return rng.choice([text + "x", text[1:], text.upper(), text.replace(" ", "  "), [text]])


def _borrow_value(rng, answer, others):
    """The value that another dialogue gives to an argument of this name."""
    turn, place = _somewhere(rng, answer)
    call = turn[place]
    known = [
        (name, other.arguments[name])
        for name in call.arguments
        for their_turn in rng.choice(others)
        for other in their_turn
        if name in other.arguments
    ]
    if known:
        name, value = rng.choice(known)
        turn[place] = Call(call.name, call.arguments | {name: value})


def _lose_argument(rng, answer, others):
    turn, place = _somewhere(rng, answer)
    arguments = dict(turn[place].arguments)
    if arguments:
        del arguments[rng.choice(list(arguments))]
    turn[place] = Call(turn[place].name, arguments)


def _invent_argument(rng, answer, others):
    turn, place = _somewhere(rng, answer)
    turn[place] = Call(turn[place].name, turn[place].arguments | {"colour": "red"})


def _wrong_api(rng, answer, others):
    """The name of another call, of this dialogue or of another, or of none."""
    turn, place = _somewhere(rng, answer)
    names = [call.name for their_turn in [*answer, *rng.choice(others)] for call in their_turn]
    turn[place] = Call(rng.choice([*names, "no_such_function"]), turn[place].arguments)


def _insert_own(rng, answer, others):
    turn, place = _somewhere(rng, answer)
    target = rng.choice(answer)
    target.insert(rng.randint(0, len(target)), turn[place])


def _insert_foreign(rng, answer, others):
    foreign = [call for turn in rng.choice(others) for call in turn]
    target = rng.choice(answer)
    target.insert(rng.randint(0, len(target)), rng.choice(foreign))


def _look_around(rng, answer, others):
    """Calls that change nothing that counts, though the last two leave the working folder."""
    looks = [Call("ls"), Call("pwd"), Call("get_watchlist"), Call("displayCarStatus", {"option": "fuel"})]
    looks += [Call("get_current_speed"), Call("cd", {"folder": ".."}), Call("cd", {"folder": "/"})]
    for turn in answer:
        if rng.random() < 0.6:
            turn.insert(rng.randint(0, len(turn)), rng.choice(looks))


def _empty_turn(rng, answer, others):
    _somewhere(rng, answer)[0].clear()


def _give_up(rng, answer, others):
    for turn in answer[rng.randrange(len(answer)) :]:
        turn.clear()


def _foreign_turn(rng, answer, others):
    answer[rng.randrange(len(answer))][:] = rng.choice(rng.choice(others))


def _hurry(rng, answer, others):
    """All calls of two turns in the first of them, and then again, or not, in the second."""
    place = rng.randrange(len(answer))
    following = answer[min(place + 1, len(answer) - 1)]
    answer[place].extend(following.copy())
    if rng.random() < 0.5:
        following.clear()


CORRUPTIONS = {
    "drop": _drop,
    "repeat": _repeat,
    "swap": _swap,
    "swap across turns": _swap_across,
    "reverse": _reverse,
    "move": _move,
    "change an argument": _change,
    "borrow a value": _borrow_value,
    "lose an argument": _lose_argument,
    "invent an argument": _invent_argument,
    "wrong API": _wrong_api,
    "insert an own call": _insert_own,
    "insert a foreign call": _insert_foreign,
    "look around": _look_around,
    "empty turn": _empty_turn,
    "give up": _give_up,
    "foreign turn": _foreign_turn,
    "hurry": _hurry,
}
