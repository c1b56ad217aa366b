import json
import math
from dataclasses import replace

import pytest
from click.testing import CliRunner

from trajnb import bench, bench_prefer
from trajnb.study.cli import main

TINY = bench_prefer.PairWork("tiny", "sample", "used", "full", "file_system", 2)


@pytest.fixture
def kept(tmp_path):
    """A file of pairs, three of one dialogue and one of another, short ones."""
    path = tmp_path / "pairs.jsonl"
    lines = []
    for name, asked, said in (
        ("a", "Go to temp.", "[ls()]"),
        ("a", "Go to temp.", "[]"),
        ("a", "Go to temp. [cd(folder='temp')] Next.", "[ls()]"),
        ("b", "Make notes.", "[ls()]"),
    ):
        chosen = "[cd(folder='temp')]" if said != "[]" else "[mkdir(dir_name='notes')]"
        prompt = [
            {"role": "system", "content": "You call APIs."},
            {"role": "user", "content": asked},
        ]
        sides = {"chosen": chosen, "rejected": said}
        row = {
            side: [{"role": "assistant", "content": f"API-Request: {text}"}]
            for side, text in sides.items()
        }
        lines.append(json.dumps({"prompt": prompt, "dialogue_id": name, **row}) + "\n")
    path.write_text("".join(lines))
    return str(path)


def test_both_arms_take_the_same_step(kept, monkeypatch):
    monkeypatch.setattr(bench, "_alone", lambda once, arm, work: once(arm, work))
    said = []
    result = bench_prefer.prefer(replace(TINY, pairs=kept), 1, said.append)
    (trie,), (trl,) = result["runs"]["trie"], result["runs"]["trl"]
    assert said[0] == "4 pairs of 2 dialogues"
    assert trie["pairs"] == trl["pairs"] == 4
    assert trie["tokens"] == trl["tokens"] > trie["computed"]
    for run in (trie, trl):
        assert math.isclose(run["loss"], math.log(2), abs_tol=1e-4)
    assert result["times_as_fast"]["trl"] == trl["seconds"] / trie["seconds"]
    assert result["times_the_cpu"] == trl["cpu_seconds"] / trie["cpu_seconds"] > 0
    assert "stand-ins" not in bench.table(result)


def test_dialogues_are_those_with_about_the_mean_number_of_pairs(kept):
    (row,) = bench_prefer.pair_rows(replace(TINY, pairs=kept, dialogues=1))[:1]
    assert row["dialogue_id"] == "a", "of 3 and 1 pairs both are as near, and the first is taken"
    assert len(bench_prefer.pair_rows(replace(TINY, pairs=kept))) == 4


def test_stand_ins_are_other_targets_at_every_state(sample):
    rows = bench_prefer.pair_rows(replace(TINY, dialogues=100))
    assert len({row["dialogue_id"] for row in rows}) > 1
    completions = [row["chosen"][0]["content"] for row in rows]
    assert "API-Request: []" in completions, "ends of turns are states too"
    for row in rows:
        assert row["chosen"] != row["rejected"]
        assert row["rejected"][0]["content"] in completions


def test_what_cannot_be_timed_is_told(tmp_path):
    (tmp_path / "none.jsonl").touch()
    common = ["bench", "prefer", "--model", "tiny", "--corpus", "sample", "--documents", "used"]

    def told(*more):
        result = CliRunner().invoke(main, [*common, *more])
        assert result.exit_code == 1
        return result.output

    assert "unknown block 'cooking'" in told("--block", "cooking")
    assert "no pairs to time" in told("--pairs", str(tmp_path / "none.jsonl"))
    assert "no file of pairs nowhere" in told("--pairs", "nowhere")
