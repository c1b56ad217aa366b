"""A large file is read once."""

import pytest

from tests import synthetic
from trajnb.corpora import kept, load
from trajnb.formatting.dialogue import CorpusChoice


@pytest.fixture
def choice(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "LARGE", 1)
    synthetic.write(tmp_path / "own.jsonl", 20)
    return CorpusChoice("jsonl", corpus_path=str(tmp_path / "own.jsonl"))


def fresh(choice):
    """As in another process."""
    load._cached.cache_clear()
    return load.corpus_of(vars(choice))


def test_what_is_kept_is_the_corpus(choice, monkeypatch):
    wanted = load.load_chosen(choice)
    first = fresh(choice)
    monkeypatch.setattr(load, "load_chosen", lambda *_: pytest.fail("read again"))
    for corpus in (first, fresh(choice)):
        assert tuple(corpus.dialogues) == wanted.dialogues and len(corpus.dialogues) == 20
        assert (corpus.name, corpus.blocks, corpus.held_out) == (wanted.name, wanted.blocks, wanted.held_out)
        assert corpus.account == wanted.account and corpus.hash == wanted.hash


def test_another_file_or_choice_is_read_anew(choice, tmp_path):
    whole = fresh(choice)
    fewer = fresh(CorpusChoice("jsonl", corpus_path=choice.corpus_path, train_dialogues=2))
    assert len(fewer.dialogues) < len(whole.dialogues)
    synthetic.write(tmp_path / "own.jsonl", 40)
    assert len(fresh(choice).dialogues) == 40


def test_a_cache_that_cannot_be_written_to_keeps_nothing(choice, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path / "file" / "cache"))
    assert len(fresh(choice).dialogues) == 20
