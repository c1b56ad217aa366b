import json

import pytest

from trajnb.corpora import load as corpus_module
from trajnb.corpora import sample as sample_module
from trajnb.corpora.load import SAMPLE_FILE, load_corpus
from trajnb.corpora.storage import dump, read_dialogues, write_dialogues
from trajnb.formatting.dialogue import Call, Dialogue, Turn
from trajnb.formatting.examples import build_examples


def test_the_sample_needs_no_network_and_has_three_dialogues_a_block(monkeypatch, tmp_path):
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    corpus = load_corpus("sample", documents="used")
    assert len(corpus.dialogues) == 12
    for block in corpus.blocks:
        assert corpus.account["blocks"][block]["train_dialogues"] == 2
        assert corpus.account["blocks"][block]["held_out_dialogues"] == 1


def test_the_sample_is_a_part_of_bfcl_byte_for_byte(bfcl, monkeypatch, tmp_path):
    monkeypatch.setattr(sample_module, "SAMPLE_FILE", tmp_path / "sample.jsonl")
    sample_module.write_sample()
    assert (tmp_path / "sample.jsonl").read_bytes() == SAMPLE_FILE.read_bytes()
    dialogues, held_out = read_dialogues(SAMPLE_FILE)
    whole = load_corpus("bfcl", documents="used")
    lines = dump(whole.dialogues, whole.held_out)
    assert all(line in lines for line in dump(dialogues, held_out))


def test_the_sample_credits_its_source():
    header = json.loads(SAMPLE_FILE.read_text("utf-8").partition("\n")[0])
    assert "Berkeley Function-Calling Leaderboard" in header["source"] and "Apache-2.0" in header["source"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "bcfl"}, r"unknown corpus 'bcfl' \(did you mean 'bfcl'\?\)"),
        ({"name": ""}, "unknown corpus ''"),
        ({"name": "bfcl", "documents": "tne"}, r"unknown documents 'tne' \(did you mean 'ten'\?\)"),
        ({"name": "sample", "documents": "ten"}, "sample.*documents 'used' only, not 'ten'"),
        ({"name": "sample", "documents": "used", "fresh_ids": True}, "fresh_ids is for the corpus 'bfcl'"),
        ({"name": "jsonl", "documents": "used", "fresh_ids": True}, "not for 'jsonl'"),
        ({"name": "bfcl", "train_dialogues": 0}, "train_dialogues is 0"),
        ({"name": "bfcl", "held_out_dialogues": -1}, "held_out_dialogues is -1"),
        ({"name": "sample", "fold": 3, "folds": 3}, "fold is 3: 3 folds are numbered 0 to 2"),
        ({"name": "sample", "fold": 0, "folds": 1}, "folds is 1: it takes at least two"),
        ({"name": "sample", "fold": 0}, "block 'file_system' has 3 dialogues, too few for 5 folds"),
        ({"name": "sample", "split": "row"}, "'sample' has no rows"),
        ({"name": "bfcl", "blocks": "balanced"}, "'bfcl' has its own blocks"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(**arguments)


def test_a_part_is_even_and_keeps_the_split(bfcl):
    part = load_corpus("bfcl", train_dialogues=4, held_out_dialogues=2)
    assert part.held_out < bfcl.held_out and all(d in bfcl.dialogues for d in part.dialogues)
    assert (len(part.dialogues), part.account["dialogues_left_out"]) == (24, 176)
    for block in part.blocks:
        side = [d.id for d in bfcl.dialogues if d.block == block and d.id not in bfcl.held_out]
        chosen = [side.index(d.id) for d in part.dialogues if d.block == block and d.id not in part.held_out]
        assert chosen == [5, 15, 25, 35]
    assert part == load_corpus("bfcl", train_dialogues=4, held_out_dialogues=2)
    assert part.hash != bfcl.hash


def test_counts_above_what_there_is_give_all(bfcl):
    assert load_corpus("bfcl", train_dialogues=40, held_out_dialogues=10**6) == bfcl


@pytest.fixture
def own_cache(bfcl, monkeypatch, tmp_path):
    """A cache of this test's own, and a count of how often the corpus was built."""
    built = []

    def build(documents, fresh_ids):
        built.append((documents, fresh_ids))
        return bfcl.dialogues[fresh_ids:], bfcl.held_out

    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path))
    monkeypatch.setattr(corpus_module.bfcl, "build_bfcl", build)
    return tmp_path / "corpora", built


def test_the_corpus_is_built_once(own_cache, bfcl):
    _, built = own_cache
    assert load_corpus("bfcl") == load_corpus("bfcl") == bfcl
    assert built == [("ten", False)]


def test_the_corpus_with_fresh_ids_is_kept_beside_the_other(own_cache, bfcl):
    folder, built = own_cache
    fresh = load_corpus("bfcl", fresh_ids=True)
    assert fresh == load_corpus("bfcl", fresh_ids=True) and load_corpus("bfcl") == bfcl
    assert fresh.dialogues == bfcl.dialogues[1:] and fresh.hash != bfcl.hash
    assert fresh.account["fresh_ids"] == {"calls_changed": 0, "dialogues_changed": 0}
    assert "fresh_ids" not in bfcl.account
    assert built == [("ten", True), ("ten", False)] and len(list(folder.iterdir())) == 2


def cut_in_half(text):
    return text[: len(text) // 2]


def change_one_letter(text):
    return text.replace("final_report.pdf", "final_rapport.pdf", 1)


def drop_the_last_dialogue(text):
    return text[: text.rstrip("\n").rindex("\n") + 1]


@pytest.mark.parametrize("damage", [cut_in_half, change_one_letter, drop_the_last_dialogue, lambda text: ""])
def test_a_damaged_cache_is_built_anew(own_cache, bfcl, damage):
    folder, built = own_cache
    load_corpus("bfcl")
    (file,) = folder.iterdir()
    whole = file.read_text("utf-8")
    file.write_text(damage(whole), "utf-8")
    assert file.read_text("utf-8") != whole
    assert load_corpus("bfcl") == bfcl
    assert built == 2 * [("ten", False)] and file.read_text("utf-8") == whole


def test_an_interrupted_write_leaves_the_old_file(sample, monkeypatch, tmp_path):
    file = tmp_path / "corpus.jsonl"
    write_dialogues(file, sample.dialogues, sample.held_out, "a test")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_dialogues(file, sample.dialogues[:1], sample.held_out, "a test")
    assert read_dialogues(file) == (sample.dialogues, sample.held_out)
    assert list(tmp_path.iterdir()) == [file], "half a file stayed behind"


def test_any_text_survives_storage(tmp_path, sample):
    text = "line\nline\u2028\r\x85 <script>alert('ü')</script> \\ \" '"
    turns = (Turn("user", text), Turn("api", text, Call("echo", {"content": text})), Turn("ai", ""))
    dialogue = Dialogue("d", "travel", ('{"name": "echo"}',), turns)
    write_dialogues(tmp_path / "d.jsonl", [dialogue], [], "a test")
    assert read_dialogues(tmp_path / "d.jsonl") == ((dialogue,), frozenset())


def test_a_user_turn_without_a_call_is_one_with_none_before_the_next(tmp_path):
    call = {"type": "function", "function": {"name": "get_tide", "arguments": {"port": "Brest"}}}
    messages = [
        {"role": "assistant", "content": "Hello! What can I do?"},
        {"role": "user", "content": "What is a tide?"},
        {"role": "assistant", "content": "Water moving."},
        {"role": "user", "content": "When is it high at Brest?"},
        {"role": "assistant", "content": "I look it up.", "tool_calls": [call]},
        {"role": "tool", "content": "05:12"},
        {"role": "assistant", "content": "At 05:12."},
        {"role": "user", "content": "Thanks."},
        {"role": "assistant", "content": "Welcome."},
        {"role": "user", "content": "Bye."},
    ]
    file = tmp_path / "own.jsonl"
    rows = [{"block": "sea", "held_out": side, "messages": messages} for side in (False, True)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    account = load_corpus("jsonl", corpus_path=str(file)).account
    assert account["user_turns_without_call"] == 2 * 3


@pytest.mark.parametrize("split", ["dialogue", "gold-disjoint"])
def test_ten_folds_hold_out_all_of_bfcl_once(bfcl, split):
    held_out = []
    for fold in range(10):
        corpus = load_corpus("bfcl", split=split, fold=fold, folds=10)
        assert {row["held_out_dialogues"] for row in corpus.account["blocks"].values()} == {5}
        held_out += corpus.held_out
    assert len(held_out) == 200 and set(held_out) == {d.id for d in bfcl.dialogues}


def test_a_fold_replaces_the_split_and_the_hash_covers_it(bfcl):
    first, second = (load_corpus("bfcl", fold=fold) for fold in (0, 1))
    assert len({bfcl.hash, first.hash, second.hash}) == 3 and first.dialogues == bfcl.dialogues
    assert load_corpus("bfcl", fold=0, fresh_ids=True).held_out == first.held_out
    assert load_corpus("bfcl", folds=10) == bfcl, "folds are heeded only where fold says one"


def test_folds_keep_the_caps(bfcl):
    whole, part = (
        load_corpus("bfcl", fold=2, folds=10, **caps)
        for caps in ({}, {"train_dialogues": 4, "held_out_dialogues": 2})
    )
    assert part.held_out < whole.held_out and part.account["dialogues_left_out"] == 200 - 24
    assert {row["train_dialogues"] for row in part.account["blocks"].values()} == {4}


@pytest.mark.parametrize("choice", [{"name": "bfcl"}, {"name": "bfcl", "fold": 1}, {"name": "sample"},
                                    {"name": "sample", "fold": 2, "folds": 3}])  # fmt: skip
def test_gold_disjoint_asks_for_no_call_that_is_learnt(bfcl, choice):
    plain, disjoint = load_corpus(**choice), load_corpus(**choice, split="gold-disjoint")
    rows = {side: build_examples(disjoint, "stripped", side) for side in ("train", "held_out")}
    assert not set(rows["train"]["gold"]) & set(rows["held_out"]["gold"])
    account = disjoint.account
    assert len(rows["train"]) == account["train_examples"] > 0
    assert sum(int(size) * count for size, count in account["groups"].items()) == account["dialogues"]
    if "fold" not in choice:
        assert disjoint.held_out == plain.held_out
        assert plain.account["train_examples"] - account["train_examples"] == account["targets_not_learnt"]


def own_dialogues(path, held_out=()):
    """A file of four dialogues in one block."""
    rows = []
    for number in range(4):
        call = {"function": {"name": "look", "arguments": {"at": number}}}
        said = [{"role": "user", "content": "Look."}, {"role": "assistant", "tool_calls": [call]}]
        rows.append({"id": number, "block": "own", "messages": said, "held_out": number in held_out})
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return {"name": "jsonl", "corpus_path": str(path)}


def test_a_file_of_ones_own_has_folds_unless_it_says_what_is_held_out(tmp_path):
    own = own_dialogues(tmp_path / "own.jsonl")
    held_out = [name for fold in range(4) for name in load_corpus(**own, fold=fold, folds=4).held_out]
    assert sorted(held_out) == ["0", "1", "2", "3"]
    own = own_dialogues(tmp_path / "says.jsonl", held_out=[1, 3])
    assert load_corpus(**own).held_out == {"1", "3"}
    with pytest.raises(ValueError, match="2 dialogues of .*says.jsonl say that they are held out: leave"):
        load_corpus(**own, fold=0, folds=2)
