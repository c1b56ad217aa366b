"""Continual-learning metrics from a score matrix, each written from its definition, and their
intervals.

`R` is a (T, T) array: R[i, j] is the score (a rate, 0 to 1 or in percent) on the j-th block learnt,
measured after learning block i. `b` is the (T,) row measured before any training, in the same
prompt condition. Both may be stacks, (..., T, T) and (..., T), and then a metric is an array
(...,). Metrics that compare blocks are nan for a single block.

R may have holes, nan, where a stage was asked only about the block that it had just learnt
(`eval_stages` "ends"). The last row and the diagonal are always there: average, learning and BWT
rest on them alone. Forgetting takes its maximum over the stages that were asked, which then are the
one that learnt the block and no other. FWT and AULC need stages in between, and are nan.

The authors' released codes differ
from these definitions in places (GEM divides by T; some maxima include the last row), so the tests
hold ours against the published figures of arXiv 2605.09734, recomputed from their matrices.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from trajnb.scoring.arms import order_words
from trajnb.scoring.by_run import differences, student
from trajnb.scoring.resampling import half_width, run_codes
from trajnb.scoring.score import is_asked
from trajnb.scoring.stats import Interval

FEW_DIALOGUES = 5
"""Below this many dialogues in a block there is no interval: a block's own spread is not known."""
METRICS = ("average", "learning", "bwt", "fwt", "forgetting", "aulc")


def average_accuracy(R) -> float:
    """Mean over blocks after the last one was learnt."""
    return _square(R)[..., -1, :].mean(-1)


def learning_accuracy(R) -> float:
    """Mean over blocks, each measured right after it was learnt."""
    return _own(_square(R)).mean(-1)


def bwt(R) -> float:
    """Backward transfer (Lopez-Paz and Ranzato 2017): what later blocks did to earlier ones."""
    R = _square(R)
    return _mean(R[..., -1, :-1] - _own(R)[..., :-1])


def fwt(R, b) -> float:
    """Forward transfer: what earlier blocks did for one not yet learnt, against zero-shot."""
    R = _square(R)
    return _mean(np.diagonal(R, 1, -2, -1) - np.asarray(b, float)[..., 1:])


def forgetting(R) -> float:
    """Best score at any earlier stage that was asked, minus the final one (Chaudhry 2018); may be
    negative.
    """
    R = _square(R)
    best = np.fmax.reduce(R[..., :-1, :-1], axis=-2, initial=-np.inf)
    known = ~np.isnan(_own(R)[..., :-1])  # a draw of dialogues may leave nothing there
    return _mean(np.where(known, best, np.nan) - R[..., -1, :-1])


def aulc(R) -> float:
    """Area under a block's curve from its own stage on (trapezoid, per stage), mean of blocks."""
    R = _square(R)
    curves = [R[..., j:, j] for j in range(R.shape[-1])]
    return np.mean([_area(curve) for curve in curves], axis=0)


def _area(curve: np.ndarray) -> np.ndarray:
    """Under curves (..., stages), per stage."""
    stages = curve.shape[-1]
    return np.trapezoid(curve) / (stages - 1) if stages > 1 else curve[..., 0]


def intransigence(R, joint) -> float:
    """What learning in sequence held back (after Chaudhry 2018, whose reference for block k is
    trained on blocks 1 to k; ours on all T): the scores `joint` (T,) of a model trained on all
    blocks at once, minus those of each block right after it was learnt, mean of blocks; may be
    negative."""
    return (np.asarray(joint, float) - _own(_square(R))).mean(-1)


def metrics(R, b) -> dict[str, float]:
    """All of METRICS at once."""
    return {
        "average": average_accuracy(R),
        "learning": learning_accuracy(R),
        "bwt": bwt(R),
        "fwt": fwt(R, b),
        "forgetting": forgetting(R),
        "aulc": aulc(R),
    }


def intervals(
    rows: pd.DataFrame, measure: str, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """METRICS of one arm with their intervals, in percent (nats a token for `logp`).

    `rows` are those of one arm in `trajnb.scoring.tables.frame`, all stages and any number of runs.
    Each metric is that of a run (or of the runs that share seed, fold and order), in its own block
    order, averaged over runs. Dialogues are drawn within their block (the blocks are fixed), seeds
    and orders as in `crossed_bootstrap`; of runs that hold out several folds, which share no
    dialogue, the interval is Student's t over the means of folds. nan for low and high where a block
    has fewer than FEW_DIALOGUES, nan throughout for metrics that a single block does not have, or
    that rest on what not all runs were asked. A stage without the items of a block that it asks
    about (`score.is_asked`) is a ValueError. Forgetting takes the maximum of noisy scores and so is
    a little too high, in every draw as in the matrix itself.
    """
    found = _intervals([rows], measure, level=level, resamples=resamples, seed=seed)
    if measure == "logp":
        return found
    for name in ("average", "learning", "aulc"):  # a rate is within 0 and 100 %, whatever t says
        mean, low, high = found[name]
        found[name] = Interval(mean, float(np.maximum(low, 0)), float(np.minimum(high, 100)))
    return found


def difference_intervals(
    left: pd.DataFrame,
    right: pd.DataFrame,
    measure: str,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """METRICS of arm `left` minus those of arm `right`, in points (nats a token for `logp`).

    Paired by (seed, order), fold and item: what only one arm has is left out, and runs and
    dialogues are drawn for both at once. Arms without a run or an item in common are a ValueError.
    """
    for key in (["seed", "order"], ["seed", "fold", "order"], ["dialogue_id", "step"]):
        left = left.merge(right[key].drop_duplicates(), on=key)
        right = right.merge(left[key].drop_duplicates(), on=key)
        if left.empty:
            raise ValueError(
                f"the arms have no ({', '.join(key)}) in common: there is nothing to pair"
            )
    return _intervals([left, right], measure, level=level, resamples=resamples, seed=seed)


@dataclass(frozen=True)
class _Design:
    """What is drawn anew, and how runs and dialogues are numbered."""

    runs: list[tuple[int, int, tuple[str, ...]]]
    """(Seed, fold, order) of each."""
    seed_of: np.ndarray
    order_of: np.ndarray
    """(runs,): their seeds and orders as integers."""
    fold_of: np.ndarray
    """(runs,): the fold that each holds out."""
    dialogues: list[str]
    """Block after block."""
    per_block: tuple[int, ...]
    """How many of them each block has; they sum to the dialogues."""

    def factors(self) -> list[tuple[int, ...]]:
        """Numbers of levels of dialogues (within their block), seeds and orders, as `half_width`
        takes them.
        """
        return [self.per_block, (self.seed_of.max() + 1,), (self.order_of.max() + 1,)]

    def undrawn(self) -> list[np.ndarray]:
        """Weights (1, levels) of each factor under which everything counts once."""
        return [np.ones((1, sum(strata))) for strata in self.factors()]


def _design(rows: pd.DataFrame) -> _Design:
    runs = list(dict.fromkeys(zip(rows.seed, rows.fold, rows.order, strict=True)))
    by_block = ["block", "dialogue_id"]
    dialogues = rows[by_block].drop_duplicates().sort_values(by_block)
    per_block = tuple(dialogues.groupby("block").size())
    seeds, folds, orders = zip(*runs, strict=True)
    seed_of, order_of = run_codes(seeds, orders)
    names = list(dialogues.dialogue_id)
    return _Design(runs, seed_of, order_of, np.array(folds), names, per_block)


@dataclass(frozen=True)
class _Cells:
    """Summed scores of an arm and the weights they are means over; both (dialogues, runs, T + 1
    stages, T blocks in the order of the run).
    """

    sums: np.ndarray
    sizes: np.ndarray

    def metrics(self, by_dialogue: np.ndarray) -> np.ndarray:
        """METRICS of each run with the dialogues so weighted: (resamples, dialogues) to (resamples,
        runs, metrics).
        """
        with np.errstate(invalid="ignore"):  # a draw may hit missing cells only
            # (resamples, runs, T + 1, T)
            rates = _weighted(by_dialogue, self.sums) / _weighted(by_dialogue, self.sizes)
        found = metrics(rates[..., 1:, :], rates[..., 0, :])
        return np.stack([found[name] for name in METRICS], axis=-1)


def _intervals(arms: list[pd.DataFrame], measure: str, **settings) -> dict[str, Interval]:
    """Of the only arm, or of the first minus the second; `settings` are those of `half_width`."""
    design = _design(arms[0])
    cells = _alike([_cells(arm, measure, design) for arm in arms])

    def of_runs(by_dialogue):
        """(resamples, dialogues) to the metrics of each run, (resamples, runs, metrics)."""
        found = cells[0].metrics(by_dialogue)
        return found - cells[1].metrics(by_dialogue) if len(cells) > 1 else found

    def means(by_dialogue, by_seed, by_order):
        """(resamples, levels) of each factor to the means over runs, (resamples, metrics)."""
        weights = by_seed[:, design.seed_of] * by_order[:, design.order_of]  # (resamples, runs)
        weights = weights[:, :, None]
        with np.errstate(invalid="ignore"):  # a draw may hit missing cells only
            return (of_runs(by_dialogue) * weights).sum(1) / weights.sum(1)

    if len(set(design.fold_of)) > 1:
        columns = of_runs(design.undrawn()[0])[0].T  # (metrics, runs)
        of_folds = [differences(column, design.runs, design.fold_of) for column in columns]
        found = [student(folds, level=settings["level"])[0] for folds in of_folds]
        return dict(zip(METRICS, found, strict=True))
    mean = means(*design.undrawn())[0]  # (metrics,)
    known = ~np.isnan(mean)
    half = np.full(len(METRICS), np.nan)
    if min(design.per_block) >= FEW_DIALOGUES:
        half[known] = half_width(
            lambda *weights: means(*weights)[:, known], design.factors(), **settings
        )
    return {
        name: Interval(float(level), float(level - width), float(level + width))
        for name, level, width in zip(METRICS, mean, half, strict=True)
    }


def _alike(arms: list[_Cells]) -> list[_Cells]:
    """The cells of arms with a hole wherever a run of any of them has one, so that a metric means
    the same for all.
    """
    asked = np.all([(cells.sizes.sum(0) > 0).all(0) for cells in arms], axis=0)  # (T + 1, T)
    return [_Cells(cells.sums * asked, cells.sizes * asked) for cells in arms]


def _cells(rows: pd.DataFrame, measure: str, design: _Design) -> _Cells:
    if rows.arm.nunique() > 1:
        named = ", ".join(map(str, rows.arm.unique()))
        raise ValueError(f"rows of several arms ({named}): metrics are those of one")
    run_of = {run: number for number, run in enumerate(design.runs)}
    dialogue_of = {name: number for number, name in enumerate(design.dialogues)}
    blocks = rows.block.nunique()
    shape = len(design.dialogues), len(design.runs), 1 + blocks, blocks
    index = (
        rows.dialogue_id.map(dialogue_of),
        [run_of[run] for run in zip(rows.seed, rows.fold, rows.order, strict=True)],
        rows.stage,
        [order.index(block) for order, block in zip(rows.order, rows.block, strict=True)],
    )
    place = np.ravel_multi_index(index, shape)

    def summed(amounts) -> np.ndarray:
        return np.bincount(place, amounts, np.prod(shape)).reshape(shape)

    if measure == "logp":
        # a mean over tokens, as a perplexity is, not over calls of unequal length
        cells = _Cells(summed(rows.gold_tokens * rows[measure]), summed(rows.gold_tokens))
    else:
        cells = _Cells(summed(100 * rows[measure]), summed(np.ones(len(rows))))
    _check_asked(cells.sizes.sum(0) > 0, design)
    return cells


def _check_asked(there: np.ndarray, design: _Design) -> None:
    """Raise ValueError where (runs, T + 1, T) lacks a block at a stage that asks about it."""
    for run, stage in np.ndindex(there.shape[:2]):
        seed, _, order = design.runs[run]
        asked = [block for block, known in zip(order, there[run, stage], strict=True) if known]
        if not is_asked(asked, order, stage, len(order)):
            lacks = next(block for block in order if block not in asked)
            raise ValueError(
                f"seed {seed}, order {order_words(order)}: no rows of {lacks} at stage {stage}; "
                f"metrics need every block at every stage from 0 to {len(order)}, or in between "
                "that alone which was just learnt"
            )


def is_partly_asked(rows: pd.DataFrame) -> bool:
    """Whether runs were asked, at some stage, about a part of their blocks only (`eval_stages`
    "ends"): FWT and AULC are not known then, and forgetting is the drop from right after learning.
    """
    asked = rows.groupby(["run", "eval_condition", "stage"]).block.nunique().unstack("stage")
    return bool(asked.lt(asked[0], axis=0).any(axis=None))


def _weighted(weights: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Amounts (dialogues, ...) summed with weights (resamples, dialogues): (resamples, ...)."""
    return np.tensordot(weights, amounts, 1)


def _square(R) -> np.ndarray:
    R = np.asarray(R, float)
    if R.ndim < 2 or R.shape[-1] != R.shape[-2] or not R.size:
        raise ValueError(
            f"R has shape {R.shape}, not (T, T); leave the zero-shot row out, it is passed as b"
        )
    return R


def _own(R: np.ndarray) -> np.ndarray:
    """Each block right after it was learnt."""
    return np.diagonal(R, 0, -2, -1)


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)[()]
