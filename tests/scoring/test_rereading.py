import pytest

from trajnb.scoring import rereading, tables


def test_readings_differ_where_the_texts_give_them_reason_to(read):
    run = read("a", condition="stripped", eval_conditions=["stripped", "full"])
    texts = [
        ("[f(a='x')]", "[f(a='x')]", True),
        ("[f(a='x')]", "API-Request: [F(a='X')]", False),  # only the paper folds case
        ("[f(a='x')]", 'f(a="x")', True),  # only trajnb reads it
        ("[f(a='['x', 'y']')]", "[f(a='['z']')]", False),  # both others cut it to a bracket
        ("[f(a=3.5)]", "[f(a=3)]", False),  # one cuts the number, one does not see it
        ("f(a='x')", "f(a='x')", True),  # a gold that only trajnb reads
    ]
    last = [
        row for row in run.predictions if row["stage"] == 4 and row["eval_condition"] == "stripped"
    ]
    for item, row, (gold, prediction, exact) in zip(run.items, last, texts, strict=False):
        assert (item["dialogue_id"], item["step"]) == (row["dialogue_id"], row["step"])
        item["gold"], row["prediction"] = gold, prediction
        row |= {"canonical": exact, "parsed": True}
    kept = {(item["dialogue_id"], item["step"]) for item in run.items[: len(texts)]}
    run.predictions[:] = [
        row for row in run.predictions if (row["dialogue_id"], row["step"]) in kept
    ]
    shown = rereading.by_reading(tables.frame([run]))
    named = list(map(str, shown.index.get_level_values("arm").unique()))
    assert named == ["stripped → stripped"], "own condition only"
    columns = ["calls", "exact", "no call", "unread golds", "gained", "lost"]
    assert shown[columns].to_numpy().tolist() == [
        [6, 3, 0, 0, 0, 0],
        [6, 3, 2, 1, 2, 2],
        [6, 4, 2, 1, 3, 2],
    ]
    assert shown.percent.tolist() == pytest.approx([50, 50, 400 / 6])


def test_gold_is_exact_under_every_reading_that_reads_it(read):
    table = tables.frame([read("a"), read("b", condition="stripped")])
    table = table.assign(prediction=table.gold, canonical=True, parsed=True)
    shown = rereading.by_reading(table)
    assert (
        len(shown) == 6 and (shown.exact == shown.calls).all() and shown["unread golds"].eq(0).all()
    )
    assert rereading.by_reading(table.assign(condition="requests")).empty, (
        "no arm asked in its own condition"
    )
