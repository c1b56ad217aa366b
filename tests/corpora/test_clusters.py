import json
import random

import pytest

from trajnb.corpora.clusters import clusters, merge_small
from trajnb.corpora.load import load_corpus
from trajnb.formatting.dialogue import Call, Dialogue, Turn

ABOUT = {
    "get_tide": "Tide of the sea at a port.",
    "get_waves": "Height of the sea's waves near a port.",
    "play_song": "Plays a song of a music album.",
    "list_albums": "Lists the music albums of an artist.",
    "find_doctor": "Finds a doctor in a hospital.",
    "book_doctor": "Books a doctor's visit at a hospital.",
}


def dialogue(name, place, block=""):
    document = json.dumps({"name": name, "description": ABOUT.get(name, ""), "parameters": {}})
    turns = (Turn("user", f"Please, {place}."), Turn("api", "", Call(name, {"n": place})))
    return Dialogue(f"d{place}", block, (document,), turns)


def row(name, place, **more):
    tool = {"name": name, "description": ABOUT[name], "parameters": {}}
    call = {"name": name, "arguments": {"n": place}}
    said = [{"role": "user", "content": f"Please, {place}."}, {"role": "assistant", "tool_calls": [call]}]
    return {"id": f"d{place}", "tools": [tool], "messages": said} | more


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return {"name": "jsonl", "corpus_path": str(path)}


def sizes(corpus):
    return {block: sum(one.block == block for one in corpus.dialogues) for block in corpus.blocks}


def test_apis_that_are_about_the_same_are_one_block_whatever_the_order():
    dialogues = [dialogue(name, place) for place, name in enumerate([*ABOUT] * 4)]
    found = clusters(dialogues)
    of_name = dict(zip([*ABOUT] * 4, found, strict=True))
    pairs = [("get_tide", "get_waves"), ("play_song", "list_albums"), ("find_doctor", "book_doctor")]
    assert sum(of_name[one] == of_name[other] for one, other in pairs) >= 2
    assert len({of_name[one] for one, _ in pairs}) == 3, "no block mixes them"
    assert any("doctor" in name for name in found) and any("sea" in name or "port" in name for name in found)
    mixed = list(range(len(dialogues)))
    random.Random(1).shuffle(mixed)
    assert clusters([dialogues[place] for place in mixed]) == [found[place] for place in mixed]


def test_one_api_and_apis_without_words_are_one_block():
    assert set(clusters([dialogue("get_tide", place) for place in range(3)])) == {"port_sea"}
    assert set(clusters([dialogue("天气", 0), dialogue("潮汐", 1)])) == {"apis"}


def test_small_blocks_become_one_that_is_whole():
    blocks = ["a"] * 5 + ["b"] * 4 + ["c"] + ["d"]
    dialogues = [dialogue("get_tide", place, block) for place, block in enumerate(blocks)]
    merged, said = merge_small(dialogues, lambda group: len(group) >= 3)
    assert said == {"d": "b", "c": "b"} and [d.block for d in merged] == ["a"] * 5 + ["b"] * 6
    merged, said = merge_small(dialogues, lambda group: len(group) >= 2)
    assert said == {"d": "c"}
    assert merge_small(dialogues, lambda group: True) == (tuple(dialogues), {})
    assert {d.block for d in merge_small(dialogues, lambda group: False)[0]} == {"a"}


def test_without_blocks_a_corpus_has_none_of_api_banks(tmp_path):
    own = write(tmp_path / "own.jsonl", [row(name, n) for n, name in enumerate([*ABOUT] * 8)])
    corpus = load_corpus(**own)
    assert not {"account_finance", "schedule", "health", "info_home_travel"} & set(corpus.blocks)
    assert 2 <= len(corpus.blocks) <= 4
    assert corpus == load_corpus(**own, blocks="clusters")
    assert load_corpus(**own, blocks="one").blocks == ("all",)


def test_an_odd_dialogue_refuses_no_corpus(tmp_path):
    rows = [row("get_tide", n) for n in range(40)]
    own = write(tmp_path / "own.jsonl", [*rows, row("find_doctor", 40)])
    corpus = load_corpus(**own)
    assert len(corpus.blocks) == 1 and len(corpus.dialogues) == 41
    (small,) = corpus.account["blocks_merged"]
    assert corpus.account["blocks_merged"][small] == corpus.blocks[0]
    folded = load_corpus(**own, fold=1, folds=4)
    assert folded.account["blocks_merged"] == corpus.account["blocks_merged"]


def test_a_key_of_the_rows_names_the_blocks(tmp_path):
    rows = [row(name, n, domain="By the sea!" if "get" in name else 7) for n, name in enumerate([*ABOUT] * 8)]
    own = write(tmp_path / "own.jsonl", rows)
    assert sizes(load_corpus(**own, blocks="domain")) == {"By_the_sea": 16, "7": 32}
    with pytest.raises(ValueError, match="domian is missing, which blocks takes .*did you mean 'domain'"):
        load_corpus(**own, blocks="domian")
    clash = [*rows, row("get_tide", 99, domain="By the sea?")]
    with pytest.raises(ValueError, match="gives a block that another one gives too"):
        load_corpus(**write(tmp_path / "clash.jsonl", clash), blocks="domain")
    with pytest.raises(ValueError, match="its own blocks or those that `blocks` names"):
        load_corpus(**own, blocks="balanced")


def test_blocks_of_ones_own_are_kept_and_small_ones_merged(tmp_path):
    names = ["sea"] * 20 + ["air"] * 20 + ["odd"]
    rows = [row("get_tide", n, block=name) for n, name in enumerate(names)]
    corpus = load_corpus(**write(tmp_path / "own.jsonl", rows))
    assert corpus.account["blocks_merged"] in ({"odd": "sea"}, {"odd": "air"})
    assert sum(sizes(corpus).values()) == 41 and set(corpus.blocks) == {"sea", "air"}


def test_a_block_without_a_side_that_lines_say_is_named(tmp_path):
    rows = [row("get_tide", n, block="air" if n % 2 else "sea", held_out=n in (0, 2)) for n in range(8)]
    own = write(tmp_path / "own.jsonl", rows)
    with pytest.raises(ValueError, match="block 'air' has no held-out dialogue of its 4: let held_out say"):
        load_corpus(**own)
    assert load_corpus(**own, blocks="one").held_out == {"d0", "d2"}


def test_few_dialogues_have_both_sides(tmp_path):
    for rows in ([row("get_tide", 0), row("get_tide", 1)], [row("get_tide", 0), row("get_tide", 0, id="x")]):
        assert len(load_corpus(**write(tmp_path / "two.jsonl", rows)).held_out) == 1
    with pytest.raises(ValueError, match="has no .* dialogue of its 1: add dialogues"):
        load_corpus(**write(tmp_path / "one.jsonl", [row("get_tide", 0)]))
