"""Losses told to a tracker of the Trainer, off unless asked for."""

from dataclasses import replace

import pytest

from trajnb.qlora import train
from trajnb.qlora.plan import Recipe, make_plan
from trajnb.run.settings import NOT_IDENTITY, TRACKERS

RECIPE = Recipe(1, 2, 1e-2, 0.0, "trie", 200)


def learn(model, dialogues, folder, recipe):
    examples = sum(dialogues, [])
    names = [str(number) for number, own in enumerate(dialogues) for _ in own]
    plan = make_plan(examples, names, recipe, seed=0)
    return train.train_block(model, plan, seed=0, folder=folder / "checkpoints" / "1-one", say=lambda _: None)


def test_nothing_is_told_unless_asked_for(model, dialogues, tmp_path):
    learn(model, dialogues, tmp_path, RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_tensorboard_has_every_loss_where_checkpoints_are_not(model, dialogues, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained = learn(model, dialogues, tmp_path, replace(RECIPE, report_to="tensorboard"))
    events = EventAccumulator(str(tmp_path / "tracking" / "1-one"))
    events.Reload()
    told = [event.value for event in events.Scalars("train/loss")]
    assert told == pytest.approx(trained.losses, abs=1e-4) and told
    assert not list((tmp_path / "checkpoints").rglob("events.out*"))


def test_a_tracker_that_is_not_there_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(train, "get_available_reporting_integrations", lambda: ["tensorboard"])
    train.check_tracker("none")
    train.check_tracker("tensorboard")
    with pytest.raises(ValueError, match="report_to is 'wandb', which is not installed: pip install wandb"):
        train.check_tracker("wandb")


def test_the_trackers_are_those_of_the_trainer_and_shape_no_run():
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    assert set(TRACKERS) - {"none"} <= set(INTEGRATION_TO_CALLBACK)
    assert "report_to" in NOT_IDENTITY
