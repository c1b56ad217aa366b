import copy
from dataclasses import replace

import pytest
from datasets import Dataset

from trajnb.formatting.conditions import CONDITIONS, History, messages
from trajnb.formatting.dialogue import Call, Turn
from trajnb.formatting.pairs import DROPPED, FEATURES, Wording, build_pairs, with_attempts
from trajnb.formatting.replies import Fork, Reply

DOCUMENTS = ('{"name":"ls","description":"","parameters":{"a":{"type":"boolean"}}}',)
TURNS = (
    Turn("user", "Where am I?"),
    Turn("api", "/", Call("pwd")),
    Turn("user", "What is <here>?"),
)
FULL = Wording("full")


def reply(text, kind="refused", draw=0, **more):
    return Reply(text, kind, draw, **more)


def fork(*others, chosen=None, step=0):
    history = History(DOCUMENTS, TURNS, 1)
    chosen = chosen or reply("[ls(a=True)]", "executed", -1)
    return Fork("d#1", "d", "file_system", step, history, chosen, others)


def counted(pairs):
    return {reason: count for reason, count in pairs.dropped.items() if count}


def test_a_pair_is_the_right_call_before_what_was_said():
    other = reply("API-Request: [ls(a=7) \n", draw=1, harmless=True)
    (row,) = build_pairs([fork(other)], FULL, labels="published").rows
    assert row == {
        "prompt": messages(fork().history, CONDITIONS["full"](fork().history)),
        "chosen": [{"role": "assistant", "content": "API-Request: [ls(a=True)]"}],
        "rejected": [{"role": "assistant", "content": "API-Request: [ls(a=7) \n"}],
        "task": "d#1",
        "dialogue_id": "d",
        "block": "file_system",
        "step": 0,
        "kind": "refused",
        "harmless": True,
    }
    (end,) = build_pairs(
        [fork(other, chosen=reply("[]", "stop", -1))], FULL, labels="published"
    ).rows
    assert end["chosen"][0]["content"] == "API-Request: []"
    drawn = reply('Sure: [ls(a="True")] is it', "executed", 2)
    (own,) = build_pairs([fork(other, chosen=drawn)], FULL, labels="published").rows
    assert own["chosen"][0]["content"] == "API-Request: [ls(a='True')]"


def test_prompts_are_those_of_the_condition_and_both_sides_share_them():
    others = reply("x", draw=0), reply("y", draw=1)
    for condition in ("full", "stripped", "requests"):
        rows = build_pairs([fork(*others)], Wording(condition, "plain")).rows
        assert rows[0]["prompt"] is rows[1]["prompt"]
        history = fork().history
        assert rows[0]["prompt"] == messages(history, CONDITIONS[condition](history), "plain")


def test_all_that_makes_no_pair_is_counted_by_its_first_reason():
    others = (
        reply("a", draw=0),
        reply("a", draw=1),
        reply("b", draw=2, cut=True),
        reply("[ls(True)]", "executed", 3, harmless=True),
        reply("[pwd()]", "executed", 4, harmless=True),
        reply("[]", "stop", 5),
        reply("c", draw=6),
    )
    verified = build_pairs([fork(*others)], FULL, most_pairs=2)
    assert [row["rejected"][0]["content"] for row in verified.rows] == ["a", "[]"]
    reasons = {"repeated": 1, "cut": 1, "same call": 1, "harmless": 1, "over most_pairs": 1}
    assert counted(verified) == reasons and tuple(verified.dropped) == DROPPED
    published = build_pairs([fork(*others)], FULL, labels="published")
    assert len(published.rows) == 4
    assert counted(published) == {"repeated": 1, "cut": 1, "same call": 1}
    for pairs in (verified, published):
        assert len(pairs.rows) + sum(pairs.dropped.values()) == len(others)


def test_siblings_are_told_by_when_they_were_drawn():
    others = reply("a", draw=0), reply("b", draw=2)
    own = fork(*others, chosen=reply("[ls()]", "executed", 1))
    said = {
        siblings: [
            row["rejected"][0]["content"]
            for row in build_pairs([own], FULL, siblings=siblings).rows
        ]
        for siblings in ("earlier", "later", "all")
    }
    assert said == {"earlier": ["a"], "later": ["b"], "all": ["a", "b"]}
    assert counted(build_pairs([own], FULL, siblings="later")) == {"other siblings": 1}
    for siblings in said:
        assert len(build_pairs([fork(*others)], FULL, siblings=siblings).rows) == 2


def test_a_call_of_the_model_that_failed_is_no_example_unless_as_published():
    own = fork(reply("a"), chosen=reply("[ls(b=1)]", "failed", 1))
    assert counted(build_pairs([own], FULL)) == {"chosen failed": 1}
    assert len(build_pairs([own], FULL, labels="published").rows) == 1
    taught = fork(reply("a"), chosen=reply("[ls(b=1)]", "failed", -1))
    assert len(build_pairs([taught], FULL).rows) == 1, "the reference's own"


def test_pairs_are_rows_of_a_dataset_even_where_there_are_none():
    for forks in ([fork(reply("a"), reply("b", draw=1))], []):
        pairs = build_pairs(forks, FULL)
        dataset = pairs.dataset()
        assert isinstance(dataset, Dataset) and dataset.features == FEATURES
        assert dataset.to_list() == list(pairs.rows)
    assert set(FEATURES) == {
        "prompt", "chosen", "rejected", "task", "dialogue_id", "block", "step", "kind", "harmless",
    }  # fmt: skip


def test_attempts_stand_before_the_cue():
    prompt = messages(fork().history, CONDITIONS["full"](fork().history))
    before = copy.deepcopy(prompt)
    told = FULL.prompt(fork().history, "d", attempts=("[ls()]", "no"))
    said = prompt[1]["content"].splitlines()
    tried = ["Already tried: [ls()]", "Already tried: no"]
    assert told[1]["content"].splitlines() == [*said[:-1], *tried, said[-1]]
    assert told[0] == prompt[0] and prompt == before
    assert with_attempts(prompt, ()) == prompt
    assert with_attempts([{"role": "user", "content": "cue"}], ["a"])[0]["content"] == (
        "Already tried: a\ncue"
    )


def test_a_long_prompt_loses_its_oldest_turn():
    def count(messages):
        return sum(len(message["content"]) for message in messages)

    whole = FULL.prompt(fork().history, "d")
    wording = Wording("full", prompt_tokens=count(whole) - 1, count_tokens=count)
    (row,) = build_pairs([fork(reply("a"))], wording).rows
    assert "Where am I?" not in row["prompt"][1]["content"]
    assert "What is <here>?" in row["prompt"][1]["content"]
    assert replace(wording, prompt_tokens=count(whole)).prompt(fork().history, "d") == whole
    with pytest.raises(ValueError, match="task d#1, step 0: documents"):
        build_pairs([fork(reply("a"))], replace(wording, prompt_tokens=10))


def test_unknown_words_are_named():
    for wrong, message in (
        ({"labels": "verify"}, "unknown labels 'verify' \\(did you mean 'verified'\\?\\)"),
        ({"siblings": "before"}, "unknown siblings 'before'"),
        ({"most_pairs": -1}, "most_pairs is -1: .* or 0 for all"),
    ):
        with pytest.raises(ValueError, match=message):
            build_pairs([], FULL, **wrong)
