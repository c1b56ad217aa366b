"""Donors of placebos, and what they give away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajnb.formatting.calls import render
from trajnb.formatting.conditions import CUES
from trajnb.formatting.dialogue import Call, Corpus, Dialogue, Turn
from trajnb.formatting.examples import build_examples, donors, possible, steps
from trajnb.formatting.leaks import Leaks, leaks


def dialogue(name, block, *calls):
    turns = [Turn("api", response, call) for call, response in calls]
    return Dialogue(name, block, (), (Turn("user", f"I am {name}."), *turns))


BOOK = Call("book", {"city": "Oslo"})
PAY = Call("pay", {"number": "B-77"})
TRIP = dialogue("a", "travel", (BOOK, "code B-77"), (PAY, "done"))
OTHER = dialogue("b", "travel", (Call("pay", {"number": "C-12"}), "code B-77"), (BOOK, "code D-9"))
FILES = dialogue("c", "files", (Call("ls"), "a.txt"), (Call("rm", {"file": "a.txt"}), "gone"))
TALK = Dialogue("d", "files", (), (Turn("user", "Hello."),))
ALL = [TRIP, OTHER, FILES, TALK]


def test_a_placebo_has_its_donor_in_another_block_and_a_near_one_in_its_own():
    far, near = donors(ALL), donors(ALL, "placebo-near")
    assert {name: donor.id for name, donor in near.items()} == {"a": "b", "b": "a", "c": "a", "d": "c"}
    assert far["a"] is FILES and far["b"] is FILES and far["c"] in (TRIP, OTHER)
    assert far["d"].block == "travel", "a dialogue without calls gives none"


def test_what_donors_give_away():
    assert leaks([TRIP, OTHER], "placebo-near") == Leaks(later=2, named=2, needing=1, told=1)
    assert leaks([TRIP, OTHER], "placebo") == Leaks(0, 0, 0, 0), "one block has no donors"
    assert leaks([TRIP, FILES], "placebo") == Leaks(later=2, named=0, needing=2, told=0)


def test_leaks_are_counted_as_the_review_counted_them(bfcl):
    held_out = [one for one in bfcl.dialogues if one.id in bfcl.held_out]
    assert leaks(held_out, "placebo-near") == Leaks(later=189, named=34, needing=55, told=11)
    assert leaks(held_out, "placebo") == Leaks(later=189, named=0, needing=55, told=2)


def corpus(*dialogues):
    held_out = frozenset(one.id for one in dialogues if one.id.startswith("h"))
    blocks = tuple(dict.fromkeys(one.block for one in dialogues))
    return Corpus("own", blocks, dialogues, held_out, {}, "")


def test_of_one_block_there_is_a_near_placebo_only():
    own = corpus(*(dialogue(name, "sea", (BOOK, "x"), (PAY, "y")) for name in ("a", "b", "h1", "h2")))
    assert "placebo" not in possible(own) and "placebo-near" in possible(own)
    assert not {"placebo", "placebo-near"} & set(possible(corpus(TRIP, dialogue("h", "sea", (BOOK, "x")))))
    with pytest.raises(ValueError, match="no other dialogue on this side.*placebo-near any"):
        build_examples(own, "placebo", "train")
    assert len(build_examples(own, "placebo-near", "train")) == 4


def test_every_condition_is_possible_in_the_corpora_that_are_shipped(sample):
    assert {"placebo", "placebo-near"} <= set(possible(sample))


def test_apis_that_another_block_learns_too():
    files = dialogue("h1", "files", (BOOK, "x"), (Call("ls"), "y"))
    own = corpus(TRIP, FILES, files, dialogue("h2", "travel", (PAY, "")))
    shared = {row["gold"]: row["shared_api"] for row in build_examples(own, "full", "held_out")}
    assert shared == {"[book(city='Oslo')]": True, "[ls()]": False, "[pay(number='B-77')]": False}


def test_bfcl_has_held_out_calls_of_apis_that_other_blocks_learn(bfcl):
    rows = build_examples(bfcl, "stripped", "held_out")
    assert sum(rows["shared_api"]) == 37


def test_the_plain_cue_makes_stripped_prompts_of_a_turn_the_same(bfcl):
    plain = build_examples(bfcl, "stripped", "held_out", cue="plain")
    counted = build_examples(bfcl, "stripped", "held_out")
    assert plain["gold"] == counted["gold"] and plain["same_prompt"] == counted["same_prompt"]
    assert all(prompt[1]["content"].endswith("\nGenerate API Request:") for prompt in plain["prompt"])
    assert len(set(map(str, counted["prompt"]))) == 229
    assert len(set(map(str, plain["prompt"]))) == 229 - sum(one > 1 for one in plain["ordinal"])
    paper = [build_examples(bfcl, "full", "held_out", prompt_format="paper", cue=cue) for cue in CUES]
    assert paper[0]["prompt"] == paper[1]["prompt"]
    with pytest.raises(ValueError, match="cue"):
        build_examples(bfcl, "full", "train", cue="none")
    assert next(steps(TRIP)).history.ordinal == 1


@given(
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)))),
        max_size=12,
    )
)
def test_donors_are_those_that_a_look_at_every_pair_finds(drawn):
    dialogues = [
        dialogue(str(number), block, *((Call(name), "r" * size) for name, size in calls))
        for number, (block, calls) in enumerate(drawn)
    ]
    for condition in ("placebo", "placebo-near"):
        found = {name: donor.id for name, donor in donors(dialogues, condition).items()}
        assert found == _donors_of_every_pair(dialogues, near=condition == "placebo-near")


def _donors_of_every_pair(dialogues, near):
    made = {d.id: {render(turn.call) for turn in d.turns if turn.call} for d in dialogues}
    length = {
        d.id: sum(len(turn.text) for turn in d.turns if turn.call) + sum(map(len, made[d.id]))
        for d in dialogues
    }
    found = {}
    for one in dialogues:
        unlike = {}
        for other in dialogues:
            if made[other.id] and other.id != one.id and (near or other.block != one.block):
                shared = not made[one.id].isdisjoint(made[other.id])
                distance = abs(length[other.id] - length[one.id])
                unlike[near and other.block != one.block, shared, distance, other.id] = other.id
        if unlike:
            found[one.id] = unlike[min(unlike)]
    return found
