import fcntl
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from trajnb import keeping
from trajnb.machine import ROOT
from trajnb.study import engines, grid, pages, parts, pipeline
from trajnb.study import folder as folders_of
from trajnb.study.job import Job
from trajnb.study.params import Study

ROLLOUT = next(part for part in parts.PARTS if "rollout" in part.notebook)
NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture(autouse=True, scope="module")
def plain_pages():
    """Pages that need no records: what is rendered is the business of tests/show."""
    with pytest.MonkeyPatch.context() as patch:
        page = lambda executed: executed.with_suffix(".html").write_text("page")  # noqa: E731
        patch.setattr(pages, "render", page)
        patch.setattr(pages, "read_study", lambda out: [])
        patch.setattr(pages, "write_readers", lambda out, runs: None)
        index = lambda out, s, runs=(): (out / "index.html").write_text(json.dumps(s))  # noqa: E731
        patch.setattr(pages, "write_index", index)
        yield


def study_of(notebooks, *grids):
    study = Study("small", "A small study", "", {}, grids)
    return study, grid.expand(study, parts.schema(notebooks))


@pytest.fixture(scope="module")
def first(notebooks, tmp_path_factory):
    """A study of which one run fails, run on a machine whose kernel `python3` is someone else's."""
    out = tmp_path_factory.mktemp("runs") / "small"
    elsewhere = tmp_path_factory.mktemp("jupyter")
    spec = elsewhere / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "broken", "language": "python"}))
    study, runs = study_of(notebooks, {"seed": [0, 13]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(elsewhere))
        patch.delenv("OMP_NUM_THREADS", raising=False)
        errors = pipeline.run_study(study, runs, out, notebooks, jobs=2)
    return out, runs, errors


def test_a_failing_run_is_named_and_the_others_go_on(first):
    out, runs, errors = first
    good, bad = runs
    log = out / "runs" / bad / "log.txt"
    assert errors == {bad: f"AssertionError: thirteen fails the first time (see {log})"}
    assert json.loads((out / "index.html").read_text()) == {good: "finished", bad: "failed"}
    assert not (out / "runs" / bad / "record.json").exists()


def test_notebooks_run_on_this_interpreter_with_a_share_of_the_cores(first):
    out, runs, _ = first
    record = json.loads((out / "runs" / next(iter(runs)) / "record.json").read_text())
    assert record["executable"] == sys.executable
    assert int(record["threads"]) == max(1, len(os.sched_getaffinity(0)) // 2)


def test_a_run_folder_holds_what_papermill_takes(first):
    out, runs, _ = first
    for name, run in runs.items():
        folder = out / "runs" / name
        folders = {"run_folder": str(folder), "zero_shot_folder": str(out / "zero_shot")}
        others = {"objective", "rollout_dialogues", "rollout_calls"}  # of 05_prefer, 06_repair and 04_rollout
        own = {known: value for known, value in run.items() if known not in others}
        assert yaml.safe_load((folder / "parameters.yaml").read_text()) == own | folders
        assert (folder / "02_train.html").is_file() and "» block 1 of 2" in (folder / "log.txt").read_text()


def test_a_run_is_trained_by_the_notebook_of_its_objective(notebooks, tmp_path):
    plain = {name: one.default for name, one in parts.schema(notebooks).items()}
    runs = {"one": plain} | {name: plain | {"objective": name} for name in ("prefer", "repair")}
    place, states = parts.Place(tmp_path, notebooks), dict.fromkeys(runs, "waiting")
    found = {}
    for part in parts.PARTS:
        if part.trains:
            (found[part.notebook],) = pipeline.jobs_of(part, place, runs, states)
    names = {parts.TRAIN: "one", parts.PREFER: "prefer", parts.REPAIR: "repair"}
    assert {notebook: job.name for notebook, job in found.items()} == names
    told = {notebook: job.parameters for notebook, job in found.items()}
    shared = {parts.PREFER: "preferences", parts.REPAIR: "repair"}
    for notebook, folder in shared.items():
        assert told[notebook]["objective"] == names[notebook]
        assert told[notebook][f"{folder}_folder"] == str(tmp_path / folder)
        assert f"{folder}_folder" not in told[parts.TRAIN]


def test_the_pages_of_the_study_are_there(first):
    out, runs, _ = first
    assert (out / "01_inspect.html").is_file() and (out / "03_evaluate.html").is_file()
    assert (out / "07_details.html").is_file()
    assert "1 runs" in (out / "03_evaluate.ipynb").read_text()
    about = yaml.safe_load((out / "study.yaml").read_text())
    assert about["title"] == "A small study" and about["runs"] == runs


def test_again_skips_what_is_finished_and_goes_on_with_the_rest(first, notebooks):
    out, _, _ = first
    study, runs = study_of(notebooks, {"seed": [0, 13]})
    seen = (out / "01_inspect.ipynb").stat().st_mtime
    assert list(folders_of.run_states(out, runs).values()) == ["finished", "cut"]
    assert pipeline.run_study(study, runs, out, notebooks, jobs=1) == {}
    assert [(out / "runs" / name / "attempts").read_text() for name in runs] == ["x", "xx"]
    assert (out / "01_inspect.ipynb").stat().st_mtime == seen
    assert "2 runs" in (out / "03_evaluate.ipynb").read_text()
    inspect = next(part for part in parts.PARTS if not part.of_finished and not part.per_run)
    job = pipeline.job_of(inspect, parts.Place(out, notebooks), *next(iter(runs.items())))
    assert job.parameters == {"seed": 0} and inspect.is_done(job)
    assert not inspect.is_done(replace(job, parameters={"seed": 1}))
    # a further evaluation is work to be done again
    _, wider = study_of(notebooks, {"seed": [0, 13], "eval_conditions": [["full", "stripped"]]})
    assert list(wider) == list(runs) and set(folders_of.run_states(out, wider).values()) == {"cut"}


def test_a_folder_of_another_study_is_left_alone(first, notebooks, tmp_path):
    out, runs, _ = first
    study, others = study_of(notebooks, {"seed": [7]})
    with pytest.raises(ValueError) as error:
        folders_of.claim_folder(out, study, others)
    assert all(name in str(error.value) for name in [*runs, "small", "--out"])
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="no study.yaml.*--out"):
        folders_of.claim_folder(tmp_path, study, others)
    with pytest.raises(ValueError, match="is a file"):
        folders_of.claim_folder(tmp_path / "thesis.tex", study, others)


def test_a_study_may_grow(first, notebooks):
    out, runs, _ = first
    study, more = study_of(notebooks, {"seed": [0, 13, 14]})
    folders_of.claim_folder(out, study, more)
    assert len(folders_of.run_states(out, more)) == 3


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "record.json").write_text('{"matrix"')
    with pytest.raises(ValueError, match="record.json is no record"):
        folders_of.is_finished(tmp_path, {"eval_conditions": [], "condition": "full"})


def test_report_wants_a_finished_run(tmp_path, notebooks):
    with pytest.raises(ValueError, match="no finished run"):
        pipeline.report(tmp_path, notebooks)


def job_in(folder, notebooks, **parameters):
    parameters = {"run_folder": str(folder), **parameters}
    files = [folder / name for name in ("02_train.ipynb", "parameters.yaml", "log.txt")]
    return Job("one", notebooks / parts.TRAIN, *files, parameters)


def test_a_job_that_another_process_works_on_waits_for_it(tmp_path, notebooks, capsys):
    job, looks, heard = job_in(tmp_path, notebooks), [], []
    other = job.log.open("ab")
    fcntl.flock(other, fcntl.LOCK_EX)

    def sleep(seconds):  # the other one ends while this one waits
        looks.append(seconds)
        if len(looks) == 2:
            other.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        assert engines.local([job], [{}], lambda job: True, lambda job, state: heard.append(state)) == {}
    assert heard == ["finished"]
    assert capsys.readouterr().out.count("another process is still at work") == 1


def test_a_study_that_is_stopped_leaves_no_process_behind(tmp_path, notebooks):
    (tmp_path / "slow.yaml").write_text("runs: [{seed: 99}]")
    code = f"""
from pathlib import Path
from trajnb.study import cli
cli.NOTEBOOKS = Path({str(notebooks)!r})
cli.main(["run", "slow.yaml", "--set", "masked=false"])
"""
    # SIGTERM, which trajnb takes for Ctrl-C: a shell lets its background jobs ignore the latter
    trajnb = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    (pid,) = wait_for(lambda: [path.read_text() for path in tmp_path.glob("runs/slow/runs/*/pid")])
    trajnb.terminate()
    assert "The same command goes on from here" in trajnb.communicate(timeout=30)[1]
    assert trajnb.returncode == 130
    wait_for(lambda: not Path("/proc", pid).exists())


def wait_for(true, seconds=60):
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return value


@pytest.mark.parametrize(
    "visible, jobs, expected",
    [("0,1", None, ["0", "1"]), ("3", 2, ["3", "3"]), ("0,1", 1, ["0"])],
)
def test_a_run_sees_one_gpu(monkeypatch, visible, jobs, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in engines.slots(jobs)] == expected


def test_without_a_gpu_runs_share_the_cores(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert len(engines.slots(None)) == 1
    cores = len(os.sched_getaffinity(0))
    assert engines.slots(cores + 1) == [{"OMP_NUM_THREADS": "1"}] * (cores + 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert engines.slots(2) == [{}, {}]


@pytest.fixture
def job(tmp_path):
    run = {"condition": "full", "eval_conditions": [], "rollout_dialogues": 2, "rollout_calls": 5}
    place = parts.Place(tmp_path / "out", NOTEBOOKS)
    return pipeline.job_of(ROLLOUT, place, "full-s0", run)


def test_a_rollout_is_asked_for_by_the_run_and_stands_beside_its_record(job, tmp_path):
    assert not ROLLOUT.wanted({"rollout_dialogues": 0}) and not ROLLOUT.wanted({})
    assert job.parameters == {
        "run_folder": str(tmp_path / "out" / "runs" / "full-s0"),
        "rollout_dialogues": 2, "rollout_calls": 5, "eval_conditions": ["full"],
    }  # fmt: skip
    assert job.executed == tmp_path / "out" / "runs" / "full-s0" / "04_rollout.ipynb"


def test_a_rollout_is_played_again_only_where_it_would_be_another(job):
    folder = job.log.parent
    folder.mkdir(parents=True)
    assert not ROLLOUT.is_done(job)
    kept = {name: job.parameters[name] for name in ("rollout_dialogues", "rollout_calls", "eval_conditions")}
    (folder / "rollout.json").write_text(json.dumps({"parameters": kept}))
    assert ROLLOUT.is_done(job)
    (folder / "rollout.json").write_text(json.dumps({"parameters": kept | {"rollout_calls": 6}}))
    assert not ROLLOUT.is_done(job)


def test_kept_records_are_taken_over_and_only_the_rest_would_run(write_run, notebooks, tmp_path, capsys):
    asked = Study("s", "s", "", {}, ({"condition": ["full", "stripped"], "seed": [0]},))
    runs = grid.expand(asked, parts.schema(notebooks))
    full, stripped = runs
    for name, condition in ((full, "full"), (stripped, "stripped")):
        write_run(tmp_path / "study" / "runs" / name, condition)
    keeping.keep(tmp_path / "study", tmp_path / "kept")
    runs[stripped]["eval_conditions"] = ["stripped", "full"]
    out = tmp_path / "out"
    (out / "runs").mkdir(parents=True)
    folders_of.adopt_kept(out, runs, tmp_path / "kept")
    assert folders_of.run_states(out, runs) == {full: "finished", stripped: "waiting"}
    said = capsys.readouterr().out
    assert f"{full}: taken from" in said and f"{stripped}: the record in" in said
    with pytest.raises(ValueError, match="holds no finished run"):
        folders_of.adopt_kept(out, runs, out / "nothing")


def test_a_record_of_the_ends_is_finished_only_where_they_are_all_that_is_asked(write_run, tmp_path, capsys):
    runs = {
        name: {"condition": "full", "eval_conditions": [], "eval_stages": stages}
        for name, stages in (("ends", "ends"), ("all", "all"))
    }
    for name in runs:
        write_run(tmp_path / "kept" / "runs" / name, "full", eval_stages="ends")
    (tmp_path / "out" / "runs").mkdir(parents=True)
    folders_of.adopt_kept(tmp_path / "out", runs, tmp_path / "kept")
    assert folders_of.run_states(tmp_path / "out", runs) == {"ends": "finished", "all": "waiting"}
    assert "all: the record in" in capsys.readouterr().out
    write_run(tmp_path / "whole" / "runs" / "ends", "full")
    assert folders_of.is_finished(tmp_path / "whole" / "runs" / "ends", runs["ends"]), "more than is asked"


def test_a_family_remembers_when_it_was_declared(tmp_path, monkeypatch):
    study = Study("s", "s", "", {}, (), {"measures": ["name"], "effects": ["prompt"]})
    about = tmp_path / "out" / "study.yaml"
    for moment in ("first", "later"):
        monkeypatch.setattr(folders_of, "now", lambda moment=moment: moment)
        folders_of.claim_folder(tmp_path / "out", study, {})
        assert yaml.safe_load(about.read_text())["family"]["declared"] == "first"
    other = Study("s", "s", "", {}, (), {"measures": ["canonical"], "effects": ["prompt"]})
    folders_of.claim_folder(tmp_path / "out", other, {})
    assert yaml.safe_load(about.read_text())["family"] == {
        "measures": ["canonical"], "effects": ["prompt"], "declared": "later",
    }  # fmt: skip
    decisive = replace(other, primary="canonical", smallest_effect=4.4)
    for moment in ("last", "after the last"):
        monkeypatch.setattr(folders_of, "now", lambda moment=moment: moment)
        folders_of.claim_folder(tmp_path / "out", decisive, {})
    kept = yaml.safe_load(about.read_text())
    assert (kept["primary"], kept["smallest_effect"]) == ("canonical", 4.4)
    assert kept["family"]["declared"] == "last", "it was declared when its primary measure was"
    folders_of.claim_folder(tmp_path / "elsewhere", decisive, {}, tmp_path / "out")
    moved = yaml.safe_load((tmp_path / "elsewhere" / "study.yaml").read_text())
    assert moved["family"] == kept["family"], "a study that goes on elsewhere"


def test_runs_that_share_their_answers_before_training_have_one_job_for_them(tmp_path):
    """On a cluster, where they would all ask at once."""
    known = parts.schema(NOTEBOOKS)
    grids = (
        {"condition": ["stripped", "full"], "seed": [0, 1], "eval_conditions": [["stripped", "full"]]},
        {"condition": ["full"], "cue": ["plain"]},
        {"strategy": ["lookup"]},
    )
    study = Study("s", "s", "", {"corpus": "sample", "model": "tiny"}, grids)
    runs = grid.expand(study, known)
    place = parts.Place(tmp_path, NOTEBOOKS)
    states = dict.fromkeys(runs, "waiting")
    (job,) = pipeline.asking_jobs(place, runs, states)
    assert job.parameters["eval_conditions"] == ["stripped", "full"]
    assert job.parameters["zero_shot_folder"] == str(tmp_path / "zero_shot")
    assert job.module == ("trajnb", "ask", str(job.parameters_file)) and job.attempts is None
    assert job.folder.parent == tmp_path / "zero_shot"
    four = [name for name in runs if runs[name]["cue"] == "ordinal" and runs[name]["strategy"] != "lookup"]
    states |= dict.fromkeys(four[:3], "finished")
    assert pipeline.asking_jobs(place, runs, states) == [], "who asks alone asks at once"
