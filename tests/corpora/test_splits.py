from dataclasses import replace

import pytest

from trajnb.corpora import splits
from trajnb.formatting.calls import render
from trajnb.formatting.dialogue import Call, Dialogue, Turn


def dialogue(index, gold):
    turns = (Turn("user", f"Do {index}."), Turn("api", "ok", Call("Do", {"what": gold})))
    return Dialogue(f"d{index}", f"block{index % 2}", (), turns)


DIALOGUES = [dialogue(index, gold=str(index // 3)) for index in range(120)]


def golds(dialogues):
    return {render(turn.call) for one in dialogues for turn in one.turns if turn.call}


def sides(split, share=0.2, dialogues=DIALOGUES):
    held_out = splits.hold_out(dialogues, split, share)
    return [[d for d in dialogues if (d.id in held_out) is side] for side in (False, True)]


@pytest.mark.parametrize("split", splits.SPLITS)
def test_every_dialogue_is_on_one_side_and_shares_are_about_right(split):
    train, held_out = sides(split)
    assert len(train) + len(held_out) == len(DIALOGUES)
    assert 0.1 < len(held_out) / len(DIALOGUES) < 0.3
    assert {d.block for d in train} == {d.block for d in held_out} == {"block0", "block1"}


def test_gold_disjoint_shares_no_gold():
    train, held_out = sides("gold-disjoint")
    assert not golds(train) & golds(held_out)
    assert golds(sides("dialogue")[0]) & golds(sides("dialogue")[1]), "by dialogue alone, golds are shared"


def test_a_large_group_is_trained_on():
    same = [replace(d, turns=(*d.turns, Turn("api", "", Call("Token")))) for d in DIALOGUES[:60]]
    train, _ = sides("gold-disjoint", dialogues=[*same, *DIALOGUES[60:]])
    assert {d.id for d in same} <= {d.id for d in train}


@pytest.mark.parametrize("split", ["dialogue", "gold-disjoint"])
def test_data_added_later_moves_no_dialogue(split):
    before = splits.hold_out(DIALOGUES[:90], split, 0.2)
    after = splits.hold_out(DIALOGUES, split, 0.2)
    assert after & {d.id for d in DIALOGUES[:90]} == before


def test_dialogues_that_say_the_same_stand_together():
    twins = [replace(d, id=f"{d.id}-twin") for d in DIALOGUES]
    held_out = splits.hold_out([*DIALOGUES, *twins], "dialogue", 0.2)
    assert {name.removesuffix("-twin") for name in held_out if name.endswith("-twin")} == {
        name for name in held_out if not name.endswith("-twin")
    }


@pytest.mark.parametrize(
    "dialogues, split, share, culprit",
    [
        (DIALOGUES, "dialogue", 0, "held_out_share is 0"),
        (DIALOGUES, "dialogue", 1.5, "held_out_share is 1.5"),
        (DIALOGUES, "turn", 0.2, "unknown split 'turn'"),
        (DIALOGUES[:2], "dialogue", 0.2, "block 'block[01]' has no"),
    ],
)
def test_what_cannot_be_split(dialogues, split, share, culprit):
    with pytest.raises(ValueError, match=culprit):
        splits.hold_out(dialogues, split, share)
