from trajnb.scoring import overview, tables
from trajnb.scoring.arms import Arm


def test_a_row_a_run_and_what_all_share_apart(read):
    runs = [read("a", condition="stripped"), read("b")]
    table = overview.overview(runs)
    assert list(table.index) == ["a", "b"] and list(table.arm) == [Arm("stripped"), Arm("full")]
    assert table.loc["b", "training tokens"] == "37,000" and table.loc["b", "commit"] == "00000000"
    assert table.loc["b", "versions"] == "torch 2.13.0, transformers 5.23.0"
    shared = overview.shared(table)
    assert shared["model"] == "smollm2-135m" and "evaluated under" not in shared
    assert "seed" not in shared, "always shown"


def test_planned_runs_that_are_not_there_are_named(read, tmp_path):
    runs = [read("a"), read("b")]
    none = overview.plan_of(tmp_path)
    assert none.missing(runs) == [] and "cannot be checked" in none.words(runs)
    (tmp_path / "study.yaml").write_text("runs: {a: {}, c: {}}\nfamily: {measures: [name]}\n")
    plan = overview.plan_of(tmp_path)
    assert plan.missing(runs) == ["c"] and plan.family == {"measures": ["name"]}
    assert plan.words(runs).splitlines() == [
        "This study is unfinished: 1 of 2 runs are not finished and not here:",
        "  c",
    ]
    assert overview.Plan(["a"], None).words(runs) == "All 1 planned runs are here."


def test_what_was_declared_is_said(tmp_path):
    assert overview.plan_of(tmp_path).declaration() == []
    family = "family: {measures: [name, novel], effects: [training@full]}\n"
    (tmp_path / "study.yaml").write_text(f"{family}primary: novel\nsmallest_effect: 4.4\n")
    plan = overview.plan_of(tmp_path)
    assert plan.declaration() == [
        "Declared in the params file: the primary measure is exact call, novel target, and 4.4 "
        "points the smallest effect that it was planned to find. All other measures stand beside it."
    ]
    assert plan.measures() == ["novel", "name", "canonical", "logp"]
    assert overview.Plan([], None).measures() == ["canonical", "novel", "name", "logp"]


def test_eight_folds_are_asked_for_all_there_is(eight_runs):
    asked = overview.items_of(eight_runs(folds=8))
    assert asked.alike and asked.items == 640 and asked.dialogues == 64
    assert asked.words() == "8 folds are held out; all runs of a fold were asked for the same calls."


def test_whether_all_runs_were_asked_the_same(read):
    table = tables.frame([read("a"), read("b", condition="stripped")])
    asked = overview.items_of(table)
    assert (asked.items, asked.dialogues, asked.alike) == (27, 12, True)
    apart = overview.items_of(table[(table.run == "a") | (table.step > 0)])
    assert not apart.alike and "DIFFERENT" in apart.words()


def test_runs_of_a_fold_are_asked_the_same(read):
    table = tables.frame([read("a"), read("b", condition="stripped"), read("c", seed=1)])
    fold = (table.run == "c").astype(int)
    dealt = table.assign(fold=fold)[table.dialogue_id.str[-1].astype(int) % 2 == fold]
    asked = overview.items_of(dealt)
    assert (asked.items, asked.dialogues, asked.alike, asked.folds) == (27, 12, True, 2)
    assert asked.words() == "2 folds are held out; all runs of a fold were asked for the same calls."
    assert not overview.items_of(dealt[(dealt.run != "b") | (dealt.step > 0)]).alike
    assert not overview.items_of(dealt.assign(fold=-1)).alike
