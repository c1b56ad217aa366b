import numpy as np
import pytest

from trajnb.scoring.stats import Interval, clustered_bootstrap, reading


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


@pytest.mark.parametrize(
    "interval, words",
    [
        (Interval(4, 1, 7), "right API: higher (+4.0 points, 95 % interval +1.0 to +7.0)."),
        (Interval(-4, -7, -1), "right API: lower"),
        (Interval(4, -1, 7), "right API: cannot tell"),
        (Interval(4, 0, 7), "cannot tell"),
        (Interval(0, 0, 0), "not one item differs"),
        (Interval(4, np.nan, np.nan), "one dialogue"),
        (Interval(np.nan, np.nan, np.nan), "no items"),
    ],
)
def test_a_sentence_says_no_more_than_the_interval(interval, words):
    assert words in reading("right API", interval)
