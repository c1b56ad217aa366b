import json

import pytest

from trajnb.corpora import load as corpus_module
from trajnb.corpora import sample as sample_module
from trajnb.corpora.load import SAMPLE_FILE, load_corpus
from trajnb.corpora.storage import dump, read_dialogues, write_dialogues
from trajnb.formatting.dialogue import Call, Dialogue, Turn


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
