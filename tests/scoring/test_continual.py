import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trajnb.scoring import continual
from trajnb.scoring.paper import results

BLOCKS = ["a", "b", "c"]


@pytest.mark.parametrize("arm", ["A", "B"])
def test_the_published_figures_follow_from_the_published_matrices(arm):
    sampled = results()["sampled_32_per_block"]
    ours = continual.metrics(sampled[arm]["exact"], sampled[arm]["zero_shot_exact"])
    for name, published in sampled["published_exact"][arm].items():
        assert 100 * ours[name] == pytest.approx(published, abs=0.051), name


@pytest.mark.parametrize("arm, bwt", [("A", -11.4), ("B", -5.9)])
def test_backward_transfer_on_the_full_matrices_has_the_other_order(arm, bwt):
    assert continual.bwt(results()["full_percent"]["exact"][arm]) == pytest.approx(bwt, abs=0.051)


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
    figures = continual.metrics([[0.5]], [0.1])
    assert (figures["average"], figures["learning"], figures["aulc"]) == (0.5, 0.5, 0.5)
    assert all(np.isnan(figures[name]) for name in ("bwt", "fwt", "forgetting"))


def test_the_zero_shot_row_is_not_part_of_R():
    with pytest.raises(ValueError, match=r"\(3, 2\).*zero-shot"):
        continual.bwt([[0, 0], [1, 0], [1, 1]])


def test_intransigence_is_what_the_sequence_held_back():
    R = [[0.6, 0.2], [0.8, 0.5]]
    assert continual.intransigence(R, [0.9, 0.6]) == pytest.approx((0.3 + 0.1) / 2)
    assert continual.intransigence(R, np.diag(R)) == 0


def test_a_stack_of_matrices_gives_the_figures_of_each():
    rng = np.random.default_rng(0)
    R, b = rng.random((5, 2, 4, 4)), rng.random((5, 2, 4))
    stacked = continual.metrics(R, b)
    for at in np.ndindex(5, 2):
        single = continual.metrics(R[at], b[at])
        assert {name: values[at] for name, values in stacked.items()} == pytest.approx(single)
    assert continual.metrics(R[..., :1, :1], b[..., :1])["bwt"].shape == (5, 2)


def rows(values, arm="full", orders=(("a", "b", "c"),), blocks=BLOCKS):
    """The table of values (seeds, orders, stages, dialogues, steps), in blocks of equal size."""
    seed, order, stage, dialogue, step = np.indices(values.shape).reshape(5, -1)
    return pd.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "fold": -1,
            "order": [orders[place] for place in order],
            "stage": stage,
            "block": np.repeat(blocks, values.shape[3] // len(blocks))[dialogue],
            "dialogue_id": [f"d{d}" for d in dialogue],
            "step": step,
            "name": values.ravel() > 0,
            "logp": values.ravel(),
            "gold_tokens": 10 + step,
        }
    )


def test_intervals_surround_the_mean_of_the_runs():
    orders = (("a", "b", "c"), ("c", "a", "b"))
    table = rows(np.random.default_rng(1).normal(size=(3, 2, 4, 15, 4)), orders=orders)
    ours = continual.intervals(table, "name")
    per_run = []
    for (_, order), run in table.groupby(["seed", "order"]):
        rates = (
            100 * run.pivot_table("name", "stage", "block", aggfunc="mean")[list(order)].to_numpy()
        )
        per_run.append(continual.metrics(rates[1:], rates[0]))
    assert list(ours) == list(continual.METRICS)
    for name, interval in ours.items():
        assert interval.mean == pytest.approx(np.mean([figures[name] for figures in per_run]))
        assert interval.low < interval.mean < interval.high
    shuffled = continual.intervals(table.sample(frac=1, random_state=0), "name")
    for name, interval in ours.items():
        assert tuple(shuffled[name]) == pytest.approx(tuple(interval))


def test_one_run_gives_the_t_interval_within_blocks():
    values = np.random.default_rng(2).normal(size=(1, 1, 4, 30, 2))
    values[..., 10:20, :] += 5  # blocks are fixed: what lies between them is no error
    values[:, :, -1] += np.arange(30)[:, None] / 10
    # of equal numbers of tokens, so that a dialogue's mean is a plain one
    table = rows(values).assign(gold_tokens=10)
    ours = continual.intervals(table, "logp", resamples=20_000)
    dialogues = values[0, 0].mean(-1).reshape(4, 3, 10)
    change = dialogues[3, :2] - [dialogues[1, 0], dialogues[2, 1]]
    for name, part in (("average", dialogues[3]), ("bwt", change)):
        error = np.sqrt(part.var(axis=1, ddof=1).sum() / 10) / len(part)
        assert ours[name].mean == pytest.approx(part.mean())
        assert ours[name].high - ours[name].mean == pytest.approx(
            stats.t.ppf(0.975, 27) * error, rel=0.02
        )
    weighted = continual.intervals(rows(values), "logp")["average"].mean
    assert weighted == pytest.approx(np.average(values[0, 0, 3].mean(0), weights=[10, 11]))


def test_differences_are_paired():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3, 1, 1, 30, 1)) + rng.normal(0, 0.2, (3, 1, 4, 30, 4))
    left, right = rows(values + 0.05), rows(values, "stripped")
    same = continual.difference_intervals(left, left.assign(arm="again"), "name")
    assert all(interval == (0, 0, 0) for interval in same.values())
    alone = continual.intervals(left, "name")["average"]
    paired = continual.difference_intervals(left, right, "name")["average"]
    assert paired.mean == pytest.approx(
        alone.mean - continual.intervals(right, "name")["average"].mean
    )
    assert paired.high - paired.low < 0.7 * (alone.high - alone.low)
    # only what both have: a seed and a dialogue less on one side, another on the other
    part = left[(left.seed != 0) & (left.dialogue_id != "d3")]
    other = right[right.dialogue_id != "d4"]
    both = [
        table[(table.seed != 0) & ~table.dialogue_id.isin(["d3", "d4"])] for table in (left, right)
    ]
    assert continual.difference_intervals(part, other, "name") == continual.difference_intervals(
        *both, "name"
    )
    with pytest.raises(ValueError, match=r"no \(seed, order\) in common"):
        continual.difference_intervals(left, right.assign(seed=right.seed + 3), "name")
    with pytest.raises(ValueError, match=r"no \(dialogue_id, step\) in common"):
        continual.difference_intervals(left, right.assign(step=right.step + 4), "name")


def test_what_cannot_be_said_is_nan():
    values = np.random.default_rng(4).normal(size=(2, 1, 4, 3, 5))  # one dialogue a block
    single = continual.intervals(rows(values), "name")["average"]
    assert 0 <= single.mean <= 100 and np.isnan([single.low, single.high]).all()
    values = np.random.default_rng(4).normal(size=(2, 1, 2, 10, 5))
    block = continual.intervals(rows(values, orders=[("a",)], blocks=["a"]), "name")
    assert block["average"].low < block["average"].high and np.isnan(block["bwt"]).all()


def test_rates_stay_between_0_and_100():
    values = np.full((2, 1, 4, 30, 3), -1.0)
    values[:, :, :, ::10, 0] = 1
    values[0, :, 3, 1] = 1
    ours = continual.intervals(rows(values), "name")
    assert ours["average"].low == 0 < ours["average"].mean < ours["average"].high
    assert ours["bwt"].low < 0
    assert continual.intervals(rows(-values), "name")["average"].high == 100


def ends(table):
    """The rows of all stages but, between the ends, those of the block just learnt."""
    pairs = zip(table.order, table.stage, strict=True)
    own = [order[stage - 1] if 0 < stage <= len(order) else "" for order, stage in pairs]
    return table[table.stage.isin([0, table.stage.max()]) | (table.block == own)]


def test_holes_leave_what_the_last_row_and_the_diagonal_say():
    b = [0.0, 0.1, 0.2]
    R = np.array([[0.6, 0.2, 0.2], [0.8, 0.5, 0.4], [0.4, 0.6, 0.9]])
    holes = np.where(np.eye(3, dtype=bool) | (np.arange(3) == 2)[:, None], R, np.nan)
    whole, left = continual.metrics(R, b), continual.metrics(holes, b)
    for name in ("average", "learning", "bwt"):
        assert left[name] == whole[name]
    assert left["forgetting"] == pytest.approx(((0.6 - 0.4) + (0.5 - 0.6)) / 2) == -left["bwt"]
    assert np.isnan([left["fwt"], left["aulc"]]).all()


def test_runs_asked_at_their_ends_have_the_same_intervals_where_they_have_any():
    table = rows(np.random.default_rng(6).normal(size=(3, 1, 4, 15, 4)))
    whole, left = (continual.intervals(part, "name") for part in (table, ends(table)))
    for name in ("average", "learning", "bwt"):
        assert left[name] == pytest.approx(whole[name])
    assert left["forgetting"].mean == pytest.approx(-left["bwt"].mean) != whole["forgetting"].mean
    assert left["forgetting"].low < left["forgetting"].mean < left["forgetting"].high
    assert np.isnan([*left["fwt"], *left["aulc"]]).all()
    table = table.assign(run=table.seed, eval_condition="full")
    assert continual.is_partly_asked(ends(table)) and not continual.is_partly_asked(table)


def alike(one, other):
    for name, interval in one.items():
        assert interval == pytest.approx(other[name], nan_ok=True), name


def test_a_metric_means_the_same_for_all_runs_and_both_arms():
    table = rows(np.random.default_rng(7).normal(size=(2, 1, 4, 15, 4)))
    mixed = pd.concat([ends(table[table.seed == 0]), table[table.seed == 1]])
    alike(continual.intervals(mixed, "name"), continual.intervals(ends(table), "name"))
    other = rows(np.random.default_rng(8).normal(size=(2, 1, 4, 15, 4)), "stripped")
    one = continual.difference_intervals(table, ends(other), "name")
    alike(one, continual.difference_intervals(ends(table), ends(other), "name"))


def in_folds(table, folds):
    """The rows as of runs that hold out a part of the dialogues each: seed s the fold s."""
    fold = table.dialogue_id.str[1:].astype(int) % folds
    return table.assign(fold=table.seed)[fold == table.seed]


def test_over_folds_the_interval_is_the_t_over_their_means():
    whole = rows(np.random.default_rng(9).normal(size=(5, 1, 4, 30, 4)))
    table = in_folds(whole, 5)
    of_fold = [continual.intervals(table[table.fold == fold], "name") for fold in range(5)]
    for name, found in continual.intervals(table, "name").items():
        values = [one[name].mean for one in of_fold]
        low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
        wanted = (max(low, 0), min(high, 100)) if name in ("average", "learning", "aulc") else (low, high)
        assert found == pytest.approx((np.mean(values), *wanted)), name
    twice = pd.concat([table, table.assign(seed=table.seed + 5)])  # each fold held out once more
    again = continual.intervals(twice, "name")["bwt"]
    assert again == pytest.approx(continual.intervals(table, "name")["bwt"]), "folds count, not runs"


def test_runs_of_different_folds_are_no_pair():
    whole = rows(np.random.default_rng(10).normal(size=(5, 1, 4, 30, 4)))
    left = in_folds(whole, 5)
    right = in_folds(whole.assign(arm="stripped"), 5)
    same = continual.difference_intervals(left, right, "name")
    assert same["average"] == (0, 0, 0)
    with pytest.raises(ValueError, match=r"no \(seed, fold, order\) in common"):
        continual.difference_intervals(left, right.assign(fold=(right.fold + 1) % 5), "name")


def test_rows_that_make_no_matrix_are_an_error():
    table = rows(np.random.default_rng(5).normal(size=(2, 1, 4, 30, 1)))
    with pytest.raises(ValueError, match="seed 1, order a > b > c: no rows of c at stage 2"):
        continual.intervals(
            table[(table.stage != 2) | (table.block != "c") | (table.seed != 1)], "name"
        )
    with pytest.raises(ValueError, match="several arms .full, stripped"):
        continual.intervals(pd.concat([table, table.assign(arm="stripped")]), "name")


def simulated(rng, seeds=3):
    """Log-likelihoods of a study of the size of bfcl.yaml whose metrics are known, and these."""
    T, each, calls = 4, 10, 6
    truth = rng.random((T + 1, T))
    values = truth[:, np.repeat(np.arange(T), each)][None, None, :, :, None]
    values = (
        values
        + rng.normal(0, 0.2, (1, 1, 1, T * each, 1))
        + rng.normal(0, 0.1, (1, 1, T + 1, T * each, 1))
    )
    values = values + rng.normal(0, 0.05, (seeds, 1, T + 1, 1, 1))
    values = values + rng.normal(0, 0.15, (seeds, 1, T + 1, T * each, 1))
    values = values + rng.normal(0, 0.4, (seeds, 1, T + 1, T * each, calls))
    table = rows(values, orders=[("a", "b", "c", "d")], blocks=[*BLOCKS, "d"]).assign(gold_tokens=1)
    return table, continual.metrics(truth[1:], truth[0])


@pytest.mark.slow
def test_coverage():
    rng, held = np.random.default_rng(6), []
    for study in range(600):
        table, truth = simulated(rng)
        ours = continual.intervals(table, "logp", resamples=500, seed=study)
        held.append([ours[name].low <= truth[name] <= ours[name].high for name in ours])
    held = dict(zip(continual.METRICS, np.mean(held, axis=0), strict=True))
    assert all(0.93 <= share <= 0.98 for share in held.values()), held
