"""Several processes on one run: shared fairly, refused where they do not know of one another."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.qlora import two_ranks
from trajnb import records
from trajnb.machine import ROOT
from trajnb.qlora import ranks, train
from trajnb.qlora.plan import Recipe, make_plan
from trajnb.run.prepare import find_place, prepare
from trajnb.run.train import train as train_run


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 5))
def test_all_is_dealt_once_and_no_hand_has_more_than_a_largest_more(sizes, hands):
    dealt = ranks.deal(sizes, hands)
    assert len(dealt) == hands and sorted(sum(dealt, [])) == list(range(len(sizes)))
    assert all(hand == sorted(hand) for hand in dealt)
    loads = [sum(sizes[index] for index in hand) for hand in dealt]
    assert max(loads) - min(loads) <= max(sizes, default=0)


def test_the_passes_of_every_process_stand_as_accelerate_deals_them(dialogues, monkeypatch):
    """Every step is a whole number of rounds, and each process finds its own passes in its turn."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    names = [str(d) for d, group in enumerate(dialogues) for _ in group]
    recipe = Recipe(1, 2, 1e-2, 0.1, packing="none", token_budget=200)
    plan = make_plan(sum(dialogues, []), names, recipe, seed=0)
    assert {len(passes) for passes in plan.passes} == {10, 5}
    data = train._Passes(plan, lambda step, one: {"step": step, "one": one}, lambda layout: layout)
    assert data.width == 4 and len(data) == 2 * 3 * 4
    rows = [data[index] for index in range(len(data))]
    for step, passes in enumerate(plan.passes):
        own = rows[step * 12 : (step + 1) * 12]
        assert {row["step"] for row in own} == {step}
        hands = [[row["one"] for row in own[rank::3] if row["one"]] for rank in range(3)]
        assert hands == train.dealt_passes(passes)
        assert sum(map(len, hands)) == len(passes)


def test_processes_that_do_not_know_of_one_another_train_nothing(model, dialogues, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    names = [str(d) for d, group in enumerate(dialogues) for _ in group]
    plan = make_plan(sum(dialogues, []), names, Recipe(1, 2, 1e-2, 0.1, "trie", 200), seed=0)
    with pytest.raises(ValueError, match="accelerate launch -m trajnb train PARAMETERS.yaml"):
        train.train_block(model, plan, seed=0, folder=tmp_path, say=print)
    assert not list(tmp_path.iterdir())


def started(*command: str) -> subprocess.CompletedProcess:
    """The end of two processes of one run on this machine's CPU."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*launch, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    return done


def test_two_processes_end_as_one(tmp_path):
    done = started(two_ranks.__file__, str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads((tmp_path / "told.json").read_text())
    one = two_ranks.trained(tmp_path / "alone")
    assert len(one["losses"]) == 3 and len(set(one["losses"])) == 3
    for two in told["trained"]:  # the second was cut and gone on with
        assert two["losses"] == pytest.approx(one["losses"], abs=1e-6)
        apart = torch.tensor(two["weights"]) - torch.tensor(one["weights"])
        assert apart.abs().max() < 1e-6
    train_run(prepare(two_ranks.settings(tmp_path / "run-alone")), lambda text: None)
    runs = [records.read_run(tmp_path / name) for name in ("run", "run-alone")]
    assert told["said"][0] and not told["said"][1], "the first alone speaks"
    assert runs[0].record.machine == runs[1].record.machine + ", 2 processes"
    assert runs[0].record.tokens == runs[1].record.tokens
    likely = [[line.pop("gold_nll") for line in run.predictions] for run in runs]
    assert runs[0].predictions == runs[1].predictions and len(runs[0].predictions) > 10
    assert likely[0] == pytest.approx(likely[1], abs=1e-3)
    assert not list((tmp_path / "run").glob("checkpoints/*"))


@pytest.mark.slow
def test_the_command_runs_under_a_launcher(tmp_path):
    parameters = tmp_path / "parameters.yaml"
    told = two_ranks.settings(tmp_path / "run")
    parameters.write_text(yaml.safe_dump(dataclasses.asdict(told)))
    done = started("-m", "trajnb", "train", str(parameters))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == str(tmp_path / "run")
    assert done.stdout.count(str(tmp_path / "run")) == 1, "one process speaks"
    refused = started("-m", "trajnb", "run", str(ROOT / "params" / "quick.yaml"))
    assert refused.returncode and "a study is run by one process" in refused.stderr


def test_in_a_notebook_several_processes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="a notebook trains with one: start the run with"):
        find_place(two_ranks.settings(tmp_path))
