import math
import random
from dataclasses import replace

import pytest

from trajnb.scoring.length import (
    accuracies,
    apart,
    baselines,
    fit,
    outcome_pairs,
    rights,
    verdict,
)
from trajnb.scoring.reward import Figures
from trajnb.scoring.stats import Interval


def one(task, outcome, calls, characters, failed=0, logp=-1.0, author="student"):
    kinds = ("executed",) * (calls - failed) + ("failed",) * failed + ("stop",)
    return Figures(task, task.split("#")[0], author, outcome, kinds, characters, logp)


def drawn(seed, dialogues):
    """Two trajectories a task, the success most often the one with more calls; its characters say
    nothing.
    """
    draw = random.Random(seed)
    found = []
    for number in range(dialogues):
        more, fewer = (3, 2) if draw.random() < 0.8 else (2, 3)
        for outcome, calls in ((1.0, more), (0.0, fewer)):
            task = f"{seed}-{number}#0"
            found.append(one(task, outcome, calls, draw.randrange(50, 90), logp=draw.random()))
    return found


def test_pairs_are_successes_before_failures_of_their_task():
    found = [one("a#0", 0.0, 1, 9), one("a#0", 1.0, 2, 9), one("b#0", 1.0, 1, 9)]
    found += [one("a#0", 1.0, 3, 9), one("b#0", 1.0, 2, 9)]
    assert outcome_pairs(found) == [(1, 0), (3, 0)], "b is no mixed task"
    assert outcome_pairs([replace(found[0], outcome=0.4), *found[1:2]]) == [(1, 0)]


def test_figures_of_a_trajectory():
    found = Figures("a#0", "a", "student", 0.0, ("executed", "failed", "refused", "stop"), 9)
    assert (found.calls, found.failed, found.invalid) == (3, 2, True)


def test_an_equal_score_is_half_right():
    assert rights([1.0, 0.0, 1.0, 2.0], [(0, 1), (0, 2), (1, 3)]) == [1.0, 0.5, 0.0]


def test_the_regression_learns_what_sets_pairs_apart():
    learnt = drawn(0, 40)
    found = fit(learnt, outcome_pairs(learnt))
    assert found.calls > 10 * abs(found.characters) and found.failed == 0
    better, worse = one("x#0", 1.0, 3, 60), one("x#0", 0.0, 2, 60)
    assert found.score(better) - found.score(worse) == pytest.approx(found.calls)
    odds = 1 / (1 + math.exp(-found.calls))
    assert odds == pytest.approx(0.8, abs=0.12), "eight of ten have more calls"


def test_lengths_count_in_the_direction_that_is_right_where_was_learnt():
    longer, held = drawn(0, 40), drawn(1, 40)
    shorter = [replace(each, outcome=1 - each.outcome) for each in longer]
    pairs = outcome_pairs(held)
    up = baselines(longer, outcome_pairs(longer), held)
    down = baselines(shorter, outcome_pairs(shorter), held)
    assert list(up) == [
        "calls", "characters", "failed calls", "regression", "log-probability", "author",
    ]  # fmt: skip
    right = {name: sum(rights(scores, pairs)) / len(pairs) for name, scores in up.items()}
    assert right["calls"] > 0.7 and right["failed calls"] == right["author"] == 0.5
    assert sum(rights(down["calls"], pairs)) / len(pairs) == pytest.approx(1 - right["calls"])
    repaired = [replace(each, author="oracle") if each.outcome else each for each in held]
    authors = baselines(longer, outcome_pairs(longer), repaired)["author"]
    assert rights(authors, pairs) == [1.0] * len(pairs), "author alone tells such pairs apart"
    silent = [replace(each, logp=None) for each in held]
    assert "log-probability" not in baselines(longer, outcome_pairs(longer), silent)


def reported(model, dialogues=40):
    learnt, held = drawn(0, 40), drawn(1, dialogues)
    pairs = outcome_pairs(held)
    beside = baselines(learnt, outcome_pairs(learnt), held)
    found = accuracies(model(held), beside, held, pairs)
    return found, verdict(found, held, pairs)


def test_a_model_that_counts_calls_knows_no_more_than_length():
    found, text = reported(lambda held: [float(each.calls) for each in held])
    assert found["reward model"].right == found["calls"].right
    assert found["calls"].ahead == Interval(0.0, 0.0, 0.0) and not found["calls"].beaten
    assert text.startswith("The reward model knows no more than length: it is right in")
    assert "of 40 held-out pairs of 40 dialogues" in text and "not surely above calls (" in text
    assert "too narrow" not in text


def test_a_model_that_knows_the_outcome_knows_more():
    found, text = reported(lambda held: [each.outcome for each in held])
    assert found["reward model"].right.mean == 1
    assert all(each.beaten for name, each in found.items() if name != "reward model")
    assert text.startswith("The reward model knows more than length: it is right in 100.0%")


def test_a_model_may_be_no_more_than_the_author():
    learnt = drawn(0, 40)
    held = [replace(e, author="oracle") if e.outcome else e for e in drawn(1, 40)]
    pairs = outcome_pairs(held)
    beside = baselines(learnt, outcome_pairs(learnt), held)
    found = accuracies([each.outcome for each in held], beside, held, pairs)
    text = verdict(found, held, pairs)
    assert "more than length, but no more than author: it is right in 100.0%" in text


def test_one_dialogue_says_nothing():
    found, text = reported(lambda held: [each.outcome for each in held], dialogues=1)
    assert math.isnan(found["calls"].ahead.low) and not found["calls"].beaten
    assert "no more than length" in text and "without an interval" in text
    assert "intervals are too narrow" in text
    assert "nothing can be said" in verdict(found, [], [])


def test_a_split_is_by_dialogue():
    names = [f"d{number // 3}" for number in range(24)]
    held = apart(names, 0.25, seed=0)
    assert len(held) == 2 and held == apart(names[::-1], 0.25, seed=0) <= set(names)
    assert apart(names, 0.25, seed=1) != held
    assert len(apart(["a", "b"], 0.01, seed=0)) == len(apart(["a", "b"], 0.99, seed=0)) == 1
    with pytest.raises(ValueError, match="trajectories of 1 dialogue"):
        apart(["a", "a"], 0.5, seed=0)
    with pytest.raises(ValueError, match="held_out is 1"):
        apart(names, 1, seed=0)
    learnt = drawn(0, 4)
    with pytest.raises(ValueError, match="dialogue 0-0 is learnt from and tested on"):
        baselines(learnt, outcome_pairs(learnt), learnt)


def test_no_pair_gives_no_baseline():
    held = drawn(1, 4)
    with pytest.raises(ValueError, match="no task has a better and a worse trajectory"):
        baselines(drawn(0, 4), [], held)
