"""BFCL's simulated APIs, executed safely: literals only, listed classes and public methods only, fresh state.

The official runner `eval`s the text of a call and keeps instances between evaluations (gorilla's
`multi_turn_utils.py`); here a call is data that `formatting.calls` has read, its arguments are bounded, and
an environment belongs to one dialogue. Responses are rendered as BFCL renders them. What a model wrote runs
in a child process besides: see `world.sandbox`.
"""

import copy
import importlib
import inspect
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from trajnb.assets import fetch
from trajnb.formatting.calls import parse
from trajnb.formatting.dialogue import Call
from trajnb.world.bounds import Refused, check_arguments, check_response, check_world
from trajnb.world.snapshot import snapshot

_SOURCES = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
MODULES = {  # class -> its module, which is also the name of its documents; the first four open a block
    "GorillaFileSystem": "gorilla_file_system",
    "VehicleControlAPI": "vehicle_control",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "MathAPI": "math_api",
}
FAILED = "Error during execution: "  # how BFCL opens the response to a call that raised
COMPLAINT = 500  # characters of what follows; it may quote an argument


@dataclass(frozen=True)
class Response:
    """What a call gets back. The text is all that a model sees of it."""

    text: str
    failed: bool  # it tells of an error, be it the API's own or of the execution
    refused: bool = False  # the call was not carried out, and everything is as before it


class Environment:
    """Fresh instances of the involved classes, loaded with a copy of a dialogue's initial configuration."""

    def __init__(self, involved_classes: Sequence[str], initial_config: Mapping[str, dict]):
        for name in involved_classes:
            if name not in MODULES:
                raise ValueError(f"class {name!r} is not among those that may run: {', '.join(MODULES)}")
        self._classes = tuple(involved_classes)
        self._config = copy.deepcopy(dict(initial_config))
        self._done: list[Call] = []
        self._load()

    def bind(self, call: Call) -> Call:
        """The call in keyword form, arguments in the order of the method's signature.

        Raises:
            ValueError: there is no such method here, or its signature does not take these arguments.
        """
        if call.name not in self._methods:
            raise ValueError(f"there is no function {call.name!r} here")
        try:
            bound = inspect.signature(self._methods[call.name]).bind(*call.positional, **call.arguments)
        except TypeError as error:
            raise ValueError(f"{call.name}: {error}") from error
        return Call(call.name, dict(bound.arguments))

    def execute(self, call: Call) -> str:
        """The response text; whatever goes wrong is a response too, as in BFCL."""
        return self.respond(call).text

    def respond(self, call: Call | str) -> Response:
        """Carry out a call, or the first call in a text, and never raise.

        A call that raises inside its API keeps what it had done by then, as in BFCL. One that is refused (no
        readable call, unknown, out of bounds, or leaving too much behind) changes nothing.
        """
        try:
            call = self.bind(parse(call) if isinstance(call, str) else call)
            check_arguments(call.name, call.arguments)
        except (ValueError, MemoryError) as error:  # `CallSyntaxError` and `Refused` are of the former
            return _failure(error, refused=True)
        try:
            response = self._run(call)
            check_world(self.instances.values())
        except (Refused, MemoryError, RecursionError) as error:
            self._load()
            for done in self._done:  # a world depends on its calls alone, and refusals are rare
                self._run(done)
            return _failure(error, refused=True)
        self._done.append(call)
        return response

    def state(self) -> dict[str, dict]:
        """By class the public attributes, which BFCL's rule compares; plain data, see `world.snapshot`."""
        return {name: snapshot(instance) for name, instance in self.instances.items()}

    def _load(self) -> None:
        self.instances, self._methods = {}, {}
        for name in self._classes:
            instance = self.instances[name] = _classes()[name]()
            if hasattr(instance, "_load_scenario"):  # MathAPI has no state
                instance._load_scenario(copy.deepcopy(self._config.get(name, {})))
            for method_name, method in inspect.getmembers(instance, inspect.ismethod):
                if not method_name.startswith("_"):
                    self._methods[method_name] = method

    def _run(self, call: Call) -> Response:
        """Carry out a bound call.

        Raises:
            Refused, MemoryError, RecursionError: there is no saying what it left behind.
        """
        method = self._methods[call.name]
        arguments = copy.deepcopy(call.arguments)
        for name, parameter in inspect.signature(method).parameters.items():
            # `post_tweet` keeps its default list: without a copy dialogues would share mentions
            if name not in arguments and parameter.default is not parameter.empty:
                arguments[name] = copy.deepcopy(parameter.default)
        try:
            result = method(**arguments)
            text = _response_text(result)
            check_response(result, text)
        except (Refused, MemoryError, RecursionError):
            raise
        except Exception as error:
            return _failure(error)
        return Response(_text(text), failed=_tells_of_an_error(result))


def _failure(error: Exception, refused: bool = False) -> Response:
    complaint = str(error) or type(error).__name__
    return Response(FAILED + _text(complaint[:COMPLAINT]), failed=True, refused=refused)


def _text(response: str) -> str:
    """A response that is text: halves of characters (surrogates), which no tokenizer takes and no
    file holds, become question marks.
    """
    return response.encode(errors="replace").decode()


def _tells_of_an_error(result: object) -> bool:
    """Whether an API answers with its own error: `{"error": ...}`, or a list that opens with one."""
    first = result[0] if isinstance(result, list) and result else result
    return "error" in first if isinstance(first, dict) else str(first).startswith("Error")


def _response_text(result: object) -> str:
    if isinstance(result, str):
        return result
    if isinstance(result, dict):
        try:
            return json.dumps(result)
        except (TypeError, ValueError):  # a result that holds an instance of the API's own classes
            pass
    return str(result)


@cache
def _classes() -> dict[str, type]:
    """The allow-listed classes, from the verified wheel even where some `bfcl_eval` is installed."""
    importlib.import_module("mpmath")  # MathAPI's, and not what could lie in the folder by that name
    folder = str(fetch("bfcl"))
    installed = _forget_modules()
    sys.path.insert(0, folder)
    # no bytecode: nobody has checked what lies there, and a cache may be read-only
    bytecode = sys.pycache_prefix, sys.dont_write_bytecode
    sys.pycache_prefix, sys.dont_write_bytecode = os.devnull, True
    try:
        return {
            name: getattr(importlib.import_module(f"{_SOURCES}.{module}"), name)
            for name, module in MODULES.items()
        }
    finally:
        sys.pycache_prefix, sys.dont_write_bytecode = bytecode
        sys.path.remove(folder)
        _forget_modules()
        sys.modules.update(installed)


def _forget_modules() -> dict[str, object]:
    names = [name for name in sys.modules if name.partition(".")[0] == "bfcl_eval"]
    return {name: sys.modules.pop(name) for name in names}
