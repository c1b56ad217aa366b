import numpy as np
import pytest

from trajnb.scoring import matrices, tables
from trajnb.scoring.arms import Arm
from trajnb.scoring.paired import OWN

OTHER = ("travel", "trading", "vehicle_control", "file_system")
BOTH = {"eval_conditions": ["stripped", "full"]}


def test_a_matrix_is_that_of_the_record(read):
    run = read("a")
    matrix = matrices.matrix(tables.frame([run]), "name")
    assert list(matrix.blocks) == run.record.blocks
    assert matrix.right.tolist() == run.record.matrix["full"]["name"]
    assert matrix.items.tolist() == run.record.items
    assert matrix.percent == pytest.approx(100 * matrix.right / np.array(run.record.items))


def test_runs_of_one_arm_and_order_are_added_up_and_orders_stand_apart(read):
    runs = [read("a"), read("b", seed=1), read("c", order=OTHER), read("d", strategy="joint")]
    found = matrices.matrices(tables.frame(runs), "name")
    assert [len(arms) for arms in found.values()] == [1, 1] and OTHER in found
    first = found[tuple(runs[0].record.blocks)][Arm("full")]
    assert first.items.tolist() == [2 * items for items in runs[0].record.items]


def test_other_conditions_are_shown_where_there_is_nothing_else(read):
    (alone,) = matrices.matrices(tables.frame([read("a", condition="placebo")]), "name").values()
    assert list(alone) == [Arm("placebo")]
    runs = [read("b", condition="placebo"), read("c")]
    (both,) = matrices.matrices(tables.frame(runs), "name").values()
    assert list(both) == [Arm("full")]


def test_differences_are_those_of_the_two_matrices(read):
    runs = [read("a", condition="stripped", **BOTH), read("b", **BOTH), read("c", seed=1, **BOTH)]
    table = tables.frame(runs)
    found = matrices.differences(table, "name")
    assert [one.asked for one in found] == ["stripped", "full"] and found[0].variant == ()
    full, stripped = (
        matrices.matrix(table[table.arm == Arm(name, asked="full")], "name")
        for name in ("full", "stripped")
    )
    same_seed = table[(table.arm == Arm("full", asked="full")) & (table.seed == 0)]
    points = matrices.matrix(same_seed, "name").percent - stripped.percent
    assert found[1].points == pytest.approx(points) and not found[1].starts_apart
    assert full.items.sum() == 2 * stripped.items.sum()


def test_arms_without_a_common_prompt_or_seed_have_no_difference(read):
    own = [read("a", condition="stripped"), read("b")]
    assert matrices.differences(tables.frame(own), "name") == []
    apart = [read("c", condition="stripped", **BOTH), read("d", seed=1, **BOTH)]
    assert matrices.differences(tables.frame(apart), "name") == []


def test_a_missing_stage_is_an_error_that_names_the_arm(read):
    table = tables.frame([read("a")])
    with pytest.raises(ValueError, match="full: a stage or block is missing"):
        matrices.matrix(table[(table.stage != 2) | (table.block != "travel")], "name")


def test_curves_go_by_prompt_and_order(read):
    own = [read("a", condition="stripped"), read("b"), read("c", strategy="joint")]
    (key,) = matrices.curves(tables.frame(own))
    assert key == (OWN, tuple(own[0].record.blocks))
    crossed = tables.frame(
        [read("d", condition="stripped", **BOTH), read("e", order=OTHER, **BOTH)]
    )
    assert len(matrices.curves(crossed)) == 4


def test_a_block_that_not_all_runs_were_asked_about_is_a_hole(read):
    runs = [read("a"), read("b", eval_stages="ends"), read("c", seed=1)]
    ends = matrices.matrix(tables.frame(runs[1:2]), "name")
    whole = matrices.matrix(tables.frame(runs[:1]), "name")
    asked = np.array([[True] * 4, *np.eye(4, dtype=bool)[:3], [True] * 4])
    assert (np.isnan(ends.right) == ~asked).all() and (ends.right[asked] == whole.right[asked]).all()
    assert runs[1].record.matrix["full"]["name"][2] == [None, ends.right[2, 1], None, None]
    mixed = matrices.matrix(tables.frame(runs[1:]), "name")
    assert (np.isnan(mixed.right) == ~asked).all() and (mixed.items == 2 * whole.items).all()
    both = tables.frame([read("d", condition="stripped", **BOTH), read("e", eval_stages="ends", **BOTH)])
    both = both.assign(variant=[()] * len(both), trained=[Arm(one) for one in both.condition])
    both["arm"] = [Arm(*pair) for pair in zip(both.condition, ["sequential"] * len(both), strict=True)]
    for one in matrices.differences(both, "name"):
        assert (np.isnan(one.points) == ~asked).all() and not one.starts_apart
