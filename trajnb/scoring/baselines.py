"""The continual-learning metrics of all strategies beside each other, each with its interval.

Metrics over stages are those of strategies that learn block after block with one adapter. A joint
model, an adapter for every block and few-shot prompts have an average, and where a block was learnt
its score then. Intransigence holds a strategy against the joint model of the same condition.
"""

import pandas as pd

from trajnb.scoring import continual, crossing
from trajnb.scoring.arms import Arm
from trajnb.scoring.paired import CELL, interval
from trajnb.scoring.stats import Interval
from trajnb.strategies import STRATEGIES, Strategy

METRICS = (*continual.METRICS, "intransigence")


def baselines(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """METRICS of every arm of `tables.frame`, in percent: columns `trained, asked, metric, mean,
    low, high`.

    Every block weighs the same. A metric that a strategy does not have is not there; intransigence
    is not there without a joint arm, and rests on the seeds and orders that both have.
    """
    rows = []
    for (trained, asked), part in table.groupby(["trained", "eval_condition"], sort=False):
        found = _metrics(part, STRATEGIES[trained.strategy], measure)
        joint = _joint(table[table.eval_condition == asked], trained)
        if STRATEGIES[trained.strategy].trains and len(joint):
            last, when_learnt = joint[joint["last"]], part[part.stage == part.learnt]
            found["intransigence"] = _by_block(_cells(last, measure) - _cells(when_learnt, measure))
        rows += [(trained, asked, name, *metric) for name, metric in found.items()]
    return pd.DataFrame(rows, columns=["trained", "asked", "metric", *Interval._fields])


def differences(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """METRICS of `full` minus those of `stripped`, in points, of every `crossing.combinations`
    asked with the same prompts: columns `variant, asked, metric, mean, low, high`.

    Paired by seed, order and item, see `continual.difference_intervals`.
    """
    rows = []
    for variant, part in crossing.combinations(table).items():
        for asked, same in part.groupby("eval_condition", sort=False):
            if sides := crossing.sides(same):
                found = continual.difference_intervals(*sides, measure)
                rows += [(variant, asked, name, *metric) for name, metric in found.items()]
    return pd.DataFrame(rows, columns=["variant", "asked", "metric", *Interval._fields])


def _joint(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """The rows of the arm that learnt all blocks at once, else like `arm`; none for such an arm."""
    at_once = [one.name for one in STRATEGIES.values() if one.trains and one.one_stage]
    if arm.strategy in at_once:
        return table[:0]
    table = table[(table.condition == arm.condition) & table.strategy.isin(at_once)]
    return table[[variant == arm.variant for variant in table.variant]] if len(table) else table


def _metrics(rows: pd.DataFrame, strategy: Strategy, measure: str) -> dict[str, Interval]:
    if strategy.in_sequence:
        return continual.intervals(rows, measure)
    found = {"average": _by_block(_cells(rows[rows["last"]], measure))}
    if strategy.trains:  # here the last stage is the one that learnt the block
        found["learning"] = found["average"]
    return found


def _cells(rows: pd.DataFrame, measure: str) -> pd.Series:
    """Percent right by block, seed, order and item."""
    return 100 * rows.groupby(["block", *CELL])[measure].mean().astype(float)


def _by_block(cells: pd.Series) -> Interval:
    """The mean of blocks, whatever their numbers of items."""
    cells = cells.dropna()
    sizes = cells.groupby("block").transform("size")
    return interval(cells.droplevel("block"), (1 / sizes).to_numpy(float))
