import pytest

from trajnb.strategies import STRATEGIES, Examples, strategy_of

ORDER = ["b", "a", "c"]
BLOCKS = ["a", "a", "b", "b", "b", "c"]
DIALOGUES = ["a1", "a2", "b1", "b1", "b2", "c1"]


def run(strategy, share=0.5, seed=0):
    examples = Examples(tuple(ORDER), BLOCKS, DIALOGUES, replay_share=share, seed=seed)
    return strategy_of({"strategy": strategy}).stages(examples)


def test_sequential_learns_each_block_once_in_order_with_one_adapter():
    found = run("sequential")
    assert [stage.name for stage in found] == ORDER
    assert [stage.examples for stage in found] == [(2, 3, 4), (0, 1), (5,)]
    assert [stage.blocks for stage in found] == [("b",), ("a",), ("c",)]
    assert not any(stage.fresh for stage in found)


def test_independent_begins_anew_for_each_block():
    found = run("independent")
    assert [stage.examples for stage in found] == [stage.examples for stage in run("sequential")]
    assert [stage.fresh for stage in found] == [False, True, True], "the first adapter is new as it is"


def test_joint_learns_the_same_examples_in_one_stage():
    (stage,) = run("joint")
    assert sorted(stage.examples) == list(range(6)) and stage.blocks == tuple(ORDER)


def test_replay_keeps_whole_dialogues_of_every_earlier_block():
    first, second, third = run("replay")
    assert first.examples == (2, 3, 4)
    assert set(second.examples) in ({0, 1, 2, 3}, {0, 1, 4}), "one of two dialogues of b, whole"
    assert set(second.examples) - {0, 1} < set(third.examples), "what is remembered once stays"
    assert len({DIALOGUES[i] for i in third.examples} - {"c1"}) == 2, "one dialogue of each earlier block"
    assert run("replay") == run("replay") and any(run("replay", seed=s) != run("replay") for s in range(1, 9))
    assert set(run("replay", share=1)[2].examples) == set(range(6))


def test_few_shot_trains_nothing():
    (stage,) = run("few-shot")
    assert not stage.examples and not stage.blocks


@pytest.mark.parametrize("name", ["lookup", "most-frequent"])
def test_copying_trains_nothing(name):
    (stage,) = run(name)
    strategy = STRATEGIES[name]
    assert not stage.examples and not stage.blocks and strategy.recalls
    assert not strategy.trains and not strategy.ends_with_one_model
    assert {one.name for one in STRATEGIES.values() if one.recalls} == {"lookup", "most-frequent"}


def test_an_unknown_strategy_is_named():
    with pytest.raises(ValueError, match="unknown strategy 'rehearsal'; known: sequential"):
        run("rehearsal")
    trained = {"sequential", "joint", "independent", "replay"}
    assert {*trained, "few-shot", "lookup", "most-frequent"} == set(STRATEGIES)
