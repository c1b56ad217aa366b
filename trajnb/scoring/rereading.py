"""Predictions read anew by other rules than ours: what the parser alone changes, and the verdict on each of
the paper's figures by its own reading.
"""

import numpy as np
import pandas as pd

from trajnb.formatting.calls import read_or_none
from trajnb.formatting.readings import READINGS
from trajnb.scoring.stats import clustered_bootstrap
from trajnb.scoring.tables import PAPER_ARM, paper


def by_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Per arm, asked in its own condition, and per reading of calls: exact calls at the final stage.

    `trajnb` stands as recorded (`canonical`), the others are read anew from the texts (see
    `trajnb.formatting.readings`), gold and prediction alike. Columns: `calls`, `exact`, `percent`; `no call`
    and `unread golds` (a gold that a reading cannot read counts as wrong); `gained` and `lost`, the calls
    that are exact under this reading only, or as recorded only.
    """
    rows = []
    own = table[table["last"] & (table.condition == table.eval_condition)]
    for arm, part in own.groupby("arm", sort=False):
        recorded, parsed = part.canonical.to_numpy(bool), part.parsed.to_numpy(bool)
        counts = {"trajnb": (recorded, int((~parsed).sum()), 0)}
        for reading, read in READINGS.items():
            golds = [read_or_none(text, read) for text in part.gold]
            calls = [read_or_none(text, read) for text in part.prediction]
            exact = np.array([c is not None and c == gold for c, gold in zip(calls, golds, strict=True)])
            counts[reading] = exact, calls.count(None), golds.count(None)
        rows += [
            (arm, reading, len(exact), exact.sum(), 100 * exact.mean(), *unread)
            + ((exact & ~recorded).sum(), (recorded & ~exact).sum())
            for reading, (exact, *unread) in counts.items()
        ]
    columns = ["arm", "reading", "calls", "exact", "percent", "no call", "unread golds", "gained", "lost"]
    return pd.DataFrame(rows, columns=columns).set_index(["arm", "reading"])


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's final figures beside those of runs of its recipe (params/paper.yaml), each with a verdict:
    does our 95 % interval contain the published figure?

    Indexed by paper's condition, measure and block in the order learnt, `mean` being that of the blocks;
    columns `paper`, `ours`, `low`, `high` (percent) and `verdict`. Calls are read as the paper reads them.
    Its items are rows, and so are ours: rows of one conversation count as if they were independent.
    """
    read = READINGS["arXiv 2605.09734"]
    rows = []
    own = table[table["last"] & (table.condition == table.eval_condition)]
    for condition, part in own[own.condition.isin(PAPER_ARM)].groupby("condition", sort=False):
        calls = [[read_or_none(text, read) for text in part[column]] for column in ("prediction", "gold")]
        part = part.assign(
            exact=[call is not None and call == gold for call, gold in zip(*calls, strict=True)]
        )
        blocks = part.order.iloc[0].split(" > ")
        size = part.groupby("block").size()
        for measure in ("exact", "name"):
            published = paper()["full_percent"][measure][PAPER_ARM[condition]][-1]
            figures = dict(zip(blocks, published, strict=False)) | {"mean": float(np.mean(published))}
            for block, figure in figures.items():
                side = part if block == "mean" else part[part.block == block]
                weights = 1 / size[side.block].to_numpy(float)
                ours = clustered_bootstrap(100 * side[measure].astype(float), side.dialogue_id, weights)
                verdict = "contains it" if ours.low <= figure <= ours.high else "does not"
                rows.append((PAPER_ARM[condition], measure, block, figure, *ours, verdict))
    columns = ["condition", "measure", "block", "paper", "ours", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:3])
