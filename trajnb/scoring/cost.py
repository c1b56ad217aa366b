"""What training an arm costs, and what it gets for it."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from trajnb.records import Run
from trajnb.scoring.arms import arms_of, in_order
from trajnb.scoring.paired import interval, values


def cost(runs: Iterable[Run]) -> pd.DataFrame:
    """The cost of training by training arm, mean over its runs; nan where a record does not say.

    Columns: `runs`; the tokens that were `supervised`, `total` (of all examples, every epoch) and
    `computed` (what was left of these once shared beginnings were computed once); `steps`;
    `seconds` of training; peak `memory` in GB; `flops`, the estimated operations of training.
    """
    records = [run.record for run in in_order(runs)]
    rows = pd.DataFrame(
        {
            "arm": arms_of([record.parameters for record in records]),
            "runs": 1,
            "supervised": [record.tokens["train_supervised"] for record in records],
            "total": [record.tokens["train_total"] for record in records],
            "computed": [record.tokens["train_computed"] for record in records],
            "steps": [record.steps for record in records],
            "seconds": [record.seconds["train"] for record in records],
            "memory": [record.peak_memory_mb / 1000 for record in records],
            "flops": [record.flops for record in records],
        }
    )
    arms = rows.astype({"steps": float, "flops": float}).groupby("arm", sort=False)
    return arms.mean().assign(runs=arms.runs.sum())


def returns(table: pd.DataFrame, costs: pd.DataFrame, measure: str = "canonical") -> pd.DataFrame:
    """The final score of every arm beside its cost: columns `trained, asked, mean, low, high`
    (percent), `total, flops`, and per million training tokens the score (`per_million`) and what
    training added to it (`added_per_million`), nan where nothing was trained.
    """
    rows = []
    for (trained, asked), part in table.groupby(["trained", "eval_condition"], sort=False):
        spent = costs.loc[trained]
        found = interval(values(part, measure, "final"))
        added = values(part, measure, "gain").mean()
        millions = spent.total / 1e6 or np.nan
        rows.append(
            {
                "trained": trained,
                "asked": asked,
                **found._asdict(),
                "total": spent.total,
                "flops": spent.flops,
                "per_million": found.mean / millions,
                "added_per_million": added / millions,
            }
        )
    return pd.DataFrame(rows)
