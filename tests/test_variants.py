"""What else a run can be, each as a user runs it with the tiny model: strategies, matched tokens, learning to
stop, rollouts.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter

import papermill
import pytest
import yaml

from trajnb import keeping, records
from trajnb.files import read_lines, write_lines
from trajnb.machine import ROOT

COMMON = {
    "corpus": "sample",
    "documents": "used",
    "model": "tiny",
    "dialogues_per_step": 1,
    "learning_rate": 0.01,
    "max_new_tokens": 24,
}
RUNS = [
    {"strategy": "joint", "epochs": 3},
    {"strategy": "independent"},
    {"strategy": "few-shot", "shots": 2, "eval_conditions": [["stripped", "full"]]},
    {"strategy": "lookup", "eval_conditions": [["stripped", "full"]]},
    {
        "strategy": "replay", "replay_share": 0.5, "match_tokens": "stripped", "stop_targets": True,
        "rollout_dialogues": 1, "rollout_calls": 3,
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("variants")
    (folder / "params.yaml").write_text(yaml.safe_dump({"common": COMMON, "runs": RUNS}))
    command = "from trajnb.study.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "run", "params.yaml", "--out", "out", "--jobs", "2"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {run.record.parameters["strategy"]: run for run in records.read_study(folder / "out")}


def stages_of(run):
    return sorted({line["stage"] for line in run.predictions})


def test_joint_learns_all_blocks_in_one_stage(runs):
    joint, blocks = runs["joint"], runs["joint"].record.blocks
    assert stages_of(joint) == [0, 1] and joint.record.stages == [blocks]
    assert [path.name for path in (joint.folder / "adapters").iterdir()] == ["1-joint"]
    assert joint.record.tokens["train_total"] == 3 * sum(runs["independent"].record.tokens["by_block"])


def test_independent_adapters_do_not_follow_from_each_other(runs):
    run = runs["independent"]
    assert run.record.stages == [[block] for block in run.record.blocks]
    assert len(list((run.folder / "adapters").iterdir())) == 4 and stages_of(run) == [0, 1, 2, 3, 4]


def test_few_shot_trains_nothing_and_shows_more(runs):
    run = runs["few-shot"]
    assert run.record.stages == [[]] and run.record.steps == run.record.flops == 0
    assert not (run.folder / "adapters").exists() and stages_of(run) == [0, 1]
    lengths = Counter()
    for line in run.predictions:
        lengths[line["stage"], line["eval_condition"]] += line["prompt_tokens"]
    more = {name: lengths[1, name] - lengths[0, name] for name in ("stripped", "full")}
    assert more["full"] > more["stripped"] > 0, "shots are of the condition that is asked"


def test_lookup_answers_without_a_model(runs):
    run, few_shot = runs["lookup"], runs["few-shot"]
    assert run.record.stages == [[]] and stages_of(run) == [0, 1] and run.items == few_shot.items
    assert not (run.folder / "adapters").exists() and {line["gold_nll"] for line in run.predictions} == {None}
    assert all(line["prediction"] == "" for line in run.predictions if line["stage"] == 0)
    assert all(line["parsed"] for line in run.predictions if line["stage"] == 1)
    before = [line for line in few_shot.predictions if line["stage"] == 0]
    assert any(line["prediction"] for line in before), "what models say before training is theirs"
    page = (run.folder.parents[1] / "03_evaluate.html").read_text(encoding="utf-8")
    assert "strategy lookup" in page and ">nan" not in page


def test_replay_learns_earlier_blocks_again(runs):
    plain, run = runs["independent"].record, runs["replay"].record
    assert run.stages == plain.stages
    tokens = zip(run.tokens["by_block"], plain.tokens["by_block"], strict=True)
    first, *later = [with_replay / without for with_replay, without in tokens]
    assert min(later) > first, "the first block has nothing to learn again"


def test_ends_of_turns_are_answered_apart_from_the_items(runs):
    run = runs["replay"]
    stops = read_lines(run.folder / "stops.jsonl")
    turns = {(line["dialogue_id"], line["step"]) for line in stops}
    assert len(stops) == 4 * len(turns) and all(isinstance(line["canonical"], bool) for line in stops)
    assert all(item["gold"] != "[]" for item in run.items)


def test_rollouts_are_played_both_ways_and_kept(runs, tmp_path):
    run = runs["replay"]
    lines = read_lines(run.folder / "rollouts.jsonl")
    assert [line["ends"] for line in lines] == ["oracle"] * 4 + ["model"] * 4
    assert {line["dialogue_id"] for line in lines} == {item["dialogue_id"] for item in run.items}
    for line in lines:
        made = [sum(call["turn"] == turn for call in line["calls"]) for turn in range(len(line["gold"]))]
        if line["ends"] == "oracle":
            assert made == list(map(len, line["gold"]))
        else:
            assert max(made) <= 3
    assert (run.folder / "04_rollout.html").is_file()
    keeping.keep(run.folder.parents[1], tmp_path, allow_changes=True)  # of who changes and tests
    kept = tmp_path / "records" / run.folder.name
    assert read_lines(kept / "rollouts.jsonl") == lines and (kept / "rollout.json").is_file()


def test_a_rollout_that_is_not_as_predicted_is_refused(runs, tmp_path):
    run = runs["replay"]
    page = (run.folder / "04_rollout.html").read_text(encoding="utf-8")
    assert re.search(r"full: [1-9]\d* of \d+ calls compared, \d+ are the same; ", page)
    shutil.copytree(run.folder, tmp_path / "run")
    other = "API-Request: [pwd()]"
    tampered = [{**one, "prediction": other} for one in run.predictions]
    write_lines(tmp_path / "run" / "predictions.jsonl", tampered)
    (tmp_path / "run" / "rollouts.jsonl").unlink()
    with pytest.raises(papermill.PapermillExecutionError, match="are not as predicted: dialogue"):
        papermill.execute_notebook(
            ROOT / "notebooks" / "04_rollout.ipynb",
            None,
            {"run_folder": str(tmp_path / "run")},
            progress_bar=False,
        )
    assert not (tmp_path / "run" / "rollouts.jsonl").exists()
