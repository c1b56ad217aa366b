"""Calls beside each other: what arms made of one user turn, slot by slot beside the reference."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from trajnb.formatting.calls import canonical, read_or_none, without_prefix
from trajnb.formatting.documents import Api
from trajnb.show.reader import Numbered

KEPT_TEXTS = 4000
"""Characters of what was said or got that the page keeps."""


def aligned(
    gold: Sequence[str], made: Mapping[str, Sequence[Mapping]], apis: Mapping[str, Api] = {}
) -> list[dict[str, tuple]]:
    """Slots of one user turn: what stands beside each other, by column; `""` is the reference.

    A reference call is (text,). A call of an arm is (text, response, failed, word), the word being
    "same" as the reference, "differs" from it, or "extra"; where an arm makes none, its slot is
    ("", "", False, "missing"). Calls that are the same are paired first, in order, and what lies
    between them by position.
    """
    slots: list[dict[str, tuple]] = [{"": (text,)} for text in gold]
    behind: dict[int, list[dict[str, tuple]]] = {}
    for name, calls in made.items():
        for place, call in _pairs(gold, [one["text"] for one in calls], apis):
            if call is None:
                slots[place][name] = ("", "", False, "missing")
                continue
            word = "extra"
            if 0 <= place < len(gold) and name not in slots[place]:
                same = _key(gold[place], apis) == _key(calls[call]["text"], apis)
                word = "same" if same else "differs"
            entry = calls[call]["text"], calls[call]["response"], calls[call]["failed"], word
            if word != "extra":
                slots[place][name] = entry
                continue
            further = behind.setdefault(place, [])
            free = next((slot for slot in further if name not in slot), None)
            if free is None:
                further.append(free := {})
            free[name] = entry
    found = list(behind.get(-1, []))
    for place, slot in enumerate(slots):
        found += [slot, *behind.get(place, [])]
    return found


def _pairs(
    gold: Sequence[str], made: Sequence[str], apis: Mapping[str, Api]
) -> list[tuple[int, int | None]]:
    """(place of the reference call, number of the call) pairs; a call that is too many has the
    place that it comes behind, and a place without a call None.
    """
    wanted, given = ([_key(text, apis) for text in side] for side in (gold, made))
    found: list[tuple[int, int | None]] = []
    for _, start, stop, begin, end in SequenceMatcher(None, wanted, given, False).get_opcodes():
        for offset in range(max(stop - start, end - begin)):
            place = min(start + offset, stop - 1)
            found.append((place, begin + offset if begin + offset < end else None))
    return found


def _key(text: str, apis: Mapping[str, Api]) -> object:
    """What two calls share that are the same; an unreadable one is like no other."""
    call = read_or_none(text)
    if call is None:
        return "unreadable", without_prefix(text)
    return canonical(call, apis[call.name].names if call.name in apis else None)


def slot_of(texts: Numbered, slot: Mapping[str, tuple], columns: Sequence[str]) -> list:
    """The reference and every column, texts by number; None where there is nothing."""
    reference = [texts[without_prefix(slot[""][0])]] if "" in slot else None
    return [reference, *(_call(texts, slot.get(name)) for name in columns)]


def _call(texts: Numbered, entry: tuple | None) -> list | None:
    if entry is None:
        return None
    text, response, failed, word = entry
    said = texts[without_prefix(text)[:KEPT_TEXTS]]
    return [said, texts[response[:KEPT_TEXTS]], int(failed), word]
