import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajnb.formatting.replies import KINDS
from trajnb.scoring.reward import Figures, reward, share, shuffled, standard, summary

RAN = ("executed", "failed", "stop")


def test_the_hand_case():
    assert reward(1.0, RAN) == 1.0
    assert reward(0.0, RAN) == 0.0
    assert reward(1.0, RAN, z=0.0) == pytest.approx(1.1)
    assert reward(1.0, RAN, z=math.log(3)) == pytest.approx(1.15)
    assert reward(0.5, RAN, z=0.0) == pytest.approx(0.6), "a graded outcome"
    assert reward(0.0, RAN, z=9.0) == 0.0, "a score has no say among failures"
    assert reward(1.0, ("executed", "refused", "executed", "stop"), z=9.0) == -1.0


@given(st.floats(0, 1), st.lists(st.sampled_from(KINDS), min_size=1), st.floats(-1e6, 1e6))
def test_no_score_is_worth_a_success(outcome, kinds, z):
    found = reward(outcome, kinds, z)
    if "refused" in kinds:
        assert found == -1
    else:
        assert outcome <= found <= outcome + 0.2
        assert found == 0 or outcome > 0


def test_scores_are_standardised_on_training_candidates():
    known = standard([1.0, 2.0, 3.0])
    assert (known.mean, known.deviation) == (2.0, 1.0)
    assert known.z(4.0) == 2.0
    alike = standard([0.5, 0.5])
    assert alike.z(7.0) == 0.0 and reward(1.0, RAN, alike.z(7.0)) == pytest.approx(1.1)
    assert share(-1e9) == 0.0 and share(1e9) == 1.0


def figures(outcome=1.0, kinds=RAN, characters=10):
    return Figures("t#0", "t", "student", outcome, kinds, characters)


def test_what_is_followed_step_by_step():
    episodes = [figures(), figures(0.0, ("refused", "executed"), 30)]
    found = summary(episodes, [0.0, math.log(3)])
    assert found == {
        "outcome": 0.5,
        "score": pytest.approx(0.625),
        "gap": pytest.approx(0.125),
        "calls": 2.0,
        "characters": 20.0,
        "invalid": 0.5,
    }
    without = summary(episodes)
    assert without["score"] is None and without["gap"] is None and without["outcome"] == 0.5


def test_noise_is_the_same_scores_elsewhere():
    scores = [float(place) for place in range(8)]
    assert sorted(shuffled(scores, 1)) == scores != shuffled(scores, 1)
    assert shuffled(scores, 1) == shuffled(scores, 1) != shuffled(scores, 2)


def test_bad_input():
    with pytest.raises(ValueError, match="there is no reply"):
        reward(1.0, ())
    with pytest.raises(ValueError, match="unknown kind"):
        reward(1.0, ("done",))
    for outcome in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="outcome is"):
            reward(outcome, RAN)
    for outcome in (0.0, 1.0):  # a request that failed is no score of zero
        with pytest.raises(ValueError, match="a score is NaN"):
            reward(outcome, RAN, math.nan)
    with pytest.raises(ValueError, match="1 scores have no spread"):
        standard([1.0])
