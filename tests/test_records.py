import gzip
import json
import re
import shutil

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from trajnb import keeping, records
from trajnb.files import read_lines
from trajnb.machine import ROOT
from trajnb.schema import BEFORE, TURNS
from trajnb.scoring import beside, continual, crossing, preferences, strata, tables
from trajnb.study.cli import main
from trajnb.study.folder import adopt_kept, check_can_go_on, is_finished, run_states
from trajnb.world.unpassable import UNPASSABLE


@pytest.fixture
def study(tmp_path, write_run):
    folder = tmp_path / "study"
    for condition in ("stripped", "full"):
        own = folder / "runs" / f"{condition}-s0"
        places = {"corpus_path": "/home/me/data/mine.jsonl", "run_folder": f"/home/me/{own.name}"}
        write_run(own, condition, zero_shot_folder="/home/me/zero_shot", **places)
    about = {"name": "s", "runs": {"full-s0": {"corpus_path": "/home/me/data/mine.jsonl", "seed": 0}}}
    (folder / "study.yaml").write_text(yaml.safe_dump(about))
    return folder


def test_records_are_kept_compressed_and_read_the_same(study, tmp_path):
    told = CliRunner().invoke(main, ["records", str(study), str(tmp_path / "kept")])
    assert told.exit_code == 0 and "2 runs in" in told.output
    names = sorted(path.name for path in (tmp_path / "kept" / "records" / "full-s0").iterdir())
    assert names == ["items.jsonl", "predictions.jsonl.gz", "record.json"]
    before, after = records.read_study(study), records.read_study(tmp_path / "kept")
    for there, here in zip(before, after, strict=True):
        assert (here.items, here.predictions) == (there.items, there.predictions)
        assert here.record.matrix == there.record.matrix
    texts = [path.read_text() for path in (tmp_path / "kept").rglob("*.[jy]*") if path.suffix != ".gz"]
    assert not any("/home/me" in text for text in texts) and any("mine.jsonl" in text for text in texts)


def mark_changed(file):
    record = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(record | {"git_commit": "a" * 40 + "+changes"}))


@pytest.mark.parametrize("file", ["record.json", "rollout.json"])
def test_records_of_a_tree_with_changes_are_refused_unless_allowed(study, tmp_path, file):
    mark_changed(study / "runs" / "full-s0" / file)
    keep = ["records", str(study), str(tmp_path / "kept")]
    told = CliRunner().invoke(main, keep)
    assert told.exit_code == 1 and f"(full-s0: {file}). Commit the changes" in told.output
    assert not (tmp_path / "kept").exists(), "nothing was taken"
    told = CliRunner().invoke(main, [*keep, "--allow-changes"])
    assert told.exit_code == 0
    changed, committed, count = told.output.splitlines()
    assert changed == f"full-s0  with uncommitted changes: {file}"
    assert committed == "stripped-s0" and count.startswith("2 runs in")


def bytes_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.mark.parametrize("scores_only", [False, True])
def test_keeping_again_gives_the_same_bytes(study, tmp_path, scores_only):
    for source, name in ((study, "one"), (study, "two"), (tmp_path / "one", "of what was kept")):
        keeping.keep(source, tmp_path / name, scores_only=scores_only)
    one = bytes_of(tmp_path / "one")
    assert one == bytes_of(tmp_path / "two")
    assert one == bytes_of(tmp_path / "of what was kept")


def test_a_folder_without_runs_is_an_error(tmp_path):
    told = CliRunner().invoke(main, ["records", str(tmp_path), str(tmp_path / "kept")])
    assert told.exit_code == 1 and "holds no finished run" in told.output


def test_a_cut_archive_names_the_folder(study, tmp_path):
    keeping.keep(study, tmp_path / "kept")
    packed = tmp_path / "kept" / "records" / "full-s0" / "predictions.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(ValueError, match="full-s0 cannot be read"):
        records.read_study(tmp_path / "kept")


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("corpus", "hash"), "2" * 64, "corpus hash"),
        (("model", "sha256"), "3" * 64, "model"),
        (("model", "revision"), "abc", "model"),
        (("versions", "trajnb"), "9.0", "major version of trajnb"),
    ],
)
def test_runs_made_from_other_things_are_not_pooled(study, path, value, message):
    file = study / "runs" / "full-s0" / "record.json"
    record = json.loads(file.read_text())
    record[path[0]][path[1]] = value
    file.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"full-s0 has {message} .*stripped-s0 has") as told:
        records.read_study(study)
    assert value.partition(".")[0] in str(told.value)


def test_another_corpus_that_was_asked_for_may_stand_beside(study):
    file = study / "runs" / "full-s0" / "record.json"
    record = json.loads(file.read_text())
    record["corpus"]["hash"], record["parameters"]["documents"] = "2" * 64, "all"
    file.write_text(json.dumps(record))
    assert len(records.read_study(study)) == 2


def older(folder):
    """Take from a run what records of an earlier version did not have."""
    record = json.loads((folder / "record.json").read_text())
    del record["parameters"]["cue"]
    (folder / "record.json").write_text(json.dumps(record))
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    for line in lines:
        del line["opened_name"]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_an_older_record_gets_the_scores_of_its_texts_and_no_strata_of_its_own(tmp_path, write_run):
    before = records.read_run(write_run(tmp_path / "new"))
    older(write_run(tmp_path / "old"))
    after = records.read_run(tmp_path / "old")
    assert [one["opened_name"] for one in after.predictions] == [
        one["opened_name"] for one in before.predictions
    ]
    assert any(one["opened_name"] for one in after.predictions)
    assert {item["shared_api"] for item in after.items} == {None}
    assert after.record.parameters["cue"] == "ordinal" and after.record.leaks == {}


def test_an_older_placebo_is_the_near_one_of_today(tmp_path, write_run):
    folder = write_run(tmp_path / "p", "placebo", eval_conditions=["full", "placebo"], match_tokens="placebo")
    today = records.read_run(folder)
    assert today.record.parameters["condition"] == "placebo"
    assert list(today.record.matrix) == ["full", "placebo"]
    older(folder)
    run = records.read_run(folder)
    asked = ["full", "placebo-near"]
    assert run.record.parameters["condition"] == run.record.parameters["match_tokens"] == "placebo-near"
    assert run.record.parameters["eval_conditions"] == list(run.record.matrix) == asked
    assert {line["train_condition"] for line in run.predictions} == {"placebo-near"}
    assert list(dict.fromkeys(line["eval_condition"] for line in run.predictions)) == asked


def test_the_committed_placebo_is_the_near_one():
    run = records.read_run(ROOT / "reports" / "crossing-quick" / "records" / "placebo-s0-9be4adf5")
    assert run.record.parameters["condition"] == "placebo-near"


def test_a_new_placebo_takes_no_older_runs_folder(tmp_path, write_run, capsys):
    folder = write_run(tmp_path / "kept" / "records" / "placebo-s0-1", "placebo")
    older(folder)
    plan = {"condition": "placebo", "eval_conditions": []}
    with pytest.raises(ValueError, match="holds a run of condition placebo-near, not placebo: choose"):
        is_finished(folder, plan)
    assert is_finished(folder, plan | {"condition": "placebo-near"})
    full = write_run(tmp_path / "f", eval_conditions=["full", "placebo"])
    older(full)
    assert not is_finished(full, {"condition": "full", "eval_conditions": ["placebo"]})
    assert is_finished(full, {"condition": "full", "eval_conditions": ["placebo-near"]})
    out = write_run(tmp_path / "out" / "runs" / "full-s0").parents[1]
    adopt_kept(out, {"placebo-s0-1": plan}, tmp_path / "kept")
    assert "is of condition placebo-near, so it runs anew" in capsys.readouterr().out
    assert not (out / "runs" / "placebo-s0-1").exists()


def deal(file, fold, folds, sha256):
    """Lets a record say which fold it held out."""
    record = json.loads(file.read_text())
    record["parameters"] |= {"fold": fold, "folds": folds}
    record["corpus"]["hash"] = sha256
    file.write_text(json.dumps(record))


def test_folds_of_one_dealing_are_pooled_and_no_others(study):
    full, stripped = (study / "runs" / name / "record.json" for name in ("full-s0", "stripped-s0"))
    deal(full, 0, 5, "2" * 64)
    with pytest.raises(ValueError, match="holds out one of 5 folds, stripped-s0 the corpus's own split"):
        records.read_study(study)
    deal(stripped, 1, 5, "3" * 64)
    assert [run.record.parameters["fold"] for run in records.read_study(study)] == [0, 1]
    deal(stripped, 1, 10, "3" * 64)
    with pytest.raises(ValueError, match="item by item: full-s0 holds out one of 5 folds.* one of 10"):
        records.read_study(study)
    deal(stripped, 0, 5, "3" * 64)
    with pytest.raises(ValueError, match="corpus hash"):
        records.read_study(study)


def test_an_older_record_has_its_own_split_and_all_stages(study):
    for run in records.read_study(study):
        told = run.record.parameters
        assert (told["fold"], told["folds"], told["eval_stages"]) == (-1, 5, "all")


def strip(write_run, tmp_path):
    """A study of two conditions and both prompts, rolled out and asked for stops, with its records
    kept without texts.
    """
    both = {"eval_conditions": ["stripped", "full"]}
    for condition in ("stripped", "full"):
        folder = write_beside(write_run(tmp_path / "s" / "runs" / condition, condition, **both))
        told = json.loads((folder / "record.json").read_text())
        told["parameters"] |= {"run_folder": "/home/me/runs/secret", "corpus_path": "/home/me/secret.jsonl"}
        secrets = ["secret row", "secret too"]
        told["corpus"]["account"] = {"dropped": {"duplicate": 2}, "not_extending": secrets}
        (folder / "record.json").write_text(json.dumps(told))
    kept = tmp_path / "kept"
    told = CliRunner().invoke(main, ["records", str(tmp_path / "s"), str(kept), "--scores-only"])
    assert told.exit_code == 0, told.output
    return records.read_study(tmp_path / "s"), records.read_study(kept), kept


def write_beside(folder):
    where = {"block": "file_system", "stage": 4, "train_condition": "full", "eval_condition": "full"}
    for name, right in (("multi_turn_base_1", 1.0), (sorted(UNPASSABLE)[0], 0.0)):
        call = {"turn": 0, "text": "[secret()]", "response": "secret", "failed": False}
        line = where | {"dialogue_id": name, "ends": "oracle", "calls": [call], "gold": [["[secret()]"]]}
        line |= {"success": bool(right), "turns": [bool(right)], "progress": right, "cut": 0}
        line |= {"figures": {"success": right, "made": 1}}
        with (folder / "rollouts.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
    stop = where | {"dialogue_id": "multi_turn_base_1", "step": 1, "prediction": "secret", "canonical": True}
    (folder / "stops.jsonl").write_text(json.dumps(stop) + "\n")
    (folder / "rollout.json").write_text(json.dumps({"parameters": {"rollout_dialogues": 1}}))
    return folder


DRAWN = ("low", "high", "p", "holm", "flip")
"""What is drawn at random from dialogues in the order of their names."""


def test_without_texts_every_table_is_the_same(write_run, tmp_path):
    before, after, _ = strip(write_run, tmp_path)
    full, bare = tables.frame(before), tables.frame(after)
    assert bare.gold.isna().all() and bare.prediction.isna().all() and full.gold.notna().all()
    shared = [name for name in full if name not in ("dialogue_id", "gold", "prediction", "trained", "arm")]
    assert full[shared].astype(str).equals(bare[shared].astype(str))
    for made in (
        tables.headline,
        lambda table: crossing.effects(table, ["canonical"], which=["training", "interaction"]),
        lambda table: strata.scores(table, "canonical"),
        lambda table: pd.DataFrame(continual.intervals(one_arm(table), "canonical", resamples=200)),
        tables.given_parse,
    ):
        one, other = made(full), made(bare)
        drawn = [name for name in one if name in DRAWN]
        pd.testing.assert_frame_equal(one.drop(columns=drawn), other.drop(columns=drawn))
        for name in drawn:  # bounds in points, p below 1
            far = 2 if name in ("low", "high") else 0.05
            pd.testing.assert_series_equal(one[name], other[name], rtol=0, atol=far)
    pd.testing.assert_frame_equal(beside.played(before), beside.played(after))
    assert beside.played(after)["success, passable"].tolist() == [1.0, 1.0]
    pd.testing.assert_frame_equal(beside.stops(before), beside.stops(after))


def one_arm(table):
    return table[table.arm == table.arm.iloc[0]]


def test_without_texts_a_dialogue_has_one_name_and_its_own(write_run, tmp_path):
    before, after, _ = strip(write_run, tmp_path)
    names = {}
    for there, here in zip(before, after, strict=True):
        for one, other in zip(there.items, here.items, strict=True):
            names.setdefault(one["dialogue_id"], set()).add(other["dialogue_id"])
    assert all(len(found) == 1 for found in names.values())
    assert len(set.union(*names.values())) == len(names) == 12


def test_without_texts_no_text_id_or_folder_is_in_the_files(write_run, tmp_path):
    before, after, kept = strip(write_run, tmp_path)
    said = [one["gold"] for one in before[0].items] + [one["prediction"] for one in before[0].predictions]
    said += [one["dialogue_id"] for one in before[0].items]
    gone = set(re.findall(r"\w{4,}", " ".join(said))) | {"multi_turn", "/home"}
    text = all_text(kept)
    text = text.replace("secret.jsonl", "")  # the last name of the corpus's path, as in all records
    assert [word for word in sorted(gone | {"secret"}) if re.search(rf"\b{word}\b", text)] == []
    assert "multi_turn" not in text and "/home" not in text
    assert after[0].record.corpus["account"] == {"dropped": {"duplicate": 2}, "not_extending": 2}
    assert after[0].record.scores_only and not before[0].record.scores_only


def all_text(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "\n".join(
        (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
        for path in files
    )


def test_without_texts_twice_is_once(write_run, tmp_path):
    _, once, kept = strip(write_run, tmp_path)
    for name, more in (("a", {"scores_only": True}), ("b", {})):
        keeping.keep(kept, tmp_path / name, **more)
        twice = records.read_study(tmp_path / name)
        assert [vars(run) | {"folder": ""} for run in twice] == [vars(run) | {"folder": ""} for run in once]
        for beside_it in (kept / "records" / "full").glob("*.jsonl"):
            if beside_it.name != "items.jsonl":
                copied = tmp_path / name / "records" / "full" / beside_it.name
                assert copied.read_bytes() == beside_it.read_bytes()


def test_runs_with_and_without_texts_are_paired(write_run, tmp_path):
    before, after, kept = strip(write_run, tmp_path)
    write_run(kept / "records" / "more", "requests")
    mixed = records.read_study(kept)
    assert [run.record.scores_only for run in mixed] == [True] * 3
    table = tables.frame(mixed)
    assert table.prediction.isna().all() and table.dialogue_id.nunique() == 12
    assert [run.items for run in mixed if run.folder.name != "more"] == [run.items for run in after]
    keeping.keep(kept, tmp_path / "again", scores_only=True)
    assert records.read_study(tmp_path / "again")[1].items == mixed[1].items


def test_a_study_goes_on_beside_records_without_texts(write_run, tmp_path):
    _, _, kept = strip(write_run, tmp_path)
    out = tmp_path / "out"
    runs = {name: {"condition": name, "eval_conditions": ["full"]} for name in ("stripped", "full")}
    adopt_kept(out, runs, kept)
    assert (out / "runs" / "full" / "rollout.json").is_file()
    more = runs | {"requests": {"condition": "requests", "eval_conditions": []}}
    states = run_states(out, more)
    check_can_go_on(out, states)
    assert list(states.values()) == ["finished", "finished", "waiting"]
    assert len(records.read_study(out)) == 2
    runs["full"]["eval_conditions"] = ["placebo"]
    with pytest.raises(ValueError, match="record of full was .* nothing can be added to it"):
        check_can_go_on(out, run_states(out, runs))
    check_can_go_on(tmp_path / "s", run_states(tmp_path / "s", more))


def test_what_preferences_changed_is_kept_with_texts_or_without(tmp_path, write_prefer_run):
    study = tmp_path / "study"
    write_prefer_run(study / "runs" / "pairs", passes=lambda block, turn, *_: turn == 0)
    write_prefer_run(study / "runs" / "none", "none")
    told = [preferences.answers(records.read_study(study))]
    for name, scores_only in (("whole", False), ("figures", True)):
        keeping.keep(study, tmp_path / name, scores_only=scores_only)
        told.append(preferences.answers(records.read_study(tmp_path / name)))
    assert told[0] == told[1] == told[2] and len(told[0]) > 2
    (folder,) = (tmp_path / "figures").glob("records/pairs")
    before = read_lines(folder / BEFORE)
    assert {line["prediction"] for line in before} == {None}
    names = {line["dialogue_id"] for line in read_lines(folder / TURNS)}
    assert not any(name.startswith("multi_turn") for name in names)
    # one kept without texts beside one with them
    shutil.copytree(study / "runs" / "none", tmp_path / "mixed" / "none")
    shutil.copytree(folder, tmp_path / "mixed" / "pairs")
    assert preferences.answers(records.read_study(tmp_path / "mixed")) == told[0]
