"""Damaged folders of records: each is refused by every command, in one sentence that names the file."""

import importlib.util
import shutil
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner
from damaged import ABOUT, DAMAGES
from test_records import write_beside

from trajnb.study import engines
from trajnb.study.cli import main

PATIENCE = 20
"""Seconds that a command may take, on a busy machine; all of them together take less."""
PARAMS = "common: {corpus: sample, model: tiny, train_dialogues: 1}\nruns: [{condition: [full]}]\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A study folder of two runs in which nothing is wrong."""
    spec = importlib.util.spec_from_file_location("shared", Path(__file__).with_name("conftest.py"))
    shared = importlib.util.module_from_spec(spec)  # other rooms' conftest has the same name
    spec.loader.exec_module(shared)
    study = tmp_path_factory.mktemp("sound") / "study"
    for condition in ("stripped", "full"):
        write_beside(shared._write_run(study / "runs" / f"{condition}-s0", condition))
    (study / ABOUT).write_text("runs: {full-s0: {condition: full, eval_conditions: []}}\n")
    return study


@pytest.fixture
def no_notebooks(monkeypatch):
    """Nothing is executed: what is refused is refused before, and what is not refused is seen."""
    executed = []
    monkeypatch.setattr(engines, "local", lambda jobs, *rest: executed.extend(jobs) or {})
    return executed


class Hang(BaseException):
    """A command that takes too long; no command takes it for an error of its own."""


def commands(study: Path, folder: Path) -> dict[str, list]:
    """Command lines by what is done with the folder of records."""
    params = folder / "mine.yaml"
    params.write_text(PARAMS)
    return {
        "records": ["records", study, folder / "kept"],
        "report": ["report", study],
        "run --records": ["run", params, "--records", study, "--out", folder / "out"],
    }


def invoke(words: list) -> object:
    """A command's result; what hangs is ended."""

    def end(*_):
        raise Hang(f"no answer in {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(PATIENCE)
    try:
        return CliRunner().invoke(main, [str(word) for word in words])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_there_are_enough_damages():
    assert len(DAMAGES) >= 55


def test_a_sound_folder_is_taken_by_records(sound, tmp_path):
    told = invoke(commands(sound, tmp_path)["records"])
    assert told.exit_code == 0 and "2 runs in" in told.output, told.output


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused_in_a_sentence(name, sound, tmp_path, no_notebooks):
    file, harm = DAMAGES[name]
    study = tmp_path / "study"
    shutil.copytree(sound, study)
    harm(study / "runs" / "full-s0", study)
    for command, words in commands(study, tmp_path).items():
        if file == ABOUT and command == "run --records":
            continue  # what was planned there does not matter
        if name == "study.yaml has a run without a condition" and command == "records":
            continue  # it is kept as it is
        told = invoke(words)
        assert isinstance(told.exception, SystemExit) and told.exit_code == 1, (command, told.exception)
        (sentence,) = told.output.strip().splitlines()
        assert sentence.startswith("Error: ") and file in sentence, (command, sentence)
        assert len(sentence) < 1200 and sentence.isprintable(), (command, sentence)
    assert not no_notebooks and not (tmp_path / "kept").exists()
    assert not any((tmp_path / "out").glob("runs/*/*")), "nothing was taken"
