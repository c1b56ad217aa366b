import math

import pytest
from click.testing import CliRunner

from trajnb import bench
from trajnb.study.cli import main

TINY = bench.Work("tiny", "sample", "used", "full", 4)


def test_arms_do_the_same_work(monkeypatch):
    monkeypatch.setattr(bench, "TRAIN_ARMS", ("trie", "none"))
    monkeypatch.setattr(bench, "_alone", lambda once, arm, work: once(arm, work))
    result = bench.train(TINY, 1, say=lambda text: None)
    (trie,), (none,) = result["runs"]["trie"], result["runs"]["none"]
    assert math.isclose(trie["loss"], none["loss"], rel_tol=1e-4)
    assert trie["tokens"] == none["tokens"] == none["computed"] > trie["computed"]
    assert result["times_as_fast"]["none"] == none["seconds"] / trie["seconds"]
    assert "none" in bench.table(result)


def test_answers_are_the_same_and_the_rest_is_told():
    result = bench.evaluate(TINY, 1, say=lambda text: None)
    (ours,), (theirs,) = result["runs"]["trie"], result["runs"]["generate"]
    assert ours["examples"] == theirs["examples"] > 4 and ours["generated_tokens"] > 0
    assert len(result["different"]) <= 1, "left padding moves near-tied logits, but not those of more answers"


def test_growth_is_told_by_dialogues_and_by_operations(monkeypatch):
    monkeypatch.setattr(bench, "_alone", lambda once, arm, work: once(arm, work))
    result = bench.growth(TINY, 1, say=lambda text: None)
    (once,), (four,) = result["runs"][1], result["runs"][4]
    assert four["examples"] > once["examples"], "more dialogues hold more examples"
    assert result["four_against_linear"] == pytest.approx(four["seconds"] / once["seconds"] / 4)


def test_dialogues_must_be_shared_by_the_blocks():
    told = CliRunner().invoke(main, ["bench", "evaluate", "--model", "tiny", "--dialogues", "3"])
    assert told.exit_code == 1 and "dialogues is 3" in told.output
