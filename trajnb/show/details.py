"""Tables of the evaluation as HTML: what was run, arms against each other, metrics, costs, strata.

Numbers come from `trajnb.scoring` as columns; here they get their words. All text of records is
escaped.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from trajnb.scoring import paper
from trajnb.scoring.answers import unit_of
from trajnb.scoring.arms import words
from trajnb.scoring.baselines import METRICS
from trajnb.scoring.overview import shared
from trajnb.scoring.score import MEASURES
from trajnb.scoring.stats import Interval
from trajnb.show.results import intervals_html
from trajnb.strategies import PLAIN

MOMENTS = {"zero": "before training", "final": "at the end", "gain": "added by training"}
HEADS = {"bwt": "BWT", "fwt": "FWT", "aulc": "AULC"}


def overview_html(table: pd.DataFrame) -> str:
    """`scoring.overview.overview`, without what all runs have alike, which stands below."""
    alike = shared(table)
    rows = table.drop(columns=list(alike)).to_html(classes="text")
    facts = pd.Series(alike, dtype=object).to_frame("the same for all runs")
    return f'<div class="scroll short">{rows}</div>{facts.to_html(classes="text")}'


def comparisons_html(compared: pd.DataFrame) -> str:
    """`scoring.paired.comparisons`: pairs of arms by measure."""
    shown = compared.assign(
        found=_intervals(compared),
        arms=[f"{row.left} minus {row.right}" for row in compared.itertuples()],
        measure=[MEASURES[measure][0] for measure in compared.measure],
        when=compared.when.map(MOMENTS),
    )
    shown = _pivot(shown, ["arms", "asked", "when"], "measure")
    shown = shown.rename_axis([None, "asked with prompts", None])
    digits = {label: unit_of(measure)[1] for measure, (label, _) in MEASURES.items()}
    return intervals_html(shown, digits)


def metrics_html(by_measure: Mapping[str, pd.DataFrame]) -> str:
    """`scoring.baselines.baselines` by measure, the paper's below."""
    parts = []
    for measure, found in by_measure.items():
        found = found.assign(score=MEASURES[measure][0], found=_intervals(found))
        parts.append(found[["score", "trained", "asked", "metric", "found"]])
    for (theirs, condition), metrics in paper.metrics().items():
        for metric, percent in metrics.items():
            row = {
                "score": f"paper, {theirs} ({paper.ELSEWHERE})",
                "trained": f"{condition} ({paper.ARM[condition]})",
                "asked": condition,
                "metric": metric,
                "found": Interval(percent, np.nan, np.nan),
            }
            parts.append(pd.DataFrame([pd.Series(row)]))
    shown = _pivot(pd.concat(parts), ["score", "trained", "asked"], "metric")
    shown = _metric_heads(shown).rename_axis([None, "trained", "asked with"])
    return intervals_html(shown, signed=False)


def differences_html(by_measure: Mapping[str, pd.DataFrame]) -> str:
    """`scoring.baselines.differences` by measure."""
    parts = []
    for measure, found in by_measure.items():
        named = [words(variant) or PLAIN.name for variant in found.variant]
        score = MEASURES[measure][0]
        parts.append(found.assign(score=score, variant=named, found=_intervals(found)))
    shown = _pivot(pd.concat(parts), ["variant", "asked", "score"], "metric")
    shown = shown.reorder_levels(["score", "variant", "asked"])
    return intervals_html(_metric_heads(shown).rename_axis([None, None, "asked with"]))


def transfer_html(by_measure: Mapping[str, pd.DataFrame]) -> str:
    """`scoring.overlap.transfer` by measure."""
    parts = [
        found.assign(score=MEASURES[measure][0], found=_intervals(found))
        for measure, found in by_measure.items()
    ]
    shown = _pivot(pd.concat(parts), ["score", "trained", "asked", "calls"], "metric")
    shown = _metric_heads(shown).rename_axis([None, "trained", "asked with", None])
    return intervals_html(shown, signed=False)


def costs_table(costs: pd.DataFrame) -> pd.DataFrame:
    """`scoring.cost.cost` in words."""
    counts = ("supervised", "total", "computed", "steps", "seconds")
    forms = dict.fromkeys(counts, "{:,.0f}") | {"memory": "{:.1f} GB", "flops": "{:.2e}"}
    shown = costs.rename_axis(None).astype(object)
    for column in shown:
        shown[column] = [forms.get(column, "{}").format(value) for value in costs[column]]
    return shown


def returns_table(returned: pd.DataFrame) -> pd.DataFrame:
    """`scoring.cost.returns` in words."""
    heads = {
        "mean": "exact, %",
        "per_million": "per million tokens",
        "added_per_million": "added per million",
    }
    shown = returned.set_index(["trained", "asked"])[list(heads)].rename(columns=heads)
    shown = shown.map("{:.1f}".format).replace("nan", "–")
    return shown.rename_axis([None, "asked with"])


def strata_table(scores: pd.DataFrame) -> pd.DataFrame:
    """`scoring.strata.scores` in words: percent before training → at the end, by arm."""
    shown = scores[""].round(0).astype(int)
    for arm in dict.fromkeys(scores.columns.get_level_values(0)):
        if arm != "":
            before, end = scores[arm, "zero"], scores[arm, "final"]
            shown[str(arm)] = [f"{x:.0f} → {y:.0f}" for x, y in zip(before, end, strict=True)]
    return shown


def _intervals(rows: pd.DataFrame) -> list[Interval]:
    return [Interval(row.level, row.low, row.high) for row in _levels(rows).itertuples()]


def _levels(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[["mean", "low", "high"]].rename(columns={"mean": "level"})


def _pivot(rows: pd.DataFrame, index: Sequence[str], column: str) -> pd.DataFrame:
    """`found` by index and column, both in the order in which they come."""
    table = rows.pivot_table("found", list(index), column, aggfunc="first", sort=False)
    return table.rename_axis(None, axis=1)


def _metric_heads(table: pd.DataFrame) -> pd.DataFrame:
    return table[[name for name in METRICS if name in table]].rename(columns=HEADS)
