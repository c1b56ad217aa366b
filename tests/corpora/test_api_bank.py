"""API-Bank: the publisher's files where they are at hand, and rows made in the same schemas everywhere."""

import json
import time
from collections import Counter
from functools import partial

import pytest

from trajnb.corpora import api_bank
from trajnb.corpora.load import load_corpus
from trajnb.formatting.calls import parse, render
from trajnb.formatting.conditions import PAPER_INSTRUCTION
from trajnb.formatting.examples import build_examples, steps

DOCUMENT = {
    "apiCode": "Play",
    "description": "Plays.",
    "parameters": {"song": {"type": "str"}},
    "response": {},
}
OPENING = "User: Play Help.\nAI: Sure."
ANSWERED = OPENING + "\nAPI-Request: [Play(song='Help')]->{'api': 'Play',\n'output': 'ok'}"


def row(text, output, cue="Generate API Request: "):
    return {"instruction": "Do.", "input": f"{json.dumps(DOCUMENT)}\n{text}\n{cue}\n", "output": output}


TRAINING = [
    row(OPENING, "API-Request: [Play(song='Help')]"),
    row(ANSWERED, "AI: It plays.", "Generate AI Response: "),
    row(ANSWERED + "\nAI: It plays.\nUser: Again.", "API-Request: [Play(song='Help')]"),
    row("User: Stop.", "API-Request: I would rather not."),
]


def write(folder, rows, name="lv1-train.json"):
    (folder / name).write_text(json.dumps(rows))
    return str(folder)


def fresh():
    return {"dropped": {}, "not_extending": []}


@pytest.fixture
def load(api_bank_files):
    """A function that loads the publisher's files."""
    return partial(load_corpus, "api-bank", documents="used", corpus_path=str(api_bank_files))


@pytest.mark.parametrize(
    "level, rows, duplicates, dialogues, examples", [("1", 399, 10, 212, 389), ("2", 135, 16, 49, 119)]
)
def test_no_row_is_lost(load, level, rows, duplicates, dialogues, examples):
    account = load(levels=[level]).account
    assert account["rows"] == rows and account["dropped"] == {"duplicate": duplicates}
    assert (account["dialogues"], account["examples"]) == (dialogues, examples)
    assert account["not_extending"] == [], "a prompt does not extend the one before it"


@pytest.mark.parametrize("split, folds", [("dialogue", 10), ("dialogue", 5), ("gold-disjoint", 5)])
def test_over_all_folds_every_dialogue_is_held_out_once(load, split, folds):
    parts = [load(levels=["1", "2"], split=split, fold=fold, folds=folds) for fold in range(folds)]
    held_out = [name for part in parts for name in part.held_out]
    assert len(held_out) == 261 and set(held_out) == {d.id for d in parts[0].dialogues}
    assert len({part.hash for part in parts}) == folds
    if split == "gold-disjoint":
        assert not any(part.account["targets_not_learnt"] for part in parts), "its groups are small"


def test_every_example_is_a_row_of_the_file(load, api_bank_files):
    corpus = load(levels=["1", "2"])
    asked = Counter()
    for name in ("level-1-api.json", "level-2-api.json"):
        rows = json.loads((api_bank_files / name).read_text())
        asked.update(
            {(one["file"], one["input"].count("\nAPI-Request:"), one["expected_output"]) for one in rows}
        )
    ours = Counter()
    for dialogue in corpus.dialogues:
        for step in steps(dialogue):
            before = sum(turn.call is not None for turn in step.history.turns)
            ours[dialogue.id + ".jsonl", before, f"API-Request: {step.gold}"] += 1
    assert ours == asked


def test_what_a_stripped_prompt_cannot_know(load):
    rows = [one for side in ("train", "held_out") for one in build_examples(load(), "stripped", side)]
    assert sum(one["same_prompt"] for one in rows) == 261
    assert sum(one["response_only"] for one in rows) == 114
    assert sum(one["name_response_only"] for one in rows) == 59
    unknowable = sum(one["response_only"] or one["name_response_only"] for one in rows)
    assert 1 - unknowable / len(rows) == pytest.approx(0.697, abs=1e-3)


def test_semantic_blocks_have_the_counted_sizes(load):
    sizes = {level: Counter(d.block for d in load(levels=[level]).dialogues) for level in ("1", "2")}
    assert sizes["1"] == {"account_finance": 50, "schedule": 53, "health": 56, "info_home_travel": 53}
    assert sizes["2"] == {"account_finance": 6, "schedule": 22, "health": 14, "info_home_travel": 7}


def test_training_rows_become_one_dialogue(tmp_path):
    account = fresh()
    (file,) = api_bank.find_files("training-data", ["1"], write(tmp_path, TRAINING))
    rows = api_bank.read_rows(file)
    (dialogue,) = api_bank.rebuild(rows, account)
    assert account["dropped"] == {"no readable call": 1} and account["not_extending"] == []
    assert [turn.role for turn in dialogue.turns] == ["user", "ai", "api", "ai", "user", "api"]
    assert dialogue.turns[2].text == "{'api': 'Play',\n'output': 'ok'}", "a response of two lines is one"
    assert dialogue.places == (2, 3, 5)
    assert [step.history.ordinal for step in steps(dialogue)] == [1, 0, 1]
    assert json.loads(dialogue.documents[0]) == {
        "name": "Play",
        "description": "Plays.",
        "parameters": {"song": {"type": "str"}},
    }


def test_a_row_that_contradicts_its_dialogue_is_named(tmp_path):
    account = fresh()
    broken = row(ANSWERED.replace("Help", "Yesterday"), "API-Request: [Play(song='Help')]")
    broken["file"] = TRAINING[0]["file"] = "one.jsonl"
    (file,) = api_bank.find_files("training-data", ["1"], write(tmp_path, [TRAINING[0], broken]))
    first, second = api_bank.rebuild(api_bank.read_rows(file), account)
    assert account["not_extending"] == ["lv1-train.json[1]"]
    assert (first.id, second.id) == ("one", "one#2")


def many(count):
    """Rows of two APIs, as often as the paper keeps them, and of three that it drops."""
    rows = []
    for index in range(count):
        for name in ("Play", "Book"):
            rows.append(row(f"User: {name} {index}.", f"API-Request: [{name}(song='{index}')]"))
    rows.append(row("User: Find.", "API-Request: [ToolSearcher(keywords='x')]"))
    rows.append(row("User: Hello.", "AI: Hello.", "Generate AI Response: "))
    rows.append(row("User: Rare.", "API-Request: [Rare(a='b')]"))
    return rows


@pytest.fixture
def paper_corpus(tmp_path):
    rows = many(12) + TRAINING[1:2]
    return load_corpus(
        "api-bank",
        documents="used",
        corpus_path=write(tmp_path, rows),
        part="training-data",
        levels=["1"],
        blocks="balanced",
        split="row",
    )


def test_the_papers_rows(paper_corpus):
    assert paper_corpus.account["dropped"] == {
        "ToolSearcher": 1,
        "no call in prompt or target": 1,
        "an API with fewer than ten rows": 1,
    }
    assert paper_corpus.blocks == ("bin_1", "bin_2")  # two names fill two of four bins
    by_block = paper_corpus.account["blocks"]
    assert [one["train_dialogues"] for one in by_block.values()] == [10, 9], "int(0.8 * 13) and int(0.8 * 12)"


def test_the_papers_prompts(paper_corpus):
    shown = {
        condition: build_examples(paper_corpus, condition, "train", prompt_format="paper", responses=True)
        for condition in ("stripped", "full")
    }
    assert len(shown["full"]) == 19 and set(shown["full"]["target"]) <= {"call", "response"}
    for a, b in zip(shown["stripped"], shown["full"], strict=True):
        assert a["prompt"][0]["content"] == PAPER_INSTRUCTION
        assert b["prompt"][1]["content"].splitlines()[0] == json.dumps(DOCUMENT), "documents are as they were"
        if b["target"] == "call":
            assert b["prompt"][1]["content"].endswith("\nGenerate API Request: ")
            assert "Generate" not in a["prompt"][1]["content"], "A loses the cue"
        assert a["completion"] == b["completion"]
    assert not {"response"} & set(build_examples(paper_corpus, "full", "held_out")["target"])


def test_the_paper_strips_lines_by_their_beginning(tmp_path):
    folder = write(tmp_path, [TRAINING[1], *many(12)])
    corpus = load_corpus(
        "api-bank", documents="used", corpus_path=folder, part="training-data", levels=["1"],
        blocks="balanced", split="row", held_out_share=0.1,
    )  # fmt: skip
    prompts = {
        condition: [
            one["prompt"][1]["content"].partition("\n")[2]
            for one in build_examples(corpus, condition, "train", prompt_format="paper", responses=True)
            if one["target"] == "response"
        ]
        for condition in ("stripped", "full")
    }
    assert prompts["full"] == [ANSWERED + "\nGenerate AI Response: "]
    assert prompts["stripped"] == [OPENING + "\n'output': 'ok'}\nGenerate AI Response: "]


@pytest.mark.parametrize(
    "content, culprit",
    [
        ("{", "is not JSON"),
        ('{"a": 1}', "list of rows"),
        ('[{"input": "User: a"}]', "row 0"),
        ('[{"input": 3, "output": "x", "instruction": ""}]', "row 0"),
    ],
)
def test_files_that_are_something_else(tmp_path, content, culprit):
    (tmp_path / "lv1-train.json").write_text(content)
    with pytest.raises(ValueError, match=culprit):
        api_bank.read_rows(tmp_path / "lv1-train.json")


@pytest.mark.parametrize(
    "settings, culprit",
    [
        ({"levels": ["4"]}, "levels"),
        ({"levels": []}, "levels"),
        ({"part": "tests"}, "unknown part"),
        ({"levels": ["3"]}, "level-3-batch-inf.json is missing"),
        ({"blocks": "random"}, "unknown blocks"),
        ({"split": "rows"}, "unknown split"),
    ],
)
def test_settings_that_cannot_be(tmp_path, settings, culprit):
    with pytest.raises(ValueError, match=culprit):
        load_corpus("api-bank", documents="used", corpus_path=str(tmp_path), **settings)


def test_a_call_in_a_response_does_not_end_the_request():
    (turn,) = api_bank.read_turns("API-Request: [A(b='c')]->{'next': \"[B(x='y')]->z\"}")
    assert render(turn.call) == "[A(b='c')]" and turn.text == "{'next': \"[B(x='y')]->z\"}"
    assert parse(render(turn.call)) == turn.call


def row_of(text, **more):
    return {"instruction": "", "input": text, "output": "API-Request: [a()]", **more}


@pytest.mark.parametrize(
    "content, told",
    [
        ([row_of("nobody speaks\nGenerate API Request: ")], "row 0: no line of its dialogue begins with"),
        ([row_of("User: hi", file=[1])], "row 0: neither of the publisher's schemas"),
        ([row_of("User: hi", file={"a": 1})], "row 0: neither of the publisher's schemas"),
    ],
)
def test_a_row_that_is_none_is_named(content, told, tmp_path):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"rows.json, {told}"):
        api_bank.read_rows(file)


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"input": "\\ud800"}]', '[{"input": NaN}]'])
def test_json_that_is_none_names_the_file(text, tmp_path):
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(ValueError, match="rows.json is not JSON"):
        api_bank.read_rows(tmp_path / "rows.json")


def test_many_documents_take_time_by_their_length():
    line = '{"name": "a", "description": "' + "x" * 900 + '"}\n'
    began = time.process_time()
    leading, rest = api_bank._split_documents(line * 4_000 + "User: hi")
    assert len(leading) == 4_000 and rest == "User: hi"
    assert time.process_time() - began < 3, "25 s before"
