import pandas as pd
import pytest

from trajnb.formatting.dialogue import Call, Dialogue, Turn
from trajnb.formatting.examples import steps
from trajnb.scoring import ceilings

LOGIN = Turn("api", "the token is tk-4711, keep it", Call("Login", {"user": "ann"}))
ORDER = Turn("api", "ok", Call("Order", {"token": "tk-4711", "item": "tea"}))
TURNS = (Turn("user", "I am ann, order tea"), LOGIN, ORDER)
DIALOGUE = Dialogue("d", "shop", ('{"name": "Login"}', '{"name": "Order"}'), TURNS)


def rows(prompts):
    """(what was said, cue, gold) as rows of examples."""
    written = [
        {"prompt": [{"content": "instruction"}, {"content": f"{said}\n{cue}"}], "gold": gold}
        for said, cue, gold in prompts
    ]
    return pd.DataFrame(written)


def test_a_value_that_only_a_response_knows_is_shown_with_what_stands_around_it():
    login, order = steps(DIALOGUE)
    assert ceilings.sources(login) == {}
    assert ceilings.sources(order) == {"tk-4711": "the token is tk-4711, keep it"}


def test_the_ceiling_leaves_out_what_only_responses_know():
    assert ceilings.ceiling_of_steps(steps(DIALOGUE)) == [1, 0, 1, 2]
    table = ceilings.ceilings({"shop": [1, 0, 1, 2], "all": [1, 1, 2, 8]})
    assert list(table.ceiling) == [0.5, 0.75] and list(table.calls) == [2, 8]


def test_one_question_with_two_answers_is_a_contradiction_unless_the_cue_counts():
    first, second = ("hello", "Generate 1:", "[A()]"), ("hello", "Generate 2:", "[B()]")
    asked = rows([first, second, ("you", "Generate 1:", "[A()]")])
    assert ceilings.contradictions(asked, ordinal=False) == (2, pytest.approx(2 / 3))
    assert ceilings.contradictions(asked, ordinal=True) == (0, 1.0)
