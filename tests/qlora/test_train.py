import math
import random
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trajnb.corpora.load import load_corpus
from trajnb.formatting.conditions import CONDITIONS
from trajnb.formatting.examples import build_examples
from trajnb.qlora import attention, chat, progress, train, trie
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import add_adapter, load_base
from trajnb.qlora.plan import Recipe, make_plan

RECIPE = Recipe(
    epochs=2,
    dialogues_per_step=2,
    learning_rate=1e-2,
    warmup_ratio=0.1,
    packing="trie",
    token_budget=200,
)
NONE = replace(RECIPE, packing="none")
BOTH = pytest.mark.parametrize("family", ["llama", "qwen2"])


def gradients(model, batches, supervised):
    """Gradients of the mean loss over all supervised tokens, as one vector."""
    model.zero_grad()
    for batch in batches:
        # the model's own loss is a mean over the batch; `num_items_in_batch` makes it a share of
        # the step's
        model(**batch, num_items_in_batch=torch.tensor(supervised)).loss.backward()
    return torch.cat([w.grad.flatten() for w in model.parameters() if w.requires_grad])


def relative(got, wanted):
    return ((got - wanted).norm() / wanted.norm()).item()


def check_gradients(model, examples, tolerance=1e-4):
    supervised = sum(len(example.completion) for example in examples)
    wanted = gradients(model, [train.plain_batch(example) for example in examples], supervised)
    assert wanted.norm() > 0, "the reference has no gradient, so the comparison says nothing"
    assert relative(gradients(model, [train.trie_batch(examples)], supervised), wanted) < tolerance


@BOTH
def test_packed_gradients_equal_those_one_by_one(model, dialogues):
    check_gradients(model, sum(dialogues, []))


@BOTH
def test_packed_gradients_equal_those_one_by_one_in_nf4(make_model, dialogues):
    model = make_model("nf4")
    assert any(type(module).__name__ == "Linear4bit" for module in model.modules())
    check_gradients(model, sum(dialogues, []))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_packed_gradients_equal_on_real_rows_under_every_condition(model, tokenizer, condition):
    check_rows(model, tokenizer, load_corpus("sample", documents="used"), condition, dialogues=2)


@pytest.mark.parametrize("condition", ["stripped", "full"])
def test_packed_gradients_equal_on_rows_of_api_bank(model, tokenizer, condition, api_bank_files):
    data = load_corpus("api-bank", documents="used", corpus_path=str(api_bank_files), levels=("1",))
    check_rows(model, tokenizer, data, condition, dialogues=4)


def test_packed_gradients_equal_where_one_prompt_has_several_targets(model, tokenizer):
    data = load_corpus("sample", documents="used")
    check_rows(model, tokenizer, data, "stripped", dialogues=4, cue="plain")


def check_rows(model, tokenizer, corpus, condition, dialogues, cue="ordinal"):
    rows = build_examples(corpus, condition, "train", cue=cue)
    names = list(dict.fromkeys(rows["dialogue_id"]))[:dialogues]
    check_gradients(
        model, chat.encode_all(tokenizer, [row for row in rows if row["dialogue_id"] in names])
    )


examples = st.builds(
    lambda tokens, share: Encoded(tokens, max(1, int(share * (len(tokens) - 1)))),
    st.lists(st.integers(0, 3), min_size=2, max_size=12),
    st.floats(0, 1),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(examples, min_size=1, max_size=7))
def test_packed_gradients_equal_on_any_trie(model, examples):
    check_gradients(model, examples)


def test_one_example_a_prefix_of_another(model):
    check_gradients(
        model, [Encoded([1, 2, 3], 1), Encoded([1, 2, 3, 4, 5], 3), Encoded([1, 2, 3], 2)]
    )


@BOTH
def test_segment_attention_equals_the_dense_mask_at_every_position(model, dialogues):
    packed = trie.build([example.tokens for example in sum(dialogues, [])])
    given = {
        "input_ids": torch.tensor([packed.tokens]),
        "position_ids": torch.tensor([packed.depths]),
        "use_cache": False,
    }
    with torch.inference_mode():
        segments = model(**given, layout=attention.TrieLayout(packed.segments)).logits
        dense = model(**given, attention_mask=attention.dense_mask(packed)).logits
    assert torch.allclose(segments, dense, atol=1e-4)


@BOTH
def test_flex_attention_gives_the_logits_of_spans(model, dialogues):
    """As a GPU computes them: the row filled up, its mask in blocks."""
    examples = sum(dialogues, [])
    packed = trie.build([example.tokens for example in examples])
    spans = train.trie_batch(examples, packed)
    blocks = train.block_batch(spans, packed, torch.device("cpu"))
    assert blocks["input_ids"].shape == blocks["position_ids"].shape == (1, train.BUCKET)
    assert "layout" not in blocks and blocks["labels"] is spans["labels"]
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        wanted, got = (model(**batch, use_cache=False).logits for batch in (spans, blocks))
    assert got.shape == wanted.shape and torch.allclose(got, wanted, atol=1e-5)


def flat(dialogues):
    """The examples one after another, and the name of the dialogue of each."""
    names = [str(d) for d, group in enumerate(dialogues) for _ in group]
    return sum(dialogues, []), names


def run(files, dialogues, recipe, folder, dropout=0.0, say=lambda text: None):
    model = add_adapter(load_base(files), rank=4, alpha=8, dropout=dropout, seed=0)
    plan = make_plan(*flat(dialogues), recipe, seed=0)
    trained = train.train_block(model, plan, seed=5, folder=folder, say=say)
    return torch.cat([w.detach().flatten() for w in model.parameters() if w.requires_grad]), trained


@BOTH
def test_packed_training_ends_with_the_weights_of_unpacked_training(files, dialogues, tmp_path):
    packed, packed_block = run(files, dialogues, RECIPE, tmp_path / "packed")
    plain, plain_block = run(files, dialogues, NONE, tmp_path / "plain")
    assert relative(packed, plain) < 1e-4
    for left, right in zip(packed_block.losses, plain_block.losses, strict=True):
        assert math.isclose(left, right, rel_tol=1e-3)
    assert packed_block.cost.tokens == plain_block.cost.tokens == plain_block.cost.computed
    assert packed_block.cost.computed < plain_block.cost.computed / 2
    assert packed_block.cost.supervised == plain_block.cost.supervised


def test_the_logged_loss_is_the_mean_over_the_supervised_tokens_of_the_step(
    tiny, dialogues, tmp_path
):
    _, trained = run(tiny, dialogues, RECIPE, tmp_path)
    plan = make_plan(*flat(dialogues), RECIPE, seed=0)
    first = [plan.examples[i] for i in sum(plan.batches[0], [])]
    fresh = add_adapter(load_base(tiny), rank=4, alpha=8, dropout=0.0, seed=0)
    total = 0.0
    for example in first:
        with torch.inference_mode():
            logp = fresh(torch.tensor([example.tokens])).logits[0].log_softmax(-1)
        total -= sum(
            logp[n - 1, example.tokens[n]].item()
            for n in range(example.prompt, len(example.tokens))
        )
    assert math.isclose(
        trained.losses[0], total / sum(len(e.completion) for e in first), rel_tol=1e-3
    )


class Cut(Exception):
    pass


def test_training_cut_in_the_middle_goes_on_bit_equal(tiny, dialogues, tmp_path, monkeypatch):
    whole, _ = run(tiny, dialogues, RECIPE, tmp_path / "whole", dropout=0.1)

    def kill(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise Cut

    monkeypatch.setattr(train._Progress, "on_step_begin", kill)
    with pytest.raises(Cut):
        run(tiny, dialogues, RECIPE, tmp_path / "cut", dropout=0.1)
    monkeypatch.undo()
    # a kill while a checkpoint is written leaves half of one
    (tmp_path / "cut" / "checkpoint-99").mkdir()
    again, trained = run(tiny, dialogues, RECIPE, tmp_path / "cut", dropout=0.1)
    assert trained.resumed
    assert torch.equal(again, whole)


def test_progress_says_where_it_is(tiny, dialogues, tmp_path):
    said = []
    run(tiny, dialogues, RECIPE, tmp_path, say=said.append)
    assert said[0].startswith("step 1/4 · loss ")
    assert "tokens/s" in said[0] and "left in this block" in said[0]
    assert said[-1].startswith("step 4/4")


def test_an_empty_plan_is_no_training(model, tmp_path):
    with pytest.raises(ValueError, match="nothing to train"):
        train.train_block(model, make_plan([], [], RECIPE, seed=0), seed=0, folder=tmp_path)


def test_progress_is_told_within_a_step_and_within_a_pass(tiny, dialogues, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    said = []
    small = replace(RECIPE, token_budget=60)
    run(tiny, dialogues, small, tmp_path, say=said.append)
    plan = make_plan(*flat(dialogues), small, seed=0)
    for step, passes in enumerate(plan.passes, start=1):
        size = sum(one.size for one in passes)
        assert len(passes) > 1, "this test is about a step of several passes"
        counts = []
        while "loss" not in said[0]:
            pattern = rf"step {step}/4, ([\d,]+) of {size:,} tokens · .* left in this block"
            (count,) = re.fullmatch(pattern, said.pop(0)).groups()
            counts.append(int(count.replace(",", "")))
        assert said.pop(0).startswith(f"step {step}/4 · loss")
        assert counts == sorted(counts) and 0 < counts[0] and counts[-1] <= size
        done = 0
        for one in passes:
            # forward and backward: two layers each
            wanted = {done + round(one.size * share / 4) for share in range(4)} - {0}
            assert wanted <= {count + off for count in counts for off in (-1, 0, 1)}
            done += one.size
    assert said == []


def test_unpacked_progress_is_told_after_every_example(tiny, dialogues, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    said = []
    run(tiny, dialogues[:2], replace(NONE, epochs=1), tmp_path, say=said.append)
    lengths = [len(example.tokens) for example in sum(dialogues[:2], [])]
    total = sum(lengths)
    assert len(said) == len(lengths), "each but the last, and the step"
    assert all(f" of {total:,} tokens" in line for line in said[:-1])
    assert said[-1].startswith("step 1/1 · loss") and said[-1].endswith("0 s left in this block")


def test_progress_is_not_told_at_every_step(tiny, dialogues, tmp_path):
    said = []
    run(tiny, dialogues, replace(RECIPE, token_budget=60), tmp_path, say=said.append)
    assert [line.split(" · ")[0] for line in said] == ["step 1/4", "step 4/4"], (
        "others came at once"
    )


def test_dropout_and_initialisation_follow_the_seed(tiny):
    def first(seed):
        model = add_adapter(load_base(tiny), rank=4, alpha=8, dropout=0.0, seed=seed)
        return (
            next(weight for name, weight in model.named_parameters() if "lora_A" in name)
            .detach()
            .clone()
        )

    random.random()  # whatever was drawn before
    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))
