import json
import re

import pytest

from trajnb.formatting.calls import render
from trajnb.formatting.dialogue import Call
from trajnb.world.environment import Environment
from trajnb.world.rule import judge, play, reference_calls
from trajnb.world.unpassable import UNPASSABLE

SORTED = "Initial report content Unsorted data More unsorted data"
DIFFERENCES = "- Introduction to History. Ancient civilizations.\n+ Advanced History. Modern world events."
FILE = '{"experiment": "Apollo Test", "result": "Success", "details": "All systems operational."}'
DICTATED = "Due to unexpected changes in schedule, the flight from JFK to LAX on December 15, 2026, "
DICTATED += "needs to be canceled immediately."

TOLD = {  # the argument that decides, and what the dialogue says it is
    "multi_turn_base_4": ("post_tweet", "content", SORTED),
    "multi_turn_base_18": ("post_tweet", "content", DIFFERENCES),
    "multi_turn_base_30": ("post_tweet", "content", FILE),
    "multi_turn_base_176": ("create_ticket", "description", DICTATED),
}
NOT_TOLD = {  # the argument that decides, and what one may try
    "multi_turn_base_173": ("close_ticket", "ticket_id", 1),
    "multi_turn_base_178": ("create_ticket", "priority", 1),
    "multi_turn_base_187": ("create_ticket", "description", "The response was less than satisfactory."),
}


@pytest.mark.parametrize("name", UNPASSABLE)
def test_the_rule_fails_who_follows_the_dialogue(name, bfcl, worlds, sandbox):
    function, argument, value = (TOLD | NOT_TOLD)[name]
    dialogue = next(dialogue for dialogue in bfcl.dialogues if dialogue.id == name)
    place = [turn.call.name if turn.call else "" for turn in dialogue.turns].index(function)
    call = dialogue.turns[place].call
    said = "\n".join(map(text_of, dialogue.turns[:place]))
    demanded = re.escape(str(call.arguments[argument]))
    assert not re.search(rf"(?<!\w){demanded}(?!\w)", said), "it is demanded, and has been said"
    assert name in NOT_TOLD or value in said

    calls = reference_calls(dialogue)
    other = render(Call(function, call.arguments | {argument: value}))
    followed = [[other if text == render(call) else text for text in turn] for turn in calls]
    wanted, given = (play(sandbox, worlds[name], turns) for turns in (calls, followed))
    assert judge(wanted, wanted).success and not judge(wanted, given).success


def text_of(turn):
    """What a turn says; of a response the values alone, texts without escapes."""
    try:
        return "\n".join(map(str, json.loads(turn.text).values())) if turn.call else turn.text
    except (ValueError, AttributeError):
        return turn.text


def test_no_function_finds_the_ticket_of_173(worlds):
    world = Environment(*worlds["multi_turn_base_173"])
    for text in ("get_user_tickets()", "ticket_login('me', 'pw')", "get_user_tickets()", "get_ticket(1)"):
        assert "ticket_001" not in world.respond(text).text
