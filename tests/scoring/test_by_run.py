import numpy as np
import pytest
from scipy import stats
from simulated import LITTLE, MUCH, NOT, SEEDS, Regime, false_answers, folds

from trajnb.scoring import by_run


def test_a_run_is_a_mean_of_its_items_and_a_fold_one_of_its_runs():
    values, runs = [1, 3, 5, 7, 9, 2], ["a", "a", "b", "c", "c", "c"]
    found = by_run.differences(values, runs, [0, 0, 1, 2, 2, 2])
    assert found == pytest.approx([2, 5, 6])
    weighted = by_run.differences(values, runs, [0, 0, 1, 2, 2, 2], [3, 1, 1, 1, 1, 2])
    assert weighted == pytest.approx([1.5, 5, 5])
    recurring = by_run.differences(values, runs, [0, 0, 1, 0, 0, 0])
    assert recurring == pytest.approx([(2 + 6) / 2, 5]), "a run counts once, however many its items"


def test_the_interval_and_p_are_students():
    found = np.array([3.0, -1, 4, 1, 5, 9, 2, -6])
    interval, p = by_run.student(found)
    low, high = stats.ttest_1samp(found, 0).confidence_interval()
    assert tuple(interval) == pytest.approx((found.mean(), low, high))
    assert p == pytest.approx(stats.ttest_1samp(found, 0).pvalue)
    narrow, _ = by_run.student(found, level=0.5)
    assert narrow.high < interval.high


def test_training_data_that_runs_share_widens_the_interval():
    found = np.array([3.0, -1, 4, 1, 5])
    interval, p = by_run.student(found)
    wide, larger = by_run.corrected(found, folds=5)
    # 1/5 + 1/4 in place of 1/5
    assert wide.high - wide.low == pytest.approx(1.5 * (interval.high - interval.low))
    assert wide.mean == interval.mean and larger > p


def test_no_spread_is_no_interval():
    assert by_run.student(np.zeros(5)) == ((0, 0, 0), 1.0)
    for found in (np.full(5, 2.5), np.array([3.0]), np.array([])):
        (mean, low, high), p = by_run.student(found)
        assert np.isnan([low, high, p]).all()
        assert mean == found[0] if len(found) else np.isnan(mean)


REGIMES = [
    Regime(dialogue, seed, fold, easy)
    for dialogue in (NOT, LITTLE, MUCH)
    for seed in SEEDS.values()
    for fold in (0.0, 0.1, 0.5)
    for easy in (-0.3, -3)
]


def measured(regime: Regime, runs: int, studies: int) -> tuple[np.ndarray, float]:
    """Coverage of each of the eight tests, and the share of studies with a false answer."""
    rng, held, p = np.random.default_rng(1), [], []
    found = folds(rng, studies, runs, regime)
    for test in found.reshape(-1, runs):
        (_, low, high), value = by_run.student(test)
        held.append(not (low > 0 or high < 0))
        p.append(value)
    return np.reshape(held, (8, studies)).mean(1), false_answers(np.reshape(p, (8, studies)))


@pytest.mark.parametrize("runs", [5, 10])
def test_coverage_of_runs_of_distinct_folds(runs):
    """A quick look at what the slow test below measures."""
    held, false = measured(Regime(LITTLE, SEEDS["little"], 0.1), runs, 200)
    assert 0.92 <= held.mean() <= 0.98 and false <= 0.09


@pytest.mark.slow
@pytest.mark.parametrize("runs", [5, 10])
@pytest.mark.parametrize("regime", REGIMES, ids=repr)
def test_coverage_and_false_answers_in_every_regime(regime, runs):
    held, false = measured(regime, runs, 2000)
    assert 0.93 <= held.mean() <= 0.975 and held.min() >= 0.925
    assert false <= 0.06
