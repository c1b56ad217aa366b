import pandas as pd
import pytest

from trajnb.scoring import paired, tables
from trajnb.scoring.arms import Arm


def test_the_gain_of_a_gap_is_what_training_added(read):
    table = tables.frame([read("a", condition="stripped"), read("b", condition="full")])
    left, right = (table[table.arm == Arm(arm)] for arm in ("full", "stripped"))
    zero, final, gain = (
        paired.compare(left, right, "name", when) for when in ("zero", "final", "gain")
    )
    assert gain.mean == pytest.approx(final.mean - zero.mean)
    assert gain.low <= gain.mean <= gain.high
    assert paired.compare(right, left, "name", "final").mean == pytest.approx(-final.mean)


def test_answers_are_paired_by_seed(crossed_table):
    table = crossed_table(seeds={"full": [0, 1], "stripped": [1, 2]})
    table = table[~((table.dialogue_id == "d3") & (table.step > 5))]  # so that dialogues differ
    left, right = (table[table.condition == condition] for condition in ("full", "stripped"))
    only = right[right.seed == 1]
    assert paired.compare(left, right, "canonical", "final") == paired.compare(
        left, only, "canonical", "final"
    )
    assert pd.isna(paired.compare(left, right[right.seed == 2], "canonical", "final").mean)


def named(table) -> set[tuple[str, str]]:
    """The pairs of arms in words."""
    return {(str(left), str(right)) for left, right in paired.pairs(table)}


def test_pairs_differ_in_the_condition_or_match_its_tokens(read):
    runs = [
        read("a", condition="stripped"),
        read("b", condition="full"),
        read("c", condition="requests"),
        read("d", condition="full", match_tokens="stripped"),
        read("e", condition="stripped", match_tokens="full"),
        read("f", condition="stripped", strategy="joint"),
        read("g", condition="full", strategy="joint"),
        read("h", condition="full", strategy="replay", replay_share=0.1),
    ]
    assert named(tables.frame(runs)) == {
        ("full", "stripped"),
        ("requests", "stripped"),
        ("full, match_tokens stripped", "stripped"),
        ("full", "stripped, match_tokens full"),
        ("full, strategy joint", "stripped, strategy joint"),
    }


def test_without_such_pairs_every_arm_is_held_against_the_first(read):
    slow, fast = (read(f"run-{rate}", learning_rate=rate) for rate in (1e-4, 3e-4))
    assert named(tables.frame([slow, fast])) == {
        ("full, learning_rate 0.0003", "full, learning_rate 0.0001")
    }
    assert paired.pairs(tables.frame([slow])) == []


def test_comparisons_stand_on_equal_prompts_where_there_are_such(crossed_table):
    crossed = paired.comparisons(crossed_table(), ["canonical"])
    assert crossed[["asked", "when"]].to_numpy().tolist() == [
        ["stripped", "final"],
        ["full", "final"],
    ]
    assert crossed["mean"].tolist() == pytest.approx([10, 40])
    own = paired.comparisons(
        crossed_table(asked={"stripped": ["stripped"], "full": ["full"]}), ["canonical"]
    )
    assert own.asked.eq("its own").all() and own.when.tolist() == ["zero", "final", "gain"]
    assert own["mean"].tolist() == pytest.approx([20, 50, 30])


@pytest.mark.parametrize(
    "value", ["a, b", "full → stripped", ["a, b", "c > d"], ", match_tokens full"]
)
def test_no_comma_or_arrow_in_a_value_breaks_a_pair(read, value):
    runs = [
        read("a", condition="stripped", train_file=value),
        read("b", condition="full", train_file=value),
        read("c", condition="stripped", train_file=value, match_tokens="full"),
        read("d", condition="stripped", train_file="other"),
        read("e", condition="full", train_file="other"),
    ]
    kept = tuple(value) if isinstance(value, list) else value
    full, stripped = (Arm(name, variant=(("train_file", kept),)) for name in ("full", "stripped"))
    matched = Arm("stripped", variant=(("match_tokens", "full"), ("train_file", kept)))
    others = [Arm(name, variant=(("train_file", "other"),)) for name in ("full", "stripped")]
    pairs = paired.pairs(tables.frame(runs))
    assert set(pairs) == {(full, stripped), (full, matched), tuple(others)}
