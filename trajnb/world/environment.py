"""BFCL's simulated APIs, executed safely: literals only, listed classes and public methods only, fresh state.

The official runner `eval`s the text of a call and keeps instances between evaluations (gorilla's
`multi_turn_utils.py`); here a call is data that `formatting.calls` has read, and an environment belongs to
one dialogue. Responses are rendered as BFCL renders them.
"""

import copy
import importlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache

from trajnb.assets import fetch
from trajnb.formatting.dialogue import Call

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


class Environment:
    """Fresh instances of the involved classes, loaded with a copy of a dialogue's initial configuration."""

    def __init__(self, involved_classes: Sequence[str], initial_config: Mapping[str, dict]):
        self.instances = {}
        self._methods = {}
        for name in involved_classes:
            if name not in MODULES:
                raise ValueError(f"class {name!r} is not among those that may run: {', '.join(MODULES)}")
            instance = self.instances[name] = _classes()[name]()
            if hasattr(instance, "_load_scenario"):  # MathAPI has no state
                instance._load_scenario(copy.deepcopy(initial_config.get(name, {})))
            for method_name, method in inspect.getmembers(instance, inspect.ismethod):
                if not method_name.startswith("_"):
                    self._methods[method_name] = method

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
        """The response text; whatever goes wrong inside the API is a response too, as in BFCL."""
        try:
            arguments = copy.deepcopy(self.bind(call).arguments)
            method = self._methods[call.name]
            for name, parameter in inspect.signature(method).parameters.items():
                # `post_tweet` keeps its default list: without a copy dialogues would share mentions
                if name not in arguments and parameter.default is not parameter.empty:
                    arguments[name] = copy.deepcopy(parameter.default)
            return _response_text(method(**arguments))
        except Exception as error:
            return f"Error during execution: {error}"


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
    folder = str(fetch("bfcl"))
    installed = _forget_modules()
    sys.path.insert(0, folder)
    try:
        return {
            name: getattr(importlib.import_module(f"{_SOURCES}.{module}"), name)
            for name, module in MODULES.items()
        }
    finally:
        sys.path.remove(folder)
        _forget_modules()
        sys.modules.update(installed)


def _forget_modules() -> dict[str, object]:
    names = [name for name in sys.modules if name.partition(".")[0] == "bfcl_eval"]
    return {name: sys.modules.pop(name) for name in names}
