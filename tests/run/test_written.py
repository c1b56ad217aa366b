"""Examples that runs share: what lies in the cache is what would be made anew."""

from dataclasses import replace

import pytest

from tests import synthetic
from trajnb.corpora.load import load_corpus
from trajnb.files import digest
from trajnb.formatting import conditions
from trajnb.formatting.examples import build_examples
from trajnb.qlora import chat, lines
from trajnb.qlora.model import load_tokenizer
from trajnb.qlora.plan import Recipe, make_plan
from trajnb.run import written as module
from trajnb.run.written import written

RECIPE = Recipe(2, 2, 1e-4, 0.0, "trie", 900)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("tiny")


@pytest.fixture
def shape(tokenizer):
    return {"max_length": 8192, "count_tokens": chat.count_tokens(tokenizer)}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setattr(module, "_CHECKED", {})
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def folders(home):
    return sorted(home.glob("examples-*"))


@pytest.mark.parametrize("stops", [False, True])
def test_what_is_kept_is_what_would_be_made(sample, tokenizer, shape, home, stops):
    found = written(sample, tokenizer, "full", "train", shape, stops=stops)
    rows = list(build_examples(sample, "full", "train"))
    rows += list(build_examples(sample, "full", "train", stops=True)) if stops else []
    encoded = chat.encode_all(tokenizer, rows)
    assert list(found.rows) == rows
    assert list(found.encoded) == encoded
    assert found.counts.digest == digest(encoded), "runs that began before go on"
    assert found.counts.tokens == sum(len(one.tokens) for one in encoded)
    assert found.counts.supervised == sum(len(one.completion) for one in encoded)
    assert found.counts.distinct < found.counts.tokens


def test_a_plan_of_kept_examples_is_that_of_lists(sample, tokenizer, shape, home):
    found = written(sample, tokenizer, "full", "train", shape)
    places = list(range(0, len(found.encoded), 2))
    kept, names = found.encoded.select(places), [found.rows[place]["dialogue_id"] for place in places]
    one, other = (make_plan(some, names, RECIPE, seed=3) for some in (kept, list(kept)))
    assert one.batches == other.batches and one.passes == other.passes and one.cost == other.cost
    assert [p.packed for step in one.passes for p in step] == [
        p.packed for step in other.passes for p in step
    ]


def test_a_second_run_writes_nothing(sample, tokenizer, shape, home, monkeypatch):
    first = written(sample, tokenizer, "full", "held_out", shape)
    monkeypatch.setattr(module, "_write_all", lambda *_: pytest.fail("written again"))
    monkeypatch.setattr(module, "_CHECKED", {})  # as in another process
    assert list(written(sample, tokenizer, "full", "held_out", shape).rows) == list(first.rows)


def test_what_is_another_thing_lies_elsewhere(sample, tokenizer, shape, home, monkeypatch):
    def write(corpus=sample, condition="full", **more):
        return written(corpus, tokenizer, condition, "train", shape | more)

    write()
    write(condition="stripped")
    write(cue="plain")
    write(max_length=4096)
    write(corpus=replace(sample, hash="another"))
    assert len(folders(home)) == 5
    monkeypatch.setitem(conditions.CONDITIONS, "full", lambda history: conditions.stripped(history))
    assert list(write().rows["prompt"]) == list(write(condition="stripped").rows["prompt"])
    assert len(folders(home)) == 5, "a condition that is tried out is kept by no one"


def test_a_damaged_folder_is_made_anew_and_a_closed_cache_is_none(
    sample, tokenizer, shape, home, monkeypatch
):
    whole = list(written(sample, tokenizer, "full", "train", shape).encoded)
    (folder,) = folders(home)
    (folder / module.TOKENS).write_bytes(b"")
    monkeypatch.setattr(module, "_CHECKED", {})
    assert list(written(sample, tokenizer, "full", "train", shape).encoded) == whole
    (home.parent / "file").write_text("")
    monkeypatch.setenv("TRAJNB_CACHE", str(home.parent / "file" / "cache"))
    monkeypatch.setattr(module, "_CHECKED", {})
    assert list(written(sample, tokenizer, "full", "train", shape).encoded) == whole


def test_a_tokenizer_that_joins_lines_is_read_whole(sample, tokenizer, shape, home, monkeypatch):
    """One that gives every text of several lines another beginning."""
    real = lines.whole
    joined = [lambda text: text.count("\n") > 1 and "User:" in text]

    def whole(tokenizer, texts):
        return [[7] * bool(joined[0](t)) + one for t, one in zip(texts, real(tokenizer, texts), strict=True)]

    monkeypatch.setattr(lines, "whole", whole)
    assert lines.agrees(tokenizer), "the probes do not show it"
    rows = build_examples(sample, "full", "train")
    wanted = [chat.encode(tokenizer, row, by_line=False) for row in rows]
    assert any(7 in one.tokens for one in wanted)
    assert chat.encode_all(tokenizer, rows) == wanted
    kept = written(replace(sample, hash="joined"), tokenizer, "full", "train", shape)
    assert list(kept.encoded) == wanted


def test_a_corpus_of_any_size_is_read(tmp_path, tokenizer, shape, home):
    synthetic.write(tmp_path / "own.jsonl", 20)
    corpus = load_corpus("jsonl", corpus_path=str(tmp_path / "own.jsonl"))
    found = written(corpus, tokenizer, "placebo", "train", shape)
    assert found.counts.examples == 16 * sum(synthetic.CALLS) == len(found.rows)
