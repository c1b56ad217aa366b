from dataclasses import replace

import numpy as np
import pytest

from trajnb.scoring import cost, tables
from trajnb.scoring.arms import Arm


def test_costs_are_means_over_the_runs_of_an_arm(read):
    runs = [read("a", seed=0), read("b", seed=1), read("c", condition="stripped")]
    runs[0].record.tokens["train_total"], runs[1].record.tokens["train_total"] = 100, 300
    for place, flops in ((0, 1e15), (1, 3e15)):
        record = replace(runs[place].record, flops=flops, steps=8)
        runs[place] = replace(runs[place], record=record)
    costs = cost.cost(runs)
    assert list(map(str, costs.index)) == ["stripped", "full"]
    assert costs.loc[Arm("full"), ["runs", "total", "steps", "flops"]].tolist() == [2, 200, 8, 2e15]
    assert np.isnan(costs.loc[Arm("stripped"), ["steps", "flops"]]).all(), (
        "older records do not say"
    )


def test_returns_are_read_per_million_training_tokens(read):
    runs = [read("a"), read("b", strategy="few-shot")]
    runs[0].record.tokens["train_total"] = 2_000_000
    runs[1].record.tokens["train_total"] = 0
    table = tables.frame(runs)
    found = cost.returns(table, cost.cost(runs), "name").set_index("trained")
    part = table[table.trained == Arm("full")]
    final, zero = (100 * part[where].name.mean() for where in (part["last"], part.stage == 0))
    assert found.loc[Arm("full"), "mean"] == pytest.approx(final)
    assert found.loc[Arm("full"), "per_million"] == pytest.approx(final / 2)
    assert found.loc[Arm("full"), "added_per_million"] == pytest.approx((final - zero) / 2)
    assert np.isnan(found.loc[Arm("full", "few-shot"), "per_million"])
