"""The smallest effect that can be found, against simulated studies."""

import numpy as np
import pytest
import yaml
from scipy.stats import ttest_1samp

from trajnb.machine import ROOT
from trajnb.scoring.power import smallest_effect


@pytest.mark.parametrize("runs, tests", [(5, 1), (10, 1), (10, 8)])
def test_four_of_five_studies_find_it(runs, tests):
    effect = smallest_effect(runs, 20, between_dialogues=14, between_seeds=2.5, tests=tests)
    draw = np.random.default_rng(0)
    spread = np.sqrt((14**2 + 12**2) / 20 + 2.5**2)
    studies = effect + spread * draw.standard_normal((20_000, runs))
    found = ttest_1samp(studies, 0, axis=1).pvalue < 0.05 / tests
    assert found.mean() == pytest.approx(0.8, abs=0.015)


def test_more_runs_find_less_and_fewer_calls_more():
    usual = smallest_effect(10, 20)
    assert smallest_effect(20, 20) < usual < smallest_effect(5, 20)
    assert usual < smallest_effect(10, 20, counted=0.5) < smallest_effect(10, 20, counted=0.5, tests=8)


def test_one_run_has_no_variance():
    with pytest.raises(ValueError, match="runs is 1"):
        smallest_effect(1, 20)


STUDIES = [
    # name, held-out dialogues of a run, share of calls that count: half are novel, variants that are tested
    ("bfcl", 20, 0.5, 1),
    ("crossing", 20, 0.5, 1),
    ("api_bank", 26, 0.5, 1),
    ("api_bank_disjoint", 52, 1.0, 1),
    ("api_bank_controls", 52, 0.5, 1),
    ("api_bank_strategies", 52, 0.5, 3),
    ("api_bank_qwen", 52, 0.5, 1),
    ("crossing_api_bank", 26, 0.5, 1),
    ("prefer", 40, 0.64, 1),  # of bfcl's 1,142 calls there are 731 turn tasks
    ("repair", 40, 0.64, 1),
]


@pytest.mark.parametrize("name, dialogues, novel, variants", STUDIES)
def test_studies_declare_what_they_can_find(name, dialogues, novel, variants):
    study = yaml.safe_load((ROOT / "params" / f"{name}.yaml").read_text("utf-8"))
    family = study["family"]
    tests = variants * len(family["measures"]) * len(family["effects"])
    runs = max(len(grid["together"]["fold"]) for grid in study["runs"])
    found = smallest_effect(runs, dialogues, counted=novel, tests=tests)
    assert study["smallest_effect"] == pytest.approx(found, abs=0.05)
