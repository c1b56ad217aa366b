"""A run that learns preferences, without a kernel: recorded, cut anywhere, shared, and refused."""

import json
from dataclasses import asdict, fields
from itertools import chain

import pytest
import torch
import yaml
from click.testing import CliRunner

from trajnb import records
from trajnb.machine import ROOT
from trajnb.objectives import PREFERENCES
from trajnb.qlora import model as models
from trajnb.qlora.pairs import log_probabilities, log_ratios
from trajnb.run import answer, ask, grow, homes, learn, prefer, prepare
from trajnb.run.by_objective import settings_class
from trajnb.run.preferences import PreferSettings
from trajnb.run.settings import Settings
from trajnb.run.train import train
from trajnb.scoring import continual
from trajnb.scoring import preferences as scored
from trajnb.study.cli import main
from trajnb.study.grid import run_name
from trajnb.study.parameters import check_run, notebook_parameters
from trajnb.study.parts import of_training, schema

NOTEBOOKS = ROOT / "notebooks"
SCHEMA = of_training(NOTEBOOKS)
WEIGHTS = "adapter_model.safetensors"
DEFAULTS = {name: one.default for name, one in SCHEMA.items()}
QUICK = {
    "train_dialogues": 1,
    "learning_rate": 0.01,
    "dialogues_per_step": 1,
    "max_new_tokens": 32,
    "budget": 4,
    "eval_stages": "ends",
    "preference_rate": 0.001,
    "preference_epochs": 2,
    "stop_targets": True,
    "objective": "prefer",
}


def told(folder, **other):
    return DEFAULTS | QUICK | {"run_folder": str(folder)} | other


def prepared(folder, **other):
    values = told(folder, **other)
    return prepare.prepare(settings_class(values).of(values))


def quiet(text):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of the tiny model, by the command line, and what it said."""
    folder = tmp_path_factory.mktemp("prefer") / "whole"
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump({**QUICK, "run_folder": str(folder)}))
    done = CliRunner().invoke(main, ["train", str(file)])
    assert done.exit_code == 0, done.output
    return folder, done.output


def test_the_notebooks_parameters_are_the_settings_and_those_of_02_as_they_are():
    own, two = (notebook_parameters(NOTEBOOKS / f"{name}.ipynb") for name in ("05_prefer", "02_train"))
    assert set(own) == {field.name for field in fields(PreferSettings)}
    apart = {name for name in two if own[name] != two[name]}
    assert apart == {"stop_targets", "train_dialogues", "max_new_tokens"}  # turns are ended; less is asked
    assert all(own[name].help == two[name].help for name in two)
    assert [name for name in own if name in two] == list(two), "in the same bands"
    assert schema(NOTEBOOKS)["objective"].default == "sft"


def test_a_stage_keeps_what_was_before_its_preferences_and_its_end(whole):
    folder, said = whole
    names = ["1-file_system", "2-vehicle_control", "3-trading", "4-travel"]
    assert sorted(path.name for path in (folder / "adapters").iterdir()) == names
    for name in names:
        there = {path.name for path in (folder / "preferences" / name).iterdir()} - {"lock"}
        assert there == {
            "sft", "sft.json", "asked-full.jsonl", "turns.jsonl", "trees.jsonl", "pairs.jsonl", "pairs.json",
        }  # fmt: skip
    assert "block 2/4 vehicle_control · preferences · step 1" in said


def test_the_record_says_what_was_learnt_from_and_what_it_changed(whole):
    run = records.read_run(whole[0])
    stages = run.record.preferences["stages"]
    assert [stage["blocks"] for stage in stages] == run.record.stages
    pairs = sum(stage["pairs"]["pairs"] for stage in stages)
    assert pairs == sum(sum(stage["pairs"]["kind"].values()) for stage in stages) > 0
    learnt = [stage["training"] for stage in stages if stage["training"]]
    assert all(one["steps"][0]["loss"] == pytest.approx(0.6931, abs=1e-3) for one in learnt)
    supervised = [json.loads(path.read_text()) for path in whole[0].glob("preferences/*/sft.json")]
    assert run.record.steps == sum(one["cost"]["steps"] for one in [*supervised, *learnt])
    turns, calls = scored.turns([run]), scored.calls([run])
    tasks = turns[turns.stage == 0]
    inner, items = sum(tasks.block != "travel"), [item["block"] for item in run.items]
    inner_items = sum(block != "travel" for block in items)
    # before training, twice at the last stage and by search; in between twice what was just learnt
    assert len(turns) == 4 * len(tasks) + 2 * inner
    assert len(calls) == 3 * len(items) + 2 * inner_items
    assert turns[turns.search == "tree"].replies.max() <= QUICK["budget"]
    assert set(continual.intervals(scored.chains(turns), "passed")) == set(continual.METRICS)


def test_again_it_learns_plays_and_asks_nothing(whole, monkeypatch):
    folder, _ = whole
    before = everything(folder)
    for module, name in (
        (learn, "train_block"), (prefer, "train_pairs"), (ask, "sample"), (answer, "predict"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it was done again"))
    train(prepared(folder), quiet)
    assert everything(folder) == before


def everything(folder):
    """What a run leaves, as bytes, but for times."""
    made = ("*.safetensors", "trees.jsonl", "pairs.jsonl", "turns.jsonl", "predictions.jsonl")
    found = chain.from_iterable(folder.rglob(name) for name in (*made, "before_preferences.jsonl"))
    return {path.relative_to(folder): path.read_bytes() for path in found}


def test_none_is_supervised_training_bit_for_bit(tmp_path):
    joint = {"strategy": "joint"}
    train(prepared(tmp_path / "none", preference="none", **joint), quiet)
    train(prepared(tmp_path / "sft", objective="sft", **joint), quiet)
    none, sft = everything(tmp_path / "none"), everything(tmp_path / "sft")
    assert sft.items() <= none.items() and len(sft) == 2  # the adapter and the predictions
    assert {path.name for path in none.keys() - sft.keys()} == {"turns.jsonl", "before_preferences.jsonl"}
    record = records.read_run(tmp_path / "none").record
    assert record.preferences == {"stages": []} and not (tmp_path / "none" / "preferences").exists()


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """One stage of each arm that learns from pairs, all with one shared home: the arm's name -> its run,
    its adapter as files, what its pairs say of it, and how often trees were grown.
    """
    folder, times = tmp_path_factory.mktemp("arms"), []
    shared = {"strategy": "joint", "preferences_folder": str(folder / "shared")}
    real = grow.expert_trees
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grow, "expert_trees", lambda *all: times.append(1) or real(*all))
        for name, preference in PREFERENCES.items():
            if preference.learns:
                found[name] = one_stage(prepared(folder / name, preference=name, **shared))
    return found, folder, len(times)


def one_stage(run):
    """Learn the only stage of a run; returns its run, adapter and how its own pairs' log-ratios moved."""
    learner, so_far = learn.add_adapter(learn.load_untrained(run), run.settings), homes.begin(run)
    (planned,) = run.stages
    prefer.supervise(learner, run, planned, so_far, quiet)
    trees = grow.grow(learner.network, run, planned, so_far, quiet)
    pairs = grow.pair(run, planned, trees, so_far, quiet)
    own = prefer.plan_of(as_pairs(run), pairs).pairs
    names = [row["dialogue_id"] for row in pairs.rows]
    reference = log_probabilities(learner.network, own, names, 2048)
    prefer.learn_pairs(learner, run, planned, pairs, so_far, quiet)
    moved = log_ratios(learner.network, own, reference, names, 2048)
    return run, models.adapter_weights(learner.network), moved


def as_pairs(run):
    """The run with pairs as they are."""
    values = asdict(run.settings) | {"preference": "pairs"}
    return prepare.Prepared(PreferSettings.of(values), run.place, run.source, run.material, run.stages)


def test_cut_where_it_grows_and_where_it_prefers_it_ends_with_the_same_bytes(
    arms, tmp_path, monkeypatch
):
    cuts, real = [], prefer.train_pairs

    def cut(*_, **__):
        cuts.append(1)
        raise KeyboardInterrupt

    def cut_in_the_middle(model, plan, *, folder, **more):
        real(model, plan, folder=folder, **more)  # its weights are changed, and nothing of them is kept
        cut()

    for module, name, instead in (
        (grow, "expert_trees", cut), (prefer, "train_pairs", cut_in_the_middle),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(module, name, instead)
            with pytest.raises(KeyboardInterrupt):
                train(prepared(tmp_path / "cut", strategy="joint"), quiet)
    assert len(cuts) == 2 and not (tmp_path / "cut" / "adapters").exists()
    train(prepared(tmp_path / "cut", strategy="joint"), quiet)
    found, folder, _ = arms
    (shared,) = (folder / "shared").iterdir()
    for name in ("trees.jsonl", "pairs.jsonl", "pairs.json", f"sft/{WEIGHTS}"):
        ours = tmp_path / "cut" / "preferences" / "1-joint" / name
        assert ours.read_bytes() == (shared / name).read_bytes(), name
    ours, theirs = (one / "adapters" / "1-joint" / WEIGHTS for one in (tmp_path / "cut", folder / "pairs"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_arms_share_all_that_is_before_their_preferences(arms):
    found, folder, times = arms
    assert list(found) == ["pairs", "more-sft", "random", "flipped"] and times == 1
    (home,) = (folder / "shared").iterdir()
    assert home.name.startswith("1-joint-") and (home / "sft").is_dir()
    assert not list(folder.glob("*/preferences"))


def test_arms_learn_from_the_same_pairs_what_they_say(arms):
    found, _, _ = arms
    adapters = [weights for _, weights, _ in found.values()]
    for one, other in zip(adapters, adapters[1:], strict=False):
        assert any(not torch.equal(one[name], other[name]) for name in one)
    margin = {name: float((moved[:, 0] - moved[:, 1]).mean()) for name, (*_, moved) in found.items()}
    assert margin["pairs"] > 0 > margin["flipped"]
    assert float(found["more-sft"][2][:, 0].mean()) > 0, "chosen sides became likelier"


def test_an_arm_does_not_share_with_a_run_that_something_else_shapes(tmp_path):
    shared = {"strategy": "joint", "preferences_folder": str(tmp_path / "shared")}
    runs = [prepared(tmp_path / "a", **shared, **other) for other in ({}, {"beta": 0.5}, {"width": 2})]
    first, same, other = (homes.begin(run).homes["joint"] for run in runs)
    assert first == same != other


def test_a_block_without_pairs_ends_as_it_is_and_says_so(tmp_path):
    said = []
    train(prepared(tmp_path / "short", strategy="joint", max_new_tokens=1), said.append)
    assert any("no pair, so no preference is learnt" in line for line in said)
    stage = records.read_run(tmp_path / "short").record.preferences["stages"][0]
    assert stage["training"] is None and stage["pairs"]["dropped"]["cut"] > 0
    ends = tmp_path / "short" / "adapters" / "1-joint" / WEIGHTS
    before = tmp_path / "short" / "preferences" / "1-joint" / "sft" / WEIGHTS
    assert ends.read_bytes() == before.read_bytes()


@pytest.mark.parametrize(
    "other, message",
    [
        ({"corpus": "jsonl"}, "those of the corpus 'jsonl' cannot be executed"),
        ({"stop_targets": False}, "ends 'model' asks the model to end a turn.*stop_targets: true"),
        ({"tree_source": "self", "width": 1}, "width is 1: a tree that the model grows itself"),
        ({"strategy": "few-shot"}, "under strategy 'few-shot' nothing is trained"),
        ({"condition": "placebo"}, "objective 'prefer' plays turn tasks: no rollout under placebo"),
        ({"truncation": "paper"}, "truncation must be 'turns', not 'paper'"),
        ({"preference": "pair"}, r"unknown preference 'pair' \(did you mean 'pairs'\?\)"),
        ({"siblings": "late"}, "unknown siblings 'late'"),
    ],
)
def test_what_cannot_be_preferred_is_refused_with_the_remedy(tmp_path, other, message):
    values = told(tmp_path, **other)
    for check in (PreferSettings.of, lambda run: check_run(run, SCHEMA)):
        with pytest.raises(ValueError, match=message):
            check(values)


@pytest.mark.parametrize(
    "other, of_notebook, of_params",
    [
        ({"beta": 0.0}, "beta is 0.0: it must be above 0", "beta is 0.0: it must lie in (0, 1000]"),
        ({"temperature": -1.0}, "temperature is -1.0: it must be above 0",
         "temperature is -1.0: it must lie in (0, 100]"),
        ({"preference_epochs": 0}, "preference_epochs is 0: it must be at least 1",
         "preference_epochs is 0: it must lie in [1, 1000]"),
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_refused_by_notebook_and_params(tmp_path, other, of_notebook, of_params):
    values = told(tmp_path, **other)
    with pytest.raises(ValueError) as found:
        PreferSettings.of(values)
    assert str(found.value) == of_notebook
    with pytest.raises(ValueError) as found:
        check_run(values, SCHEMA)
    assert str(found.value) == of_params


def test_a_notebook_trains_runs_of_its_own_objective(tmp_path):
    with pytest.raises(ValueError, match="05_prefer trains runs of objective 'prefer', not 'sft'"):
        PreferSettings.of(told(tmp_path, objective="sft"))
    with pytest.raises(ValueError, match="02_train trains runs of objective 'sft', not 'prefer'"):
        Settings.of(told(tmp_path))


def test_preferences_shape_no_run_of_another_objective(tmp_path):
    plain = DEFAULTS | {"objective": "sft"}
    assert run_name(plain, SCHEMA) == run_name(plain | {"beta": 0.5, "width": 2}, SCHEMA)
    preferring = told(tmp_path)
    assert run_name(preferring, SCHEMA) != run_name(preferring | {"beta": 0.5}, SCHEMA)
