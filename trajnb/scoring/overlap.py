"""What the calls of a block share with what is learnt or shown elsewhere: APIs that training
dialogues of other blocks call too, and what placebos give away.

A later block that calls an API again teaches it again, which hides forgetting. Tables are those of
`tables.frame`.
"""

from collections.abc import Iterable

import pandas as pd

from trajnb.records import Run
from trajnb.scoring import continual
from trajnb.scoring.matrices import in_sequence
from trajnb.scoring.paired import ITEM
from trajnb.scoring.stats import Interval

METRICS = ("bwt", "forgetting")
ALL, ALONE = "all calls", "API of this block alone"


def shared_apis(table: pd.DataFrame) -> pd.DataFrame:
    """By block, in the order learnt: the held-out `calls`, those whose API another block learns too
    (`shared`), and these in percent.
    """
    items = table.drop_duplicates(ITEM)
    shared = items.shared_api.astype(bool).groupby(items.block, sort=False)
    found = pd.DataFrame({"calls": shared.size(), "shared": shared.sum()})
    found.loc["all"] = found.sum()
    return found.assign(percent=100 * found.shared / found.calls)


def unknown(table: pd.DataFrame) -> str:
    """Why `transfer` cannot be had without shared APIs; nothing where it can."""
    if table.shared_api.isna().any():
        return "Made before items said whether another block learns their API too."
    alone = table[~table.shared_api.astype(bool)]
    if gone := sorted(set(table.block) - set(alone.block)):
        return f"Of {', '.join(gone)} every held-out call has an API that another block learns too."
    return ""


def transfer(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """METRICS of the arms that learn block after block, with and without the calls whose API
    another block learns too: columns `trained, asked, calls, metric, mean, low, high`.

    Raises:
        ValueError: they cannot be had, see `unknown`.
    """
    if reason := unknown(table):
        raise ValueError(reason)
    rows = []
    arms = in_sequence(table).groupby(["trained", "eval_condition"], sort=False)
    for (trained, asked), part in arms:
        alone = part[~part.shared_api.astype(bool)]
        for calls, some in ((ALL, part), (ALONE, alone)):
            found = continual.intervals(some, measure)
            rows += [(trained, asked, calls, name, *found[name]) for name in METRICS]
    columns = ["trained", "asked", "calls", "metric", *Interval._fields]
    return pd.DataFrame(rows, columns=columns)


def placebo_leaks(runs: Iterable[Run]) -> pd.DataFrame:
    """How many held-out calls a placebo helps, by run and test prompt: the counts of
    `formatting.leaks`, and the percent of calls that are `named` and `told`. Runs without a
    placebo, and older ones, have no row.
    """
    rows = [
        {"run": run.folder.name, "asked": asked, **counts}
        for run in runs
        for asked, counts in run.record.leaks.items()
    ]
    columns = ["run", "asked", "later", "named", "needing", "told"]
    found = pd.DataFrame(rows, columns=columns).set_index(["run", "asked"])
    found["named, %"] = 100 * found.named / found.later
    found["told, %"] = 100 * found.told / found.needing
    return found
