import dataclasses
import json
import os
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from tests.conftest import BLOCKS
from trajnb.study import cli


@pytest.fixture
def trajnb():
    """A function that runs the command line, with its exit status and output as the result."""
    return lambda *words: CliRunner().invoke(cli.main, [str(word) for word in words])


@pytest.fixture
def params(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text("runs: [{condition: [stripped, full]}]")
    return file


def test_the_command_line_starts_without_heavy_imports():
    heavy = "('torch', 'transformers', 'datasets', 'papermill', 'pandas', 'nbconvert')"
    code = f"import sys, trajnb.study.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_help_shows_examples(trajnb):
    for words in ([], ["run"], ["report"], ["data"], ["view"], ["export"], ["fetch"], ["corpus"]):
        assert "Example" in trajnb(*words, "--help").output


def test_an_error_is_a_sentence(trajnb, tmp_path):
    (tmp_path / "small.yaml").write_text("common: {condtion: full}\nruns: [{}]")
    result = trajnb("run", tmp_path / "small.yaml")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ") and "did you mean 'condition'" in result.output
    assert "Traceback" not in result.output


def test_a_folder_that_cannot_be_is_an_error_in_a_sentence(trajnb, params, tmp_path):
    for out in (tmp_path / ("x" * 300), params / "below"):
        result = trajnb("run", params, "--out", out)
        assert result.exit_code in (1, 2) and "Error: " in result.output, result.output
        assert isinstance(result.exception, SystemExit), result.exception


def test_dry_run_shows_the_grid_and_writes_nothing(trajnb, params, tmp_path):
    result = trajnb("run", params, "--out", tmp_path / "out", "--dry-run", "--set", "epochs=2")
    assert result.exit_code == 0, result.output
    assert result.output.count("waiting") == 2 and "to do" in result.output and "2 runs" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "objective, arms",
    [("prefer", {"preference": ["pairs", "none"]}), ("repair", {"lessons": ["kept", "gold"]})],
)
def test_dry_run_prepares_runs_whose_stages_have_two_ends(trajnb, tmp_path, objective, arms):
    common = {"corpus": "sample", "model": "tiny", "objective": objective, "stop_targets": True}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"common": common, "runs": [arms]}))
    result = trajnb("run", path, "--out", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "Prepared: nothing of it would be refused." in result.output


def own_rows(path, length=1):
    call = {"name": "look", "arguments": {"at": "x"}}
    said = [{"role": "user", "content": "Look there. " * length}, {"role": "assistant", "tool_calls": [call]}]
    rows = [{"id": n, "block": "own", "held_out": n == 1, "messages": said} for n in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_dry_run_finds_what_a_run_would_refuse(trajnb, params, tmp_path):
    words = ["run", params, "--out", tmp_path / "out", "--dry-run", "--set", "corpus=jsonl", "--set"]
    fine = own_rows(tmp_path / "fine.jsonl")
    result = trajnb(*words, f"corpus_path={fine}")
    assert result.exit_code == 0 and "Prepared: nothing of it would be refused." in result.output
    long = own_rows(tmp_path / "long.jsonl", 9_000)
    result = trajnb(*words, f"corpus_path={long}")
    assert result.exit_code == 1 and "to do" in result.output, "the plan is shown all the same"
    assert "would be refused: dialogue 0, step 0" in result.output and "over max_length" in result.output
    result = trajnb(*words, f"corpus_path={fine}", "--set", "model=me/other")
    assert result.exit_code == 0 and "a model is not on this machine yet" in result.output
    assert not (tmp_path / "out").exists()


def test_corpus_knows_the_options_that_its_errors_name(trajnb, tmp_path):
    from trajnb.corpora.load import load_corpus
    from trajnb.formatting.dialogue import CorpusChoice

    known = {option.name for option in cli.main.commands["corpus"].params}
    assert known >= set(CorpusChoice.names()) - {"corpus", "corpus_path"}
    file = own_rows(tmp_path / "own.jsonl")
    file.write_text(file.read_text() + '\n{"messages": 3}\n')
    assert "messages is not a list" in trajnb("corpus", "jsonl", "--corpus-path", file).output
    result = trajnb("corpus", "jsonl", "--path", file, "--skip-unusable", "--blocks", "one", "--json")
    account = json.loads(result.output)
    assert account["unusable"] == {"messages is not a list": 1} and [*account["blocks"]] == ["all"]
    chosen = load_corpus("jsonl", corpus_path=str(file), skip_unusable=True, blocks="one")
    assert account["hash"] == chosen.hash


def test_a_model_with_a_record_on_this_machine_has_a_time(trajnb, params, tmp_path, write_run):
    from trajnb import machine
    from trajnb.study.grid import expand
    from trajnb.study.paces import paces, records_beside
    from trajnb.study.params import read_params
    from trajnb.study.parts import schema

    out, parameters = tmp_path / "runs" / "new", schema(cli.NOTEBOOKS)
    run, _ = expand(read_params(params, parameters), parameters).values()

    def to_do():
        lines = trajnb("run", params, "--out", out, "--dry-run").output.splitlines()
        return next(line.split() for line in lines if line.startswith("to do"))

    assert to_do()[-2:] == ["?", "?"]
    folder = write_run(tmp_path / "runs" / "old" / "runs" / "full-s0", corpus="sample", model="tiny")
    record = json.loads((folder / "record.json").read_text())
    record["parameters"] = run | {"order": list(BLOCKS), "eval_conditions": ["full"]}
    (folder / "record.json").write_text(json.dumps(record))
    assert paces(records_beside(out), {"tiny"}) == {}, "it was made on another machine"
    (folder / "record.json").write_text(json.dumps(record | {"machine": machine.describe()}))
    (pace,) = paces(records_beside(out), {"tiny", "me/other"}).values()
    assert pace > 0 and paces(records_beside(out), {"me/other"}) == {}
    *_, minutes, unit, disk = to_do()
    assert int(minutes) >= 0 and (unit, disk) == ("min", "?")


def test_a_cost_grows_with_what_is_trained_and_read(params):
    from trajnb.study.estimate import SECONDS_OF_START, estimate
    from trajnb.study.grid import expand
    from trajnb.study.params import read_params
    from trajnb.study.parts import schema

    parameters = schema(cli.NOTEBOOKS)
    stripped, full = expand(read_params(params, parameters), parameters).values()
    one = estimate(full)
    assert estimate(stripped).trained < one.trained < estimate(full | {"packing": "none"}).trained
    assert estimate(full | {"epochs": 3}).trained == 3 * one.trained
    assert estimate(full | {"eval_conditions": ["full", "stripped"]}).read > one.read
    ends = estimate(full | {"eval_stages": "ends"})
    assert ends.read == pytest.approx(one.read * 2.75 / 5, rel=0.01) and ends.trained == one.trained
    joint = full | {"strategy": "joint"}
    assert estimate(joint | {"eval_stages": "ends"}) == estimate(joint)
    copied = estimate(full | {"strategy": "lookup"})
    assert copied.trained == copied.read == copied.disk == 0 and 0 < copied.seconds < 120
    assert one.seconds is None  # nothing is known of the tiny model's speed
    real = estimate(full | {"model": "smollm2-135m"})
    assert 0 < real.seconds < 600 and 0 < real.disk < 1e9
    larger = estimate(full | {"model": "qwen2.5-coder-0.5b"})
    slower = (larger.seconds - SECONDS_OF_START) / (real.seconds - SECONDS_OF_START)
    assert 4 < slower < 6 and larger.trained == one.trained
    assert estimate(full | {"model": "qwen2.5-coder-1.5b"}).disk > larger.disk > real.disk
    assert estimate(full | {"model": "me/other"}).seconds is None
    preferring = full | {"objective": "prefer", "stop_targets": True}
    pairs, none = (estimate(preferring | {"preference": name}) for name in ("pairs", "none"))
    assert pairs.trained > none.trained == one.trained and pairs.read > none.read > one.read
    assert estimate(preferring | {"preference_epochs": 2}).trained > pairs.trained
    assert estimate(preferring | {"budget": 40}).read > pairs.read
    repairing = full | {"objective": "repair", "stop_targets": True}
    repaired = estimate(repairing)
    assert repaired.trained > one.trained and repaired.read > one.read
    for more in ("candidates", "grpo_steps", "lesson_epochs", "reward_epochs"):
        assert estimate(repairing | {more: 5}).trained > repaired.trained, more
    for more in ({"attempts": 5}, {"repairers": ["self", "resample"]}, {"lessons": "resampled"}):
        assert estimate(repairing | more).read > repaired.read, more
    slow = {"model": "smollm2-135m"}  # of which seconds are known
    for more in ({"grpo_steps": 5}, {"followed_tasks": 20}, {"candidates": 9}):
        assert estimate(repairing | slow | more).seconds > estimate(repairing | slow).seconds, more
    assert estimate(repairing | slow).seconds > real.seconds < estimate(preferring | slow).seconds


def test_corpus_prints_its_account(trajnb):
    result = trajnb("corpus", "sample", "--json")
    account = json.loads(result.output)
    assert account["dialogues"] == 12 and account["examples"] > 0 and len(account["hash"]) == 64
    assert "dialogues: 12" in trajnb("corpus", "sample").output
    assert "did you mean 'sample'" in trajnb("corpus", "smaple").output
    parts = [trajnb("corpus", "sample", "--fold", fold, "--folds", "3", "--json") for fold in (0, 1, 2)]
    assert len({json.loads(part.output)["hash"] for part in parts}) == 3
    assert "targets_not_learnt: 2" in trajnb("corpus", "sample", "--split", "gold-disjoint").output
    assert "fresh_ids is for the corpus 'bfcl'" in trajnb("corpus", "sample", "--fresh-ids").output


def test_fetch_names_an_unknown_asset(trajnb):
    result = trajnb("fetch", "bfc")
    assert result.exit_code == 1 and "did you mean 'bfcl'" in result.output


def test_fetch_brings_the_small_assets_or_those_named(trajnb, monkeypatch):
    monkeypatch.setattr("trajnb.assets.fetch", lambda asset: f"folder of {asset}")
    built = []
    monkeypatch.setattr("trajnb.qlora.model.find_model", built.append)
    monkeypatch.setattr("trajnb.corpora.load.load_corpus", lambda name, documents: built.append(documents))
    assert trajnb("fetch").output.splitlines() == [
        "smollm2-135m: folder of smollm2-135m",
        "bfcl: folder of bfcl",
    ]
    named = trajnb("fetch", "qwen2.5-coder-0.5b")
    assert named.output == "qwen2.5-coder-0.5b: folder of qwen2.5-coder-0.5b\n"
    small = ["tiny", "smollm2-135m", "used", "ten", "all"]
    assert built == [*small, "tiny", "qwen2.5-coder-0.5b"], "all that is read of them is built"


def test_report_wants_records(trajnb, tmp_path):
    result = trajnb("report", tmp_path)
    assert result.exit_code == 1 and "no finished run" in result.output


@pytest.mark.parametrize(
    "error, said",
    [
        (PermissionError(13, "Permission denied", "{cache}/model"), "Error: {cache}/model: permission denied: "
         "make it readable and writable for you, or choose another path with TRAJNB_CACHE\n"),
        (OSError(30, "Read-only file system", "{hub}/x"), "Error: {hub}/x: read-only file system: make it "
         "readable and writable for you, or choose another path with HF_HOME\n"),
        (OSError(28, "No space left on device", "/elsewhere"), "Error: /elsewhere: no space left on device: make "
         "room, or choose a folder on a larger disk\n"),
        (FileExistsError(17, "File exists", b"/bytes"), "Error: /bytes: file exists: make it readable and "
         "writable for you, or choose another path\n"),
        (OSError("odd"), "Error: odd: make it readable and writable for you, or choose another path\n"),
    ],
)  # fmt: skip
def test_an_error_of_the_file_system_is_a_sentence(trajnb, monkeypatch, tmp_path, error, said):
    folders = {"cache": str(tmp_path / "cache"), "hub": str(tmp_path / "hub")}
    monkeypatch.setenv("TRAJNB_CACHE", folders["cache"])
    monkeypatch.setenv("HF_HOME", folders["hub"])
    if isinstance(error.filename, str):
        error.filename = error.filename.format(**folders)

    def fail(*_):
        raise error

    monkeypatch.setattr("trajnb.assets.fetch", fail)
    result = trajnb("fetch", "bfcl")
    assert result.exit_code == 1 and result.output == said.format(**folders)


def test_a_name_that_the_terminal_cannot_show_is_printed_all_the_same(tmp_path):
    call = {"type": "function", "function": {"name": "天气", "arguments": {}}}
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}]
    rows = [{"id": f"d{i}", "block": "天气", "messages": messages, "held_out": i > 2} for i in range(5)]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = subprocess.run(
        [sys.executable, "-c", "from trajnb.study.cli import main; main()", "corpus", "jsonl", "--path", "own.jsonl"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert rb"\u5929\u6c14: train_dialogues 3" in done.stdout


def test_a_dry_run_tells_what_was_counted_and_measured(trajnb, tmp_path, monkeypatch):
    """With the speed of a machine, hours and money; the same tokens as a run then learns from."""
    from trajnb.run import calibrate
    from trajnb.run.by_objective import settings_class
    from trajnb.run.prepare import count_examples
    from trajnb.study.grid import expand
    from trajnb.study.params import read_params
    from trajnb.study.parts import schema

    path = tmp_path / "small.yaml"
    path.write_text("common: {corpus: sample, model: tiny, epochs: 2}\nruns: [{condition: [full]}]")
    parameters = schema(cli.NOTEBOOKS)
    (run,) = expand(read_params(path, parameters), parameters).values()
    counts = count_examples(settings_class(run).of(run))["full", "train"]
    monkeypatch.setattr(calibrate, "kept", lambda *_: None)
    before = trajnb("run", path, "--dry-run", "--out", tmp_path / "out", "--price", "2").output
    assert f"{2 * counts.tokens:,}" in before and f"{2 * counts.distinct:,}" in before
    assert "trajnb calibrate tiny" in before and "EUR" in before
    speed = calibrate.Speed("tiny", "auto", "here", "today", 3600.0, 1e9, 1e9, 0.0, 0.0)
    monkeypatch.setattr(calibrate, "kept", lambda *_: speed)
    after = trajnb("run", path, "--dry-run", "--out", tmp_path / "out", "--price", "2").output
    cells = next(line for line in after.splitlines() if "waiting" in line).split()
    assert "measured here at today" in after and float(cells[-1]) >= 2.0, after


def test_calibration_measures_and_is_kept(tmp_path, monkeypatch):
    from trajnb.run import calibrate
    from trajnb.run.calibrate import config_of, kept

    monkeypatch.setattr(calibrate, "_file", lambda *_: tmp_path / "speed.json")
    monkeypatch.setattr(calibrate, "SECONDS", 1.0)
    assert kept("tiny", "", "auto") is None
    measured = calibrate.calibrate("tiny", say=lambda text: None)
    assert kept("tiny", "", "auto") == measured
    assert min(measured.train, measured.read, measured.load) > 0
    assert min(measured.step, measured.written) >= 0
    counts = calibrate.Counts(10, 0, 5000, 1000, 500_000, 100, "")
    twice = calibrate.Counts(20, 0, 10_000, 2000, 1_000_000, 200, "")
    config = config_of("tiny")
    one, two = (measured.seconds_to_train(config, 16, some) for some in (counts, twice))
    assert two == pytest.approx(2 * one) and one > 0
    assert measured.seconds_to_ask(config, counts, 9) < measured.seconds_to_ask(config, twice, 9)
    slow = dataclasses.replace(measured, step=1.0)
    assert slow.seconds_to_ask(config, counts, 99) > slow.seconds_to_ask(config, counts, 9) + 9
    (tmp_path / "speed.json").write_text("{}")
    assert kept("tiny", "", "auto") is None


def test_a_study_is_not_run_by_several_processes(trajnb, params, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = trajnb("run", params, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "WORLD_SIZE is 2" in result.output
    assert "accelerate launch -m trajnb train" in result.output and not (tmp_path / "out").exists()


def test_an_address_is_of_a_ray_cluster(trajnb, params, tmp_path):
    result = trajnb("run", params, "--out", tmp_path / "out", "--address", "head:6379")
    assert result.exit_code == 1 and "--engine ray, not local" in result.output


def test_a_dry_run_tells_the_memory_of_a_model_that_is_here(trajnb, tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text("common: {corpus: sample, model: tiny}\nruns: [{condition: [stripped, full]}]")
    result = trajnb("run", path, "--out", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Memory: ")]
    assert "a row of 2,048 tokens of tiny takes 0." in line and "this machine has" in line
