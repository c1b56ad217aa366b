import pandas as pd
import pytest

from trajnb import machine, records
from trajnb.files import write_json
from trajnb.run import answer, learn

ROWS = [{"dialogue_id": name, "step": step, "block": name} for name in "ab" for step in (0, 1)]


def test_kept_lines_are_measured_once(tmp_path):
    calls = []

    def measure(rows):
        calls.append(rows)
        return [row | {"a": 1} for row in rows]

    path, lines = tmp_path / "deep" / "x.jsonl", [row | {"a": 1} for row in ROWS]
    assert answer.kept(path, ROWS, "ab", measure) == answer.kept(path, ROWS, "ab", measure) == lines
    assert calls == [ROWS]


def test_what_is_asked_later_is_added_in_the_order_of_the_rows(tmp_path):
    calls = []

    def measure(rows):
        calls.append([row["block"] for row in rows])
        return [row | {"at": len(calls)} for row in rows]

    def kept(blocks):
        return [line["at"] for line in answer.kept(tmp_path / "x.jsonl", ROWS, blocks, measure)]

    assert kept("b") == [1, 1]
    assert kept("ab") == [2, 2, 1, 1] and calls == [["b", "b"], ["a", "a"]]
    assert kept("b") == [2, 2, 1, 1], "what is there stays"


@pytest.mark.parametrize("left", ["", '{"dialogue_id": "a", "st', "\0" * 40])
def test_a_file_that_a_lost_disk_emptied_is_asked_again_and_a_cut_one_is_named(tmp_path, left):
    path = tmp_path / "stage.jsonl"
    path.write_text(left)
    rows = [{"dialogue_id": "a", "step": 0, "block": "x"}]
    if not left:
        assert answer.kept(path, rows, ["x"], list) == rows
        return
    with pytest.raises(ValueError, match="stage.jsonl is damaged .*: delete it, and its answers"):
        answer.kept(path, rows, ["x"], list)


def test_a_measurement_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        answer.kept(tmp_path / "x.jsonl", ROWS, "ab", lambda rows: [{"a": 1 / 0}])
    assert not list(tmp_path.iterdir())


def test_a_folder_shaped_otherwise_is_refused(tmp_path):
    learn.claim(tmp_path, {"condition": "full", "seed": 0})
    learn.claim(tmp_path, {"condition": "full", "seed": 0})
    with pytest.raises(ValueError, match="other condition: choose another run_folder"):
        learn.claim(tmp_path, {"condition": "stripped", "seed": 0})


def test_the_table_shows_counts_by_stage_and_block():
    lines = [
        {"stage": stage, "block": block, "name": right}
        for stage, block, right in [(0, "a", False), (0, "b", False), (0, "b", True), (1, "a", True)]
    ]
    wanted = pd.DataFrame(
        [["0/1", "1/2"], ["1/1", "–"]], index=["before training", "after a"], columns=["a", "b"]
    )
    pd.testing.assert_frame_equal(
        answer.table(lines, ["a", "b"], ["before training", "after a", "after b"]), wanted
    )


def test_records_read_back(tmp_path, write_run):
    folder = write_run(tmp_path / "runs" / "full-s0")
    (tmp_path / "runs" / "unfinished").mkdir()
    (run,) = records.read_study(tmp_path)
    assert run.folder == folder and run.record.parameters["condition"] == "full"
    assert records.read_study(tmp_path / "runs") == [run]


def test_damaged_records_name_the_folder(tmp_path, write_run):
    folder = write_run(tmp_path / "runs" / "full-s0")
    (folder / "predictions.jsonl").write_text('{"dialogue_id": ')
    with pytest.raises(ValueError, match="full-s0 cannot be read"):
        records.read_study(tmp_path)


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_relative_paths_start_at_the_clone(tmp_path):
    assert machine.resolve("reports/quick") == machine.ROOT / "reports" / "quick"
    assert machine.resolve(tmp_path) == tmp_path


def test_the_machine_and_versions_are_named():
    assert "cores" in machine.describe() and "GiB" in machine.describe()
    assert {"python", "torch", "transformers", "peft"} <= set(machine.versions())
    assert machine.peak_memory_mb() > 10
