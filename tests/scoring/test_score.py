import pytest

from trajnb.scoring.score import SCORES, has_holes, matrix, outcome, score

GOLD = "[place_order(order_type='Buy', symbol='AAPL', amount=10)]"
OPENED = {"opened_name", "parsed", "name"}


@pytest.mark.parametrize(
    "prediction, right, word",
    [
        (GOLD, {*OPENED, "canonical", "string"}, "exact"),
        (f"  API-Request: {GOLD}\n", {*OPENED, "canonical", "string"}, "exact"),
        (GOLD.replace("'", '"').replace("10", "10.0"), {*OPENED, "canonical"}, "exact"),
        (
            "[place_order(amount=10, symbol='AAPL', order_type='Buy')]",
            {*OPENED, "canonical"},
            "exact",
        ),
        (f"{GOLD} and then {GOLD}", {*OPENED, "canonical"}, "exact"),
        ("[place_order(order_type='Sell', symbol='AAPL', amount=10)]", OPENED, "other arguments"),
        ("[place_order(order_type='Buy', symbol='AAPL')]", OPENED, "other arguments"),
        ("[ls()]", {"parsed"}, "other API"),
        ("[re-place_order(order_type='Buy', symbol='AAPL', amount=10)]", {"parsed"}, "other API"),
        ("[x.place_order(order_type='Buy', symbol='AAPL', amount=10)]", {"parsed"}, "other API"),
        ("[place_order(order_type='Buy', symbol='AA", {"opened_name"}, "no call"),
        ("[place_order(amount=10, amount=10)]", {"opened_name"}, "no call"),
        ("I would buy ten shares.", set(), "no call"),
        ("", set(), "no call"),
    ],
)
def test_what_is_right_about_a_prediction(prediction, right, word):
    scores = score(prediction, GOLD)
    assert {name for name, value in scores.items() if value} == right
    assert tuple(scores) and set(scores) == set(SCORES) and all(type(v) is bool for v in scores.values())
    assert outcome(scores) == word


def test_positional_arguments_are_bound_by_the_documented_order():
    parameters = {"place_order": ["order_type", "symbol", "amount"]}
    assert score("[place_order('Buy', 'AAPL', 10)]", GOLD, parameters)["canonical"]
    assert not score("[place_order('AAPL', 'Buy', 10)]", GOLD, parameters)["canonical"]


def test_a_gold_without_a_call_is_an_error_that_shows_it():
    with pytest.raises(ValueError, match="nothing here"):
        score(GOLD, "nothing here")


def row(block, stage, step=0, right=True, nll=1.0):
    return {"dialogue_id": block, "step": step, "block": block, "stage": stage, "eval_condition": "full",
            "gold_nll": nll, **dict.fromkeys(SCORES, right)}  # fmt: skip


def test_matrix_counts_by_stage_and_block_in_the_order_given():
    rows = [row("a", 0, right=False), *(row("b", 0, step) for step in range(2))]
    rows += [row("a", 1), *(row("b", 1, step) for step in range(2))]
    expected = matrix(rows, ["b", "a"])
    assert expected["full"]["name"] == [[2, 0], [2, 1]]
    assert expected["full"]["gold_nll"] == [[2.0, 1.0], [2.0, 1.0]]
    assert matrix(rows[::-1], ["b", "a"]) == expected
    assert matrix([], ["a"]) == {}


def test_matrix_refuses_a_stage_on_other_items_and_a_foreign_block():
    with pytest.raises(ValueError, match="stage 1, block a: 0 predictions"):
        matrix([row("a", 0), row("b", 0), row("b", 1)], ["a", "b"])
    with pytest.raises(ValueError, match="full, stage 1, block a"):
        matrix([row("a", 0), row("a", 1, step=7)], ["a"])
    with pytest.raises(ValueError, match="'b'"):
        matrix([row("b", 0)], ["a"])


def test_between_the_ends_a_stage_may_be_asked_about_its_own_block_alone():
    blocks = ["a", "b", "c"]
    rows = [row(block, stage) for stage in (0, 3) for block in blocks] + [row("a", 1), row("b", 2)]
    found = matrix(rows, blocks)
    assert found["full"]["name"] == [[1, 1, 1], [1, None, None], [None, 1, None], [1, 1, 1]]
    assert found["full"]["gold_nll"][1] == [1.0, None, None]
    assert has_holes(found) and not has_holes(matrix(rows[:3], blocks))
    assert not has_holes({"full": {"name": [[1, 1]], "gold_nll": [[None, None]]}})
    with pytest.raises(ValueError, match="stage 1, block b: 0 predictions"):
        matrix([*rows, row("c", 1)], blocks)  # neither all nor its own
    with pytest.raises(ValueError, match="stage 1, block a: 0 predictions"):
        matrix([one for one in rows if one["stage"] != 1], blocks)
    with pytest.raises(ValueError, match="stage 3, block a: 0 predictions"):
        matrix([one for one in rows if (one["block"], one["stage"]) != ("a", 3)], blocks)
    with pytest.raises(ValueError, match="stage 1, block a: 2 predictions"):
        matrix([*rows, row("a", 1, step=7)], blocks)
