import json
from dataclasses import replace

import pytest

from trajnb.world.trees import Draw, Node, Search, Tree, from_line, to_line

CALL = Node(-1, 0, "[ls()]", "API-Request: [ls()]", "<a>\u2028", "executed", on_path=True)
STOP = Node(0, 1, "[]", "[]", "", "stop", cut=True, won=False, harmless=False)
TREE = Tree("multi_turn_base_1#0", "file_system", "self", (CALL, STOP), 3, 1, False)


def test_a_tree_is_one_line_and_back():
    line = to_line(TREE)
    assert len(line.splitlines()) == 1 and from_line(line) == TREE
    assert to_line(from_line(line)) == line
    assert from_line(to_line(replace(TREE, nodes=()))).nodes == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: [],
        lambda tree: tree | {"nodes": 3},
        lambda tree: tree | {"colour": "red"},
        lambda tree: {name: tree[name] for name in tree if name != "task"},
        lambda tree: tree | {"nodes": [{"parent": -1}]},
    ],
)
def test_a_line_that_holds_no_tree_says_so(change):
    with pytest.raises(ValueError, match="holds no tree; grow it again"):
        from_line(json.dumps(change(json.loads(to_line(TREE)))))
    with pytest.raises(ValueError, match="holds no tree"):
        from_line(to_line(TREE)[:-20])


def test_nodes_that_lead_nowhere_are_errors():
    for parent in (-2, 1, 7):
        line = to_line(replace(TREE, nodes=(CALL, replace(STOP, parent=parent))))
        with pytest.raises(ValueError, match=f"node 1 cannot come after node {parent}"):
            from_line(line)
    with pytest.raises(ValueError, match="unknown kind 'lost'"):
        from_line(to_line(replace(TREE, nodes=(replace(CALL, kind="lost"),))))


def test_random_numbers_hang_on_the_name_of_a_reply_alone():
    draw = Draw("multi_turn_base_1#0", ("[ls()]",), 1)
    assert draw.seed(0) == 8_419_395_960_690_765_886, "the same on every machine"
    others = [
        replace(draw, task="multi_turn_base_1#1"),
        replace(draw, path=()),
        replace(draw, path=("[ls()]", "[ls()]")),
        replace(draw, index=2),
    ]
    seeds = {draw.seed(0), draw.seed(1), *(other.seed(0) for other in others)}
    assert len(seeds) == 6 and all(0 <= seed < 2**64 for seed in seeds)
    assert replace(draw, index=0).greedy and not draw.greedy


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"width": 0}, "width is 0: a search needs at least 1"),
        ({"budget": -1}, "budget is -1"),
        ({"most_depth": 0}, "most_depth is 0"),
        ({"extra_depth": 0}, "extra_depth is 0"),
        ({"back_up": 0}, "back_up is 0"),
        ({"temperature": 0.0}, "temperature is 0.0: give one above 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"diversity": "samples"}, "unknown diversity 'samples' \\(did you mean 'sample'\\?\\)"),
        ({"ends": "user"}, "unknown ends 'user'.*oracle, model"),
        ({"explore": "all"}, "unknown explore 'all'.*stop, path"),
    ],
)
def test_a_search_that_cannot_be_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Search(**wrong)


def test_a_path_has_room_for_the_reference_and_a_little_more():
    assert [Search().depth(calls) for calls in (1, 2, 6, 7)] == [3, 4, 8, 8]
    assert [Search(ends="oracle").depth(calls) for calls in (1, 7)] == [1, 7]


def test_a_line_that_is_nested_without_end_holds_no_tree():
    with pytest.raises(ValueError, match="this line holds no tree; grow it again"):
        from_line('{"nodes": ' + "[" * 100_000)
