"""The facts of the real corpus, each checked on all 200 dialogues."""

import json
import statistics

import pytest

from trajnb.assets import fetch
from trajnb.formatting.bfcl import BLOCKS, build_bfcl
from trajnb.formatting.corpus import load_corpus
from trajnb.formatting.documents import parameter_names
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


def test_responses(bfcl):
    lengths = sorted(len(turn.text) for d in bfcl.dialogues for turn in d.turns if turn.call)
    assert statistics.mean(lengths) == pytest.approx(69.5, abs=0.05)
    assert (lengths[int(0.95 * len(lengths))], lengths[-1]) == (172, 563)
    texts = [turn.text for d in bfcl.dialogues for turn in d.turns if turn.call]
    assert (texts.count("None"), texts.count("{}")) == (50, 4)


@pytest.mark.parametrize("documents", ["used", "ten", "all"])
def test_documents(bfcl, documents):
    dialogues, _ = build_bfcl(documents)
    everything = {d.id: parameter_names(d.documents) for d in build_bfcl("all")[0]}
    for dialogue in dialogues:
        called = {turn.call.name: turn.call for turn in dialogue.turns if turn.call}
        names = parameter_names(dialogue.documents)
        assert set(called) <= set(names), f"{dialogue.id} calls what it does not document"
        for name, call in called.items():
            assert set(call.arguments) <= set(names[name]), (
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
