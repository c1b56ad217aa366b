"""Score matrices of arms that learn block after block: right answers by stage and block."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from trajnb.scoring import crossing
from trajnb.scoring.arms import Arm, Pairs
from trajnb.scoring.paired import OWN
from trajnb.scoring.score import is_asked
from trajnb.strategies import STRATEGIES

Order = tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """Right answers of one arm and order, summed over its runs; stage 0 is before training. Where
    not all of its runs asked about a block there is a hole, nan.
    """

    blocks: Order
    """T, in the order learnt."""
    right: np.ndarray
    """(T + 1 stages, T), counts and holes."""
    items: np.ndarray
    """(T,), counts."""

    @property
    def percent(self) -> np.ndarray:
        """(T + 1, T)."""
        return 100 * self.right / self.items


@dataclass(frozen=True)
class Difference:
    """`full` minus `stripped`, asked with the same prompts."""

    variant: Pairs
    asked: str
    blocks: Order
    points: np.ndarray
    """(T + 1, T)."""

    @property
    def starts_apart(self) -> bool:
        """The runs disagree on the model before training, as on different machines."""
        return bool(self.points[0].any())  # stage 0 has no holes


def in_sequence(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of arms that learn block after block."""
    names = [strategy.name for strategy in STRATEGIES.values() if strategy.in_sequence]
    return table[table.strategy.isin(names)]


def matrix(rows: pd.DataFrame, measure: str) -> Matrix:
    """The matrix of rows of one arm and order. A stage that lacks a block which it was asked about
    (`score.is_asked`) is a ValueError.
    """
    blocks = rows.order.iloc[0]
    cells = rows.groupby(["stage", "block"])[measure].agg(["sum", "size"])
    right, sizes = (cells[name].unstack().reindex(columns=list(blocks)) for name in cells)
    last, items = right.index.max(), sizes.loc[0]
    there = rows.groupby(["run", "stage"]).block.unique()
    whole = all(is_asked(asked, blocks, stage, last) for (_, stage), asked in there.items())
    if not whole or list(right.index) != list(range(last + 1)) or items.isna().any():
        raise ValueError(f"{rows.arm.iloc[0]}: a stage or block is missing from the predictions")
    return Matrix(blocks, right.where(sizes.eq(items)).to_numpy(float), items.to_numpy(int))


def matrices(table: pd.DataFrame, measure: str) -> dict[Order, dict[Arm, Matrix]]:
    """By order and arm, those of plain arms that learn block after block: of stripped and full
    where they are there, else of all conditions.
    """
    rows = in_sequence(crossing.plain(table))
    asked_about = rows.condition.isin(["stripped", "full"])
    if asked_about.any():
        rows = rows[asked_about]
    found: dict[Order, dict[Arm, Matrix]] = {}
    for order, part in rows.groupby("order", sort=False):
        arms = part.groupby(["eval_condition", "arm"], sort=False)
        found[order] = {arm: matrix(answers, measure) for (_, arm), answers in arms}
    return found


def differences(table: pd.DataFrame, measure: str) -> list[Difference]:
    """Of every `crossing.combinations`, test prompt and order, on the seeds both sides have."""
    found = []
    for variant, part in crossing.combinations(table).items():
        for (asked, order), rows in part.groupby(["eval_condition", "order"], sort=False):
            if sides := crossing.sides(rows):
                full, stripped = (matrix(side, measure) for side in sides)
                points = 100 * (full.right / full.items - stripped.right / stripped.items)
                found.append(Difference(variant, asked, order, points))
    return found


def curves(table: pd.DataFrame) -> dict[tuple[str, Order], pd.DataFrame]:
    """The rows of arms that learn block after block, by test prompt and order; `paired.OWN` is the
    prompt where each arm was asked with its own.
    """
    rows = in_sequence(table)
    if rows.arm.nunique() > rows.trained.nunique():
        asked = rows.eval_condition
    else:
        asked = pd.Series(OWN, rows.index)
    return dict(tuple(rows.groupby([asked, "order"], sort=False)))
