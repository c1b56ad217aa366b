import itertools
import time

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from trajnb.scoring.stats import (
    Estimate,
    clustered_bootstrap,
    crossed_bootstrap,
    crossed_test,
    direction,
    holm,
    mcnemar,
    reading,
    sign_flip,
)

# items of the 40 held-out dialogues of params/bfcl.yaml, ten a block: 229 in all
SIZES = (
    [2, 3, 4, 4, 5, 5, 6, 6, 7, 9]
    + [5, 6, 7, 7, 8, 8, 9, 9, 9, 10]
    + [3, 3, 3, 4, 5, 5, 5, 6, 6, 6]
    + [3, 3, 4, 5, 5, 6, 6, 7, 7, 8]
)
DIALOGUES = np.repeat(np.arange(40), SIZES)


@pytest.mark.parametrize("dialogues, least", [(8, 0.85), (40, 0.90)])
def test_coverage(dialogues, least):
    """How many intervals for a mean that is truly zero hold zero; drawing calls alone would not do."""
    rng = np.random.default_rng(1)
    held = ignoring = 0
    for trial in range(300):
        clusters = np.repeat(np.arange(dialogues), rng.integers(3, 8, dialogues))
        values = rng.normal(size=dialogues)[clusters] + rng.normal(size=len(clusters))
        mean, low, high = clustered_bootstrap(values, clusters, resamples=600, seed=trial)
        assert low <= mean <= high
        held += low <= 0 <= high
        _, low, high = clustered_bootstrap(values, np.arange(len(values)), resamples=600, seed=trial)
        ignoring += low <= 0 <= high
    assert least <= held / 300 <= 0.99
    assert ignoring / 300 < 0.85


def test_it_is_seeded_and_weighted():
    values, clusters, weights = [1.0, 0.0, 0.0, 1.0], ["a", "a", "b", "c"], [1, 3, 2, 2]
    first = clustered_bootstrap(values, clusters, weights)
    assert first == clustered_bootstrap(values, clusters, weights)
    assert first.mean == pytest.approx(3 / 8)
    assert clustered_bootstrap(values, clusters).mean == 0.5
    assert clustered_bootstrap([2, 2, 2], ["a", "b", "b"]) == (2, 2, 2)


def test_too_little_data_gives_no_interval():
    mean, low, high = clustered_bootstrap([1.0, 0.0], ["a", "a"])
    assert mean == 0.5 and np.isnan([low, high]).all()
    assert np.isnan(clustered_bootstrap([], [])).all()
    with pytest.raises(ValueError, match="2 values, 1 clusters"):
        clustered_bootstrap([1.0, 0.0], ["a"])


def long_form(values):
    """Values (seeds, items) as crossed_bootstrap takes them: values, dialogues, seeds, orders."""
    seeds = np.repeat(np.arange(len(values)), values.shape[1])
    return values.ravel(), np.tile(DIALOGUES, len(values)), seeds, np.zeros(values.size)


def effects(rng, seeds, *, seed=0.0, dialogue=0.2, shared=0.15, item=0.2, noise=0.5):
    """Differences (seeds, 229) whose true mean is 0.1, as standard deviations of normal effects; `shared` is
    the interaction of seed and dialogue, `noise` is new for each seed and item."""
    values = 0.1 + rng.normal(0, dialogue, 40)[DIALOGUES] + rng.normal(0, item, len(DIALOGUES))
    values = values + rng.normal(0, seed, (seeds, 1)) + rng.normal(0, shared, (seeds, 40))[:, DIALOGUES]
    return values + rng.normal(0, noise, (seeds, len(DIALOGUES))), 0.1


def coverage(simulate, seeds, studies, **settings):
    rng, held = np.random.default_rng(1), 0
    for study in range(studies):
        values, truth = simulate(rng, seeds, **settings)
        _, low, high = crossed_bootstrap(*long_form(values), resamples=1000, seed=study)
        held += low <= truth <= high
    return held / studies


@pytest.mark.parametrize("seed", [0, 0.06, 0.2])
def test_coverage_of_crossed_seeds_and_dialogues(seed):
    """A quick look at what the slow tests of test_resampling measure."""
    assert 0.91 <= coverage(effects, 5, 150, seed=seed) <= 1


def test_the_interval_is_never_without_its_seeds():
    """Where seeds add no more than their interaction by chance, they still count."""
    rng, narrowest = np.random.default_rng(9), np.inf
    for _ in range(20):
        study = long_form(effects(rng, 5, seed=0.03)[0])
        values, dialogues, *_ = study
        alone = crossed_bootstrap(values, dialogues, 0 * study[2], study[3], resamples=2000)
        both = crossed_bootstrap(*study, resamples=2000)
        narrowest = min(narrowest, (both.high - both.low) / (alone.high - alone.low))
    assert narrowest > 1


def test_few_seeds_are_taken_as_they_are():
    values, dialogues, seeds, orders = long_form(effects(np.random.default_rng(2), 4, seed=0.2)[0])
    as_one = crossed_bootstrap(values, dialogues, np.zeros(len(seeds)), orders)
    assert crossed_bootstrap(values, dialogues, seeds, orders) == as_one


def test_p_and_interval_are_of_one_t():
    rng = np.random.default_rng(11)
    for seeds in (1, 5):
        for level in (0.5, 0.95, 0.99):
            study = long_form(effects(rng, seeds, seed=0.1)[0] - 0.05)
            (_, low, high), p = crossed_test(*study, level=level, resamples=500)
            assert (p < 1 - level) == (low > 0 or high < 0)
    assert crossed_test([0.0] * 4, ["a", "b"] * 2, [0, 0, 1, 1], [0] * 4)[1] == 1
    (mean, low, _), p = crossed_test([2.0] * 4, ["a", "b"] * 2, [0, 0, 1, 1], [0] * 4)
    assert mean == 2 and np.isnan([low, p]).all(), "no spread that others would have"


def test_seeds_that_carry_nothing_leave_the_clustered_bootstrap():
    values, _ = effects(np.random.default_rng(2), 1)
    for seeds in (1, 4):
        crossed = crossed_bootstrap(*long_form(np.repeat(values, seeds, axis=0)))
        clustered = clustered_bootstrap(values[0], DIALOGUES)
        assert crossed.mean == pytest.approx(clustered.mean)
        # the percentile interval lacks the t quantile and one of 40 degrees of freedom: 4.5 %
        assert crossed.high - crossed.low == pytest.approx(1.045 * (clustered.high - clustered.low), rel=0.03)


def test_five_seeds_that_carry_nothing_widen_it_a_little():
    """By their degrees of freedom alone."""
    values, _ = effects(np.random.default_rng(2), 1)
    six, one = (crossed_bootstrap(*long_form(np.repeat(values, seeds, axis=0))) for seeds in (6, 1))
    assert 1 < (six.high - six.low) / (one.high - one.low) < 1.1


def test_one_seed_gives_the_cluster_robust_interval():
    values, _ = effects(np.random.default_rng(3), 1)
    robust = sm.OLS(values[0], np.ones(values.size)).fit(
        cov_type="cluster", cov_kwds={"groups": DIALOGUES}, use_t=True
    )
    assert crossed_bootstrap(*long_form(values), resamples=40_000)[1:] == pytest.approx(
        robust.conf_int()[0], abs=0.002
    )


def test_missing_cells_weights_and_labels():
    values, dialogues, seeds, orders = long_form(effects(np.random.default_rng(4), 3, seed=0.1)[0])
    whole = crossed_bootstrap(values, dialogues, seeds, orders)
    assert whole == crossed_bootstrap(values, dialogues, seeds, orders)
    assert whole != crossed_bootstrap(values, dialogues, seeds, orders, seed=1)
    backwards = crossed_bootstrap(values[::-1], dialogues[::-1], seeds[::-1], orders[::-1])
    assert tuple(backwards) == pytest.approx(tuple(whole))

    names = [("multi_turn", chr(65 + d)) for d in dialogues]
    named = crossed_bootstrap(values, names, [f"s{s}" for s in seeds], ["a > b"] * len(values))
    assert tuple(named) == pytest.approx(tuple(whole), abs=0.01)  # dialogues in another order, so other draws
    doubled = crossed_bootstrap(values, dialogues, seeds, orders, np.full(len(values), 2.0))
    assert tuple(doubled) == pytest.approx(tuple(whole))
    # a weight of zero is a missing value
    kept = np.random.default_rng(0).random(len(values)) < 0.7
    missing = crossed_bootstrap(values[kept], dialogues[kept], seeds[kept], orders[kept])
    assert missing.mean == pytest.approx(values[kept].mean())
    weightless = crossed_bootstrap(values, dialogues, seeds, orders, kept.astype(float))
    assert tuple(weightless) == pytest.approx(tuple(missing))
    assert 0.5 < (missing.high - missing.low) / (whole.high - whole.low) < 2


def test_a_failed_run_of_crossed_seeds_and_orders():
    """Draws that hit nothing but the run that is missing are left out."""
    values, dialogues, runs, _ = long_form(effects(np.random.default_rng(5), 6, seed=0.1)[0])
    seeds, orders = runs // 2, runs % 2
    whole = crossed_bootstrap(values, dialogues, seeds, orders)
    left = runs != 5
    part = crossed_bootstrap(values[left], dialogues[left], seeds[left], orders[left])
    assert part.mean == pytest.approx(values[left].mean())
    assert 0.3 < (part.high - part.low) / (whole.high - whole.low) < 3
    # an order for every seed: the seed alone says which run it is
    confounded = crossed_bootstrap(values, dialogues, runs, [f"order {run}" for run in runs])
    assert confounded == crossed_bootstrap(values, dialogues, runs, np.zeros(len(runs)))


def test_an_interval_needs_two_dialogues():
    mean, low, high = crossed_bootstrap([1, 2, 3, 4], ["a"] * 4, [0, 0, 1, 1], [0] * 4)
    assert mean == 2.5 and np.isnan([low, high]).all()
    assert np.isnan(crossed_bootstrap([], [], [], [])).all()
    assert crossed_bootstrap([0.0] * 4, ["a", "b"] * 2, [0, 0, 1, 1], [0] * 4) == (0, 0, 0)
    with pytest.raises(ValueError, match="2 values, 2 dialogues, 1 seeds, 2 orders, 2 weights"):
        crossed_bootstrap([1, 2], ["a", "b"], [0], [0, 0])


def test_a_whole_study_takes_no_time():
    study = long_form(effects(np.random.default_rng(5), 3)[0])
    start = time.perf_counter()
    crossed_bootstrap(*study)
    assert time.perf_counter() - start < 1


def test_signs_are_flipped_by_dialogue():
    rng = np.random.default_rng(6)
    sums = np.array([3.0, 1, 4, -1, 5, 9, -2, 6])
    flips = np.array(list(itertools.product([-1, 1], repeat=8))) @ sums
    expected = np.mean(np.abs(flips) >= abs(sums.sum()))
    assert sign_flip(sums, range(8)) == expected
    # split over items, with weights, beside dialogues that cancel out
    dialogues = [*"abcdefgh", *"abcdefgh", "i", "i"]
    values = [*sums / 4, *sums / 8, 1, -1]
    weights = [2] * 8 + [4] * 8 + [1, 1]
    assert sign_flip(values, dialogues, weights) == expected
    # too many dialogues to try every flip
    many = rng.normal(0.4, 1, 40)
    assert sign_flip(many, range(40), flips=100_000) == pytest.approx(
        stats.ttest_1samp(many, 0).pvalue, abs=0.01
    )
    assert sign_flip(many, range(40)) == sign_flip(many, range(40))
    assert sign_flip(np.ones(40), range(40)) == pytest.approx(2 / 10_001)


def test_sign_flips_are_right_as_often_as_they_say():
    rng = np.random.default_rng(7)
    p = np.array([sign_flip(rng.integers(-1, 2, 200), np.arange(200) // 10, flips=500) for _ in range(400)])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.03) and np.mean(p < 0.5) == pytest.approx(
        0.5, abs=0.08
    )


def test_too_few_dialogues_are_no_test():
    assert sign_flip(np.ones(6), range(6)) == 2 / 64
    assert np.isnan(sign_flip(np.ones(5), range(5)))
    assert np.isnan(sign_flip([1, 1, 1, 1, 1, 0, 0], range(7)))  # two of them do not differ
    assert sign_flip([0, 0, 0], ["a", "b", "b"]) == 1.0
    assert np.isnan(sign_flip([], []))
    with pytest.raises(ValueError, match="1 values, 2 dialogues"):
        sign_flip([1], ["a", "b"])


def test_holm():
    p = [0.01, 0.04, 0.03, 0.005]  # p.adjust(p, "holm") of R
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    with_nan = holm([0.01, np.nan, 0.04, 0.03, 0.005])
    assert np.isnan(with_nan[1]) and with_nan[:1] + with_nan[2:] == holm(p)
    assert holm([]) == [] and np.isnan(holm([np.nan])).all()
    assert holm([0.01, np.nan], tests=4) == pytest.approx([0.04, np.nan], nan_ok=True), "three wait"
    assert holm(p, tests=2) == holm(p), "a family of variants may have more"


def test_mcnemar():
    left = np.repeat([True, True, False, False], [5, 9, 2, 7])
    right = np.repeat([True, False, True, False], [5, 9, 2, 7])
    assert mcnemar(left, right) == (9, 2, pytest.approx(stats.binomtest(2, 11).pvalue))
    assert mcnemar(right, left)[:2] == (2, 9)
    assert mcnemar(left, left) == (0, 0, 1.0)
    with pytest.raises(ValueError, match="23 items on the left, 22 on the right"):
        mcnemar(left, right[1:])


def judged(low, high, *, mean=4, p=0.01, pairs=5) -> Estimate:
    return Estimate(mean, low, high, p, pairs, ("dialogues", "seeds"))


NAN = float("nan")


@pytest.mark.parametrize(
    "estimate, words",
    [
        (judged(1, 7), "right API: higher (+4.0 points, 95 % interval +1.0 to +7.0; p = 0.010)."),
        (judged(-7, -1, mean=-4, p=1e-5), "lower (-4.0 points, 95 % interval -7.0 to -1.0; p < 0.001)."),
        (judged(-1, 7, p=0.2), "right API: cannot tell (+4.0"),
        (judged(0, 7), "cannot tell"),
        (judged(1, 7, p=0.06), "cannot tell"),
        (judged(1, 7, pairs=4), "cannot tell from 4 runs (+4.0 points, 95 %"),
        (judged(1, 7, pairs=4), "+1.0 to +7.0 over dialogues alone)."),
        (judged(1, 7, pairs=1), "cannot tell from 1 run ("),
        (judged(0, 0, mean=0, p=1), "not one item differs"),
        (judged(NAN, NAN, p=NAN), "nothing to conclude"),
        (judged(NAN, NAN, mean=NAN, p=NAN), "no items"),
    ],
)  # fmt: skip
def test_a_sentence_says_no_more_than_the_rule_allows(estimate, words):
    assert words in reading("right API", estimate)


def test_a_direction_needs_five_runs_an_interval_and_a_test():
    assert direction(judged(1, 7)) == 1 and direction(judged(-7, -1, mean=-4)) == -1
    for short in (judged(1, 7, pairs=4), judged(-1, 7), judged(1, 7, p=0.05), judged(1, 7, p=NAN)):
        assert direction(short) == 0
