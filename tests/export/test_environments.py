"""Exports in the programs that they are for, each in a virtual environment of its own.

TRAJNB_ENVIRONMENTS names a folder that keeps the environments for the next time.
"""

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest

from trajnb import explore
from trajnb.export.examples import write_sharegpt
from trajnb.export.logs import write_logs
from trajnb.export.tasks import write_tasks
from trajnb.machine import ROOT

pytestmark = pytest.mark.slow

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}


@pytest.fixture(scope="module")
def quick(bfcl):
    return explore.open(ROOT / "reports" / "quick").kept


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """A function: the interpreter of an environment with this package, or the test is skipped."""

    def build(package: str, *options: str, borrow: bool = False) -> Path:
        kept = os.environ.get("TRAJNB_ENVIRONMENTS")
        folder = (Path(kept) if kept else tmp_path_factory.mktemp("environments")) / package
        program = folder / "bin" / "python"
        if not (folder / "built").is_file():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            words = [program, "-m", "pip", "install", "-q", "--no-compile", *options, package]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"{package} cannot be installed here: {done.stderr.strip()[-300:]}")
            (folder / "built").touch()
        if borrow:  # the packages of this environment behind its own
            (own,) = (folder / "lib").glob("python*/site-packages")
            (own / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
        return program

    return build


def answer_of(program: Path, script: str, *words: object, folder: Path) -> dict:
    """What a script prints as its last line, which is JSON."""
    done = subprocess.run(
        [program, "-c", script, *map(str, words)],
        cwd=folder, env=os.environ | OFFLINE, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


INSPECT = """
import json, sys
from inspect_ai.log import list_eval_logs, read_eval_log
found = {}
for info in list_eval_logs(sys.argv[1]):
    log = read_eval_log(info)
    share = {score.name: score.metrics["accuracy"].value for score in log.results.scores}
    found[log.eval.task_id] = [log.status, len(log.samples), share["canonical"], info.task]
    assert log.samples[0].input[-1].role == "user" and log.samples[0].output.completion
print(json.dumps(found))
"""


def test_inspect_reads_and_shows_every_log(quick, environment, tmp_path):
    program = environment("inspect-ai")
    write_logs(quick, tmp_path)
    found = answer_of(program, INSPECT, tmp_path, folder=tmp_path)
    assert len(found) == sum(len(run.record.matrix) * (1 + len(run.record.stages)) for run in quick)
    for run in quick:
        for condition, scores in run.record.matrix.items():
            for stage, right in enumerate(scores["canonical"]):
                own = found[f"{run.folder.name}-{condition}-{stage}"]
                share = sum(right) / len(run.items)
                assert own == ["success", len(run.items), pytest.approx(share), f"trajnb-{condition}"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["view", "start", "--log-dir", tmp_path, "--port", str(port), "--host", "127.0.0.1"]
    viewer = subprocess.Popen([program.with_name("inspect"), *words], cwd=tmp_path)
    try:
        assert sorted(_logs(f"http://127.0.0.1:{port}/api/logs")) == sorted(
            path.name for path in tmp_path.glob("*.json")
        )
    finally:
        viewer.terminate()
        viewer.wait(timeout=60)


def _logs(address: str) -> list[str]:
    """The names of the logs that a viewer lists, once it answers."""
    for _ in range(240):
        try:
            listed = json.loads(urllib.request.urlopen(address, timeout=10).read())
            return [Path(one["name"]).name for one in listed["files"]]
        except OSError:
            time.sleep(0.5)
    pytest.fail("inspect view does not answer")


HARNESS = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

answers = {tuple(key): text for key, text in json.load(open(sys.argv[2]))}

class Recorded(LM):
    def generate_until(self, requests, disable_tqdm=False):
        return [answers[one.doc["dialogue_id"], one.doc["step"]] for one in requests]
    def loglikelihood(self, requests): raise NotImplementedError
    def loglikelihood_rolling(self, requests): raise NotImplementedError

tasks = TaskManager(include_path=".", include_defaults=False)
found = simple_evaluate(model=Recorded(), tasks=[sys.argv[1]], task_manager=tasks, bootstrap_iters=0)
print(json.dumps(found["results"][sys.argv[1]]["exact_match,call"]))
"""


@pytest.mark.parametrize("condition", ["full", "stripped"])
def test_the_harness_scores_recorded_answers_as_the_record_does(quick, environment, tmp_path, condition):
    program = environment("lm-eval")
    write_tasks(quick, tmp_path)
    (run,) = [run for run in quick if run.record.parameters["condition"] == condition]
    last = [row for row in run.predictions if row["stage"] == len(run.record.stages)]
    answers = [[[row["dialogue_id"], row["step"]], row["prediction"]] for row in last]
    (tmp_path / "answers").write_text(json.dumps(answers))
    found = answer_of(program, HARNESS, f"trajnb_{condition}", "answers", folder=tmp_path)
    right = sum(run.record.matrix[condition]["string"][-1])
    assert found == pytest.approx(right / len(last)) and right > 0


FACTORY = """
import importlib.machinery, json, sys, types
from types import SimpleNamespace

for name in ("torchaudio",):  # it reads sounds alone
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)

from datasets import load_dataset
from llamafactory.data.converter import align_dataset
from llamafactory.data.parser import get_dataset_list

found = {}
for one in get_dataset_list(list(json.load(open("dataset_info.json"))), "."):
    rows = load_dataset("json", data_files=one.dataset_name, split="train", cache_dir="cache")
    how = SimpleNamespace(
        streaming=False, preprocessing_num_workers=None, overwrite_cache=True, media_dir=".", dataset_dir="."
    )
    rows = align_dataset(rows, one, how, SimpleNamespace(local_process_index=0))
    assert all(row["_system"] and len(row["_prompt"]) % 2 for row in rows)
    found[one.dataset_name] = [row["_response"][0]["content"] for row in rows]
print(json.dumps(found))
"""


def test_llama_factory_reads_every_conversation(quick, environment, tmp_path):
    """Its own reader; what it needs beside that is borrowed, for its torch is gigabytes."""
    program = environment("llamafactory", "--no-deps", borrow=True)
    write_sharegpt(quick, tmp_path)
    found = answer_of(program, FACTORY, folder=tmp_path)
    for condition in ("full", "stripped"):
        golds = [f"API-Request: {item['gold']}" for item in quick[0].items]
        assert found[f"trajnb_{condition}_test.json"] == golds
        assert len(found[f"trajnb_{condition}_train.json"]) > len(golds)
