from dataclasses import replace

import pytest

from trajnb.qlora import trie
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import find_model, load_base
from trajnb.qlora.plan import Cost, Recipe, make_plan, pack

RECIPE = Recipe(
    epochs=2,
    dialogues_per_step=2,
    learning_rate=1e-2,
    warmup_ratio=0.1,
    packing="trie",
    token_budget=200,
)
NONE = replace(RECIPE, packing="none")


def sized(*sizes):
    """Examples of so many tokens, none of them a beginning of another."""
    return [Encoded([n] * size, 1) for n, size in enumerate(sizes)]


def test_a_plan_is_seeded_and_keeps_dialogues_whole():
    names = ["a", "a", "b", "c", "c", "c"]
    examples = sized(2, 2, 2, 2, 2, 2)

    def batches(seed):
        return make_plan(examples, names, RECIPE, seed).batches

    steps = batches(3)
    assert steps == batches(3)
    assert any(steps != batches(other) for other in range(4, 9))
    assert len(steps) == 4, "three dialogues, two a step, two epochs"
    for epoch in (steps[:2], steps[2:]):
        assert sorted(sum(sum(epoch, []), [])) == [0, 1, 2, 3, 4, 5]
    for group in sum(steps, []):
        assert len({names[i] for i in group}) == 1


def test_a_budget_of_tokens_decides_how_much_is_learnt():
    names = [name for name in "abcdefghij" for _ in range(2)]
    tokens = list(range(1, 21))  # dialogues of 3, 7, 11 .. 39 tokens, 210 in all
    examples = sized(*tokens)
    for budget in (1, 60, 105, 210, 300, 500):
        plan = make_plan(examples, names, RECIPE, 0, budget)
        learnt = sum(plan.batches, [])
        total = sum(tokens[index] for index in sum(learnt, []))
        assert total == plan.cost.tokens
        assert learnt and (abs(total - budget) <= 20 or len(learnt) == 1), (budget, total)
        assert all(len(step) <= RECIPE.dialogues_per_step for step in plan.batches)
        first = learnt[:10]
        assert len({group[0] for group in first}) == len(first), "nothing twice before all was once"
    once = make_plan(examples, names, RECIPE, 0, 210).batches
    assert once == make_plan(examples, names, RECIPE, 0).batches[:5], "one epoch"


def test_packing_changes_passes_but_not_what_a_step_holds(dialogues):
    flat = sum(dialogues, [])
    names = [str(d) for d, group in enumerate(dialogues) for _ in group]
    for recipe in (RECIPE, NONE):
        plan = make_plan(flat, names, recipe, seed=0)
        for batch, passes in zip(plan.batches, plan.passes, strict=True):
            assert sorted(sum([one.examples for one in passes], [])) == sorted(sum(batch, []))
            for one in passes:
                assert one.packed == trie.build([flat[index].tokens for index in one.examples])


def test_unpacked_every_example_is_a_pass_of_its_own(dialogues):
    plan = pack(dialogues[0], [[[2, 0], [1]], [[3]]], NONE)
    assert [[one.examples for one in passes] for passes in plan.passes] == [[[2], [0], [1]], [[3]]]
    assert plan.cost.computed == plan.cost.tokens


def test_unknown_packing_is_named():
    wrong = replace(RECIPE, packing="tree")
    with pytest.raises(ValueError, match="unknown packing 'tree'"):
        pack([Encoded([1, 2], 1)], [[[0]]], wrong)


@pytest.fixture
def tiny_config():
    return load_base(find_model("tiny")).config


@pytest.mark.parametrize("budget", [None, 0, 100])
def test_a_plan_of_nothing_costs_nothing(tiny_config, budget):
    plan = make_plan([], [], RECIPE, 0, budget)
    assert plan.cost == Cost(0, 0, 0, 0, 0)
    assert plan.operations(tiny_config, rank=2) == 0


def test_operations_are_counted_from_the_shape(tiny_config):
    recipe = Recipe(1, 1, 1e-4, 0.0, "trie", 100)
    # one linear layer's worth by hand: 4 tokens, of which 2 are supervised
    plan = pack([Encoded([1, 2, 3, 4], 2)], [[[0]]], recipe)
    flops = plan.operations(tiny_config, rank=2)
    shapes = [(64, 64), (64, 32), (64, 32), (64, 64), (64, 192), (64, 192), (192, 64)]
    linear = 4 * (4 * sum(a * b for a, b in shapes) + 6 * 2 * sum(a + b for a, b in shapes))
    attention = 12 * (1 + 2 + 3 + 4) * 64
    output = 4 * 2 * 64 * tiny_config.vocab_size
    assert flops == 2 * (linear + attention) + output
