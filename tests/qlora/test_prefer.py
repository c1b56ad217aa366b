import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from trajnb.qlora import prefer, train, trie
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import adapter_weights, add_adapter, load_base, set_adapter_weights
from trajnb.qlora.pairs import (
    Pair,
    log_probabilities,
    log_ratios,
    measure,
    pair_batch,
    pair_losses,
    side_sums,
)
from trajnb.qlora.prefer import PreferRecipe, chosen_plan, plan_pairs, train_pairs

RECIPE = PreferRecipe(
    beta=0.1,
    learning_rate=1e-2,
    epochs=2,
    dialogues_per_step=2,
    warmup_ratio=0.1,
    token_budget=200,
)
BOTH = pytest.mark.parametrize("family", ["llama", "qwen2"])
TEXTS = [  # a prompt that grows, and what was said to it: chosen, rejected
    ("You call APIs.\nUser: go to temp, list it\n", "cd(folder='temp')", "ls()"),
    ("You call APIs.\nUser: go to temp, list it\n", "cd(folder='temp')", "cd(folder='tmp')"),
    ("You call APIs.\nUser: go to temp, list it\n1. cd(folder='temp')\n", "ls()", "[]"),
    ("You call APIs.\nUser: go to temp, list it\n1. cd(folder='temp')\n2. ls()\n", "[]", "ls()"),
    ("You call APIs.\nUser: fill the tank\n", "fillFuelTank(fuelAmount=12.5)", "fillFuelTank()"),
    ("You call APIs.\nUser: fill the tank\n", "fillFuelTank(fuelAmount=12.5)", "[]"),
]
NAMES = ["files"] * 4 + ["vehicle"] * 2


@pytest.fixture
def pairs(tokenizer):
    return [as_pair(tokenizer, *text) for text in TEXTS]


def as_pair(tokenizer, prompt, chosen, rejected):
    before = tokenizer(prompt)["input_ids"]
    sides = []
    for said in (chosen, rejected):
        tokens = [*before, *tokenizer(said)["input_ids"], tokenizer.eos_token_id]
        sides.append(Encoded(tokens, len(before)))
    return Pair(*sides)


def moved(model, seed=2):
    """The adapter away from where it was."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B.default" in name:
                weight += torch.empty_like(weight).normal_(0, 0.1, generator=draw)


def one_by_one(model, pair):
    """The log-probabilities of both sides of a pair, each in a forward pass of its own."""
    found = []
    for side in pair.sides:
        logps = model(torch.tensor([side.tokens])).logits[0].log_softmax(-1)
        places = range(side.prompt, len(side.tokens))
        found.append(sum(logps[place - 1, side.tokens[place]] for place in places))
    return torch.stack(found)


def gradient(model):
    return torch.cat([w.grad.flatten() for w in model.parameters() if w.requires_grad])


def relative(got, wanted):
    return ((got - wanted).norm() / wanted.norm()).item()


def loss_and_gradient(model, pairs, reference, budget):
    """Of the mean over the pairs, in rows of `budget` tokens, as training has them."""
    plan = plan_pairs(pairs, NAMES, replace(RECIPE, epochs=1, token_budget=budget), seed=0)
    model.zero_grad()
    total = 0.0
    for one in sum(plan.sides.passes, []):
        places = [place // 2 for place in one.examples[::2]]
        batch = pair_batch([pairs[place] for place in places], one.packed)
        known = torch.tensor([reference[place] for place in places])
        ratios = side_sums(model, batch) - known
        loss = pair_losses(ratios, RECIPE.beta).sum() / len(pairs)
        loss.backward()
        total += loss.item()
    return total, gradient(model)


def test_the_hand_case():
    policy = torch.tensor([[-2.0, -4.0], [-3.0, -1.5]], requires_grad=True)
    ratios = policy - torch.tensor([[-3.0, -2.0], [-2.0, -2.0]])
    pair_losses(ratios, 0.1).mean().backward()
    found = measure(ratios, 0.1)
    assert found.loss == pytest.approx(0.662656, abs=1e-6)
    assert found.margin == pytest.approx(0.075, abs=1e-6)
    assert found.accuracy == 0.5
    assert (found.logratio_chosen, found.logratio_rejected) == (0.0, -0.75)
    assert policy.grad[:, 0].tolist() == pytest.approx([-0.021278, -0.026871], abs=1e-6)
    assert torch.equal(policy.grad[:, 1], -policy.grad[:, 0])


@BOTH
def test_log_probabilities_are_those_of_every_side_alone(model, pairs):
    found = log_probabilities(model, pairs, NAMES, 200)
    with torch.no_grad():
        wanted = torch.stack([one_by_one(model, pair) for pair in pairs])
    assert torch.allclose(torch.tensor(found), wanted, atol=1e-3, rtol=1e-5)


@BOTH
def test_packed_equals_a_row_for_every_pair(model, pairs):
    reference = log_probabilities(model, pairs, NAMES, 200)
    moved(model)
    loss, packed = loss_and_gradient(model, pairs, reference, 10_000)
    alone_loss, alone = loss_and_gradient(model, pairs, reference, 1)
    assert loss != pytest.approx(math.log(2), abs=1e-3), "the adapter is off its reference"
    assert loss == pytest.approx(alone_loss, abs=1e-6)
    assert relative(packed, alone) < 1e-4


@BOTH
def test_loss_and_gradient_equal_those_of_trl(model, tokenizer, pairs, tmp_path):
    reference = log_probabilities(model, pairs, NAMES, 200)
    rows = [dict(zip(("prompt", "chosen", "rejected"), text, strict=True)) for text in TEXTS]
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=str(tmp_path),
            beta=RECIPE.beta,
            per_device_train_batch_size=len(rows),
            max_length=None,
            gradient_checkpointing=False,
            bf16=False,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(rows),  # text: of messages it would learn what follows the end
        processing_class=tokenizer,
    )  # fmt: skip
    copied = {name: weight.clone() for name, weight in model.named_parameters() if ".ref." in name}
    moved(model)
    (batch,) = trainer.get_train_dataloader()
    assert batch["input_ids"].shape[0] == 2 * len(pairs)
    model.zero_grad()
    theirs = trainer.compute_loss(model, batch)
    theirs.backward()
    wanted = gradient(model)
    assert copied, "TRL's reference is a copy of the adapter"
    assert all(torch.equal(model.get_parameter(name), kept) for name, kept in copied.items())
    loss, found = loss_and_gradient(model, pairs, reference, 200)
    assert loss != pytest.approx(math.log(2), abs=1e-3), "the adapter is off its reference"
    assert loss == pytest.approx(theirs.item(), abs=1e-5)
    assert relative(found, wanted) < 1e-4


def fresh(tiny, dropout=0.1):
    model = add_adapter(load_base(tiny), rank=4, alpha=8, dropout=dropout, seed=0)
    moved(model, seed=1)
    return model


def weights(model):
    return torch.cat([w.detach().flatten() for w in model.parameters() if w.requires_grad])


def run(model, pairs, folder, recipe=RECIPE, names=NAMES):
    plan = plan_pairs(pairs, names, recipe, seed=0)
    return train_pairs(model, plan, seed=5, folder=folder, say=lambda text: None)


def test_steps_are_measured_and_the_first_loss_is_log_2(tiny, pairs, tmp_path):
    model = fresh(tiny)
    reference = log_probabilities(model, pairs, NAMES, 200)
    done = run(model, pairs, tmp_path, replace(RECIPE, epochs=6, dialogues_per_step=1))
    assert len(done.steps) == done.cost.steps == 12
    assert done.steps[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert done.steps[0].margin == pytest.approx(0, abs=1e-5)
    last = done.steps[-1]
    assert last.loss < 0.6 and last.margin > 0 and last.accuracy == 1
    after = measure(log_ratios(model, pairs, reference, NAMES, 200), RECIPE.beta)
    assert after.loss < 0.6 and after.margin > 0 and after.accuracy > 0.5


def test_flipped_pairs_are_unlearnt(tiny, pairs, tmp_path):
    model = fresh(tiny)
    reference = log_probabilities(model, pairs, NAMES, 200)
    run(model, [Pair(pair.rejected, pair.chosen) for pair in pairs], tmp_path)
    after = measure(log_ratios(model, pairs, reference, NAMES, 200), RECIPE.beta)
    assert after.accuracy < 0.5 and after.margin < 0


def test_a_step_is_measured_over_all_its_rows(tiny, pairs, tmp_path):
    packed, alone = fresh(tiny), fresh(tiny)
    several = run(packed, pairs, tmp_path / "packed")
    single = run(alone, pairs, tmp_path / "alone", replace(RECIPE, token_budget=1))
    assert several.cost.computed < single.cost.computed < several.cost.tokens
    assert relative(weights(packed), weights(alone)) < 1e-4
    for left, right in zip(several.steps, single.steps, strict=True):
        assert vars(left) == pytest.approx(vars(right), abs=1e-3)


def test_steps_of_unlike_numbers_of_rows_are_means_over_their_pairs(tiny, pairs, tmp_path):
    recipe = replace(RECIPE, dialogues_per_step=1, token_budget=1, learning_rate=0.0)
    done = run(fresh(tiny), pairs, tmp_path, recipe)
    plan = plan_pairs(pairs, NAMES, recipe, seed=0)
    assert {len(step) for step in plan.rows} == {2, 4}
    assert [step.loss for step in done.steps] == pytest.approx([math.log(2)] * 4, abs=1e-5)


class Cut(Exception):
    pass


def test_training_cut_in_the_middle_goes_on_bit_equal(tiny, pairs, tmp_path, monkeypatch):
    recipe = replace(RECIPE, epochs=2, dialogues_per_step=1)
    whole = fresh(tiny)
    uncut = run(whole, pairs, tmp_path / "whole", recipe)

    def kill(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise Cut

    monkeypatch.setattr(train._Progress, "on_step_begin", kill)
    cut = fresh(tiny)
    start = adapter_weights(cut)
    with pytest.raises(Cut):
        run(cut, pairs, tmp_path / "cut", recipe)
    monkeypatch.undo()
    again = fresh(tiny)
    set_adapter_weights(again, {name: weight + 1 for name, weight in start.items()})
    # whatever stands in the model by now: weights and reference are those that were kept
    done = run(again, pairs, tmp_path / "cut", recipe)
    assert done.resumed and not uncut.resumed
    assert torch.equal(weights(again), weights(whole))
    assert done.steps == uncut.steps


def test_dropout_is_off_for_preferences_only(tiny, pairs, tmp_path):
    model = fresh(tiny, dropout=0.3)
    run(model, pairs, tmp_path)
    shares = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    assert shares == {0.3}


def test_an_adapter_that_is_not_its_reference_is_told(tiny, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(prefer, "without_dropout", lambda model: nullcontext())
    with pytest.raises(AssertionError, match="from log 2"):
        run(fresh(tiny, dropout=0.3), pairs, tmp_path)


def test_a_row_holds_whole_pairs_of_one_dialogue(pairs):
    plan = plan_pairs(pairs, NAMES, replace(RECIPE, epochs=3, dialogues_per_step=1), seed=0)
    assert len(plan.batches) == 6 and plan.cost.examples == 3 * 2 * len(pairs)
    for step, passes, batch in zip(plan.rows, plan.sides.passes, plan.batches, strict=True):
        (group,) = batch
        assert sum(step, []) == group, "every pair of the dialogue once"
        for row, one in zip(step, passes, strict=True):
            assert len({NAMES[pair] for pair in row}) == 1
            sides = [side.tokens for pair in row for side in pairs[pair].sides]
            assert one.packed == trie.build(sides)
            assert one.size <= 200 or len(row) == 1
    assert plan_pairs(pairs, NAMES, RECIPE, seed=1).batches != plan_pairs(
        pairs, NAMES, RECIPE, seed=2
    ).batches


def test_more_sft_has_the_same_steps_and_rows(tiny, pairs, tmp_path):
    plan = plan_pairs(pairs, NAMES, RECIPE, seed=0)
    control = chosen_plan(plan)
    assert control.batches == plan.batches
    assert [[one.examples for one in step] for step in control.passes] == plan.rows
    assert [control.examples[i] for i in range(len(pairs))] == [pair.chosen for pair in pairs]
    assert control.cost.steps == plan.cost.steps and 2 * control.cost.examples == plan.cost.examples
    assert control.recipe.learning_rate == RECIPE.learning_rate
    trained = train.train_block(
        fresh(tiny), control, seed=5, folder=tmp_path, say=lambda text: None
    )
    assert trained.losses[-1] < trained.losses[0]


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan])
def test_beta_must_be_above_zero(beta):
    with pytest.raises(ValueError, match=f"beta is {beta}"):
        replace(RECIPE, beta=beta)


def test_no_pairs_are_no_training(model, tmp_path):
    with pytest.raises(ValueError, match="the plan holds no pairs"):
        train_pairs(model, plan_pairs([], [], RECIPE, seed=0), seed=0, folder=tmp_path)


def test_both_sides_have_one_prompt():
    with pytest.raises(ValueError, match="prompts of 2 and 2 tokens that differ"):
        Pair(Encoded([1, 2, 3], 2), Encoded([1, 3, 3], 2))
    with pytest.raises(ValueError, match="prompts of 2 and 1 tokens"):
        Pair(Encoded([1, 2, 3], 2), Encoded([1, 2, 3], 1))


def test_a_reference_of_other_pairs_is_not_used(tiny, pairs, tmp_path):
    run(fresh(tiny), pairs, tmp_path)
    with pytest.raises(ValueError, match="reference of other pairs"):
        run(fresh(tiny), pairs[:4], tmp_path, names=NAMES[:4])
