"""Trees of a tiny model: what it is asked, and that what it says depends on names alone."""

import pytest
import torch

from trajnb.assets import AssetError
from trajnb.corpora.bfcl import scenarios
from trajnb.corpora.load import load_corpus
from trajnb.formatting.examples import build_examples
from trajnb.formatting.pairs import Wording
from trajnb.qlora import chat
from trajnb.qlora import model as models
from trajnb.run import answer
from trajnb.run.ask import asked_for_replies
from trajnb.world.grow import expert_trees, infer
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Draw, Search, Wanted, to_line
from trajnb.world.turns import history_of, turn_tasks


@pytest.fixture(scope="module")
def tasks():
    """Those of the first two held-out dialogues of the sample."""
    corpus = load_corpus("sample")
    held_out = [one for one in corpus.dialogues if one.id in corpus.held_out][:2]
    try:
        return turn_tasks(held_out, scenarios(), corpus.held_out)
    except AssetError as error:
        pytest.skip(f"the bfcl wheel is not to be had: {error}")


@pytest.fixture(scope="module")
def tokenizer():
    return models.load_tokenizer("tiny")


@pytest.fixture(scope="module")
def network():
    """With an adapter that does something, and surer of itself, so that near ties are rare."""
    model = models.load_base(models.find_model("tiny"), "none")
    model = models.add_adapter(model, rank=4, alpha=8, dropout=0.0, seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2, generator=draw)
        model.get_base_model().model.norm.weight.mul_(8)
    return model


@pytest.fixture
def ask(network, tokenizer):
    return asked_for_replies(
        network,
        tokenizer,
        Wording("full"),
        seed=3,
        temperature=1.0,
        max_new_tokens=12,
        say=lambda text: None,
    )


@pytest.fixture
def prompts(monkeypatch):
    """The messages of all prompts, as they come."""
    seen = []
    tokens = chat.chat_tokens

    def look(tokenizer, messages, **how):
        if how:
            seen.append(messages)
        return tokens(tokenizer, messages, **how)

    monkeypatch.setattr(chat, "chat_tokens", look)
    return seen


def wanted(task, indices, earlier=()):
    """Replies to the state that the reference left before a task."""
    draws = tuple(Draw(task.id, (), index) for index in indices)
    return Wanted(task.id, history_of(task, [], []), draws, earlier)


def test_the_first_reply_is_the_greedy_answer(ask, network, tokenizer, tasks, prompts):
    rows = {}
    for row in build_examples(load_corpus("sample"), "full", "held_out"):
        if row["ordinal"] == 1:
            rows[f"{row['dialogue_id']}#{row['turn']}"] = row
    asked = [rows[task.id] for task in tasks]
    how = {"stage": 1, "train_condition": "full", "eval_condition": "full", "max_new_tokens": 12}
    lines = answer.predict(network, tokenizer, asked, lambda text, row: {"canonical": 0}, **how)
    said = ask([wanted(task, [0]) for task in tasks])
    assert prompts[-len(tasks) :] == [row["prompt"] for row in asked]
    assert [one.text for (one,) in said] == [line["prediction"] for line in lines]
    assert [one.cut for (one,) in said] == [not line["stopped"] for line in lines]


def test_replies_stand_where_they_were_wanted(ask, tasks):
    one, other = tasks[:2]
    first, second = ask([wanted(one, [0, 1, 2]), wanted(other, [2])])
    assert len({reply.text for reply in first}) == 3 and len(second) == 1
    assert ask([wanted(other, [2]), wanted(one, [2, 0])]) == [second, [first[2], first[0]]]


def test_earlier_attempts_are_listed_before_the_cue(ask, tasks, prompts):
    ask([wanted(tasks[0], [1], earlier=("[ls()]", "[]"))])
    ((_, user),) = prompts
    *_, one, other, cue = user["content"].splitlines()
    assert one.endswith("[ls()]") and other.endswith("[]") and cue.startswith("Generate API")


def test_a_prompt_that_is_too_long_loses_its_oldest_turn(network, tokenizer, tasks, prompts):
    task, count = max(tasks, key=lambda task: task.turn), chat.count_tokens(tokenizer)
    whole = Wording("full").prompt(wanted(task, [0]).history, "a task")

    def ask_within(prompt_tokens):
        wording = Wording("full", prompt_tokens=prompt_tokens, count_tokens=count)
        ask = asked_for_replies(
            network, tokenizer, wording, seed=0, temperature=1.0, max_new_tokens=2
        )
        ask([wanted(task, [0])])

    ask_within(count(whole))
    ask_within(count(whole) - 1)
    assert prompts[0] == whole and count(prompts[1]) < count(whole)
    with pytest.raises(ValueError, match=f"task {task.id}, call 1: documents, last user turn"):
        ask_within(50)


def test_trees_are_the_same_in_any_order_and_in_any_batch(ask, tasks):
    search = Search(width=3, budget=6)
    with Sandbox() as sandbox:
        trees = expert_trees(sandbox, tasks, ask, search)
        backwards = expert_trees(sandbox, tasks[::-1], ask, search)
        alone = expert_trees(sandbox, tasks[1:2], ask, search)
        chains = infer(sandbox, tasks, ask, Search(width=1))
    lines = [to_line(tree) for tree in trees]
    assert [to_line(tree) for tree in backwards[::-1]] == lines
    assert [to_line(tree) for tree in alone] == lines[1:2]
    assert sum(tree.replies for tree in trees) == 3 * sum(len(t.reference) + 1 for t in tasks)
    assert len(chains) == len(tasks)


def test_a_prompt_of_a_repairers_own_is_asked_as_it_is(ask, tasks, prompts):
    """Whatever the condition; with several replies to it, and beside others."""
    task = tasks[0]
    own = ({"role": "system", "content": "Repair."}, {"role": "user", "content": "Once more:"})
    draws = tuple(Draw(task.id, (), index, "model 1") for index in range(2))
    repair = Wanted(task.id, history_of(task, [], []), draws, messages=own)
    (first, second), _ = ask([repair, wanted(task, [0])])
    assert prompts[0] == own and prompts[1][-1]["content"].startswith("User:")
    assert ask([repair]) == [[first, second]] and first != second
