"""The tools of a user's dialogue and the calls of them, in the writings that the ecosystem has.

A tool stands with or without a wrapper, as an object or as its JSON text; its schema is called `parameters`,
`input_schema` or `inputSchema`. What comes out is the document that all corpora share, and calls.

Arrow, which `datasets` keeps rows in, gives every object of a column all the keys that any of them has, null
where it had none. So a null property is no parameter, and a null argument that its schema rules out is none.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from reprlib import repr as excerpt

from trajnb.corpora.values import Notes, check_numbers, encodable, get, parsed, unread, within
from trajnb.formatting import calls, documents
from trajnb.formatting.calls import CallSyntaxError, parse, render
from trajnb.formatting.dialogue import Call

SCHEMA_KEYS = ("parameters", "input_schema", "inputSchema", "inputs")
ARGUMENT_KEYS = ("arguments", "args", "parameters", "input", "kwargs")
ID_KEYS = ("call_id", "tool_call_id", "id")
_CALL_TYPES = ("function", "function_call", "tool_call", "tool_use")
_DECLARATIONS = ("functionDeclarations", "function_declarations")
_INNER = ("functionCall", "function_call", "tool_call")
_READ_OF_TOOL = frozenset(["type", "function", "name", "description", "required", *SCHEMA_KEYS])
_READ_OF_SCHEMA = frozenset(["type", "properties", "required", "$defs", "definitions", "$ref"])
_READ_OF_CALL = frozenset(["type", "function", "name", *ID_KEYS, *ARGUMENT_KEYS, *_INNER])
_NAMED_SCHEMAS = ("properties", "$defs", "definitions", "patternProperties")
_ROOT = re.compile(r"#/(\$defs|definitions)/(.+)").fullmatch
_OPTIONAL = re.compile(r"\boptional\b", re.IGNORECASE).search


@dataclass(frozen=True)
class Tool:
    """An API that a dialogue may call."""

    document: str
    schema: dict
    """Of its arguments: a JSON schema of type object, or empty."""


@dataclass(frozen=True)
class Written:
    """A call as a message has it."""

    id: str | None
    name: str
    arguments: dict


def read_tools(value: object, notes: Notes) -> dict[str, Tool]:
    """API name -> tool, from a list of tools or the JSON text of one.

    Raises:
        ValueError: the value is none, or one of its tools is malformed or described twice.
    """
    if isinstance(value, str):
        with within("tools"):
            value = parsed(value) if value.strip() else None
    if isinstance(value, dict) and ("name" in value or "function" in value):
        value = [value]
    if value is None:
        return {}
    if not isinstance(value, list):
        raise ValueError("tools is not a list")
    found: dict[str, Tool] = {}
    for position, tool in enumerate(_flat(value), 1):
        with within("tool", position):
            name, tool = _tool(parsed(tool) if isinstance(tool, str) else tool, notes)
            if name in found:
                raise ValueError(f"there are two of the name {excerpt(name)}")
            found[name] = tool
    return found


def looks_like_tool(value: object) -> bool:
    """Whether a JSON value describes a function, with or without a wrapper."""
    if not isinstance(value, dict):
        return False
    inner = value.get("function", value)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        return False
    return "description" in inner or any(isinstance(inner.get(key), dict) for key in SCHEMA_KEYS)


def looks_like_calls(value: object) -> bool:
    """Whether a JSON value is a call, with or without a wrapper, or a list of these."""
    if isinstance(value, list):
        return bool(value) and all(map(looks_like_calls, value))
    if not isinstance(value, dict):
        return False
    inner = value.get("function", value)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        return False
    given = any(isinstance(inner.get(key), dict | str) for key in ARGUMENT_KEYS)
    return given and inner.keys() <= _READ_OF_CALL


def read_calls(value: object, notes: Notes) -> list[Written]:
    """The calls of a message: a list of them, one alone, or the JSON text of either."""
    if isinstance(value, str):
        value = parsed(value)
    if value is None:
        return []
    calls = []
    for index, one in enumerate(value if isinstance(value, list) else [value], 1):
        with within("tool call", index):
            calls.append(_call(parsed(one) if isinstance(one, str) else one, notes))
    return calls


def writable(call: Call) -> Call:
    """The call, provided that the call grammar can write it; ValueError with the reason where not."""
    text = render(call)
    with suppress(CallSyntaxError):
        if parse(text) == call and "\\ud" not in text:
            return call
    with within(f"a call of {excerpt(call.name)} that cannot be written"):
        check_numbers(call.arguments, "arguments")
        encodable(json.dumps(call.arguments, ensure_ascii=False))
    return calls.writable(call)


@lru_cache(10_000)
def _writable_name(name: str) -> str:
    return writable(Call(name)).name


def to_call(written: Written, tools: Mapping[str, Tool], notes: Notes) -> Call:
    """The call, without the nulls that the schema of its tool rules out."""
    arguments = written.arguments
    if written.name in tools and _holds_null(arguments):
        schema = tools[written.name].schema
        arguments = _without_padding(arguments, schema, schema, notes, root_object=True)
    return writable(Call(written.name, arguments))


def _flat(tools: list) -> list:
    """The tools, those that stand in Gemini's lists of declarations too."""
    found = []
    for tool in tools:
        listed = None
        if isinstance(tool, dict):
            listed = next((tool[key] for key in _DECLARATIONS if tool.get(key)), None)
        found += listed if isinstance(listed, list) else [tool]
    return found


def _tool(holder: object, notes: Notes) -> tuple[str, Tool]:
    kind = get(holder, "type", str, "function")
    unread(holder, _READ_OF_TOOL, "tools.", notes)
    if holder.get("function") is not None:
        function = get(holder, "function", dict)
        unread(function, _READ_OF_TOOL, "tools.", notes)
    else:
        function = holder
    key = next((key for key in SCHEMA_KEYS if function.get(key) is not None), "parameters")
    if kind != "function" and not (kind == "custom" and key == "input_schema"):
        raise ValueError(f"type {excerpt(kind)}: only a function can be called")
    if function is holder and "name" not in holder:
        raise ValueError("function is missing")
    name = _writable_name(get(function, "name", str))
    schema = _object_schema(function.get(key), key)
    unread(schema, _READ_OF_SCHEMA, "tools.parameters.", notes)
    listed = schema.get("required") or function.get("required")
    required = {key for key in listed if isinstance(key, str)} if isinstance(listed, list) else set()
    document = {
        "name": name,
        "description": get(function, "description", str, ""),
        "parameters": get(schema, "properties", dict, {}),
    }
    document |= {key: schema[key] for key in ("$defs", "definitions") if schema.get(key)}
    text = documents.write(document)
    if ":null" in text:
        document, schema = _cleaned(document, notes), _cleaned(schema, None)
    properties = document["parameters"]
    if not properties.keys() <= required:
        rest = {key: document.pop(key) for key in ("$defs", "definitions") if key in document}
        document["required"] = [key for key in properties if key in required]
        document |= rest
    text = encodable(documents.write(document))
    if "NaN" in text or "Infinity" in text:
        check_numbers(document)
    return name, Tool(text, schema)


def _required_of_flat(properties: Mapping) -> list[str]:
    """The names of the arguments that are required where no list says it: those marked so, else those that
    are neither called optional nor have a default.
    """
    marks = {name: one.get("required") for name, one in properties.items()}
    if any(isinstance(mark, bool) for mark in marks.values()):
        return [name for name, mark in marks.items() if mark is True]
    return [
        name
        for name, one in properties.items()
        if "default" not in one and not _OPTIONAL(str(one.get("type")))
    ]


def _object_schema(schema: object, key: str) -> dict:
    """The schema of an object, as all its dialects have it; empty where there is none."""
    if isinstance(schema, str):
        with within(key):
            schema = parsed(schema) if schema.strip() else None
    if isinstance(schema, dict) and isinstance(schema.get("json"), dict):  # Bedrock
        schema = schema["json"]
    if not schema and not isinstance(schema, list):
        return {}
    if isinstance(schema, dict):
        target = _resolved(schema, schema)
        words = target.get("type")
        words = words if isinstance(words, list) else [words]
        types = {documents.TYPES.get(word.lower()) for word in words if isinstance(word, str)}
        if "object" in types or (not types and "properties" in target):
            return schema | target
        if "properties" not in schema and all(map(_is_property, schema.values())):
            required = _required_of_flat(schema)
            return {"type": "object", "properties": schema, "required": required}
    raise ValueError(f"{key} is no JSON schema of type object")


def _is_property(value: object) -> bool:
    """Whether it is the schema of an argument, not a word of a schema such as `type` or `items`."""
    return isinstance(value, dict) and not value.keys().isdisjoint(["type", "description", "enum", "anyOf"])


def _resolved(schema: Mapping, root: Mapping) -> Mapping:
    """The definition that a schema refers to, where it is one of the root's own."""
    found = _ROOT(schema["$ref"]) if isinstance(schema.get("$ref"), str) else None
    target = (root.get(found[1]) or {}).get(found[2]) if found else None
    return target if isinstance(target, dict) else schema


def _cleaned(schema: object, notes: Notes | None) -> object:
    """A schema without nulls where a schema or a word of one should stand.

    A null `default` or `const` stays where the type allows it, and so does all within them and `enum`.
    """
    if isinstance(schema, list):
        return [_cleaned(one, notes) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key in (*_NAMED_SCHEMAS, "parameters") and isinstance(value, dict):
            kept = {name: _cleaned(one, notes) for name, one in value.items() if one is not None}
            if notes and len(kept) < len(value):
                notes.left_out["null_parameters"] += len(value) - len(kept)
            found[key] = kept
        elif value is not None:
            found[key] = value if key in ("default", "const", "enum", "examples") else _cleaned(value, notes)
        elif key in ("default", "const") and _allows_null(schema, {}):
            found[key] = None
        elif notes:
            notes.left_out["null_words_of_schemas"] += 1
    return found


def _allows_null(schema: object, root: Mapping) -> bool:
    """Whether a value of this schema may be null; so too where it does not say of which type it is."""
    if not isinstance(schema, dict):
        return schema is not None
    schema = _resolved(schema, root)
    if schema.get("nullable") is True:
        return True
    if isinstance(schema.get("enum"), list):
        return None in schema["enum"]
    types = documents.types_of(schema)
    return not types or "null" in types


def _holds_null(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_null, value.values()))
    return value is None or (isinstance(value, list) and any(map(_holds_null, value)))


def _without_padding(
    value: object, schema: object, root: Mapping, notes: Notes, *, root_object: bool = False
) -> object:
    """A value without the members that are null and may not be; where a schema does not say which members
    its object has, they all stay. The arguments themselves (`root_object`) are those of the schema alone.
    """
    schema = _resolved(schema, root) if isinstance(schema, dict) else {}
    if isinstance(value, list):
        items = schema.get("items")
        return [_without_padding(one, items, root, notes) for one in value]
    properties = schema.get("properties")
    if not isinstance(value, dict) or not (isinstance(properties, dict) or root_object):
        return value
    properties, kept = properties or {}, {}
    for key, inner in value.items():
        if inner is None and not (key in properties and _allows_null(properties[key], root)):
            notes.left_out["null_arguments"] += 1
        else:
            kept[key] = _without_padding(inner, properties.get(key), root, notes)
    return kept


def _call(holder: object, notes: Notes) -> Written:
    kind = get(holder, "type", str, "function")
    if kind not in _CALL_TYPES:
        raise ValueError(f"type {excerpt(kind)}: only a function can be called")
    unread(holder, _READ_OF_CALL, "tool_calls.", notes)
    found = next((get(holder, key, str) for key in ID_KEYS if holder.get(key) is not None), None)
    inner = next((key for key in ("function", *_INNER) if isinstance(holder.get(key), dict)), None)
    if inner is None and "name" not in holder:
        raise ValueError("function is missing")
    function = holder[inner] if inner else holder
    if inner:
        unread(function, _READ_OF_CALL, "tool_calls.", notes)
    return Written(found, get(function, "name", str), _arguments(function))


def _arguments(function: Mapping) -> dict:
    """An object or the text of one; nothing, null and an empty text are no arguments."""
    key = next((key for key in ARGUMENT_KEYS if function.get(key) is not None), "arguments")
    value = function.get(key)
    with within(key):
        if isinstance(value, str):
            value = parsed(value) if value.strip() else None
        elif value is not None and not isinstance(value, dict):
            raise ValueError(f"{key} is not a text")
        if value is not None and not isinstance(value, dict):
            raise ValueError("not a JSON object")
    return value or {}
