import pandas as pd
import pytest

from trajnb.scoring import crossing, tables
from trajnb.scoring.answers import FIRST, QUESTIONS, answers, changes
from trajnb.scoring.caveats import caveats
from trajnb.scoring.paired import comparisons

FAMILY = {"measures": ["canonical"], "effects": list(FIRST)}


def said(table, family=FAMILY) -> dict[str, str]:
    """Effect -> its sentence."""
    sentences = answers(table, crossing.effects(table, ["canonical", "logp"], family))
    return {
        effect: sentence
        for effect, question in QUESTIONS.items()
        for sentence in sentences
        if sentence.startswith(question)
    }


def test_every_effect_has_a_question():
    assert tuple(QUESTIONS) == crossing.EFFECTS and set(FIRST) <= set(QUESTIONS)


def test_one_sentence_for_each_question_with_numbers_and_both_p_values(eight_runs):
    sentences = said(eight_runs())
    assert list(sentences) == [
        "training@stripped", "training@full", "prompt@full", "interaction", "same-prompt"
    ]  # fmt: skip
    assert "Yes: +40.0 points of exact calls (95 % interval" in sentences["training@full"]
    assert "p < 0.001, after Holm p < 0.001; 8 run pairs)" in sentences["training@full"]
    assert "corrected" not in sentences["training@full"], "there are no folds"
    assert "; p = 0." in sentences["training@stripped"]


def test_the_reverse_is_said_as_plainly(eight_runs):
    right = {
        ("none", "stripped"): 5,
        ("none", "full"): 5,
        ("stripped", "stripped"): 8,
        ("stripped", "full"): 5,
        ("full", "stripped"): 4,
        ("full", "full"): 1,
    }
    family = FAMILY | {"effects": ["training", "prompt", *FIRST]}
    sentences = said(eight_runs(right), family)
    assert "No, the reverse: -40.0 points" in sentences["training"]
    assert "No, the reverse: -30.0 points" in sentences["prompt"]
    assert "No, the reverse: -40.0 points" in sentences["training@full"]


def test_other_declared_effects_follow(eight_runs):
    family = FAMILY | {"effects": [*FIRST, "training"]}
    sentences = said(eight_runs(), family)
    assert "Yes: +25.0" in sentences["training"]
    assert "averages over" not in sentences["training"]


def test_undeclared_tests_are_called_exploratory(eight_runs):
    table = eight_runs()
    found = crossing.effects(table)
    assert "p < 0.001, exploratory;" in " ".join(answers(table, found))
    assert any("No family of tests was declared" in sentence for sentence in caveats(table, found))


def test_fewer_than_five_runs_answer_nothing_whatever_the_interval(crossed_table):
    for count in (1, 4):
        table = crossed_table(seeds=dict.fromkeys(("stripped", "full"), range(count)))
        table = table[~((table.dialogue_id == "d3") & (table.step > 5))]  # so that dialogues differ
        for sentence in said(table).values():
            assert "Yes" not in sentence and "No, " not in sentence
        runs = "1 run" if count == 1 else f"{count} runs"
        sentence = said(table)["training@full"]
        assert f"Cannot tell from {runs}: +4" in sentence
        assert "over dialogues alone, given these runs" in sentence
        assert all("higher" not in one for one in changes(table))


def test_what_does_not_vary_has_no_interval(crossed_table):
    assert "Cannot tell, there is no spread" in said(crossed_table(dialogues=1))["training@full"]


def test_folds_have_the_corrected_interval_beside_the_other(eight_runs):
    sentence = said(eight_runs(folds=8))["training@full"]
    assert "Yes: +40.0 points of exact calls (95 % interval +31.1 to +48.9, corrected +" in sentence


def test_at_the_floor_the_log_likelihood_answers(eight_runs):
    table = eight_runs()
    few = table.assign(canonical=table.canonical & (table.step == 0) & (table.dialogue_id == "d1"))
    sentence = said(few)["training@full"]
    assert "Floor: no side comes to 5 % of exact calls (" in sentence
    assert "By the log-likelihood: Yes: +0.40 nats a token of gold log-likelihood" in sentence
    alone = crossing.effects(few, ["canonical"], FAMILY)
    assert "there is no log-likelihood" in " ".join(answers(few, alone))


def test_identical_arms(crossed_table):
    right = dict.fromkeys(
        [(a, b) for a in ("none", "stripped", "full") for b in ("stripped", "full")], 5
    )
    sentences = said(crossed_table(right))
    assert "Not one item differs (exact calls, 80 items)." in sentences["training@full"]
    assert "Not one item differs (exact calls, 16 items)." in sentences["same-prompt"]


@pytest.mark.parametrize("change", [{"low": -1.0}, {"holm": 0.06}, {"pairs": 4}])
def test_no_direction_unless_interval_and_test_agree_on_five_runs(eight_runs, change):
    table = eight_runs()
    found = crossing.effects(table, family=FAMILY).assign(**change)
    sentence = next(s for s in answers(table, found) if s.startswith(QUESTIONS["training@full"]))
    assert "Cannot tell" in sentence and "+40.0" in sentence


def test_arms_asked_with_their_own_prompts_only_are_told_so(eight_runs):
    table = eight_runs(asked={"stripped": ["stripped"], "full": ["full"]})
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


def test_one_condition_alone_still_gets_its_sentence(eight_runs):
    table = eight_runs()
    text = " ".join(answers(alone := table[table.condition == "full"], crossing.effects(alone)))
    assert "cannot be told apart here" in text and f"{QUESTIONS['prompt@full']} Yes: +40.0" in text


def test_each_combination_is_named(crossed_table):
    table = pd.concat(
        [crossed_table(variant=(("learning_rate", rate),)) for rate in (1, 2)], ignore_index=True
    )
    sentences = answers(table, crossing.effects(table))
    assert [sentence.partition(":")[0] for sentence in sentences] == (
        ["learning_rate 1"] * 5 + ["learning_rate 2"] * 5
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
