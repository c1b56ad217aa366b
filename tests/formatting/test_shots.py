import pytest

from trajnb.formatting.examples import build_examples
from trajnb.formatting.shots import with_shots


@pytest.fixture(scope="module")
def sides(sample):
    return [build_examples(sample, "full", split) for split in ("held_out", "train")]


def test_shots_are_training_calls_of_the_same_block_between_instruction_and_question(sides):
    asked, learnt = sides
    golds = {block: set() for block in asked["block"]}
    for row in learnt:
        golds[row["block"]].add(row["completion"][0]["content"])
    shown = with_shots(asked, learnt, 2, seed=0)
    assert shown.column_names == asked.column_names
    for before, after in zip(asked, shown, strict=True):
        assert {k: v for k, v in after.items() if k != "prompt"} == {
            k: v for k, v in before.items() if k != "prompt"
        }
        system, *shots, question = after["prompt"]
        assert [system, question] == before["prompt"]
        assert [message["role"] for message in shots] == ["user", "assistant"] * 2
        assert all(message["content"] in golds[after["block"]] for message in shots[1::2])


def test_a_block_shows_the_same_shots_to_all_and_another_seed_others(sides):
    def shots(seed):
        rows = with_shots(*sides, 1, seed=seed)
        return {(row["block"], str(row["prompt"][1:-1])) for row in rows}

    assert len(shots(0)) == 4, "one set a block"
    assert shots(0) == shots(0) and any(shots(seed) != shots(0) for seed in range(1, 9))


def test_too_few_training_dialogues_are_an_error_that_says_what_to_do(sides):
    with pytest.raises(ValueError, match="has 2 training dialogues, too few for 3 shots: lower shots"):
        with_shots(*sides, 3, seed=0)
