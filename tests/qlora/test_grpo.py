import math
import random
from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from trajnb.qlora import rounds
from trajnb.qlora.chat import Encoded
from trajnb.qlora.grpo import (
    Episode,
    GrpoRecipe,
    Round,
    Spoken,
    add_gradient,
    advantages,
    is_clipped,
    prepare,
    take_step,
    token_losses,
)
from trajnb.qlora.model import adapter_weights, add_adapter, load_base, set_adapter_weights
from trajnb.qlora.rounds import train_grpo
from trajnb.qlora.sample import Drawn, sample

RECIPE = GrpoRecipe(steps=4, learning_rate=1e-2, clip=0.2, token_budget=200)
BOTH = pytest.mark.parametrize("family", ["llama", "qwen2"])
TEXTS = {
    "temp": "You call APIs.\nUser: go to temp, list it\n",
    "fill": "You call APIs.\nUser: fill the tank\n",
}


def test_advantages_of_the_hand_case():
    found = advantages([1.0, 0.0, -1.0, 1.2])
    assert found == pytest.approx([0.6908, -0.2960, -1.2829, 0.8881], abs=5e-5)
    assert advantages([0.1, 0.1, 0.1]) == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="a group of 2 or more"):
        advantages([1.0])


def test_the_clip_of_the_hand_case():
    now = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1]).log().requires_grad_()
    gains = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    found = token_losses(now, torch.zeros(5), gains, 0.2)
    assert found.tolist() == pytest.approx([-1.2, 1.5, -0.5, 0.8, -2.2])
    found.sum().backward()
    assert now.grad.tolist() == pytest.approx([0, 1.5, -0.5, 0, -2.2])
    clipped = is_clipped(now.detach(), torch.zeros(5), gains, 0.2)
    assert clipped.tolist() == [True, False, False, True, False]


def played(model, tokenizer, seed, replies=2):
    """Two groups of four episodes of some replies each, the history growing, as the model says
    them; the rewards are drawn.
    """
    draw = random.Random(seed)
    names = [(task, number) for task in TEXTS for number in range(4)]
    prompts = {name: tokenizer(TEXTS[name[0]])["input_ids"] for name in names}
    said = {name: [] for name in names}
    for step in range(replies):
        draws = [Drawn(place, 1.0, 100 * seed + 10 * step + place) for place in range(len(names))]
        found = sample(
            model,
            list(prompts.values()),
            draws,
            [task for task, _ in names],
            end_token=tokenizer.eos_token_id,
            max_new_tokens=6,
        )
        for name, reply in zip(names, found, strict=True):
            prompt = prompts[name]
            said[name].append(Spoken(Encoded([*prompt, *reply.tokens], len(prompt)), reply.logps))
            prompts[name] = [*prompt, *reply.tokens, *tokenizer(f"\n{step}.")["input_ids"]]
    episodes = []
    for task, number in names:
        reward = draw.choice([-1.0, 0.0, 1.0, 1.1])
        episodes.append(Episode(task, task, said[task, number], reward))
    return episodes


def with_rewards(episodes, rewards):
    return [replace(one, reward=reward) for one, reward in zip(episodes, rewards, strict=True)]


REWARDS = [1.0, 0.0, -1.0, 1.2, 0.0, 1.1, 0.0, 0.0]


@pytest.fixture
def episodes(model, tokenizer):
    return with_rewards(played(model, tokenizer, seed=0), REWARDS)


def gradient(model):
    return torch.cat([w.grad.flatten() for w in model.parameters() if w.requires_grad])


def relative(got, wanted):
    return ((got - wanted).norm() / wanted.norm()).item()


def loss_and_gradient(model, episodes, budget=200):
    model.zero_grad()
    found = add_gradient(model, prepare(episodes, budget), RECIPE.clip)
    return found, gradient(model)


@BOTH
def test_old_log_probabilities_are_those_of_teacher_forcing(model, episodes):
    for reply in episodes[0].replies + episodes[5].replies:
        tokens, prompt = reply.example.tokens, reply.example.prompt
        with torch.no_grad():
            known = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
        wanted = [known[place - 1, tokens[place]].item() for place in range(prompt, len(tokens))]
        assert reply.logps == pytest.approx(wanted, abs=1e-4)
    found, _ = loss_and_gradient(model, episodes)
    assert found.drift < 1e-4 and found.clipped == 0


def off_policy(episodes):
    """As if another policy had spoken: ratios on both sides of the clip."""
    draw = random.Random(1)
    moved = []
    for one in episodes:
        replies = []
        for reply in one.replies:
            before = [logp + draw.gauss(0, 0.3) for logp in reply.logps]
            replies.append(Spoken(reply.example, before))
        moved.append(replace(one, replies=replies))
    return moved


@BOTH
def test_loss_and_gradient_equal_those_of_trl(model, tokenizer, episodes, tmp_path):
    episodes = off_policy(episodes)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda **columns: [0.0] * len(columns["prompts"]),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            loss_type="dapo",
            beta=0.0,
            epsilon=RECIPE.clip,
            num_generations=4,
            per_device_train_batch_size=8,
            gradient_checkpointing=False,
            bf16=False,
            report_to="none",
        ),
        train_dataset=Dataset.from_list([{"prompt": text} for text in TEXTS.values()]),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    model.train()
    model.zero_grad()
    theirs = trainer._compute_loss(model, for_trl(episodes, tokenizer.pad_token_id))
    theirs.backward()
    wanted = gradient(model)
    found, ours = loss_and_gradient(model, episodes)
    assert 0.1 < found.clipped < 0.9 and abs(theirs.item()) > 1e-3
    assert found.loss == pytest.approx(theirs.item(), abs=1e-6)
    assert (ours - wanted).abs().max().item() < 1e-5 * wanted.abs().max().item() + 1e-7
    assert relative(ours, wanted) < 1e-5


def for_trl(episodes, pad):
    """A row for each reply: prompts padded on the left, what was said on the right."""
    replies, gains = [], []
    for group in ("temp", "fill"):
        members = [one for one in episodes if one.group == group]
        for one, gain in zip(members, advantages([one.reward for one in members]), strict=True):
            replies += one.replies
            gains += [gain] * len(one.replies)
    before = max(reply.example.prompt for reply in replies)
    after = max(len(reply.logps) for reply in replies)
    rows = {name: [] for name in ("prompt_ids", "completion_ids", "old_per_token_logps")}
    masks = {"prompt_mask": [], "completion_mask": []}
    for reply in replies:
        prompt, said = reply.example.tokens[: reply.example.prompt], reply.example.completion
        left, right = before - len(prompt), after - len(said)
        rows["prompt_ids"].append([pad] * left + prompt)
        rows["completion_ids"].append(said + [pad] * right)
        rows["old_per_token_logps"].append([*reply.logps, *[0.0] * right])
        masks["prompt_mask"].append([0] * left + [1] * len(prompt))
        masks["completion_mask"].append([1] * len(said) + [0] * right)
    inputs = {name: torch.tensor(value) for name, value in (rows | masks).items()}
    count = inputs["completion_mask"].sum()
    return inputs | {"advantages": torch.tensor(gains), "num_items_in_batch": count}


@BOTH
def test_packed_equals_a_row_for_every_reply(model, episodes):
    episodes = off_policy(episodes)
    together, packed = loss_and_gradient(model, episodes, 10_000)
    single, alone = loss_and_gradient(model, episodes, 1)
    assert together.loss == pytest.approx(single.loss, abs=1e-6)
    assert together.clipped == single.clipped and relative(packed, alone) < 1e-4
    assert len(prepare(episodes, 10_000).passes) == 1 and len(prepare(episodes, 1).passes) == 16


def test_a_group_of_equal_rewards_has_no_effect(model, episodes):
    equal = with_rewards(episodes, [1.0, 0.0, -1.0, 1.2, 1.0, 1.0, 1.0, 1.0])
    learnt = prepare(equal, 200)
    assert (learnt.groups, learnt.equal_groups) == (2, 1)
    assert len(learnt.replies) == 4 * 2, "of the other group alone"
    found, one = loss_and_gradient(model, equal)
    _, other = loss_and_gradient(model, equal[:4])
    share = prepare(equal[:4], 200).tokens / learnt.tokens
    assert relative(one, share * other) < 1e-5, "its tokens count in the mean all the same"
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=0.1)
    take_step(model, optimizer, Round(episodes, {}), RECIPE)
    before = adapter_weights(model)
    step = take_step(model, optimizer, Round(with_rewards(episodes, [0.0] * 8), {}), RECIPE)
    assert (step.equal_groups, step.gradient, step.loss) == (2, 0.0, 0.0)
    after = adapter_weights(model)
    assert all(torch.equal(before[name], after[name]) for name in before), "nor has momentum"


def test_what_was_rewarded_becomes_likelier(model, episodes):
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-3)
    step = take_step(model, optimizer, Round(episodes, {"outcome": 0.5}), RECIPE)
    assert step.reward == pytest.approx(sum(REWARDS) / 8) and step.measures == {"outcome": 0.5}
    assert step.gradient > 0 and step.drift < 1e-4 and step.clipped == 0
    assert step.tokens == sum(len(reply.logps) for one in episodes for reply in one.replies)
    gains = {}
    for index in (3, 2):  # the best and the worst of its group
        gains[index] = 0.0
        for reply in episodes[index].replies:
            tokens, prompt = reply.example.tokens, reply.example.prompt
            with torch.no_grad():
                known = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
            now = sum(
                known[place - 1, tokens[place]].item() for place in range(prompt, len(tokens))
            )
            gains[index] += now - math.fsum(reply.logps)
    assert gains[3] > 0 > gains[2]


def test_episodes_of_another_policy_are_told(model, episodes):
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-3)
    with pytest.raises(AssertionError, match="another policy's"):
        take_step(model, optimizer, Round(off_policy(episodes), {}), RECIPE)


class Cut(Exception):
    pass


def fresh(tiny):
    model = add_adapter(load_base(tiny, "none"), rank=4, alpha=8, dropout=0.1, seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2, generator=draw)
    return model


def run(model, tokenizer, folder, kill_before=None):
    def play(step):
        if step == kill_before:
            raise Cut
        found = played(model, tokenizer, seed=step, replies=1)
        return Round(found, {"outcome": step / 10})

    def look(taken):
        return {"weights": adapter_sum(model)} if taken % 2 == 0 else None

    return train_grpo(model, play, RECIPE, folder=folder, look=look, say=lambda text: None)


def adapter_sum(model):
    return math.fsum(weight.sum().item() for weight in adapter_weights(model).values())


def test_a_killed_run_goes_on_bit_equal(tiny, tokenizer, tmp_path, monkeypatch):
    whole = fresh(tiny)
    start = adapter_weights(whole)
    steps, seen = run(whole, tokenizer, tmp_path / "whole")
    assert len(steps) == 4 and [one["taken"] for one in seen] == [0, 2, 4]
    assert len({step.reward for step in steps}) > 1 and any(step.gradient for step in steps)
    with pytest.raises(Cut):
        run(fresh(tiny), tokenizer, tmp_path / "cut", kill_before=2)
    again = fresh(tiny)
    set_adapter_weights(again, {name: weight + 1 for name, weight in start.items()})
    found = run(again, tokenizer, tmp_path / "cut")
    assert found == (steps, seen)
    ended, wanted = adapter_weights(again), adapter_weights(whole)
    assert all(torch.equal(ended[name], wanted[name]) for name in wanted)
    assert any((wanted[name] != start[name]).any() for name in start)
    assert run(again, tokenizer, tmp_path / "cut", kill_before=0) == found, "it is finished"
    other = add_adapter(load_base(tiny, "none"), rank=4, alpha=8, dropout=0.0, seed=0)
    next(iter(rounds.trained(other).values())).requires_grad_(False)
    with pytest.raises(ValueError, match="steps of another adapter"):
        run(other, tokenizer, tmp_path / "cut")


@pytest.mark.parametrize("change", [{"steps": 0}, {"learning_rate": 0.0}, {"clip": 1.0}])
def test_bad_figures(change):
    (name,) = change
    with pytest.raises(ValueError, match=name):
        replace(RECIPE, **change)


def test_bad_episodes(episodes):
    with pytest.raises(ValueError, match="a group of 2 or more"):
        prepare(episodes[:5], 200)
    with pytest.raises(ValueError, match="has no reply"):
        prepare([replace(episodes[0], replies=[])], 200)
    with pytest.raises(ValueError, match="3 tokens has 1 log-probabilities"):
        Spoken(Encoded([1, 2, 3, 4], 1), [-1.0])
