"""The data of the page of items: rows, answers by argument, prompts, choices."""

import json

import pytest

from trajnb.corpora.load import corpora_of, load_corpus
from trajnb.files import read_lines, write_lines
from trajnb.formatting.conditions import CONDITIONS, cue_line, messages
from trajnb.formatting.examples import steps
from trajnb.keeping import keep
from trajnb.records import read_study
from trajnb.show.items import items_data
from trajnb.show.prompts import prompts, without_oldest


@pytest.fixture
def study(tmp_path, write_run):
    """A function: predictions by gold call -> the data of a study of one run of them."""

    def make(answer, **settings):
        def tamper(row):
            row["prediction"] = answer

        write_run(tmp_path / "full-s0", dialogues=1, tamper=tamper, **settings)
        return items_data(read_study(tmp_path), {})

    return make


def row_of(data, gold):
    return next(row for row in data["rows"] if data["texts"][row["gold"]] == gold)


def test_an_answer_is_held_against_gold_by_argument(study):
    data = study("API-Request: [mv(source='a', target='b')]")
    row = row_of(data, "[mv(source='a', destination='b')]")
    answer = row["answers"][0]["at"][-1]
    assert data["calls"][row["call"]] == [["API", "mv"], ["source =", "'a'"], ["destination =", "'b'"]]
    assert data["calls"][answer[1]] == [["API", "mv"], ["source =", "'a'"], ["target =", "'b'"]]
    assert answer[2] == 0 and len(answer) == 6


def test_what_is_the_same_in_other_words_is_said_to_be(study):
    data = study("[fillFuelTank(fuelAmount='12.50')]")
    row = row_of(data, "[fillFuelTank(fuelAmount=12.5)]")
    answer = row["answers"][0]["at"][-1]
    assert answer[2] == 1 and answer[6] == ["fuelAmount ="]
    assert row["tags"]["arm full"] == ["right", "before"]


def test_an_answer_without_a_call_has_none(study):
    data = study("I would look at the files.")
    answers = [row["answers"][0]["at"][-1] for row in data["rows"]]
    assert {answer[1] for answer in answers} == {-1}
    assert {data["kinds"][answer[3]] for answer in answers} == {"no call"}
    assert {tuple(row["tags"]["course"]) for row in data["rows"]} == {("wrong", "never")}


def test_rows_are_items_of_every_repetition(tmp_path, write_run):
    for seed in (0, 1):
        for condition in ("stripped", "full"):
            folder = tmp_path / f"{condition}-{seed}"
            write_run(folder, condition=condition, seed=seed, dialogues=1)
    data = items_data(read_study(tmp_path), {})
    assert len(data["rows"]) == 18 and len({row["id"] for row in data["rows"]}) == 18
    assert {row["run"] for row in data["rows"]} == {"seed 0", "seed 1"}
    assert all(all(row["answers"]) for row in data["rows"])
    assert "arm full" in [key for key, _, _ in data["choices"]]


def test_the_data_are_the_same_twice_and_have_no_nan(tmp_path, write_run):
    def without_likelihood(row):
        row["gold_nll"] = None

    write_run(tmp_path / "full-s0", dialogues=1, tamper=without_likelihood)
    one, other = (json.dumps(items_data(read_study(tmp_path), {}), allow_nan=False) for _ in "ab")
    assert one == other


def test_records_without_texts_keep_outcomes_and_strata(tmp_path, write_run):
    write_run(tmp_path / "runs" / "full-s0", dialogues=1)
    keep(tmp_path, tmp_path / "kept", scores_only=True)
    data = items_data(read_study(tmp_path / "kept"), {})
    assert data["texts"] == [""] and data["calls"] == [] and len(data["rows"]) == 9
    assert "Kept without texts" in data["notes"][0]
    assert {key for key, _, _ in data["choices"]} >= {"arm full", "block", "stratum", "course"}


@pytest.mark.parametrize("cue", ["ordinal", "plain"])
def test_prompts_are_those_that_the_model_was_asked_with(cue):
    corpus = load_corpus("sample")
    found = prompts(corpus, ["requests", "placebo", "gone"], {"cue": cue})
    checked = 0
    for dialogue in corpus.dialogues:
        for step in steps(dialogue) if dialogue.id in corpus.held_out else ():
            asked = found[dialogue.id, step.step]
            assert asked.cue == cue_line(step.history, cue) and "gone" not in asked.views
            for name in ("stripped", "full", "requests"):
                shown = [text for _, text, is_shown in asked.views[name] if is_shown]
                prompt = messages(step.history, CONDITIONS[name](step.history), cue)
                assert "\n".join([*shown, asked.cue]) == prompt[1]["content"]
                checked += 1
            placebo = [kind for kind, _, is_shown in asked.views["placebo"] if is_shown]
            full = [kind for kind, _, is_shown in asked.views["full"] if is_shown]
            assert placebo.count("request") == full.count("request")
    assert checked > 20


def test_user_turns_that_were_cut_are_not_shown():
    view = [("user", "a", True), ("request", "b", True), ("user", "c", True), ("user", "d", True)]
    assert [shown for _, _, shown in without_oldest(view, 1)] == [False, False, True, True]
    assert without_oldest(view, 0) == view


def test_a_corpus_of_another_version_is_left_out():
    own = load_corpus("sample")
    assert corpora_of({own.hash: {"corpus": "sample"}}) == {own.hash: own}
    assert corpora_of({"0" * 64: {"corpus": "sample"}}) == {}
    assert corpora_of({own.hash: {"corpus": "jsonl", "corpus_path": "no such file"}}) == {}


def test_fresh_ids_at_the_same_place_are_rows_of_their_own(tmp_path, write_run):
    for name in ("full-a", "full-b"):
        write_run(tmp_path / name, dialogues=1, fresh_ids=name == "full-b")
    items = read_lines(tmp_path / "full-b" / "items.jsonl")
    write_lines(tmp_path / "full-b" / "items.jsonl", [
        item | {"gold": item["gold"].replace("3426812", "9999999")} for item in items
    ])  # fmt: skip
    data = items_data(read_study(tmp_path), {})
    assert len(data["rows"]) == 10
