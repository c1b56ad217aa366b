from trajnb.scoring.arms import Arm, arms_of, numbered, order_words, words


def test_words_are_made_at_display():
    arm = Arm("full", "replay", (("replay_share", 0.1),), (("lora_rank", 64),))
    assert str(arm) == "full, strategy replay, replay_share 0.1, lora_rank 64"
    assert str(Arm("full", asked="stripped")) == "full → stripped"
    assert (
        words((("levels", ("1", "2")), ("fresh_ids", True))) == "levels ['1', '2'], fresh_ids True"
    )
    assert Arm("full").training() == "" and Arm("full", "joint").training() == "strategy joint"


def test_arms_are_keys_whatever_their_values_hold():
    parameters = [
        {"condition": "full", "train_file": "a, strategy joint"},
        {"condition": "full", "train_file": "a", "strategy": "joint"},
        {"condition": "full", "levels": ["1", "2"]},
    ]
    arms = arms_of(parameters)
    assert len(set(arms)) == 3
    assert arms[0] == Arm("full", variant=(("train_file", "a, strategy joint"),))
    assert arms[2].variant == (("levels", ("1", "2")),)


def test_an_arm_knows_its_own_prompts_and_whose_tokens_it_matches():
    assert Arm("full").in_its_own() and Arm("full", asked="full").in_its_own()
    assert not Arm("full", asked="stripped").in_its_own()
    matched = Arm("stripped", variant=(("lora_rank", 64), ("match_tokens", "full")))
    assert matched.matched("full") == Arm("full", variant=(("lora_rank", 64),))


def test_orders_are_numbered_where_there_are_several():
    one, other = ("a", "b"), ("b", "a")
    assert numbered(one, [one]) == "" and numbered(other, [one, other]) == ", order 2"
    assert order_words(one) == "a > b"


def test_folds_and_stages_asked_set_no_arm_apart():
    plain = {"condition": "full", "seed": 0}
    parameters = [plain, *(plain | {"fold": fold, "folds": 10} for fold in (0, 1))]
    parameters.append(plain | {"fold": 2, "folds": 5, "eval_stages": "ends"})
    assert set(arms_of(parameters)) == {Arm("full")}
