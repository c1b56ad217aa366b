"""Predictions read anew by other rules than ours: what the parser alone changes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from trajnb.formatting.calls import read_or_none
from trajnb.formatting.readings import READINGS


@dataclass(frozen=True)
class _Read:
    """What one reading makes of n texts and their golds."""

    exact: np.ndarray
    """(n,), bool."""
    no_call: int
    unread_golds: int


def by_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Per arm, asked in its own condition, and per reading of calls: exact calls at the final
    stage.

    `trajnb` stands as recorded (`canonical`), the others are read anew from the texts (see
    `trajnb.formatting.readings`), gold and prediction alike. Columns: `calls`, `exact`, `percent`;
    `no call` and `unread golds` (a gold that a reading cannot read counts as wrong); `gained` and
    `lost`, the calls that are exact under this reading only, or as recorded only.
    """
    rows = []
    own = table[table["last"] & (table.condition == table.eval_condition)]
    for arm, part in own.groupby("arm", sort=False):
        recorded = _Read(part.canonical.to_numpy(bool), int((~part.parsed.astype(bool)).sum()), 0)
        found = {"trajnb": recorded}
        for name, read in READINGS.items():
            found[name] = _read_anew(part, read)
        for name, one in found.items():
            gained = (one.exact & ~recorded.exact).sum()
            lost = (recorded.exact & ~one.exact).sum()
            percent = 100 * one.exact.mean()
            counts = (len(part), one.exact.sum(), percent, one.no_call, one.unread_golds)
            rows.append((arm, name, *counts, gained, lost))
    columns = ["calls", "exact", "percent", "no call", "unread golds", "gained", "lost"]
    table = pd.DataFrame(rows, columns=["arm", "reading", *columns])
    return table.set_index(["arm", "reading"])


def _read_anew(rows: pd.DataFrame, read) -> _Read:
    golds = [read_or_none(text, read) for text in rows.gold]
    calls = [read_or_none(text, read) for text in rows.prediction]
    exact = [call is not None and call == gold for call, gold in zip(calls, golds, strict=True)]
    return _Read(np.array(exact), calls.count(None), golds.count(None))
