"""Attempts at a run: apart while they work, one of them is the run's, and the dead serve the next."""

import json
from dataclasses import replace

import pytest

from trajnb.study import attempts
from trajnb.study.job import Held, Job, hold


@pytest.fixture
def job(tmp_path):
    folder, notebook = tmp_path / "study" / "runs" / "full-s0", tmp_path / "notebooks" / "x.ipynb"
    files = folder / "x.ipynb", folder / "parameters.yaml", folder / "log.txt"
    parameters = {"run_folder": str(folder), "seed": 0}
    return Job("full-s0", notebook, *files, parameters, tmp_path / "study" / "attempts" / "full-s0")


def done(job):
    return (job.folder / "record.json").is_file()


def fill(folder, *files):
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def names(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in found}


def finish(attempt):
    told = json.dumps({"parameters": attempt.parameters})
    (attempt.folder / "record.json").write_text(told)
    attempt.log.write_text(attempt.folder.name)


def test_two_attempts_touch_nothing_of_one_another_and_one_is_published(job):
    first, second = attempts.begin(job), attempts.begin(job)
    assert first.folder != second.folder and not job.folder.exists()
    assert first.parameters == job.parameters | {"run_folder": str(first.folder)}
    finish(second)
    finish(first)
    attempts.publish(second, job, done)
    attempts.publish(first, job, done)
    assert job.log.read_text() == second.folder.name, "who is second changes nothing"
    record = json.loads((job.folder / "record.json").read_text())
    assert record["parameters"] == job.parameters, "it names the folder that it is in"
    assert not job.attempts.exists()


def test_an_attempt_goes_on_where_the_farthest_one_was(job):
    near, far = attempts.begin(job), attempts.begin(job)
    fill(near.folder, "shaping.json", "checkpoints/1-a/checkpoint-4/trainer_state.json")
    fill(far.folder, "shaping.json", "adapters/1-a/adapter_model.safetensors", "stages/1-full.jsonl")
    fill(far.folder, "checkpoints/2-b/checkpoint-2/trainer_state.json", "pid")
    whole = names(far.folder)
    fill(far.folder, "log.txt", "x.ipynb", "parameters.yaml")  # its own
    fill(far.folder, "adapters/.2-b/adapter_model.safetensors", "stages/.2-full.jsonl.17")  # drafts
    (far.folder / "stages" / "link").symlink_to(far.log)
    assert names(attempts.begin(job).folder) == whole


def test_an_attempt_finds_what_one_has_left_that_came_nowhere(job):
    fill(attempts.begin(job).folder, "shaping.json")
    assert names(attempts.begin(job).folder) == {"shaping.json"}


def test_a_checkpoint_that_vanishes_while_it_is_copied_is_no_checkpoint(job, monkeypatch):
    before = attempts.begin(job)
    fill(before.folder, "shaping.json", *(f"checkpoints/1-a/checkpoint-4/{n}" for n in "abc"))
    fill(before.folder, "checkpoints/1-a/checkpoint-2/trainer_state.json")
    copied = attempts.shutil.copyfile

    def rotated(source, target):
        if source.name == "c":
            source.unlink()
        copied(source, target)

    monkeypatch.setattr(attempts.shutil, "copyfile", rotated)
    whole = {"shaping.json", "checkpoints/1-a/checkpoint-2/trainer_state.json"}
    assert names(attempts.begin(job).folder) == whole


def test_a_run_that_lacks_something_goes_on_and_makes_room(job):
    """Begun here, or finished and asked for more: its folder is where the run's will be."""
    fill(job.folder, "shaping.json", "adapters/1-a/adapter_model.safetensors", "log.txt")
    attempt = attempts.begin(job)
    assert names(attempt.folder) == {"shaping.json", "adapters/1-a/adapter_model.safetensors"}
    finish(attempt)
    attempts.publish(attempt, job, done)
    assert job.log.read_text() == attempt.folder.name and not job.attempts.exists()


def test_a_process_at_work_in_the_runs_own_folder_is_left_alone(job):
    with hold(job.log), pytest.raises(Held):
        attempts.begin(job)
    assert not job.attempts.exists()


def test_a_publishing_that_fails_is_told(job):
    attempt = attempts.begin(job)
    finish(attempt)
    job.folder.parent.parent.joinpath("runs").write_text("a file")
    with pytest.raises(OSError):
        attempts.publish(attempt, job, done)
    assert names(attempt.folder), "nothing of it is lost"


def test_the_newest_log_is_that_of_the_attempt_begun_last(job):
    assert attempts.newest_log(job) == job.log
    for _ in range(2):
        attempt = attempts.begin(job)
        attempt.log.write_text("x")
    assert attempts.newest_log(job) == attempt.log
    assert attempts.newest_log(replace(job, attempts=None)) == job.log
