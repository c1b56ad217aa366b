"""API documents, one JSON text a line, in the forms that corpora have: the one place that knows the keys."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

TYPES = {  # the words of Python and of JSON schema that documents use -> those of JSON schema
    "str": "string",
    "string": "string",
    "int": "integer",
    "integer": "integer",
    "float": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "array",
    "tuple": "array",
    "array": "array",
    "dict": "object",
    "object": "object",
    "null": "null",
}
_TYPE_WORD = re.compile(r"(\w+)(?:\s*[(\[].*)?", re.DOTALL).fullmatch  # list(str), List[str], str (a date)


@dataclass(frozen=True)
class Parameter:
    """What a document says of one argument."""

    name: str
    types: frozenset[str]  # of the values of TYPES; empty where any value may stand, for all it says
    required: bool


@dataclass(frozen=True)
class Api:
    """What a document says of the arguments of one API."""

    name: str
    parameters: tuple[Parameter, ...]  # in documented order

    @property
    def names(self) -> tuple[str, ...]:
        """Of its parameters."""
        return tuple(parameter.name for parameter in self.parameters)


def is_document(line: str) -> bool:
    """Whether a line is the JSON of one API document, or of a list of them."""
    try:
        return all(isinstance(_name(one), str) for one in _listed(json.loads(line)))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False


def read(lines: Iterable[str]) -> Iterator[dict]:
    """`name`, `description` and `parameters` (name -> about it) of every document.

    BFCL, and dialogues of one's own, say these names; API-Bank says `input_parameters`, and in its training
    data `apiCode`.
    """
    for one in _documents(lines):
        yield {
            "name": _name(one),
            "description": one.get("description", ""),
            "parameters": _parameters(one),
        }


def write(document: Mapping) -> str:
    """One line."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def apis_of(lines: Iterable[str]) -> dict[str, Api]:
    """API name to what its document says of its arguments, from the documents of a dialogue.

    Types are read as far as they are said in the words of `TYPES`, and of an argument as a whole: `List[str]`
    is an array. Where a document has other words, no type, or refers to another schema, any value may stand.
    Required are the names that a document lists under `required`, as some tools of one's own do; without
    such a list all arguments that have no default, which is what BFCL's lists say. API-Bank has no defaults:
    there all are required, even the few that a description calls optional.
    """
    apis = {}
    for one in _documents(lines):
        schemas, required = _mapping(_parameters(one)), one.get("required")
        if not isinstance(required, list):
            required = [name for name, schema in schemas.items() if "default" not in _mapping(schema)]
        parameters = (Parameter(name, types_of(schema), name in required) for name, schema in schemas.items())
        apis[_name(one)] = Api(_name(one), tuple(parameters))
    return apis


def _documents(lines: Iterable[str]) -> Iterator[dict]:
    for line in lines:
        yield from _listed(json.loads(line))


def _listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def _name(raw: Mapping) -> object:
    return raw.get("name", raw.get("apiCode"))


def _parameters(raw: Mapping) -> dict:
    return raw.get("input_parameters", raw.get("parameters")) or {}


def types_of(schema: object) -> frozenset[str]:
    """What a schema allows: its type or types, or those of its alternatives, one level deep."""
    schema = _mapping(schema)
    alternatives = schema.get("anyOf", schema.get("oneOf", [schema]))
    said = [word for one in _listed(alternatives) for word in _listed(_mapping(one).get("type"))]
    words = [_TYPE_WORD(word.strip().lower()) if isinstance(word, str) else None for word in said]
    types = {TYPES.get(word[1]) if word else None for word in words}
    return frozenset() if None in types else frozenset(types)


def _mapping(value: object) -> Mapping:
    return value if isinstance(value, Mapping) else {}
