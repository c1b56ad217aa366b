"""What goes wrong beside the work is one named error: nothing that computes ends for it."""

import json
from functools import partial

import pytest

from trajnb import keeping
from trajnb.study import engines, folder, job, pages, parts, pipeline
from trajnb.study.job import Job

TRAIN = next(part for part in parts.PARTS if part.notebook == parts.TRAIN)


@pytest.fixture
def one(tmp_path):
    """A job whose executed notebook is there."""
    executed = tmp_path / "02_train.ipynb"
    executed.write_text('{"cells": [')
    return Job("full-s0", executed, executed, tmp_path / "p.yaml", tmp_path / "log.txt", {})


@pytest.mark.parametrize("text", ['{"cells": [', "", "[]", '{"cells": 7}', '{"cells": [{}], "metadata": []}', "7"])
def test_a_notebook_that_was_cut_is_an_error_of_its_page(one, text, capsys):
    one.executed.write_text(text)
    errors, states = {}, {}
    changed = partial(pipeline._changed, TRAIN, one.executed.parent, states, errors)
    changed(one, "finished")
    assert states == {"full-s0": "finished"}
    assert list(errors) == ["page of full-s0"] and "\n" not in errors["page of full-s0"]
    assert "page of full-s0: it cannot be made" in capsys.readouterr().out
    assert not parts.is_shown(one) and job.last_error(one) == "it ended without a word"


def test_a_full_disk_is_an_error_of_the_page_and_gone_once_there_is_room(one, monkeypatch):
    errors = {}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages, "render", lambda executed: None)
    monkeypatch.setattr(pages, "write_index", full)
    pipeline._changed(TRAIN, one.executed.parent, {}, errors, one, "failed")
    assert errors == {"index.html": "OSError: [Errno 28] No space left on device"}
    monkeypatch.setattr(pages, "write_index", lambda *_: None)
    pipeline._changed(TRAIN, one.executed.parent, {}, errors, one, "finished")
    assert errors == {}


def test_a_job_that_cannot_be_started_is_named_and_the_others_go_on(one, monkeypatch):
    def no_room(job, *_):
        raise OSError(28, "No space left on device", str(job.log))

    monkeypatch.setattr(engines, "start", no_room)
    heard = []
    errors = engines.local([one], [{}], lambda _: False, lambda job, state: heard.append(state))
    assert heard == ["failed"] and "No space left on device" in errors["full-s0"]


def test_a_renamed_record_is_not_taken_for_another_run(write_run, tmp_path, capsys):
    plan = {"condition": "full", "eval_conditions": [], "seed": 0, "model": "tiny", "corpus": "sample"}
    write_run(tmp_path / "kept" / "records" / "full-s0-1", "full", epochs=2)
    (tmp_path / "out" / "runs").mkdir(parents=True)
    folder.adopt_kept(tmp_path / "out", {"full-s0-1": plan}, tmp_path / "kept")
    said = capsys.readouterr().out
    assert "is of corpus bfcl, model smollm2-135m, so it runs anew" in said
    assert not list((tmp_path / "out" / "runs").iterdir())
    (tmp_path / "kept" / "records" / "full-s0-1").rename(tmp_path / "out" / "runs" / "full-s0-1")
    with pytest.raises(ValueError, match="holds a run of corpus bfcl, model smollm2-135m, not sample, tiny"):
        folder.is_finished(tmp_path / "out" / "runs" / "full-s0-1", plan)


def test_a_record_under_another_name_is_taken_by_its_parameters(write_run, tmp_path):
    plan = {"condition": "full", "eval_conditions": [], "epochs": 2}
    write_run(tmp_path / "kept" / "records" / "any name", "full", epochs=2)
    write_run(tmp_path / "kept" / "records" / "full-s0-1", "full", seed=1, epochs=1)
    (tmp_path / "out" / "runs").mkdir(parents=True)
    folder.adopt_kept(tmp_path / "out", {"full-s0-1": plan}, tmp_path / "kept")
    assert keeping.read_kept(tmp_path / "out" / "runs" / "full-s0-1").run.record.parameters["epochs"] == 2


def test_what_a_record_lacks_is_at_its_default(write_run, tmp_path, capsys):
    plan = {"condition": "full", "eval_conditions": [], "learning_rate": 0.1}
    write_run(tmp_path / "kept" / "records" / "full-s0-1", "full")
    (tmp_path / "out" / "runs").mkdir(parents=True)
    folder.adopt_kept(tmp_path / "out", {"full-s0-1": plan}, tmp_path / "kept", {"learning_rate": 2e-4})
    assert "is of learning_rate 0.0002, so it runs anew" in capsys.readouterr().out


def test_nothing_is_taken_where_one_of_all_is_damaged(write_run, tmp_path):
    plans = {}
    for seed in (0, 1):
        write_run(tmp_path / "kept" / "records" / f"full-s{seed}", "full", seed=seed)
        plans[f"full-s{seed}"] = {"condition": "full", "eval_conditions": [], "seed": seed}
    (tmp_path / "kept" / "records" / "full-s1" / "items.jsonl").write_text("{}\n")
    (tmp_path / "out" / "runs").mkdir(parents=True)
    with pytest.raises(ValueError, match="full-s1 cannot be read .items.jsonl: line 1"):
        folder.adopt_kept(tmp_path / "out", plans, tmp_path / "kept")
    assert not list((tmp_path / "out" / "runs").iterdir())


def test_runs_that_cannot_be_pooled_are_not_taken(write_run, tmp_path):
    write_run(tmp_path / "out" / "runs" / "full-s0", "full", seed=0)
    other = write_run(tmp_path / "kept" / "records" / "full-s1", "full", seed=1)
    record = json.loads((other / "record.json").read_text())
    record["corpus"]["hash"] = "2" * 64
    (other / "record.json").write_text(json.dumps(record))
    plans = {f"full-s{n}": {"condition": "full", "eval_conditions": [], "seed": n} for n in (0, 1)}
    with pytest.raises(ValueError, match="cannot be pooled"):
        folder.adopt_kept(tmp_path / "out", plans, tmp_path / "kept")
    assert not (tmp_path / "out" / "runs" / "full-s1").exists()
