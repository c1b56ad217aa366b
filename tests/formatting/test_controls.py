import random
from collections import Counter

import pytest

from trajnb.formatting.controls import NO_SIDE, flipped_sides, random_sides
from trajnb.formatting.pairs import DROPPED, Pairs


def side(text):
    return [{"role": "assistant", "content": text}]


def row(block, task, step, chosen, rejected, kind="refused"):
    return {
        "prompt": [{"role": "user", "content": f"{task} {step}"}],
        "chosen": side(chosen),
        "rejected": side(rejected),
        "task": task,
        "dialogue_id": task,
        "block": block,
        "step": step,
        "kind": kind,
        "harmless": False,
    }


def made(rows):
    return Pairs(tuple(rows), dict.fromkeys(DROPPED, 0))


@pytest.fixture
def many():
    """Two blocks, up to three wrong replies at a state, and four in ten of them `[]`, as trees
    have.
    """
    rng, rows = random.Random(0), []
    for number in range(60):
        block, task = f"block {number % 2}", f"d{number}"
        for step in range(2):
            chosen = f"[f(x={number})]" if step == 0 else "[]"
            wrong = [f"no {number} {step} {other}" for other in range(rng.randrange(1, 4))]
            if step == 0 and rng.random() < 0.8:
                wrong.append("[]")
            rows += [row(block, task, step, chosen, text, text[:2]) for text in wrong]
    return made(rows)


def texts(pairs, name):
    return [one[name][0]["content"] for one in pairs.rows]


def test_flipped_is_the_other_way_round(many):
    flipped = flipped_sides(many)
    assert texts(flipped, "chosen") == texts(many, "rejected")
    assert texts(flipped, "rejected") == texts(many, "chosen")
    assert flipped_sides(flipped) == many and [r["prompt"] for r in flipped.rows] == [
        r["prompt"] for r in many.rows
    ]


def test_random_sides_come_from_another_state_of_the_block(many):
    dealt = random_sides(many, seed=1)
    assert len(dealt.rows) == len(many.rows) and dealt.dropped[NO_SIDE] == 0
    own = {}
    for one in many.rows:
        own.setdefault((one["task"], one["step"]), set()).add(one["rejected"][0]["content"])
    for block in ("block 0", "block 1"):
        sides = [
            Counter(r["rejected"][0]["content"] for r in pairs.rows if r["block"] == block)
            for pairs in (many, dealt)
        ]
        assert sides[0] == sides[1], "none is lost, none is made up"
    again = 0
    for before, after in zip(many.rows, dealt.rows, strict=True):
        said = after["rejected"][0]["content"]
        assert after["chosen"] != after["rejected"]
        again += said in own[after["task"], after["step"]]
        same = ("prompt", "chosen", "task", "dialogue_id", "block", "step")
        assert all(before[name] == after[name] for name in same)
        assert after["kind"] == said[:2], "the kind goes with its side"
    free = [one for one in many.rows if one["step"] == 0 and "[]" not in own[one["task"], 0]]
    assert again == texts(many, "rejected").count("[]") - len(free), "no more than there must be"


def test_random_sides_depend_on_the_seed_alone(many):
    assert random_sides(many, 1) == random_sides(many, 1) != random_sides(many, 2)
    half = made([one for one in many.rows if one["block"] == "block 0"])
    whole = random_sides(many, 1)
    assert random_sides(half, 1).rows == tuple(r for r in whole.rows if r["block"] == "block 0")


def test_where_no_side_fits_the_pair_is_left_out_and_counted():
    lonely = made([row("a", "d", 0, "[f()]", "x"), row("a", "d", 0, "[f()]", "y")])
    dealt = random_sides(lonely, 0)
    assert dealt.rows == () and dealt.dropped[NO_SIDE] == 2
    assert lonely.dropped.get(NO_SIDE) is None, "what was given stays as it was"
    ends = made([row("a", "d", 0, "[]", "x"), row("a", "e", 0, "[g()]", "[]")])
    assert random_sides(ends, 0).dropped[NO_SIDE] == 1, "`[]` is right there"
    assert random_sides(made([]), 0).rows == ()


def test_all_that_is_said_alike_is_dealt_all_the_same():
    alike = made([row("a", f"d{n}", 0, f"[f(x={n})]", "[]") for n in range(4)])
    assert texts(random_sides(alike, 0), "rejected") == ["[]"] * 4
