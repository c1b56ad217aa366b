import re

import pytest

from trajnb.study import grid
from trajnb.study.params import Study, notebook_parameters


@pytest.fixture(scope="module")
def expand(notebooks):
    parameters = notebook_parameters(notebooks / "02_train.ipynb")
    return lambda *grids, **common: grid.expand(Study("s", "s", "", common, grids), parameters)


def test_a_list_is_an_axis_and_grids_are_united(expand):
    runs = expand({"condition": ["stripped", "full"], "seed": [0, 1]}, {"seed": [2, 0]}, masked=False)
    assert [(run["condition"], run["seed"]) for run in runs.values()] == [
        ("stripped", 0), ("stripped", 1), ("full", 0), ("full", 1), ("full", 2),
    ]  # fmt: skip
    assert not any(run["masked"] for run in runs.values())
    assert grid.varying(runs) == ["condition", "seed"]


def test_a_list_of_lists_is_an_axis_of_lists(expand):
    runs = expand({"order": [["a", "b"], ["b", "a"]]})
    assert [run["order"] for run in runs.values()] == [["a", "b"], ["b", "a"]]


def test_a_run_that_two_grids_name_is_evaluated_under_the_conditions_of_both(expand):
    (run,) = expand({"seed": [0]}, {"eval_conditions": [["stripped"]]}).values()
    assert run["eval_conditions"] == ["full", "stripped"]


def test_a_run_is_named_for_what_shapes_its_training(expand):
    (name,) = expand({"seed": [3]})
    assert re.fullmatch(r"full-s3-[0-9a-f]{8}", name)
    for same in (
        {"run_folder": ["elsewhere"]},
        {"eval_conditions": [["stripped"]]},
        {"learning_rate": [2e-4]},
    ):
        assert set(expand({"seed": [3], **same})) == {name}  # 2e-4 is the default, spelt out
    assert set(expand({"seed": [3], "learning_rate": [3e-4]})) != {name}
