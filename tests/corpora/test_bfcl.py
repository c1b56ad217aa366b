"""The facts of the real corpus, each checked on all 200 dialogues."""

import json
import re
import statistics
from collections import Counter
from dataclasses import replace

import pytest
from world.official import check

from trajnb.assets import fetch
from trajnb.corpora.bfcl import BLOCKS, build_bfcl, scenarios
from trajnb.corpora.load import load_corpus
from trajnb.formatting.calls import render
from trajnb.formatting.dialogue import Call, Turn
from trajnb.formatting.documents import apis_of
from trajnb.formatting.examples import is_response_only, steps
from trajnb.world.environment import MODULES

HELD_OUT = """
    1 3 11 17 18 21 23 35 42 44  62 66 69 75 80 88 89 92 94 97
    103 116 126 128 129 132 133 134 137 147  157 163 164 165 172 175 180 183 193 199
"""


def test_blocks_and_split(bfcl):
    assert bfcl.blocks == tuple(BLOCKS.values()) == ("file_system", "vehicle_control", "trading", "travel")
    counts = [
        tuple(bfcl.account["blocks"][block][key] for key in ("train_examples", "held_out_examples"))
        for block in bfcl.blocks
    ]
    assert counts == [(225, 51), (281, 78), (194, 46), (213, 54)]
    assert bfcl.held_out == {f"multi_turn_base_{i}" for i in HELD_OUT.split()}
    for position, block in enumerate(bfcl.blocks):
        indices = [int(d.id.rpartition("_")[2]) for d in bfcl.dialogues if d.block == block]
        assert sorted(indices) == list(range(50 * position, 50 * position + 50))


def test_account(bfcl):
    account = bfcl.account
    assert (account["dialogues"], account["examples"]) == (200, 1142)
    assert (account["train_examples"], account["held_out_examples"]) == (913, 229)
    assert account["dropped"] == {} and account["dialogues_left_out"] == 0
    assert account["user_turns_without_call"] == 3
    assert account["hash"] == bfcl.hash
    json.dumps(account)


def test_the_hash_is_that_of_the_committed_records(bfcl):
    assert bfcl.hash == "3b25460f06d6de3556b747f52e7b19fa05892a789da6ded90a477fe64afc0e15"


def test_responses(bfcl):
    lengths = sorted(len(turn.text) for d in bfcl.dialogues for turn in d.turns if turn.call)
    assert statistics.mean(lengths) == pytest.approx(69.5, abs=0.05)
    assert (lengths[int(0.95 * len(lengths))], lengths[-1]) == (172, 563)
    texts = [turn.text for d in bfcl.dialogues for turn in d.turns if turn.call]
    assert (texts.count("None"), texts.count("{}")) == (50, 4)


@pytest.mark.parametrize("documents", ["used", "ten", "all"])
def test_documents(bfcl, documents):
    dialogues, _ = build_bfcl(documents)
    everything = {d.id: apis_of(d.documents) for d in build_bfcl("all")[0]}
    for dialogue in dialogues:
        called = {turn.call.name: turn.call for turn in dialogue.turns if turn.call}
        names = apis_of(dialogue.documents)
        assert set(called) <= set(names), f"{dialogue.id} calls what it does not document"
        for name, call in called.items():
            assert set(call.arguments) <= set(names[name].names), (
                f"{dialogue.id}: {name} has undocumented arguments"
            )
        assert list(names) == [name for name in everything[dialogue.id] if name in names], (
            "not in class order"
        )
        if documents == "used":
            assert set(names) == set(called)
        if documents == "ten":
            assert len(names) == 10
        for document in dialogue.documents:
            assert "\n" not in document and "Tool description" not in document
            assert list(json.loads(document)) == ["name", "description", "parameters"]


def test_slim_documents_still_tell_required_arguments():
    """The schema around the parameters is left out because it adds nothing: this is what that stands on."""
    folder = fetch("bfcl") / "bfcl_eval" / "data" / "multi_turn_func_doc"
    for module in MODULES.values():
        for line in (folder / f"{module}.json").read_text("utf-8").splitlines():
            schema = json.loads(line)["parameters"]
            assert set(schema) == {"type", "properties", "required"}
            without_default = {name for name, about in schema["properties"].items() if "default" not in about}
            assert without_default == set(schema["required"]), json.loads(line)["name"]


def test_building_twice_gives_the_same(bfcl):
    assert build_bfcl("ten") == build_bfcl("ten") == (bfcl.dialogues, bfcl.held_out)


def test_the_documents_setting_changes_the_hash(bfcl):
    assert len({load_corpus("bfcl", documents=documents).hash for documents in ("used", "ten", "all")}) == 3


@pytest.fixture(scope="module")
def fresh(bfcl):
    return load_corpus("bfcl", fresh_ids=True)


def pairs(bfcl, fresh):
    """Every call's turn as it was and as it is now, with its dialogue's id."""
    for old, new in zip(bfcl.dialogues, fresh.dialogues, strict=True):
        for was, now in zip(old.turns, new.turns, strict=True):
            if was.call:
                yield old.id, was, now


def changed_ids(bfcl, fresh):
    """(dialogue, argument, old value, new value) for every argument that changed."""
    return [
        (dialogue, name, value, now.call.arguments[name])
        for dialogue, was, now in pairs(bfcl, fresh)
        for name, value in was.call.arguments.items()
        if now.call.arguments[name] != value
    ]


def test_fresh_ids_change_ids_and_nothing_else(bfcl, fresh):
    assert fresh.account["fresh_ids"] == {"calls_changed": 126, "dialogues_changed": 78}
    assert fresh.hash != bfcl.hash and fresh.held_out == bfcl.held_out
    for old, new in zip(bfcl.dialogues, fresh.dialogues, strict=True):
        assert (old.id, old.block, old.documents) == (new.id, new.block, new.documents)
        users = [[turn.text for turn in d.turns if turn.role == "user"] for d in (old, new)]
        assert users[0] == users[1]
    assert all(was.call.name == now.call.name for _, was, now in pairs(bfcl, fresh))
    names = {"access_token", "booking_id", "card_id", "insurance_id", "order_id", "ticket_id", "tweet_id"}
    assert {name for _, name, *_ in changed_ids(bfcl, fresh)} == names


def test_fresh_responses_are_the_old_ones_with_other_ids(bfcl, fresh):
    others = []
    for dialogue, was, now in pairs(bfcl, fresh):
        old, new = (re.findall(r"\w+|\W+", turn.text) for turn in (was, now))
        if len(old) == len(new) and all(a == b or (a + b).isdecimal() for a, b in zip(old, new, strict=True)):
            continue
        others.append((dialogue, was.text, now.text))
    again = '{"retweet_status": "Already retweeted"}', '{"retweet_status": "Successfully retweeted"}'
    assert others == [("multi_turn_base_195", *again)]  # its configuration knows a tweet by that id already


def test_a_fresh_id_belongs_to_one_dialogue_and_no_user_says_the_old_one(bfcl, fresh):
    said = {d.id: "\n".join(turn.text for turn in d.turns if turn.role == "user") for d in bfcl.dialogues}
    owners = {}
    for dialogue, name, old, new in changed_ids(bfcl, fresh):
        assert owners.setdefault((name, new), dialogue) == dialogue
        assert not re.search(rf"\b{old}\b", said[dialogue]), f"{dialogue}: its user speaks of {name} {old}"


def test_fresh_ids_are_less_often_known_by_heart(bfcl, fresh):
    """Of the held-out calls that need values from responses, those that training asked for too fall."""
    assert known_by_heart(bfcl) == (55, 40)
    assert known_by_heart(fresh) == (55, 22)


def known_by_heart(corpus):
    """How many held-out calls need a value that only responses tell; of how many every such value was a
    training target of that argument of that API.
    """
    trained = {value for d in corpus.dialogues if d.id not in corpus.held_out for value in arguments(d)}
    needed = [
        values
        for dialogue in corpus.dialogues
        if dialogue.id in corpus.held_out
        for step in steps(dialogue)
        if (values := told_by_responses(step))
    ]
    return len(needed), sum(values <= trained for values in needed)


def arguments(dialogue):
    for turn in dialogue.turns:
        if turn.call:
            yield from ((turn.call.name, name, str(value)) for name, value in turn.call.arguments.items())


def told_by_responses(step):
    name = step.call.name
    return {
        (name, argument, str(value))
        for argument, value in step.call.arguments.items()
        if is_response_only(replace(step, target=Turn("api", "", Call(name, {argument: value}))))
    }


def calls_by_turn(dialogue):
    turns = []
    for turn in dialogue.turns:
        if turn.call:
            turns[-1].append(render(turn.call).removeprefix("[").removesuffix("]"))
        else:
            turns.append([])
    return turns


def answers(truth, given, fresh_ids):
    """What the official checker wants to know of each dialogue."""
    worlds = scenarios(fresh_ids)
    for true, own in zip(truth.dialogues, given.dialogues, strict=True):
        classes, config = worlds[true.id]
        yield {
            "id": true.id, "involved_classes": classes, "initial_config": config,
            "truth": calls_by_turn(true), "answer": calls_by_turn(own),
        }  # fmt: skip


def test_all_dialogues_are_valid_by_the_official_rule(bfcl, fresh):
    for corpus, fresh_ids in ((bfcl, False), (fresh, True)):
        verdicts = check(answers(corpus, corpus, fresh_ids))
        assert len(verdicts) == 200 and all(verdict["valid"] for verdict in verdicts)


def test_in_a_fresh_world_the_old_ids_fail(bfcl, fresh):
    """So that nothing known by heart passes: every dialogue whose calls changed needed the change."""
    failed = {verdict["id"]: verdict for verdict in check(answers(fresh, bfcl, True)) if not verdict["valid"]}
    assert failed.keys() == {dialogue for dialogue, *_ in changed_ids(bfcl, fresh)} and len(failed) == 78
    assert Counter(verdict["error"] for verdict in failed.values()) == {
        "multi_turn:execution_response_mismatch": 42,
        "multi_turn:instance_state_mismatch": 36,
    }
    assert all(verdict["turn"] is not None for verdict in failed.values())


def test_the_official_checker_tells_the_turn_that_fails(bfcl):
    (answer, *_) = answers(bfcl, bfcl, False)
    cut = answer | {"answer": [*answer["answer"][:-1], []]}
    last = len(answer["answer"]) - 1
    whole, without_end, again = check([answer, cut, answer])
    assert whole == again == {"id": answer["id"], "valid": True, "turn": None, "error": None}
    assert (without_end["valid"], without_end["turn"]) == (False, last)
    assert without_end["error"] == "multi_turn:empty_turn_model_response"
