"""API documents, one JSON text a line, in the forms that corpora have: the one place that knows the keys."""

import json
from collections.abc import Iterable, Iterator, Mapping


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
    for line in lines:
        for one in _listed(json.loads(line)):
            parameters = one.get("input_parameters", one.get("parameters")) or {}
            yield {"name": _name(one), "description": one.get("description", ""), "parameters": parameters}


def write(document: Mapping) -> str:
    """One line."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def parameter_names(lines: Iterable[str]) -> dict[str, list[str]]:
    """API name to its argument names in documented order, from the documents of a dialogue."""
    return {document["name"]: list(document["parameters"]) for document in read(lines)}


def _listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def _name(raw: Mapping) -> object:
    return raw.get("name", raw.get("apiCode"))
