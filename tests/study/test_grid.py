import itertools
import json
import re
from collections import Counter

import pytest
import yaml

from trajnb.corpora import bfcl
from trajnb.corpora.blocks import BLOCKS
from trajnb.machine import ROOT
from trajnb.study import grid
from trajnb.study.params import Study
from trajnb.study.parts import schema


@pytest.fixture(scope="module")
def expand(notebooks):
    parameters = schema(notebooks)
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


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_balanced_orders_put_each_block_everywhere_and_behind_every_other(size):
    blocks = "abcdef"[:size]
    rows = grid.balanced_orders(blocks, 2 * size if size % 2 and size > 1 else size)
    times = 2 if size % 2 and size > 1 else 1
    assert rows[0] == list(blocks)
    for column in zip(*rows, strict=True):
        assert sorted(column) == sorted(list(blocks) * times)
    neighbours = Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert all(neighbours[pair] == times for pair in itertools.permutations(blocks, 2))


def test_a_count_of_orders_that_no_square_has_is_an_error():
    with pytest.raises(ValueError, match="orders is 5: a balanced square of 4 blocks has 1 to 4 orders"):
        grid.balanced_orders("abcd", 5)


@pytest.fixture(scope="module")
def real():
    """The notebook's own parameters, on the sample."""
    parameters = schema(ROOT / "notebooks")
    return lambda *grids, **common: grid.expand(Study("s", "s", "", common, grids), parameters)


def test_orders_are_an_axis_and_the_corpus_own_order_is_the_default(real):
    (plain,) = real({})
    runs = real({"orders": 2})
    assert list(runs)[0] == plain, "the first order is that of the corpus: the same run"
    assert [run["order"] for run in runs.values()] == [
        [], ["vehicle_control", "travel", "file_system", "trading"],
    ]  # fmt: skip
    own = ["file_system", "vehicle_control", "trading", "travel"]
    assert list(real({"orders": [own, own[::-1]]}))[0] == plain
    with pytest.raises(ValueError, match="order and orders"):
        real({"orders": 2, "order": [[]]})
    with pytest.raises(ValueError, match="order must name each of"):
        real({"orders": [["travel"]]})


def test_tied_axes_are_walked_in_step_and_crossed_with_the_others(real):
    tied = {"seed": [0, 1, 2], "fold": [2, 0, 1]}
    runs = real({"condition": ["stripped", "full"], "together": tied}, folds=3)
    assert [(run["condition"], run["seed"], run["fold"]) for run in runs.values()] == [
        ("stripped", 0, 2), ("full", 0, 2), ("stripped", 1, 0), ("full", 1, 0),
        ("stripped", 2, 1), ("full", 2, 1),
    ]  # fmt: skip
    assert grid.varying(runs) == ["fold", "condition", "seed"]


def test_ten_runs_see_ten_seeds_ten_folds_and_four_orders(real):
    tied = {"seed": list(range(10)), "fold": list(range(10)), "orders": 4}
    runs = list(real({"together": tied}, corpus="bfcl", documents="ten", folds=10).values())
    assert [run["seed"] for run in runs] == [run["fold"] for run in runs] == list(range(10))
    four = [run["order"] for run in runs[:4]]
    assert four[0] == [] and len(set(map(tuple, four))) == 4
    assert [run["order"] for run in runs] == (3 * four)[:10]


def test_orders_can_be_tied_one_by_one(real):
    own = ["file_system", "vehicle_control", "trading", "travel"]
    runs = real({"together": {"seed": [0, 1], "order": [[], own[::-1]]}})
    assert [(run["seed"], run["order"]) for run in runs.values()] == [(0, []), (1, own[::-1])]
    with pytest.raises(ValueError, match="order and orders"):
        real({"together": {"seed": [0, 1], "orders": 2}, "order": [[]]})
    with pytest.raises(ValueError, match="orders is 9: a balanced square"):
        real({"together": {"seed": [0, 1], "orders": 9}})


def test_folds_shape_a_run_only_where_one_is_held_out(real):
    (plain,) = real({})
    assert set(real({"folds": [3, 10]})) == {plain}
    first = real({"fold": [0]}, folds=3)
    assert plain not in first and set(real({"fold": [0], "held_out_share": [0.5]}, folds=3)) == set(first)
    assert len(real({"fold": [0, 1], "folds": [2, 3]})) == 4
    with pytest.raises(ValueError, match=r"runs\[0\]: fold is 3: 3 folds are numbered 0 to 2"):
        real({"fold": [3]}, folds=3)
    with pytest.raises(ValueError, match="block 'file_system' has 3 dialogues, too few for 5 folds"):
        real({"fold": [0]})


def test_a_run_that_two_grids_name_is_asked_at_the_stages_of_both(real):
    for stages in (["ends", "all"], ["all", "ends"]):
        (run,) = real(*({"eval_stages": [one]} for one in stages)).values()
        assert run["eval_stages"] == "all"
    (run,) = real({"eval_stages": ["ends"]}).values()
    assert run["eval_stages"] == "ends" and set(real({"eval_stages": ["ends"]})) == set(real({}))


def test_what_a_strategy_does_not_heed_makes_no_other_run(real):
    assert set(real({"shots": [1, 2], "replay_share": [0.1, 0.5]})) == set(real({}))
    assert len(real({"strategy": ["replay"], "replay_share": [0.1, 0.5], "shots": [1, 2]})) == 2
    assert len(real({"strategy": ["few-shot"], "replay_share": [0.1, 0.5], "shots": [1, 2]})) == 2


@pytest.mark.parametrize(
    "values, message",
    [
        ({"strategy": ["rehearsal"]}, "unknown strategy 'rehearsal'"),
        ({"replay_share": [0.0]}, "replay_share is 0.0"),
        ({"shots": [0]}, "shots is 0"),
        ({"match_tokens": ["fulll"]}, "match_tokens: unknown condition 'fulll'.*did you mean 'full'"),
        ({"match_tokens": ["full"], "strategy": ["few-shot"]}, "nothing is trained"),
        ({"match_tokens": ["full"], "truncation": ["paper"]}, "whole examples"),
        ({"rollout_dialogues": [1], "strategy": ["independent"]}, "ends with no one model"),
        ({"rollout_dialogues": [1], "strategy": ["lookup"]}, "'lookup' ends with no one model"),
        ({"match_tokens": ["full"], "strategy": ["most-frequent"]}, "nothing is trained"),
        ({"truncation": ["paper"], "strategy": ["lookup"]}, "'lookup' reads prompts line by line"),
        ({"rollout_dialogues": [1], "eval_conditions": [["stripped+values"]]}, "what the right call needs"),
    ],
)
def test_runs_that_cannot_be_are_refused_before_anything_starts(real, values, message):
    with pytest.raises(ValueError, match=message):
        real(values)


def test_a_run_is_the_same_wherever_its_corpus_lies(real, tmp_path):
    line = (
        '{"block": "%s", "held_out": %s, "messages": [{"role": "user", "content": "Hi."}, '
        '{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {}}}]}], '
        '"tools": []}'
    )
    text = "\n".join(line % (block, side) for block in "ab" for side in ("true", "false"))
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.jsonl").write_text(text)
    (tmp_path / "here" / "other.jsonl").write_text(text)
    names = [
        list(real({}, corpus="jsonl", corpus_path=str(tmp_path / path)))
        for path in ("here/mine.jsonl", "there/mine.jsonl", "here/other.jsonl")
    ]
    assert names[0] == names[1] != names[2]


def committed():
    """Name and parameters of every run of the committed studies, from their plans and from their records."""
    found = []
    for about in ROOT.glob("reports/*/study.yaml"):
        found += yaml.safe_load(about.read_text(encoding="utf-8"))["runs"].items()
    for record in ROOT.glob("reports/*/records/*/record.json"):
        found.append((record.parent.name, json.loads(record.read_text())["parameters"]))
    return found


@pytest.mark.parametrize("name, run", committed(), ids=lambda part: part if isinstance(part, str) else "")
def test_runs_of_committed_studies_keep_their_names(name, run):
    parameters = schema(ROOT / "notebooks")
    defaults = {known: parameter.default for known, parameter in parameters.items()}
    run = defaults | {known: value for known, value in run.items() if known in defaults}
    run["order"] = as_asked(run)
    assert grid.run_name(run, parameters) == name


def as_asked(run):
    """A record spells out the corpus's own order, which a params file leaves empty."""
    own = BLOCKS if run["corpus"] == "api-bank" else bfcl.BLOCKS.values()
    return [] if run["order"] == list(own) else run["order"]
