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


def folds_of(dialogues, split="dialogue", folds=5):
    return [splits.deal(dialogues, split, fold, folds) for fold in range(folds)]


@pytest.mark.parametrize("split", splits.SPLITS)
@pytest.mark.parametrize("folds", [2, 5, 7])
def test_over_all_folds_every_dialogue_is_held_out_once(split, folds):
    held_out = [name for fold in folds_of(DIALOGUES, split, folds) for name in fold]
    assert sorted(held_out) == sorted(d.id for d in DIALOGUES)


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_folds_are_even_in_every_block(folds):
    for block in ("block0", "block1"):
        ids = {d.id for d in DIALOGUES if d.block == block}
        sizes = [len(fold & ids) for fold in folds_of(DIALOGUES, folds=folds)]
        assert max(sizes) - min(sizes) <= 1, sizes


def test_folds_depend_on_ids_alone():
    shown = [replace(d, documents=("{}",), turns=d.turns[:1]) for d in DIALOGUES[::-1]]
    assert folds_of(shown) == folds_of(DIALOGUES)
    firsts = {d.id for d in DIALOGUES[:24]}
    assert 0 < len(folds_of(DIALOGUES)[0] & firsts) < 12, "dealt in file order"


def test_twins_are_held_out_together():
    twins = [replace(d, id=f"{d.id}-twin") for d in DIALOGUES[:40]]
    for fold in folds_of([*DIALOGUES, *twins]):
        for twin in twins:
            assert (twin.id in fold) == (twin.id.removesuffix("-twin") in fold)


def test_gold_disjoint_folds_keep_groups_whole():
    for fold in folds_of(DIALOGUES, "gold-disjoint"):
        sides = [[d for d in DIALOGUES if (d.id in fold) is side] for side in (False, True)]
        assert not golds(sides[0]) & golds(sides[1])
        assert splits.without_targets_of(DIALOGUES, fold) == (tuple(DIALOGUES), 0)


def test_a_group_too_large_is_dealt_singly_and_its_shared_calls_are_not_learnt():
    same = [replace(d, turns=(*d.turns, Turn("api", "", Call("Token")))) for d in DIALOGUES[:60]]
    dialogues = [*same, *DIALOGUES[60:]]
    (fold, *_) = folds_of(dialogues, "gold-disjoint")
    assert 0 < sum(d.id in fold for d in same) < 30
    changed, taken = splits.without_targets_of(dialogues, fold)
    train, held_out = ([d for d in changed if (d.id in fold) is side] for side in (False, True))
    assert held_out == [d for d in dialogues if d.id in fold]
    learnt, asked = (
        {render(d.turns[place].call) for d in side for place in d.places} for side in (train, held_out)
    )
    assert learnt and not learnt & asked and "[Token()]" in asked
    assert taken == sum(len(d.turns) - 1 - len(d.places) for d in changed) > 30
    assert [d.turns for d in changed] == [d.turns for d in dialogues], "prompts show them still"


@pytest.mark.parametrize(
    "dialogues, fold, folds, culprit",
    [
        (DIALOGUES, 5, 5, "fold is 5: 5 folds are numbered 0 to 4"),
        (DIALOGUES, -2, 5, "fold is -2.*-1 is the corpus's own split"),
        (DIALOGUES, 0, 1, "folds is 1: it takes at least two"),
        (DIALOGUES[:9], 0, 5, "block 'block1' has 4 dialogues, too few for 5 folds"),
    ],
)
def test_what_cannot_be_dealt(dialogues, fold, folds, culprit):
    with pytest.raises(ValueError, match=culprit):
        splits.deal(dialogues, "dialogue", fold, folds)


def test_groups_that_leave_a_fold_empty_name_the_block():
    few = [replace(dialogue(index, gold=str(index // 3)), block="few") for index in range(6)]
    with pytest.raises(ValueError, match="block 'few'.*leave a fold without any of its 6: lower"):
        splits.deal([*few, *DIALOGUES[60:]], "gold-disjoint", 0, 3)
    assert splits.deal([*few, *DIALOGUES[60:]], "gold-disjoint", 0, 2)
