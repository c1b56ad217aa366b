"""A run without a kernel: resumed, claimed, recorded; and the same as 02_train gives."""

import json
import re
import subprocess
import sys
from dataclasses import asdict, fields, replace

import pytest
import yaml
from click.testing import CliRunner

from trajnb import keeping, records
from trajnb.files import read_lines
from trajnb.machine import ROOT
from trajnb.run import answer, learn, prepare
from trajnb.run.finish import finish
from trajnb.run.play import ways_to_play
from trajnb.run.settings import Settings
from trajnb.run.train import ask_untrained, train
from trajnb.schema import Item, Prediction
from trajnb.scoring import errors
from trajnb.study.cli import main
from trajnb.study.folder import is_finished
from trajnb.study.job import hold
from trajnb.study.parameters import notebook_parameters

NOTEBOOK = ROOT / "notebooks" / "02_train.ipynb"
DEFAULTS = {name: parameter.default for name, parameter in notebook_parameters(NOTEBOOK).items()}


def settings(folder, **other):
    quick = {"learning_rate": 0.01, "dialogues_per_step": 1, "max_new_tokens": 16}
    return Settings.of(DEFAULTS | quick | {"run_folder": str(folder)} | other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of the tiny model, and what it said."""
    folder, said = tmp_path_factory.mktemp("run") / "whole", []
    train(prepare.prepare(settings(folder)), said.append)
    return folder, said


def predictions(folder):
    return (folder / "predictions.jsonl").read_bytes()


def test_the_notebooks_parameters_are_the_settings():
    kinds = {"int": int, "float": float, "str": str, "bool": bool, "list[str]": list[str]}
    told = {name: kinds[one.kind] for name, one in notebook_parameters(NOTEBOOK).items()}
    assert told == {field.name: field.type for field in fields(Settings)}
    assert list(told) == list(Settings.names()), "in the same bands"


def test_what_is_missing_or_unknown_is_named():
    few = {name: value for name, value in DEFAULTS.items() if name != "seed"}
    with pytest.raises(ValueError, match="are missing: seed"):
        Settings.of(few)
    with pytest.raises(ValueError, match=r"unknown condition 'ful' \(did you mean 'full'\?\)"):
        Settings.of(DEFAULTS | {"eval_conditions": ["ful"]})
    with pytest.raises(ValueError, match="unknown eval_stages 'end'.*did you mean 'ends'"):
        Settings.of(DEFAULTS | {"eval_stages": "end"})


def test_a_run_leaves_its_record_last_and_says_how_far_it_is(whole):
    folder, said = whole
    run = records.read_run(folder)
    assert run.record.parameters["eval_conditions"] == ["full"] and run.record.stages == [
        [block] for block in run.record.blocks
    ]
    assert len(run.predictions) == 5 * len(run.items) and run.record.steps == 8
    assert run.record.flops > 0 and not run.record.resumed
    assert any(line.startswith("block 2/4 vehicle_control · step") for line in said)
    assert said[-1].startswith("finished in")


def test_again_it_trains_and_asks_nothing(whole, monkeypatch):
    folder, _ = whole
    before, said = predictions(folder), []
    monkeypatch.setattr(learn, "train_block", lambda *_, **__: pytest.fail("it was trained"))
    monkeypatch.setattr(answer, "predict", lambda *_, **__: pytest.fail("it was asked"))
    train(prepare.prepare(settings(folder)), said.append)
    assert predictions(folder) == before
    assert said[0] == "block 1/4 file_system · trained before"


def test_the_model_may_be_asked_before_training_for_all_runs(whole, tmp_path):
    folders = {"run_folder": str(tmp_path / "run"), "zero_shot_folder": str(tmp_path / "shared")}
    ask_untrained(prepare.prepare(settings(tmp_path, **folders)), lambda text: None)
    (path,) = (tmp_path / "shared").iterdir()
    asked = read_lines(path)
    told = [line["prediction"] for line in records.read_run(whole[0]).predictions if line["stage"] == 0]
    assert told and [line["prediction"] for line in asked] == told
    assert not (tmp_path / "run").exists(), "no run is begun"


def test_cut_after_a_block_it_ends_as_if_it_had_not_been(whole, tmp_path, monkeypatch):
    run = prepare.prepare(settings(tmp_path / "cut"))
    blocks, real = [], learn.train_block

    def train_two(*given, **settings):
        blocks.append(1)
        if len(blocks) > 2:
            raise KeyboardInterrupt
        return real(*given, **settings)

    monkeypatch.setattr(learn, "train_block", train_two)
    with pytest.raises(KeyboardInterrupt):
        train(run, lambda text: None)
    assert not (tmp_path / "cut" / "record.json").exists()
    assert len(list((tmp_path / "cut" / "adapters").iterdir())) == 2
    monkeypatch.setattr(learn, "train_block", real)
    train(prepare.prepare(settings(tmp_path / "cut")), lambda text: None)
    assert predictions(tmp_path / "cut") == predictions(whole[0])


@pytest.mark.parametrize("other", [{"learning_rate": 0.02}, {"condition": "stripped"}])
def test_a_folder_of_another_run_is_refused(whole, other):
    run = prepare.prepare(settings(whole[0], **other))
    with pytest.raises(ValueError, match=f"holds a run with other .*{next(iter(other))}"):
        learn.load_untrained(run)


def test_an_older_claim_that_says_less_is_kept(tmp_path):
    (tmp_path / "shaping.json").write_text(json.dumps({"condition": "full", "weights": "w"}))
    learn.claim(tmp_path, {"condition": "full", "weights": "w", "seed": 0})
    with pytest.raises(ValueError, match="other weights"):
        learn.claim(tmp_path, {"condition": "full", "weights": "other", "seed": 0})


def test_answers_that_are_missing_make_no_record(whole):
    run = prepare.prepare(settings(whole[0]))
    with pytest.raises(ValueError, match="0 answers where 75 were asked for"):
        finish(run, None, {}, answer.Answered())


def asked_of(folder):
    """How many items of which blocks were asked after each stage."""
    run = records.read_run(folder)
    counts = [[0] * len(run.record.blocks) for _ in range(5)]
    for line in run.predictions:
        counts[line["stage"]][run.record.blocks.index(line["block"])] += 1
    return counts, run.record


def test_a_run_asked_at_its_ends_is_completed_when_all_is_asked(whole, tmp_path, monkeypatch):
    folder = tmp_path / "ends"
    train(prepare.prepare(settings(folder, eval_stages="ends")), lambda text: None)
    counts, record = asked_of(folder)
    everything = record.items
    own = [[everything[place] * (place == stage) for place in range(4)] for stage in range(3)]
    assert counts == [everything, *own, everything]
    assert record.parameters["eval_stages"] == "ends" and record.matrix["full"]["name"][1][1:] == [None] * 3
    wanted = {"condition": "full", "eval_conditions": []}
    assert is_finished(folder, wanted | {"eval_stages": "ends"})
    assert not is_finished(folder, wanted | {"eval_stages": "all"}) and not is_finished(folder, wanted)
    monkeypatch.setattr(learn, "train_block", lambda *_, **__: pytest.fail("it was trained"))
    train(prepare.prepare(settings(folder)), lambda text: None)
    assert predictions(folder) == predictions(whole[0]), "as if all had been asked at once"
    assert is_finished(folder, wanted) and asked_of(folder)[1].parameters["eval_stages"] == "all"
    train(prepare.prepare(settings(folder, eval_stages="ends")), lambda text: None)
    assert predictions(folder) == predictions(whole[0]), "evaluations are only ever added"
    assert is_finished(folder, wanted)


def test_stops_are_asked_at_the_same_stages(tmp_path, monkeypatch):
    def predict(network, tokenizer, rows, scored, **told):
        places = ("dialogue_id", "step", "block")
        return [{key: row[key] for key in places} | {"opened_name": True} for row in rows]

    monkeypatch.setattr(answer, "predict", predict)
    run = prepare.prepare(settings(tmp_path, eval_stages="ends", stop_targets=True))
    for stage, blocks in enumerate([["file_system"], ["vehicle_control"], ["trading"], run.source.order], 1):
        answered = answer.Answered()
        answer.ask(None, run, stage, answered)
        for lines in (answered.stops, answered.predictions):
            assert {line["block"] for line in lines} == set(blocks)


def test_an_answer_that_is_there_twice_makes_no_record(whole):
    run = prepare.prepare(settings(whole[0], eval_stages="ends"))
    lines = read_lines(whole[0] / "predictions.jsonl")
    with pytest.raises(ValueError, match="42 answers where 42 were asked for, and 1 that are there twice"):
        finish(run, None, {}, answer.Answered([*lines, lines[0]]))


def test_a_run_holds_out_its_fold(tmp_path):
    runs = [prepare.prepare(settings(tmp_path, fold=fold, folds=3)) for fold in range(3)]
    held_out = [set(run.material.items["dialogue_id"]) for run in runs]
    assert [len(part) for part in held_out] == [4, 4, 4] and len(set.union(*held_out)) == 12
    assert set(runs[0].material.learnt["dialogue_id"]) == held_out[1] | held_out[2]
    assert len({json.dumps(learn.shaping(run)) for run in runs}) == 3


def test_turns_that_were_cut_are_recorded(tmp_path):
    shape = {"condition": "stripped", "eval_conditions": ["full", "stripped"], "max_new_tokens": 4}
    shape |= {"train_dialogues": 1, "held_out_dialogues": 1}
    run = prepare.prepare(settings(tmp_path / "run", **shape, strategy="joint", max_length=2300))
    table = prepare.examples_table(run.settings, run.material)["turns cut to fit max_length"]
    record = train(run, lambda _: None)
    kept = records.read_run(tmp_path / "run").items
    held_out = {name: sum(item["cut_turns"][name] for item in kept) for name in ("full", "stripped")}
    assert record.cut_turns == {"train": {"stripped": table.iloc[0]}, "held_out": held_out}
    assert held_out == dict(zip(run.place.tested, table.iloc[1:], strict=True)) and held_out["full"] > 0
    assert not record.scores_only


WORDS = re.compile(r"[^\W_]{4,}")


def test_records_without_texts_hold_no_word_of_the_corpus(whole, tmp_path):
    run = records.read_run(whole[0])
    source = prepare.find_source(settings(whole[0]))
    keeping.keep(whole[0].parent, tmp_path / "kept", allow_changes=True, scores_only=True)
    kept = tmp_path / "kept" / "records" / "whole"
    lines = read_lines(kept / "items.jsonl") + read_lines(kept / "predictions.jsonl.gz")
    said = [turn.text for one in source.corpus.dialogues for turn in one.turns]
    said += [item["gold"] for item in run.items] + [line["prediction"] for line in run.predictions]
    names = {one.id for one in source.corpus.dialogues}
    assert len(lines) == len(run.items) + len(run.predictions) and len(said) > 100
    ours = {*run.record.blocks, "full", *errors.KINDS}
    told = {value for line in lines for value in line.values() if isinstance(value, str)} - ours
    assert all(re.fullmatch(r"[0-9a-f]{16}", value) for value in told)
    keys = {name for line in lines for name in line}
    assert keys <= {*Item.__annotations__, *Prediction.__annotations__}
    plain = json.dumps([asdict(replace(run.record, parameters={}, corpus={})), DEFAULTS])
    ours = set(WORDS.findall(plain + " ".join([*keys, *ours, *run.record.corpus, "true"])))
    ours |= set(WORDS.findall(json.dumps(source.corpus.account)))  # counts, by our words and blocks
    text = " ".join(map(json.dumps, lines)) + (kept / "record.json").read_text()
    found = set(WORDS.findall(" ".join([*said, *names]))) & set(WORDS.findall(text))
    assert found <= ours and not any(name in text for name in names)
    assert str(whole[0].parent) not in text


def test_nothing_is_added_to_a_record_without_texts(whole, tmp_path):
    keeping.keep(whole[0].parent, tmp_path / "kept", allow_changes=True, scores_only=True)
    keeping.adopt(tmp_path / "whole", keeping.read_kept(tmp_path / "kept" / "records" / "whole"))
    assert is_finished(tmp_path / "whole", {"condition": "full", "eval_conditions": []})
    with pytest.raises(ValueError, match="kept without texts, so nothing can be added to it"):
        prepare.prepare(settings(tmp_path / "whole", eval_conditions=["stripped"]))


def test_an_order_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="order must name each of .* once, not travel"):
        prepare.find_source(settings(tmp_path, order=["travel"]))


def test_both_sides_need_examples(whole):
    run = prepare.prepare(settings(whole[0]))
    empty = run.material.learnt.select([])
    with pytest.raises(ValueError, match="no examples: raise train_dialogues"):
        prepare._check_material(replace(run.material, learnt=empty), run.source.order)


def test_the_command_gives_what_papermill_gives(whole, tmp_path):
    """Of one parameters file: the same files, the same bytes of predictions."""
    for name in ("command", "notebook"):
        told = asdict(settings(tmp_path / name, condition="stripped", eval_conditions=["full"]))
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(told))
    done = CliRunner().invoke(main, ["train", str(tmp_path / "command.yaml")])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == str(tmp_path / "command")
    subprocess.run(
        [sys.executable, "-m", "papermill", str(NOTEBOOK), str(tmp_path / "out.ipynb"), "--no-progress-bar"]
        + ["-f", str(tmp_path / "notebook.yaml"), "-k", "python3"],
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    assert predictions(tmp_path / "command") == predictions(tmp_path / "notebook")
    trees = [
        sorted(
            str(path.relative_to(tmp_path / name))
            for path in (tmp_path / name).rglob("*")
            if path.name != "log.txt"  # trajnb holds it
        )
        for name in ("command", "notebook")
    ]
    assert trees[0] == trees[1]


def test_a_plain_cue_and_a_placebo_go_through_a_whole_run(tmp_path):
    quick = settings(
        tmp_path / "run", condition="placebo", cue="plain", train_dialogues=1, strategy="joint"
    )
    run = prepare.prepare(quick)
    prompts = [*run.material.learnt["prompt"], *run.material.items["prompt"]]
    assert all(prompt[1]["content"].endswith("\nGenerate API Request:") for prompt in prompts)
    record = train(run, lambda _: None)
    assert record.parameters["cue"] == "plain" and list(record.matrix) == ["placebo"]
    assert record.leaks == {"placebo": {"later": 11, "named": 0, "needing": 2, "told": 0}}
    kept = records.read_run(tmp_path / "run")
    assert {item["shared_api"] for item in kept.items} == {False}
    assert all(type(line["opened_name"]) is bool for line in kept.predictions)
    stages = {path.name for path in (tmp_path / "run" / "stages").iterdir()}
    assert stages == {"1-placebo-far.jsonl"}, "older runs kept the near placebo as placebo"


@pytest.mark.parametrize("cue", ["none", ""])
def test_an_unknown_cue_is_named(cue):
    with pytest.raises(ValueError, match="unknown cue"):
        Settings.of(DEFAULTS | {"cue": cue})


def test_a_run_that_another_process_works_on_is_left_alone(whole, tmp_path):
    told = asdict(settings(tmp_path / "held"))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(told))
    with hold(tmp_path / "held" / "log.txt"):
        done = CliRunner().invoke(main, ["train", str(tmp_path / "run.yaml")])
    assert done.exit_code == 1 and "another process is at work on" in done.output


@pytest.mark.parametrize("condition", ["placebo", "placebo-near", "stripped+values"])
def test_what_no_rollout_can_show_is_refused_with_the_reason(condition):
    with pytest.raises(ValueError, match=r"no rollout under .*: .*; leave it out"):
        ways_to_play(DEFAULTS, [condition])


def test_a_parameter_that_is_unknown_is_named(tmp_path):
    (tmp_path / "run.yaml").write_text("sed: 1")
    done = CliRunner().invoke(main, ["train", str(tmp_path / "run.yaml")])
    assert done.exit_code == 1 and "unknown parameter 'sed' (did you mean 'seed'?)" in done.output
