import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from trajnb.scoring.resampling import codes, half_width, run_codes

RESAMPLES = 40_000  # the variance of so many draws is within 2 % or so, a half width within 1 %


def means(cells):
    """A statistic: the weighted mean of cells (dialogues, seeds, orders)."""

    def statistic(dialogues, seeds, orders):
        by_run = (seeds[:, :, None] * orders[:, None, :]).reshape(-1, cells[0].size)
        sums = (dialogues @ cells.reshape(len(cells), -1) * by_run).sum(1)
        return sums / (dialogues.sum(1) * by_run.sum(1))

    return statistic


def half(cells):
    return float(half_width(means(cells), [(n,) for n in cells.shape], resamples=RESAMPLES))


def test_one_factor_gives_the_t_interval():
    cells = np.random.default_rng(0).normal(size=(9, 1, 1))
    low, high = stats.ttest_1samp(cells.ravel(), 0).confidence_interval()
    assert half(cells) == pytest.approx((high - low) / 2, rel=0.015)


@pytest.mark.parametrize("spread, seeds_show", [(1.5, True), (0.1, False)])
def test_two_factors_give_the_analysis_of_variance(spread, seeds_show):
    rng = np.random.default_rng(4)
    cells = 2 * rng.normal(size=(12, 1, 1)) + rng.normal(size=(12, 3, 1))
    cells += spread * np.array([[[-1], [0], [1]]]) - cells.mean(axis=0)
    table = pd.DataFrame(
        [(d, s, value) for (d, s, _), value in np.ndenumerate(cells)], columns=["d", "s", "y"]
    )
    squares = anova_lm(ols("y ~ C(d) + C(s)", table).fit())
    dialogues, seeds, shared = squares.sum_sq / squares.df / cells.size
    assert (seeds > shared) == seeds_show
    expected = stats.t.ppf(0.975, 11) ** 2 * dialogues
    if seeds_show:
        expected += stats.t.ppf(0.975, 2) ** 2 * seeds - stats.norm.ppf(0.975) ** 2 * shared
    assert half(cells) == pytest.approx(np.sqrt(expected), rel=0.015)


def test_effects_that_only_add_up_add_in_squares():
    rng = np.random.default_rng(1)
    effects = [rng.normal(size=n) for n in (12, 3, 4)]
    cells = effects[0][:, None, None] + effects[1][:, None] + effects[2]
    expected = [stats.t.ppf(0.975, len(e) - 1) ** 2 * e.var(ddof=1) / len(e) for e in effects]
    assert half(cells) == pytest.approx(np.sqrt(sum(expected)), rel=0.015)


def test_strata_are_drawn_each_for_itself():
    values = np.array([0.0, 1, 5, 100, 102])  # between the strata lies a gap that is no sampling error
    low, high = values[:3], values[3:]

    def sums(weights):
        return weights[:, :3] @ low / 3 + weights[:, 3:] @ high / 2

    error = np.sqrt(low.var(ddof=1) / 3 + high.var(ddof=1) / 2)
    half = half_width(sums, [(3, 2)], resamples=RESAMPLES)
    assert half == pytest.approx(stats.t.ppf(0.975, 3) * error, rel=0.015)


def test_levels_that_cannot_be_drawn_are_fixed():
    assert half_width(lambda a, b: a.mean(1) + b.mean(1), [(1, 1), (1,)]) == 0
    several = half_width(lambda a: np.stack([a @ [1, 2, 3], a @ [0, 0, 0]], axis=1), [(3,)])
    assert several.shape == (2,) and several[0] > 0 and several[1] == 0


def test_labels_of_any_type():
    labels = ["b", 1, "1", (0, 1), None, "b"]
    numbers = codes(labels)
    assert sorted(set(numbers)) == [0, 1, 2, 3, 4] and numbers[0] == numbers[5]
    assert codes(labels[::-1]).tolist() == numbers.tolist()[::-1]


def test_an_order_for_every_seed_is_no_second_factor():
    seed, order = run_codes([7, 8, 7, 9], ["a > b", "b > a", "a > b", "c > a"])
    assert seed.tolist() == [0, 1, 0, 2] and order.tolist() == [0, 0, 0, 0]
    seed, order = run_codes([7, 8, 7, 8], ["a > b", "b > a", "b > a", "a > b"])
    assert order.tolist() == [0, 1, 1, 0]
