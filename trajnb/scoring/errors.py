"""What is wrong with a call, and with the calls of a whole dialogue, by kind.

The kinds are those of SpecTool (arXiv 2411.13547) and one more. What a model writes goes through the call
grammar, which looks at the first `calls.LIMIT` characters, evaluates nothing and takes linear time. Two calls
are the same where `calls.canonical` says so, as in `scoring.score`.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

import pandas as pd

from trajnb.formatting.arguments import NOT_A_LITERAL, WORDS, literal
from trajnb.formatting.calls import CallSyntaxError, by_name, canonical, parse
from trajnb.formatting.dialogue import Call, Corpus
from trajnb.formatting.documents import Api, Parameter, apis_of

KINDS = (  # in the order of the checks; SpecTool's abbreviation of each
    "exact",
    "unparseable",  # IFE
    "invented function",  # IFN
    "valid but wrong API",  # not told apart there
    "invented argument",  # IAN
    "wrong type",  # IAT
    "wrong or missing value",  # IAV
)
MISSING = "missing value"  # the part of IAV that documents alone can tell
ROLLOUT_KINDS = ("repeated identical call", "too few calls")  # RAC, IAC


def kind(prediction: str, gold: str, apis: Mapping[str, Api] = {}) -> str:
    """The first thing that is wrong with a generated text, a word of `KINDS`.

    `apis` is what the documents of the dialogue say, see `documents.apis_of`.

    - "exact" is what `score` calls `canonical`, "unparseable" what it does not call `parsed`; the two kinds
      of wrong names are those that it does not call `name`.
    - "invented function": no document names it, wherever else it exists. "valid but wrong API": one does,
      whatever its arguments.
    - "invented argument": neither the document nor the gold call names it; so is a value without a name
      that no documented position is left for.
    - "wrong type": neither the document nor the gold value is of this type. As everywhere, quotes around a
      literal do not count: `'3'` may stand where a number is wanted, and 5 for a text where the gold is
      `'94016'`. Whole numbers are numbers, `3.0` is a whole one, and None may stand for what is not required.
      What a list holds is not looked at.
    - "wrong or missing value": all the rest, such as an optional argument that the gold call does not have.

    What the gold call does is never held against a prediction, for not every gold agrees with its document.

    Raises:
        ValueError: the gold holds no call; never because of the prediction.
    """
    wanted = parse(gold)
    try:
        call = parse(prediction)
    except CallSyntaxError:
        return "unparseable"
    if call.name != wanted.name:
        return "valid but wrong API" if call.name in apis else "invented function"
    api = apis.get(call.name, Api(call.name, ()))
    if canonical(call, api.names) == canonical(wanted, api.names):
        return "exact"
    documented = {parameter.name: parameter for parameter in api.parameters}
    right, given = by_name(wanted, api.names), by_name(call, api.names)
    if not given.keys() <= documented.keys() | right.keys():
        return "invented argument"
    for name in given.keys() & documented.keys():
        golds = [right[name]] if name in right else []
        if not _fits(given[name], documented[name], golds):
            return "wrong type"
    return "wrong or missing value"


def filled(table: pd.DataFrame, corpora: Iterable[Corpus]) -> pd.DataFrame:
    """A table of `tables.frame` with the kinds that older records lack, as far as these corpora hold
    the dialogues; a row of any other keeps None.
    """
    asked = set(table.dialogue_id)
    dialogues = [one for corpus in corpora for one in corpus.dialogues if one.id in asked]
    apis = {one.id: apis_of(one.documents) for one in dialogues}
    found = [
        kind(row.prediction, row.gold, apis[row.dialogue_id])
        if row.dialogue_id in apis and not isinstance(row.error, str)
        else row.error
        for row in table.itertuples()
    ]
    return table.assign(error=found)


def against_document(call: Call, apis: Mapping[str, Api]) -> str | None:
    """The first thing that documents have against a call, whoever made it and whatever was asked for: a
    word of `KINDS` or `MISSING`; None where they have nothing against it.

    Unlike `kind` it needs no gold, so that it does hold against a gold call what its document does not say.
    """
    if call.name not in apis:
        return "invented function"
    api = apis[call.name]
    documented = {parameter.name: parameter for parameter in api.parameters}
    given = by_name(call, api.names)
    if not given.keys() <= documented.keys():
        return "invented argument"
    if not all(_fits(value, documented[name], ()) for name, value in given.items()):
        return "wrong type"
    if any(parameter.required and parameter.name not in given for parameter in api.parameters):
        return MISSING
    return None


def _fits(value: object, parameter: Parameter, golds: Sequence[object]) -> bool:
    """Whether a value is of a type that the document allows, or of that of a gold value."""
    if not parameter.types:
        return True
    allowed = {*parameter.types, *(_type(_unquoted(gold)) for gold in golds)}
    if "number" in allowed:
        allowed.add("integer")
    if not parameter.required:
        allowed.add("null")
    return not allowed.isdisjoint({_type(value), _type(_unquoted(value))})


def _unquoted(value: object) -> object:
    """The literal that a text spells, else the value itself."""
    if isinstance(value, str):
        try:
            return WORDS[value] if value in WORDS else literal(value)
        except NOT_A_LITERAL:
            pass
    return value


def _type(value: object) -> str:
    """The word of JSON schema; that of Python for what JSON does not have."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == int(value) else "number"
    words = {str: "string", list: "array", tuple: "array", dict: "object"}
    return words.get(type(value), type(value).__name__)


def rollout_errors(
    made: Sequence[Call], gold: Sequence[Call], apis: Mapping[str, Api] = {}
) -> dict[str, int]:
    """How often each of `ROLLOUT_KINDS` occurs in the calls of a turn or of a dialogue.

    SpecTool (arXiv 2411.13547) looks for a call that is made again with the same arguments, and for too few
    calls to fulfil the request. Here order does not count, and gold has neither:

    - "repeated identical call": calls made again, over those that the gold calls repeat too. A call that the
      gold makes n times may be made n times, any other once; so going up two folders is no error.
    - "too few calls": gold calls minus calls made, where positive. Over a dialogue, calls too many in one
      turn make up for those missing in another; by turn they do not.
    """
    counts, wanted = _counts(made, apis), _counts(gold, apis)
    repeated = sum(max(0, count - max(1, wanted[call])) for call, count in counts.items())
    return dict(zip(ROLLOUT_KINDS, (repeated, max(0, len(gold) - len(made))), strict=True))


def trajectory_match(made: Sequence[Call], gold: Sequence[Call]) -> bool:
    """Whether the same APIs are called, in the same order and as often (TRAJECT-Bench's EM).

    The published code of arXiv 2510.04550 compares so where tools depend on each other, as they do in a
    dialogue; where they do not, it compares the sets of their names.
    """
    return [call.name for call in made] == [call.name for call in gold]


def inclusion(made: Sequence[Call], gold: Sequence[Call]) -> float:
    """The share of gold APIs that are called, in any order (TRAJECT-Bench, arXiv 2510.04550).

    An API that the gold calls n times has to be called n times. The published code counts it n times among
    the gold calls, but once at most among those found, so that no answer to such a gold reaches 1 there.
    Calls too many cost nothing. nan without gold calls.
    """
    return _ratio(_common(made, gold), len(gold))


def usage(made: Sequence[Call], gold: Sequence[Call], apis: Mapping[str, Api] = {}) -> float:
    """The share of the common APIs that are called with the gold arguments (TRAJECT-Bench, arXiv 2510.04550).

    Common are as many calls of an API as both sides make, see `inclusion`; of these, as many are right as
    there are identical calls on both sides, in any order. The published code takes the first call of each
    API, which is the same where none is called twice. nan where nothing is common.
    """
    identical = _counts(made, apis) & _counts(gold, apis)
    return _ratio(identical.total(), _common(made, gold))


def _common(made: Sequence[Call], gold: Sequence[Call]) -> int:
    return (Counter(call.name for call in made) & Counter(call.name for call in gold)).total()


def _counts(calls: Sequence[Call], apis: Mapping[str, Api]) -> Counter[Hashable]:
    return Counter(canonical(call, apis.get(call.name, Api(call.name, ())).names) for call in calls)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
