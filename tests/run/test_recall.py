"""Runs whose answers are copied from training examples."""

from dataclasses import asdict

import pytest
import yaml
from click.testing import CliRunner

from trajnb import records
from trajnb.files import read_lines
from trajnb.formatting.calls import without_prefix
from trajnb.formatting.examples import build_examples
from trajnb.machine import ROOT
from trajnb.qlora import model as models
from trajnb.run import learn, recall
from trajnb.run.prepare import prepare
from trajnb.run.settings import Settings
from trajnb.run.train import train
from trajnb.strategies import STRATEGIES
from trajnb.study.cli import main
from trajnb.study.parameters import notebook_parameters

NOTEBOOK = ROOT / "notebooks" / "02_train.ipynb"
DEFAULTS = {name: parameter.default for name, parameter in notebook_parameters(NOTEBOOK).items()}
COPYING = [name for name, strategy in STRATEGIES.items() if strategy.recalls]

each_copying = pytest.mark.parametrize("strategy", COPYING)


def settings(folder, **other):
    return Settings.of(DEFAULTS | {"strategy": "lookup", "run_folder": str(folder)} | other)


def example(said, gold="[f(x=1)]", block="a", target="call"):
    return {
        "prompt": [{"role": "system", "content": "documents"}, {"role": "user", "content": said}],
        "completion": [{"role": "assistant", "content": f"API-Request: {gold}"}],
        "gold": gold,
        "block": block,
        "target": target,
    }


def test_prompts_are_read_by_their_lines():
    shown = recall.read(
        example(
            "User: one\nAPI-Request: [f(x=1)]\nAPI-Response: {'y': 2}\nAI: done\n"
            "User: two\nand more\nGenerate API Request 3:"
        )["prompt"]
    )
    assert shown == recall.Shown("two\nand more", "{'y': 2}", "3")
    plain = recall.read(example("User: one\nGenerate API Request:")["prompt"])
    assert plain == recall.Shown("one", "", "")
    published = recall.read(example("{document}\nUser: one\nAPI-Request: [f(x='1')]->{'r': 2}\n")["prompt"])
    assert published == recall.Shown("one", "{'r': 2}", "")
    assert recall.read(example("")["prompt"]) == recall.Shown("", "", "")


def test_the_user_the_response_and_the_number_count_alike():
    memory = [
        example("User: lock the door\nGenerate API Request 1:"),
        example("User: start the engine\nGenerate API Request 2:"),
        example(
            "User: start the engine\nAPI-Request: [f()]\nAPI-Response: fuel low\n"
            "Generate API Request 2:"
        ),
    ]
    asked = [
        example("User: please lock the door\nGenerate API Request 1:"),
        example("User: start it, the engine\nGenerate API Request 2:"),
        example("User: lock it\nAPI-Request: [f()]\nAPI-Response: fuel low\nGenerate API Request 2:"),
    ]
    assert recall.nearest(memory, asked) == [0, 1, 2], "in the last, two of three outweigh one"


def test_the_first_of_equals_is_taken():
    memory = [example(f"User: same words\nGenerate API Request {n}:", f"[f(x={n})]") for n in (2, 1, 1)]
    assert recall.nearest(memory, [example("User: same words\nGenerate API Request 1:")]) == [1]
    assert recall.nearest(memory, [example("User: ?!\nGenerate API Request 9:")]) == [0], "no word in common"
    counted = [example("", gold) for gold in ("[b()]", "[a()]", "[c()]", "[a()]", "[b()]")]
    assert recall.commonest(counted, [example("")] * 2) == [0, 0], "b and a are equally common"


def test_the_end_of_a_turn_is_no_call_however_common():
    memory = [example("", "[]", target="stop")] * 3 + [example("", "[a()]")]
    assert recall.commonest(memory, [example("")]) == [3]


@each_copying
@pytest.mark.parametrize("stops", [False, True])
def test_every_answer_is_a_training_target(tmp_path, strategy, stops):
    told = settings(tmp_path, strategy=strategy, stop_targets=stops, eval_conditions=["stripped", "full"])
    run = prepare(told)
    for condition in run.place.tested:
        rows = list(run.material.asked[condition])
        copies = recall.copy(run, rows, 1)
        golds = set(run.material.learnt["gold"])
        assert {without_prefix(one.text) for one in copies} <= golds and len(copies) == len(rows)
        assert all(one.tokens > 1 for one in copies)
        assert recall.copy(run, rows, 1) == copies
        assert recall.copy(run, rows[::-1], 1) == copies[::-1], "none depends on what else is asked"
        assert recall.copy(run, rows, 0) == [recall.NOTHING] * len(rows)


def test_what_a_condition_hides_is_never_used(sample):
    for condition, used in (("stripped", False), ("requests", False), ("full", True), ("responses", True)):
        rows = build_examples(sample, condition, "held_out")
        shown = [recall.read(row["prompt"]) for row in rows]
        assert any(one.response for one in shown) == used, condition
        assert all(one.request for one in shown)
        assert [one.number for one in shown] == [str(number) for number in rows["ordinal"]]
    plain = build_examples(sample, "full", "held_out", cue="plain")
    assert {recall.read(row["prompt"]).number for row in plain} == {""}


def test_stripped_answers_are_the_same_whatever_was_hidden(sample):
    memory = list(build_examples(sample, "stripped", "train"))
    rows = list(build_examples(sample, "stripped", "held_out"))
    full = list(build_examples(sample, "full", "held_out"))
    only_said = [
        row | {"prompt": [hidden["prompt"][0], _without_calls(hidden["prompt"][1])]}
        for row, hidden in zip(rows, full, strict=True)
    ]
    assert recall.nearest(memory, rows) == recall.nearest(memory, only_said)
    seen = list(build_examples(sample, "full", "train"))
    assert recall.nearest(memory, rows) != recall.nearest(seen, full), "responses do tell something"


def _without_calls(message):
    lines = message["content"].split("\n")
    said = [line for line in lines if not line.startswith(("API-Request", "API-Response"))]
    return message | {"content": "\n".join(said)}


@each_copying
def test_a_whole_run_by_the_command_loads_no_model(tmp_path, strategy, monkeypatch):
    monkeypatch.setattr(models, "load_base", lambda *_: pytest.fail("a model was loaded"))
    told = settings(
        tmp_path / "run",
        strategy=strategy,
        eval_conditions=["stripped", "full"],
        zero_shot_folder=str(tmp_path / "zero_shot"),
        stop_targets=True,
        train_dialogues=10,
    )
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(asdict(told)))
    done = CliRunner().invoke(main, ["train", str(tmp_path / "run.yaml")])
    assert done.exit_code == 0, done.output
    run = records.read_run(tmp_path / "run")
    assert run.record.parameters["eval_stages"] == "all" and run.record.stages == [[]]
    assert run.record.steps == run.record.flops == run.record.tokens["train_total"] == 0
    assert run.record.matrix["full"]["gold_nll"] == [[None] * 4] * 2
    assert len(run.predictions) == 2 * 2 * len(run.items)
    before = [line for line in run.predictions if line["stage"] == 0]
    assert {(line["prediction"], line["parsed"]) for line in before} == {("", False)}
    assert all(line["gold_nll"] is None and line["gold_tokens"] > 1 for line in run.predictions)
    stops = read_lines(tmp_path / "run" / "stops.jsonl")
    assert {line["stage"] for line in stops} == {1} and any(line["canonical"] for line in stops) == (
        strategy == "lookup"
    ), "a call that is common is no end"
    assert not (tmp_path / "zero_shot").exists(), "what models say before training is theirs"
    assert not (tmp_path / "run" / "adapters").exists()
    kept = (tmp_path / "run" / "predictions.jsonl").read_bytes()
    monkeypatch.setattr(recall, "copy", lambda *_: pytest.fail("it was asked again"))
    train(prepare(told), lambda text: None)
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == kept


def test_cut_after_a_condition_it_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    def finished(name):
        train(prepare(settings(tmp_path / name, eval_conditions=["full", "stripped"])), lambda text: None)
        return (tmp_path / name / "predictions.jsonl").read_bytes()

    real, asked = recall.copy, []

    def copy_three(*given):
        asked.append(given)
        if len(asked) > 3:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(recall, "copy", copy_three)
    with pytest.raises(KeyboardInterrupt):
        finished("cut")
    assert not (tmp_path / "cut" / "record.json").exists()
    monkeypatch.setattr(recall, "copy", real)
    assert finished("cut") == finished("whole")


def test_a_folder_whose_memory_was_another_is_refused(tmp_path):
    train(prepare(settings(tmp_path)), lambda text: None)
    with pytest.raises(ValueError, match="holds a run with other .*examples.*train_dialogues"):
        train(prepare(settings(tmp_path, train_dialogues=1)), lambda text: None)


@each_copying
def test_without_training_calls_there_is_nothing_to_copy(tmp_path, strategy):
    run = prepare(settings(tmp_path, strategy=strategy))
    learnt = run.material.learnt.map(lambda row: {"target": "response"})
    object.__setattr__(run.material, "learnt", learnt)
    rows = list(run.material.items)
    with pytest.raises(ValueError, match=f"strategy '{strategy}' has no training call to copy: raise"):
        recall.copy(run, rows, 1)


def test_a_block_without_training_calls_is_named():
    with pytest.raises(ValueError, match="block 'b' has no training call to copy: raise train_dialogues"):
        recall.commonest([example("")], [example("", block="b")])


@each_copying
def test_tokens_that_are_cut_cannot_be_read_by_lines(tmp_path, strategy):
    with pytest.raises(ValueError, match=f"strategy '{strategy}' reads prompts line by line"):
        settings(tmp_path, strategy=strategy, truncation="paper")


def test_a_learner_says_what_it_trains(tmp_path):
    told = settings(tmp_path)
    nothing = learn.add_adapter(None, told)
    assert nothing.config is None and nothing.words.startswith("No model")
    trained = learn.add_adapter(models.load_base(models.find_model("tiny", ""), "none"), told)
    assert trained.config.model_type == "llama" and "parameters are trained (" in trained.words
