"""Nothing that is finished is lost: runs killed, short of disk, or started twice, end as undisturbed ones.

All of it is slow (`pytest -m slow tests/test_kills.py -s`, minutes); figures are printed. Moments are drawn
from a seed that is printed too: TRAJNB_KILL_SEED draws them again.

What is killed as `trajnb train` is forked from a process that has imported torch, which else would be most of
its time; what writes, and what is killed, is the same.
"""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import yaml
from safetensors.numpy import load_file
from warm import train

from trajnb.machine import ROOT
from trajnb.study.parameters import notebook_parameters
from trajnb.study.parts import TRAIN

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("TRAJNB_KILL_SEED", random.SystemRandom().randrange(10**6)))
KILLS = int(os.environ.get("TRAJNB_KILLS", 30))
FEW = int(os.environ.get("TRAJNB_KILLS_OF_STUDIES", 5))
COMMON = {
    "model": "tiny", "train_dialogues": 1, "held_out_dialogues": 1,
    "epochs": 3, "dialogues_per_step": 1, "learning_rate": 0.01, "lora_dropout": 0.1, "max_new_tokens": 4,
    "stop_targets": True, "condition": "full",
}  # fmt: skip
LIMITS = (400, 2_000, 5_000, 100_000, 200_000)
"""Bytes that a file may have, for a disk that is full at different files of a run."""
PATIENCE = 1200
"""Seconds that a command may take; on an idle machine each takes a tenth of a minute."""
PHASES = ("reading", "asked before", *(f"{what} {n}" for n in (1, 2, 3, 4) for what in ("learning", "asked")))
"""Of `trajnb train`, by what its folder holds."""


@pytest.fixture(scope="module")
def draw():
    print(f"\nTRAJNB_KILL_SEED={SEED}")
    return random.Random(SEED)


CLI = [
    sys.executable,
    "-c",
    "from trajnb.study import cli, pipeline\n"
    "pipeline.PARTS = tuple(part for part in pipeline.PARTS if part.per_run)\n"
    "cli.main()",
]
"""The command line without what is made of all runs together, which has tests of its own."""


def begin(command: list) -> subprocess.Popen:
    """A command started, with its words kept."""
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def told(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in said, said[-3000:]
    return said


def kill_tree(pid: int) -> None:
    """SIGKILL a process with all its own."""
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        tree = []
    for one in tree:
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    psutil.wait_procs(tree, timeout=10)


def kill_all(process: subprocess.Popen) -> None:
    kill_tree(process.pid)
    process.communicate()


class Train:
    """`trajnb train`, begun in a process that is forked; its words stand in a file."""

    def __init__(self, file: Path, limit: int = 0):
        """`limit`: bytes that a file of it may have."""
        self.words = file.with_suffix(".words")
        method = multiprocessing.get_context("forkserver")
        self.process = method.Process(target=train, args=(str(file), str(self.words), limit))
        self.process.start()

    def runs(self) -> bool:
        return self.process.is_alive()

    def kill(self) -> None:
        kill_tree(self.process.pid)
        self.process.join()

    def end(self) -> tuple[int, str]:
        """Its exit status and its words, at its end."""
        self.process.join(PATIENCE)
        assert not self.runs(), "it does not end"
        said = self.words.read_text()
        assert "Traceback" not in said, said[-3000:]
        return self.process.exitcode, said


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Processes are forked from one that has imported what a run needs."""
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    with pytest.MonkeyPatch.context() as changed:
        for name, value in {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}.items():
            changed.setenv(name, value)
        multiprocessing.set_forkserver_preload(["warm", "trajnb.run.train", "transformers.trainer"])
        yield


def phase(folder: Path) -> str:
    """Where `trajnb train` stands in a folder; `finished` at the end."""
    if (folder / "record.json").exists():
        return "finished"
    done = len([one for one in folder.glob("adapters/*") if not one.name.startswith(".")])
    if done == 0 and not (folder / "shaping.json").exists():
        return "reading"
    if list(folder.glob(f"checkpoints/{done + 1}-*/checkpoint-*")):
        return f"learning {done + 1}"
    return f"asked {done}" if done else "asked before"


def parameters(folder: Path) -> Path:
    """The parameters file of a run in `folder`, on short dialogues: moments are what is tried."""
    corpus = folder.with_suffix(".jsonl")
    known = notebook_parameters(ROOT / "notebooks" / TRAIN)
    told = {name: one.default for name, one in known.items()} | COMMON
    told |= {"corpus": "jsonl", "corpus_path": str(corpus), "run_folder": str(folder)}
    folder.mkdir(parents=True)
    corpus.write_text("".join(f"{json.dumps(dialogue(place))}\n" for place in range(8)))
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(told))
    return file


def dialogue(place: int) -> dict:
    """Two calls of one of four blocks, learnt or held out."""
    messages = []
    for turn in range(2):
        call = {"name": "put", "arguments": {"x": 10 * place + turn}}
        messages.append({"role": "user", "content": f"Put {10 * place + turn}."})
        tool_call = {"id": f"c{turn}", "type": "function", "function": call}
        messages.append({"role": "assistant", "content": None, "tool_calls": [tool_call]})
        messages.append({"role": "tool", "tool_call_id": f"c{turn}", "content": "1"})
        messages.append({"role": "assistant", "content": "Done."})
    tool = {"name": "put", "description": "Puts.", "parameters": {"type": "object", "properties": {}}}
    own = {"id": f"d{place}", "block": "abcd"[place // 2], "held_out": place % 2 == 1}
    return own | {"tools": [{"type": "function", "function": tool}], "messages": messages}


def measured(folder: Path) -> dict:
    """All that a run measured, but for times and places."""
    lines = {
        name: (folder / name).read_text()
        for name in ("items.jsonl", "predictions.jsonl", "stops.jsonl", "rollouts.jsonl")
        if (folder / name).exists()
    }
    adapters = {
        str(path.relative_to(folder)): {name: weight.tobytes() for name, weight in load_file(path).items()}
        for path in sorted(folder.glob("adapters/*/*.safetensors"))
    }
    matrix = json.loads((folder / "record.json").read_text())["matrix"]
    return lines | {"matrix": matrix, "adapters": adapters}


def check_same(folder: Path, undisturbed: dict) -> None:
    found = measured(folder)
    assert found.keys() == undisturbed.keys() and len(found["adapters"]) == 4
    for name, value in undisturbed.items():
        assert found[name] == value, f"{name} is another after it was disturbed"
    left = [path.name for path in folder.rglob(".*") if path.is_dir()]
    assert left == [], "nothing half made is left"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What an undisturbed `trajnb train` measures, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    file = parameters(folder)
    Train(file).kill()  # what is begun first waits for the imports
    began = time.monotonic()
    status, said = Train(file).end()
    assert status == 0, said
    return measured(folder), time.monotonic() - began


def test_train_killed_at_any_moment_ends_as_if_it_had_not_been(trained, draw, tmp_path):
    undisturbed, took = trained
    seen, round_, killed = Counter(), 0, 0
    while killed < KILLS:
        round_ += 1
        folder = tmp_path / f"round{round_}"
        file = parameters(folder)
        # a run is killed again and again on its way: first in a phase where none was yet, else anywhere
        for wanted in [*[one for one in PHASES if not seen[one]], None, None]:
            process = Train(file)
            end = time.monotonic() + 3 * took
            while wanted and phase(folder) != wanted and process.runs() and time.monotonic() < end:
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.1 * took if wanted and wanted != "reading" else took / 2))
            if not process.runs():
                status, said = process.end()
                assert status == 0, said
                break
            seen[phase(folder)] += 1
            killed += 1
            process.kill()
            if killed == KILLS:
                break
        status, said = Train(file).end()
        assert status == 0, said
        check_same(folder, undisturbed)
    print(f"\n{killed} kills of trajnb train in {round_} rounds, 0 losses; by phase {dict(seen)}")
    if KILLS >= 30:
        assert not [one for one in PHASES if not seen[one]], seen


def test_train_with_a_full_disk_says_so_and_ends_as_if_there_had_been_room(trained, tmp_path):
    for limit in LIMITS[:FEW]:
        folder = tmp_path / f"full{limit}"
        file = parameters(folder)
        status, said = Train(file, limit).end()
        last = said.strip().splitlines()[-1]
        assert status == 1 and last.startswith("Error: "), said
        print(f"\nfiles of at most {limit:,} bytes, {phase(folder)}: {last}")
        status, said = Train(file).end()
        assert status == 0, said
        check_same(folder, trained[0])


def study(folder: Path) -> list:
    """The command of a study of one run that is rolled out."""
    file = folder / "small.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    common = {name: value for name, value in COMMON.items() if name != "condition"}
    common |= {"corpus": "sample", "epochs": 1, "rollout_dialogues": 1, "rollout_calls": 1}
    file.write_text(yaml.safe_dump({"common": common, "runs": [{"condition": ["full"]}]}))
    return [*CLI, "run", file, "--out", folder / "out", "--jobs", "1"]


def run_of(folder: Path) -> Path:
    (found,) = folder.glob("out/runs/*")
    return found


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """What an undisturbed `trajnb run` measures, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("studied")
    began = time.monotonic()
    process = begin(study(folder))
    said = told(process)
    assert process.returncode == 0, said
    found = measured(run_of(folder))
    assert "rollouts.jsonl" in found and found["rollouts.jsonl"]
    return found, time.monotonic() - began


def test_run_killed_at_any_moment_ends_as_if_it_had_not_been(studied, draw, tmp_path):
    undisturbed, took = studied
    command, killed = study(tmp_path), 0
    for number in range(FEW):
        process = begin(command)
        time.sleep(draw.uniform(0.2, 1) * took / 2 * (1 + number / FEW))
        if process.poll() is None:
            killed += 1
        kill_all(process)
    process = begin(command)
    said = told(process)
    assert process.returncode == 0, said
    check_same(run_of(tmp_path), undisturbed)
    print(f"\n{killed} kills of trajnb run, 0 losses")


def test_two_runs_on_one_folder_end_as_one(studied, draw, tmp_path):
    undisturbed, took = studied
    for number in range(FEW):
        command = study(tmp_path / str(number))
        first = begin(command)
        time.sleep(draw.uniform(0, took))
        second = begin(command)
        for process in (first, second):
            said = told(process)
            assert process.returncode == 0, said
        check_same(run_of(tmp_path / str(number)), undisturbed)
    print(f"\n{FEW} times two trajnb run on one folder, 0 losses")
