import pandas as pd
import pytest

from trajnb.scoring import crossing, tables
from trajnb.scoring.answers import FIRST, QUESTIONS, answers, changes
from trajnb.scoring.caveats import caveats
from trajnb.scoring.paired import comparisons

FAMILY = {"measures": ["canonical"], "effects": list(FIRST)}


def said(table, family=FAMILY) -> dict[str, str]:
    """Effect -> its sentence."""
    sentences = answers(table, crossing.effects(table, family=family))
    return {
        effect: sentence
        for effect, question in QUESTIONS.items()
        for sentence in sentences
        if sentence.startswith(question)
    }


def test_every_effect_has_a_question():
    assert tuple(QUESTIONS) == crossing.EFFECTS and set(FIRST) <= set(QUESTIONS)


def test_one_sentence_for_each_question_with_numbers_and_both_p_values(crossed_table):
    sentences = said(crossed_table())
    assert tuple(sentences) == FIRST
    assert "Yes: +25.0 points of exact calls (95 % interval" in sentences["training"]
    assert "p = 0.008, after Holm 0.0" in sentences["training"]


def test_the_reverse_is_said_as_plainly(crossed_table):
    right = {
        ("none", "stripped"): 5,
        ("none", "full"): 5,
        ("stripped", "stripped"): 8,
        ("stripped", "full"): 5,
        ("full", "stripped"): 4,
        ("full", "full"): 0,
    }
    sentences = said(crossed_table(right))
    assert "No, the reverse: -45.0 points" in sentences["training"]
    assert "No, the reverse: -35.0 points" in sentences["prompt"]
    assert "No, the reverse: -10.0 points" in sentences["interaction"]


def test_other_declared_effects_follow(crossed_table):
    family = FAMILY | {"effects": [*FIRST, "training@full"]}
    assert "Yes: +40.0" in said(crossed_table(), family)["training@full"]


def test_undeclared_tests_are_called_exploratory(crossed_table):
    table = crossed_table()
    found = crossing.effects(table)
    assert "p = 0.008, exploratory)" in " ".join(answers(table, found))
    assert any("No family of tests was declared" in sentence for sentence in caveats(table, found))


def test_few_items_are_no_test_and_one_dialogue_no_interval(crossed_table):
    assert (
        "Cannot tell, too few items for a test: +25.0"
        in said(crossed_table(dialogues=3))["training"]
    )
    assert "Cannot tell, all from one dialogue: +" in said(crossed_table(dialogues=1))["training"]


def test_identical_arms(crossed_table):
    right = dict.fromkeys(
        [(a, b) for a in ("none", "stripped", "full") for b in ("stripped", "full")], 5
    )
    sentences = said(crossed_table(right))
    assert "Not one item differs (exact calls, 80 items)." in sentences["training"]
    assert "Not one item differs (exact calls, 16 items)." in sentences["same-prompt"]


@pytest.mark.parametrize("change", [{"low": -1.0}, {"holm": 0.06}])
def test_no_direction_unless_interval_and_test_agree(crossed_table, change):
    table = crossed_table()
    found = crossing.effects(table, family=FAMILY).assign(**change, detectable=12.3)
    sentence = next(s for s in answers(table, found) if s.startswith(QUESTIONS["training"]))
    assert "Cannot tell: +25.0" in sentence and sentence.endswith("could have found 12.3 points.")


def test_arms_asked_with_their_own_prompts_only_are_told_so(crossed_table):
    table = crossed_table(asked={"stripped": ["stripped"], "full": ["full"]})
    found = crossing.effects(table)
    text = " ".join(answers(table, found))
    assert "cannot be told apart here" in text and "eval_conditions: [stripped, full]" in text
    assert (
        "full minus stripped, each asked with its own prompts, exact calls, at the end: higher (+50"
        in text
    )
    assert "exact calls, added by training: higher (+30.0" in text
    assert QUESTIONS["prompt@none"] in text and QUESTIONS["same-prompt"] in text
    assert QUESTIONS["training"] not in text


def test_one_condition_alone_still_gets_its_sentence(crossed_table):
    table = crossed_table()
    text = " ".join(answers(alone := table[table.condition == "full"], crossing.effects(alone)))
    assert "cannot be told apart here" in text and f"{QUESTIONS['prompt@full']} Yes: +40.0" in text


def test_each_combination_is_named(crossed_table):
    table = pd.concat(
        [crossed_table(variant=(("learning_rate", rate),)) for rate in (1, 2)], ignore_index=True
    )
    sentences = answers(table, crossing.effects(table))
    assert [sentence.partition(":")[0] for sentence in sentences] == (
        ["learning_rate 1"] * 4 + ["learning_rate 2"] * 4
    )


def test_a_condition_of_ones_own_is_named_in_the_answer(read):
    beside = [read("a", condition="current"), read("b", condition="full")]
    alone = [read("c", condition="current")]
    for runs in (beside, alone):
        table = tables.frame(runs)
        assert "current" in " ".join(answers(table, crossing.effects(table)))


def test_each_arm_is_held_against_what_it_knew_before(read):
    table = tables.frame([read("a", condition="stripped"), read("b")])
    sentences = changes(table)
    assert len(sentences) == 2 * 3
    assert sentences[0].startswith("stripped, right API, final against zero-shot: ")
    nobody = changes(table.assign(condition="requests"))
    assert nobody == ["No arm was asked in its own condition."]


def test_an_arm_without_probabilities_is_not_read_by_them(crossed_table):
    table = crossed_table().assign(logp=float("nan"))
    sentences = changes(table)
    assert len(sentences) == 2 * 2 and not any("log-likelihood" in one for one in sentences)
    assert set(comparisons(table).measure) == {"canonical", "name"}
