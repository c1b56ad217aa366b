import re

import pytest
import torch

from trajnb.corpora.load import load_corpus
from trajnb.formatting.examples import build_examples
from trajnb.qlora import chat, generate, progress, train
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import add_adapter, find_model, load_base, load_tokenizer
from trajnb.qlora.plan import Recipe, make_plan

TIE = 1e-4  # two best logits closer than this may swap under another order of sums
BOTH = pytest.mark.parametrize("family", ["llama", "qwen2"])


def reference(model, example, end, limit):
    """Unbatched greedy decoding by transformers, and the likelihood of gold by one plain pass."""
    with torch.inference_mode():
        output = model.generate(
            input_ids=torch.tensor([example.tokens[: example.prompt]]),
            attention_mask=torch.ones(1, example.prompt, dtype=torch.long),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
        )
        logp = model(torch.tensor([example.tokens])).logits[0].log_softmax(-1)
    nll = -sum(
        logp[n - 1, example.tokens[n]].item() for n in range(example.prompt, len(example.tokens))
    )
    return output[0, example.prompt :].tolist(), nll


def answers(model, groups, **settings):
    """Answers by (group, index): every group's examples are a dialogue."""
    places = [(g, i) for g, group in enumerate(groups) for i in range(len(group))]
    names = [str(g) for g, _ in places]
    flat = sum(groups, [])
    return dict(zip(places, generate.answer(model, flat, names, **settings), strict=True))


def check(model, groups, end, limit, **budgets):
    model.eval()
    ties = []
    got = answers(model, groups, end_token=end, max_new_tokens=limit, **budgets)
    for (g, i), answer in got.items():
        tokens, nll = reference(model, groups[g][i], end, limit)
        assert answer.gold_nll == pytest.approx(nll, rel=1e-4)
        assert answer.stopped == (answer.tokens[-1] == end)
        if answer.tokens != tokens:
            ties.append((g, i))
            assert answer.margin < TIE, f"item {g, i}: {answer.tokens} where generate says {tokens}"
    assert sorted(got) == [(g, i) for g, group in enumerate(groups) for i in range(len(group))]
    print(f"{len(ties)} of {len(got)} items differ at a tie")
    return got


@pytest.mark.parametrize(
    "family, wave, row",
    [
        ("llama", 16384, 2048),
        ("llama", 400, 60),
        ("llama", 150, 1),
        ("llama", 1, 1),
        ("qwen2", 16384, 2048),
        ("qwen2", 400, 60),
    ],
)
def test_answers_are_those_of_generate(model, dialogues, tokenizer, wave, row):
    check(model, dialogues, tokenizer.eos_token_id, 30, wave_tokens=wave, row_tokens=row)


def own_words(model, groups, end, limit):
    """The same prompts with what the model itself says as gold: drafts that are confirmed to the
    end.
    """
    said = answers(model, groups, end_token=end, max_new_tokens=limit)
    return [
        [Encoded(e.tokens[: e.prompt] + said[g, i].tokens, e.prompt) for i, e in enumerate(group)]
        for g, group in enumerate(groups)
    ]


def test_confirmed_drafts_need_no_decoding(model, dialogues, tokenizer, monkeypatch):
    end = tokenizer.eos_token_id
    confirmed = own_words(model, dialogues, end, 12)
    found = check(model, confirmed, end, 12)
    monkeypatch.setattr(generate, "_decode", None)  # calling it would raise
    again = answers(model, confirmed, end_token=end, max_new_tokens=12)
    assert {k: a.tokens for k, a in again.items()} == {k: a.tokens for k, a in found.items()}


def test_a_draft_right_up_to_its_last_tokens_goes_on_from_there(model, dialogues, tokenizer):
    end = tokenizer.eos_token_id
    nearly = [
        [Encoded([*e.tokens[:-3], 5, 5, end], e.prompt) for e in group]
        for group in own_words(model, dialogues, end, 12)
    ]
    check(model, nearly, end, 20)


def test_a_gold_longer_than_the_limit_is_cut_as_generate_cuts(model, dialogues, tokenizer):
    end = tokenizer.eos_token_id
    found = check(model, own_words(model, dialogues, end, 12), end, 5)
    assert all(len(answer.tokens) <= 5 for answer in found.values())


def test_stopping_tokens_count_as_generate_counts_them(model, dialogues):
    first = answers(model, dialogues, end_token=300, max_new_tokens=10)[0, 0].tokens
    check(model, dialogues, first[3], 10)  # a token that the model does write ends the answer


def test_no_tokens_to_generate_is_an_error(model, dialogues):
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        answers(model, dialogues, end_token=1, max_new_tokens=0)


def test_answers_to_one_prompt_with_several_targets_are_those_of_generate(model, tokenizer):
    groups = {}
    for row in build_examples(load_corpus("sample"), "stripped", "held_out", cue="plain"):
        groups.setdefault(row["dialogue_id"], []).append(chat.encode(tokenizer, row))
    groups = list(groups.values())
    prompts = [tuple(one.tokens[: one.prompt]) for one in sum(groups, [])]
    assert len(set(prompts)) < len(prompts)
    check(model, groups, tokenizer.eos_token_id, 8)


def test_training_mode_is_given_back(model, dialogues):
    model.train()
    answers(model, dialogues, end_token=1, max_new_tokens=2)
    assert model.training


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["stripped", "full"])
def test_answers_of_a_trained_smollm2_are_those_of_generate(condition, tmp_path):
    data = load_corpus("bfcl", documents="used", train_dialogues=1, held_out_dialogues=1)
    tokenizer = load_tokenizer("smollm2-135m")
    model = add_adapter(
        load_base(find_model("smollm2-135m")), rank=16, alpha=32, dropout=0.0, seed=0
    )
    rows = build_examples(data, condition, "train")
    recipe = Recipe(3, 1, 5e-4, 0.0, "trie", 2048)
    encoded = chat.encode_all(tokenizer, rows)
    plan = make_plan(encoded, rows["dialogue_id"], recipe, seed=0)
    train.train_block(model, plan, seed=0, folder=tmp_path)
    groups = {}
    for row in build_examples(data, condition, "held_out"):
        groups.setdefault(row["dialogue_id"], []).append(chat.encode(tokenizer, row))
    found = check(model, list(groups.values()), tokenizer.eos_token_id, 96)
    assert any(answer.stopped for answer in found.values()), (
        "training taught it nothing: no answer ends"
    )


@BOTH
def test_merging_the_adapter_leaves_every_weight_as_it_was(model, dialogues, tokenizer):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}

    def as_before():
        return [torch.equal(before[name], weight) for name, weight in model.state_dict().items()]

    def look(*_):
        assert not all(as_before())
        raise KeyboardInterrupt  # in the middle

    model.get_base_model().model.layers[1].register_forward_pre_hook(look)
    with pytest.raises(KeyboardInterrupt):
        answers(model, dialogues, end_token=tokenizer.eos_token_id, max_new_tokens=3)
    assert all(as_before())


def test_answers_come_in_the_order_of_the_examples(model, dialogues, tokenizer):
    """Also where the examples of a dialogue do not stand together."""
    end = tokenizer.eos_token_id
    settings = {"end_token": end, "max_new_tokens": 8, "wave_tokens": 150, "row_tokens": 60}
    places = [(g, i) for i in range(5) for g in range(3)]  # the dialogues take turns
    mixed = [dialogues[g][i] for g, i in places]
    told = generate.answer(model, mixed, [f"d{g}" for g, _ in places], **settings)
    apart = answers(model, dialogues, **settings)
    assert [one.tokens for one in told] == [apart[place].tokens for place in places]


def test_nothing_asked_nothing_answered(model):
    assert generate.answer(model, [], [], end_token=1, max_new_tokens=2) == []


NUMBERS = r"(\w+) ([\d,]+) of ([\d,]+) (?:tokens of prompts|answers) · .*left"


def test_progress_is_told_while_reading_and_while_writing(model, dialogues, tokenizer, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    said = []
    settings = {"end_token": tokenizer.eos_token_id, "max_new_tokens": 8, "tell": said.append}
    answers(model, dialogues, wave_tokens=150, row_tokens=60, **settings)
    found = [re.fullmatch(NUMBERS, line).groups() for line in said]
    for what, waves in (("read", 3), ("written", 3)):
        counts = [int(done) for kind, done, _ in found if kind == what]
        totals = {total for kind, _, total in found if kind == what}
        assert counts == sorted(counts) and len(set(counts)) >= waves
        assert totals == {str(counts[-1])}, "they add up, over all waves"
    assert found[-1] == ("written", "15", "15")
    assert said[0].endswith(" of reading left") and said[-1].endswith(" up to 0 s left")


def test_a_short_wait_is_silent(model, dialogues, tokenizer):
    said = []
    answers(model, dialogues, end_token=tokenizer.eos_token_id, max_new_tokens=2, tell=said.append)
    assert said == []
