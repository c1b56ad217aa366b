import numpy as np
import pytest

from trajnb.scoring import continual, tables
from trajnb.scoring.baselines import METRICS, baselines, differences


def metrics(runs, measure="name"):
    found = baselines(tables.frame(runs), measure)
    arms = found.groupby("trained")
    return {str(arm): part.set_index("metric")["mean"].to_dict() for arm, part in arms}


def shares(run, measure="name"):
    """The matrix of a run in percent, zero-shot first."""
    (counts,) = run.record.matrix.values()
    return 100 * np.array(counts[measure]) / np.array(run.record.items)


def test_each_strategy_has_the_figures_it_can_have(read):
    runs = {
        name: read(name, **{} if name == "sequential" else {"strategy": name})
        for name in ("sequential", "replay", "joint", "independent", "few-shot")
    }
    found = metrics(runs.values())
    assert set(found["full"]) == set(found["full, strategy replay"]) == set(METRICS)
    assert set(found["full, strategy joint"]) == {"average", "learning"}
    assert set(found["full, strategy independent"]) == {"average", "learning", "intransigence"}
    assert set(found["full, strategy few-shot"]) == {"average"}

    whole, joint = shares(runs["sequential"]), shares(runs["joint"])
    expected = continual.metrics(whole[1:], whole[0])
    assert {name: found["full"][name] for name in continual.METRICS} == pytest.approx(expected)
    assert found["full"]["intransigence"] == pytest.approx(
        continual.intransigence(whole[1:], joint[-1])
    )
    assert found["full, strategy joint"]["average"] == pytest.approx(joint[-1].mean())
    own = np.diag(shares(runs["independent"])[1:])
    assert found["full, strategy independent"]["average"] == pytest.approx(own.mean())


def test_intransigence_needs_a_joint_arm_of_the_same_condition(read):
    found = metrics([read("a"), read("b", condition="stripped", strategy="joint")])
    assert "intransigence" not in found["full"]


def test_intervals_hold_their_figure(read):
    five = {"dialogues": continual.FEW_DIALOGUES}
    runs = [read(f"s{seed}", seed=seed, **five) for seed in (0, 1)]
    runs.append(read("joint", strategy="joint", **five))
    found = baselines(tables.frame(runs), "name")
    known = found.dropna(subset=["low"])
    assert len(known) and (known.low <= known["mean"]).all() and (known["mean"] <= known.high).all()


def test_fewer_than_five_dialogues_a_block_give_no_continual_interval(read):
    found = baselines(tables.frame([read("a", dialogues=4)]), "name")
    assert found["mean"].notna().all() and found.low.isna().all()


def test_both_conditions_are_held_against_each_other_at_the_same_prompts(read):
    both = {"eval_conditions": ["stripped", "full"]}
    runs = [read("a", condition="stripped", **both), read("b", **both), read("c", strategy="joint")]
    found = differences(tables.frame(runs), "name")
    assert found.variant.unique().tolist() == [()]
    assert found.asked.unique().tolist() == ["stripped", "full"]
    average = found[(found.metric == "average") & (found.asked == "full")]["mean"].item()
    ends = [np.array(run.record.matrix["full"]["name"][-1]) / run.record.items for run in runs[:2]]
    assert average == pytest.approx(100 * (ends[1].mean() - ends[0].mean()))
    assert differences(tables.frame(runs[1:]), "name").empty
