"""The continual-learning figures of all strategies beside each other, each with its interval.

Figures over stages are those of strategies that learn block after block with one adapter. A joint model, an
adapter for every block and few-shot prompts have an average, and where a block was learnt its score then.
Intransigence holds a strategy against the joint model of the same condition.
"""

import pandas as pd

from trajnb.scoring import continual
from trajnb.scoring.paired import CELL, interval
from trajnb.scoring.stats import Interval
from trajnb.strategies import STRATEGIES

FIGURES = (*continual.FIGURES, "intransigence")
IN_SEQUENCE = [name for name, one in STRATEGIES.items() if one.in_sequence]
AT_ONCE = [name for name, one in STRATEGIES.items() if one.trains and one.one_stage]


def baselines(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """FIGURES of every arm of `tables.frame`, in percent: columns `trained, asked, figure, mean, low, high`.

    Every block weighs the same. A figure that a strategy does not have is not there; intransigence is not
    there without a joint arm, and rests on the seeds and orders that both have.
    """
    rows = []
    of_arm = ["trained", "condition", "variant", "strategy", "eval_condition"]
    for (trained, condition, variant, strategy, asked), part in table.groupby(of_arm, sort=False):
        alike = (table.condition == condition) & (table.variant == variant) & (table.eval_condition == asked)
        joint = table[alike & table.strategy.isin(AT_ONCE)]
        found = _figures(part, strategy, measure)
        if STRATEGIES[strategy].trains and strategy not in AT_ONCE and len(joint):
            found["intransigence"] = _by_block(
                _cells(joint[joint["last"]], measure) - _cells(part[part.stage == part.learnt], measure)
            )
        rows += [(trained, asked, name, *figure) for name, figure in found.items()]
    return pd.DataFrame(rows, columns=["trained", "asked", "figure", *Interval._fields])


def _figures(rows: pd.DataFrame, strategy: str, measure: str) -> dict[str, Interval]:
    if strategy in IN_SEQUENCE:
        return continual.intervals(rows, measure)
    found = {"average": _by_block(_cells(rows[rows["last"]], measure))}
    if STRATEGIES[strategy].trains:  # here the last stage is the one that learnt the block
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
