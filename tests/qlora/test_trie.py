import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask

from trajnb.qlora import trie
from trajnb.qlora.attention import block_mask, dense_mask, ends

sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=8)


@given(sequences)
def test_every_distinct_prefix_stands_once(sequences):
    packed = trie.build(sequences)
    prefixes = {tuple(s[: n + 1]) for s in sequences for n in range(len(s))}
    assert len(packed.tokens) == len(prefixes)


@given(sequences)
def test_a_path_reads_as_its_sequence(sequences):
    packed = trie.build(sequences)
    for index, sequence in enumerate(sequences):
        nodes = packed.nodes(index)
        assert [packed.tokens[node] for node in nodes] == sequence
        assert [packed.depths[node] for node in nodes] == list(range(len(sequence)))


@given(sequences)
def test_a_token_sees_its_own_prefix_and_nothing_else(sequences):
    packed = trie.build(sequences)
    seen = dense_mask(packed)[0, 0]
    for index in range(len(sequences)):
        nodes = packed.nodes(index)
        for depth, node in enumerate(nodes):
            assert seen[node].nonzero()[:, 0].tolist() == sorted(nodes[: depth + 1])


@settings(max_examples=40)
@given(sequences)
def test_a_block_mask_lets_a_node_look_where_the_dense_one_does(sequences):
    packed = trie.build(sequences)
    size, wanted = len(packed.tokens), dense_mask(packed)
    blocks = block_mask(torch.tensor(ends(packed)))
    assert torch.equal(create_mask(blocks.mask_mod, 1, 1, size, size, device="cpu"), wanted)


def test_a_block_mask_computes_every_block_in_which_a_node_looks():
    """Blocks have 128 nodes a side."""
    trunk = list(range(500))
    branches = [[*trunk[:start], *range(1000, 1000 + length)] for start, length in ((90, 300), (450, 9))]
    packed = trie.build([trunk, *branches])
    blocks = block_mask(torch.tensor(ends(packed)))
    size = len(packed.tokens)
    padded = torch.nn.functional.pad(dense_mask(packed)[0, 0], (0, -size % 128, 0, -size % 128))
    looks = padded.unflatten(0, (-1, 128)).unflatten(2, (-1, 128)).any(3).any(1)
    assert torch.equal(blocks.to_dense()[0, 0].bool(), looks)
    assert not looks.tril().all(), "some of the square is left out"


def test_the_longest_sequence_is_one_causal_trunk():
    packed = trie.build([[1, 2, 9], [1, 2, 3, 4, 8], [1, 2, 3, 7]])
    assert packed.segments == [
        trie.Segment(0, 5, ()),
        trie.Segment(5, 6, ((0, 3),)),
        trie.Segment(6, 7, ((0, 2),)),
    ]


@given(st.lists(sequences, min_size=1, max_size=5), st.integers(1, 40))
def test_packing_keeps_every_sequence_and_the_budget(groups, budget):
    rows = trie.pack(groups, budget)
    assert sorted(sum(rows, [])) == [(g, i) for g, group in enumerate(groups) for i in range(len(group))]
    for row in rows:
        size = len(trie.build([groups[g][i] for g, i in row]).tokens)
        assert size <= budget or len(row) == 1


def test_a_dialogue_is_not_torn_where_it_fits_a_row_of_its_own():
    groups = [[[1, 2, 3], [1, 2, 4]], [[5, 6, 7], [5, 6, 8]]]
    assert trie.pack(groups, 5) == [[(0, 0), (0, 1)], [(1, 0), (1, 1)]]


@given(st.lists(sequences, min_size=1, max_size=5), st.integers(1, 20), st.integers(1, 40))
def test_a_larger_budget_for_groups_keeps_them_whole(groups, budget, group_budget):
    rows = trie.pack(groups, budget, group_budget)
    assert sorted(sum(rows, [])) == [(g, i) for g, group in enumerate(groups) for i in range(len(group))]
    for g, group in enumerate(groups):
        if len(trie.build(group).tokens) <= max(budget, group_budget):
            assert sum(any(g == held for held, _ in row) for row in rows) == 1, "a group is torn"
    for row in rows:
        size = len(trie.build([groups[g][i] for g, i in row]).tokens)
        assert size <= budget or len({g for g, _ in row}) == 1
