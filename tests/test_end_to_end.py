"""A whole study of the tiny model on the shipped sample, as a user runs it: once, again, with more
evaluations, killed.
"""

import json
import os
import signal
import subprocess
import sys
import time

import psutil  # a dependency of ipykernel
import pytest
import yaml

from trajnb import records

COMMON = {
    "corpus": "sample",
    "documents": "used",
    "model": "tiny",
    "epochs": 10,
    "dialogues_per_step": 1,
    "learning_rate": 0.01,
    "lora_dropout": 0.1,
    "max_new_tokens": 24,
}
RECORD = {
    "parameters", "blocks", "items", "matrix", "tokens", "seconds", "peak_memory_mb", "versions", "model",
    "corpus", "git_commit", "machine", "started", "finished",
}  # fmt: skip
LINE = {
    "dialogue_id", "step", "block", "stage", "train_condition", "eval_condition", "prompt_tokens",
    "generated_tokens", "stopped", "prediction", "gold_nll", "gold_tokens", "calls", "parsed", "canonical",
    "string", "name",
}  # fmt: skip


def start(folder, **common):
    """Start `trajnb run` on a study in `folder`; it writes to `folder/out`."""
    params = folder / "params.yaml"
    runs = [{"condition": common.pop("conditions")}]
    params.write_text(yaml.safe_dump({"common": COMMON | common, "runs": runs}))
    command = [sys.executable, "-c", "from trajnb.study.cli import main; main()", "run", str(params)]
    return subprocess.Popen(
        [*command, "--out", str(folder / "out")],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return folder, finish(start(folder, conditions=["stripped", "full"]))


def by_condition(folder):
    return {run.record.parameters["condition"]: run for run in records.read_study(folder / "out")}


def trained_at(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("out/runs/*/adapters/*/*.safetensors")}


def test_it_ends_with_the_path_of_a_report(study):
    folder, said = study
    index = folder / "out" / "index.html"
    lines = said.strip().splitlines()
    assert lines[-1].endswith(str(index))
    assert any("right API" in line and "exact" in line for line in lines[-20:]), "no headline at the end"
    page = index.read_text()
    for name in (
        "01_inspect.html",
        "03_evaluate.html",
        "07_details.html",
        *(f"runs/{run.name}/02_train.html" for run in runs_of(folder)),
    ):
        assert name in page, f"the index does not link {name}"
        assert (folder / "out" / name).stat().st_size > 10_000


def runs_of(folder):
    return sorted((folder / "out" / "runs").iterdir())


def test_it_leaves_the_documented_records(study):
    folder, _ = study
    runs = by_condition(folder)
    assert set(runs) == {"stripped", "full"}
    for condition, run in runs.items():
        assert RECORD <= set(vars(run.record))
        stages, blocks = range(5), run.record.blocks
        assert all(LINE <= set(line) for line in run.predictions)
        assert len(run.predictions) == len(run.items) * len(stages)
        assert {line["eval_condition"] for line in run.predictions} == {condition}
        for score in ("canonical", "string", "name", "parsed", "gold_nll"):
            matrix = run.record.matrix[condition][score]
            assert [len(row) for row in matrix] == [len(blocks)] * len(stages)
            for stage in stages:
                for block, cell in zip(blocks, matrix[stage], strict=True):
                    lines = [x for x in run.predictions if (x["stage"], x["block"]) == (stage, block)]
                    assert cell == pytest.approx(sum(x[score] for x in lines))


def test_training_makes_gold_likelier_in_every_block(study):
    folder, _ = study
    for condition, run in by_condition(folder).items():
        nll = run.record.matrix[condition]["gold_nll"]
        for block, before, after in zip(run.record.blocks, nll[0], nll[-1], strict=True):
            assert after < 0.98 * before, f"{condition}, {block}: training did not make gold likelier"


def test_running_it_again_trains_nothing(study):
    folder, _ = study
    before = trained_at(folder)
    assert len(before) == 8
    assert "2 finished" in finish(start(folder, conditions=["stripped", "full"]))
    assert trained_at(folder) == before


def test_evaluations_are_added_from_the_saved_adapters(study):
    folder, _ = study
    adapters, runs = trained_at(folder), by_condition(folder)
    finish(start(folder, conditions=["stripped", "full"], eval_conditions=["stripped", "full"]))
    assert trained_at(folder) == adapters
    for condition, run in by_condition(folder).items():
        assert set(run.record.matrix) == {"stripped", "full"}
        own = [line for line in run.predictions if line["eval_condition"] == condition]
        assert own == runs[condition].predictions
    zero = {
        condition: [
            {**line, "train_condition": ""}
            for line in run.predictions
            if line["stage"] == 0 and line["eval_condition"] == "full"
        ]
        for condition, run in by_condition(folder).items()
    }
    assert zero["stripped"] == zero["full"], "before training there is one model"


def kill_all(process):
    """SIGKILL trajnb, papermill and the kernel at once."""
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in tree:
        os.kill(one.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(tree, timeout=10)


def test_killed_in_the_middle_of_block_2_it_ends_as_if_it_had_not_been(study, tmp_path):
    process = start(tmp_path, conditions=["full"])
    end = time.monotonic() + 300
    while not list(tmp_path.glob("out/runs/*/checkpoints/2-*/checkpoint-*/trainer_state.json")):
        assert process.poll() is None and time.monotonic() < end, "block 2 was never seen in training"
        time.sleep(0.02)
    kill_all(process)
    (folder,) = runs_of(tmp_path)
    assert not (folder / "adapters" / "2-vehicle_control").exists() and not (folder / "record.json").exists()
    assert "1 cut" in finish(start(tmp_path, conditions=["full"]))
    again = by_condition(tmp_path)["full"]
    whole = [line for line in by_condition(study[0])["full"].predictions if line["eval_condition"] == "full"]
    assert again.predictions == whole
    assert json.loads((folder / "training" / "2-vehicle_control.json").read_text())["resumed"]
