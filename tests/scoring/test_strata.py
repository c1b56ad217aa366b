import pytest

from trajnb.scoring import crossing, strata, tables
from trajnb.scoring.arms import Arm


def test_every_row_is_of_one_stratum_of_each_group(crossed_table):
    table = crossed_table()
    groups = strata.strata(table)
    assert list(groups[0]) == ["all calls"]
    assert list(groups[1]) == ["gold call seen in training", "novel gold call"]
    for group in groups:
        assert (sum(where.astype(int) for where in group.values()) == 1).all(), list(group)
    named = [name for group in groups for name in group]
    assert len(named) == len(set(named))


def test_scores_and_ceilings_are_those_of_the_items(crossed_table):
    scores = strata.scores(crossed_table(), "canonical")
    assert scores.loc["all calls", ("", "ceiling")] == 80
    assert scores.loc["all calls", (Arm("full", asked="full"), "final")] == pytest.approx(80)
    assert scores.loc["a value only in stripped responses", ("", "ceiling")] == 0
    assert scores.loc["same prompt in every condition", ("", "items")] == 16
    assert scores.loc["novel gold call", ("", "dialogues")] == 6


def test_the_name_can_be_known_where_a_value_cannot(crossed_table):
    ceiling = strata.scores(crossed_table(), "name")["", "ceiling"]
    assert (
        ceiling["a value only in stripped responses"] == 100
        and ceiling["the API's name only there"] == 0
    )


def test_effects_within_a_stratum_are_those_of_its_rows(crossed_table):
    table = crossed_table()
    found = strata.by_stratum(table, "canonical").set_index(["stratum", "effect"])
    assert found.loc[("all calls", "training@full"), "mean"] == pytest.approx(40)
    novel = crossing.effects(table[~table.seen_target], ["canonical"]).set_index("effect")
    for effect in strata.DECOMPOSED:
        assert found.loc[("novel gold call", effect), "mean"] == pytest.approx(
            novel.loc[effect, "mean"]
        )
        assert found.loc[("novel gold call", effect), "items"] == 60


def test_arms_asked_in_their_own_condition_only_have_a_gap_in_place_of_effects(crossed_table):
    table = crossed_table(asked={"stripped": ["stripped"], "full": ["full"]})
    found = strata.by_stratum(table, "canonical")
    assert found.effect.unique() == ["full minus stripped, own prompts"]
    assert found[found.stratum == "all calls"]["mean"].item() == pytest.approx(50)


def test_an_older_record_is_cut_by_what_it_has(read):
    run = read("a")
    older = (run.folder / "items.jsonl").read_text()
    assert "answerable" not in older and "prompt_characters" not in older
    table = tables.frame([run])
    names = [name for group in strata.strata(table) for name in group]
    assert any(name.endswith("tokens") for name in names)
    assert (table.answerable == ~table.response_only).all() and not table.name_response_only.any()
    assert strata.by_stratum(table, "canonical").empty
