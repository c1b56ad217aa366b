import numpy as np
import pytest

from trajnb.scoring import continual
from trajnb.scoring.tables import paper


@pytest.mark.parametrize("arm", ["A", "B"])
def test_the_published_figures_follow_from_the_published_matrices(arm):
    sampled = paper()["sampled_32_per_block"]
    ours = continual.figures(sampled[arm]["exact"], sampled[arm]["zero_shot_exact"])
    for name, published in sampled["published_exact"][arm].items():
        assert 100 * ours[name] == pytest.approx(published, abs=0.051), name


@pytest.mark.parametrize("arm, bwt", [("A", -11.4), ("B", -5.9)])
def test_backward_transfer_on_the_full_matrices_has_the_other_order(arm, bwt):
    assert continual.bwt(paper()["full_percent"]["exact"][arm]) == pytest.approx(bwt, abs=0.051)


def test_a_matrix_made_by_hand():
    b = [0.0, 0.1, 0.2]
    R = [
        [0.6, 0.2, 0.2],
        [0.8, 0.5, 0.4],
        [0.4, 0.6, 0.9],
    ]
    assert continual.average_accuracy(R) == pytest.approx(1.9 / 3)
    assert continual.learning_accuracy(R) == pytest.approx(2.0 / 3)
    assert continual.bwt(R) == pytest.approx((-0.2 + 0.1) / 2)
    assert continual.fwt(R, b) == pytest.approx((0.1 + 0.2) / 2)
    assert continual.forgetting(R) == pytest.approx((0.4 - 0.1) / 2)  # best at any earlier stage
    assert continual.aulc(R) == pytest.approx(((0.7 + 0.6) / 2 + 0.55 + 0.9) / 3)


def test_one_block_has_nothing_to_forget():
    figures = continual.figures([[0.5]], [0.1])
    assert (figures["average"], figures["learning"], figures["aulc"]) == (0.5, 0.5, 0.5)
    assert all(np.isnan(figures[name]) for name in ("bwt", "fwt", "forgetting"))


def test_the_zero_shot_row_is_not_part_of_R():
    with pytest.raises(ValueError, match=r"\(3, 2\).*zero-shot"):
        continual.bwt([[0, 0], [1, 0], [1, 1]])
