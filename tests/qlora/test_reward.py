import math
from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from trajnb.formatting.calls import made_turn
from trajnb.formatting.conditions import History
from trajnb.formatting.dialogue import Turn
from trajnb.qlora import train, trie
from trajnb.qlora.chat import Encoded
from trajnb.qlora.head import (
    NAME,
    add_reward,
    drop_reward,
    encode_trajectory,
    load_reward,
    reward_batch,
    rewarding,
    row_scores,
    save_reward,
    scores,
)
from trajnb.qlora.model import adapter_weights, add_adapter, load_base
from trajnb.qlora.plan import Recipe
from trajnb.qlora.reward import losses, plan_reward, train_reward

RECIPE = Recipe(
    epochs=2,
    dialogues_per_step=2,
    learning_rate=1e-2,
    warmup_ratio=0.1,
    packing="trie",
    token_budget=200,
)
BOTH = pytest.mark.parametrize("family", ["llama", "qwen2"])
TEXTS = [  # what a task asks, and what was done
    ("temp", "You call APIs.\nUser: go to temp, list it\n", "cd(folder='temp') {} ls() [a, b] []"),
    ("temp", "You call APIs.\nUser: go to temp, list it\n", "cd(folder='temp') {} []"),
    ("temp", "You call APIs.\nUser: go to temp, list it\n", "ls() [temp] []"),
    ("size", "You call APIs.\nUser: how large is a?\n", "du(file='a') 12 []"),
    ("size", "You call APIs.\nUser: how large is a?\n", "[]"),
    ("fill", "You call APIs.\nUser: fill the tank\n", "fillFuelTank(fuelAmount=12.5) full []"),
    ("fill", "You call APIs.\nUser: fill the tank\n", "fillFuelTank() error []"),
    ("fill", "You call APIs.\nUser: fill the tank\n", "[]"),
]
TASKS = [task for task, _, _ in TEXTS]
DIALOGUES = ["vehicle" if task == "fill" else "files" for task in TASKS]
PAIRS = [(0, 1), (0, 2), (3, 4), (5, 6), (5, 7)]


def silent(text):
    pass


@pytest.fixture
def trajectories(tokenizer):
    found = []
    for _, prompt, done in TEXTS:
        before, after = (tokenizer(text)["input_ids"] for text in (prompt, done))
        found.append(Encoded([*before, *after, tokenizer.eos_token_id], len(before)))
    return found


def awake(model, seed=2):
    """The reward model away from where it began."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if f"lora_B.{NAME}" in name or f"modules_to_save.{NAME}" in name:
                weight += torch.empty_like(weight).normal_(0, 0.2, generator=draw)


@pytest.fixture
def rewarded(model):
    add_reward(model, seed=1)
    awake(model)
    return model


def own_weights(model):
    return get_peft_model_state_dict(model, adapter_name=NAME)


def gradients(model):
    """By the names that PEFT gives to an adapter's weights."""
    found = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            plain = name.replace(f".{NAME}.", ".").replace(".default.", ".")
            found[plain.replace(".modules_to_save.", ".")] = weight.grad
    return found


def flat(tensors):
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def relative(got, wanted):
    return ((got - wanted).norm() / wanted.norm()).item()


def loss_and_gradient(model, trajectories, budget):
    """Of the mean over the pairs, in rows of `budget` tokens, as training has them."""
    recipe = replace(RECIPE, epochs=1, token_budget=budget)
    plan = plan_reward(trajectories, TASKS, DIALOGUES, PAIRS, recipe, seed=0)
    model.zero_grad()
    total = 0.0
    with rewarding(model):
        for one in sum(plan.steps.passes, []):
            places = one.examples
            pairs = [tuple(map(places.index, pair)) for pair in plan.pairs_of(places)]
            found = losses(row_scores(model, reward_batch(one.packed)), torch.tensor(pairs))
            (found.sum() / len(PAIRS)).backward()
            total += found.sum().item() / len(PAIRS)
        return total, flat(gradients(model))


def test_the_hand_case():
    found = losses(torch.tensor([1.0, 0.0, 3.0]), torch.tensor([[0, 1], [0, 2]]))
    assert found.tolist() == pytest.approx([0.313262, 2.126928], abs=1e-6)


@BOTH
def test_packed_scores_and_gradients_are_those_of_one_by_one(rewarded, trajectories):
    found = scores(rewarded, trajectories, DIALOGUES, 10_000)
    assert len(set(found)) == len(found)
    with rewarding(rewarded), torch.no_grad():
        alone = [
            row_scores(rewarded, reward_batch(trie.build([one.tokens]))) for one in trajectories
        ]
        trunk = rewarded.get_base_model().get_decoder()
        hidden = trunk(torch.tensor([trajectories[0].tokens])).last_hidden_state[0, -1]
        plain = rewarded.get_base_model().score(hidden)
    assert found == pytest.approx(torch.cat(alone).tolist(), abs=1e-5)
    assert found[0] == pytest.approx(plain.item(), abs=1e-5), "transformers' own attention"
    loss, packed = loss_and_gradient(rewarded, trajectories, 10_000)
    alone_loss, single = loss_and_gradient(rewarded, trajectories, 1)
    assert loss == pytest.approx(alone_loss, abs=1e-6) and relative(packed, single) < 1e-4


@BOTH
def test_loss_and_gradient_equal_those_of_trl(rewarded, files, tokenizer, trajectories, tmp_path):
    theirs = AutoModelForSequenceClassification.from_pretrained(
        files.folder, num_labels=1, dtype=torch.float32
    )
    config = rewarded.peft_config[NAME]
    shape = {"r": config.r, "lora_alpha": config.lora_alpha, "modules_to_save": ["score"]}
    theirs = get_peft_model(
        theirs, LoraConfig(**shape, target_modules=config.target_modules, task_type="SEQ_CLS")
    )
    set_peft_model_state_dict(theirs, own_weights(rewarded))
    tokenizer = tokenizer.__class__.from_pretrained(files.folder)
    tokenizer.pad_token = "!"  # no text has it: where pad and end are one, TRL reads no end token
    sides = {"chosen_ids": 0, "rejected_ids": 1}
    rows = [
        {name: trajectories[pair[side]].tokens for name, side in sides.items()} for pair in PAIRS
    ]
    trainer = RewardTrainer(
        model=theirs,
        args=RewardConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=len(PAIRS),
            max_length=None,
            gradient_checkpointing=False,
            bf16=False,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    (batch,) = trainer.get_train_dataloader()
    wanted = trainer.compute_loss(theirs, batch)
    wanted.backward()
    loss, gradient = loss_and_gradient(rewarded, trajectories, 200)
    assert loss != pytest.approx(math.log(2), abs=1e-3), "the scores differ"
    assert loss == pytest.approx(wanted.item(), abs=1e-5)
    assert (gradient - flat(gradients(theirs))).abs().max().item() < 1e-5
    assert relative(gradient, flat(gradients(theirs))) < 1e-5


def test_a_reward_model_leaves_the_policy_alone(model, trajectories, tmp_path):
    before = adapter_weights(model)
    prompt = torch.tensor([trajectories[0].tokens])
    with torch.no_grad():
        said = model(prompt).logits
    could = {name for name, weight in model.named_parameters() if weight.requires_grad}
    model.save_pretrained(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.glob("adapter*")}
    add_reward(model, seed=1)
    plan = plan_reward(trajectories, TASKS, DIALOGUES, PAIRS, RECIPE, seed=0)
    began = {name: weight.clone() for name, weight in own_weights(model).items()}
    done = train_reward(model, plan, seed=0, folder=tmp_path / "training", say=silent)
    assert done.cost.examples == RECIPE.epochs * len(TEXTS)
    assert all((own_weights(model)[name] != weight).any() for name, weight in began.items())
    scored = scores(model, trajectories, DIALOGUES, 200)
    save_reward(model, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("adapter*")} == files
    after = adapter_weights(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        assert torch.equal(model(prompt).logits, said)
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == could
    assert (tmp_path / NAME / "adapter_model.safetensors").exists()
    add_reward(model, seed=7)
    assert scores(model, trajectories, DIALOGUES, 200) != scored
    load_reward(model, tmp_path)
    assert scores(model, trajectories, DIALOGUES, 200) == scored


def test_the_better_one_is_learnt(tiny, trajectories, tmp_path):
    model = fresh(tiny)
    recipe = replace(RECIPE, epochs=6, dialogues_per_step=1)
    done = run(model, trajectories, tmp_path, recipe)
    assert len(done.steps) == done.cost.steps == 12
    assert done.steps[-1].accuracy == 1 and done.steps[-1].loss < done.steps[0].loss
    found = scores(model, trajectories, DIALOGUES, 200)
    assert all(found[better] > found[worse] for better, worse in PAIRS)


def fresh(tiny):
    model = add_adapter(load_base(tiny, "none"), rank=4, alpha=8, dropout=0.1, seed=0)
    add_reward(model, seed=1)
    return model


def run(model, trajectories, folder, recipe):
    plan = plan_reward(trajectories, TASKS, DIALOGUES, PAIRS, recipe, seed=0)
    return train_reward(model, plan, seed=5, folder=folder, say=silent)


class Cut(Exception):
    pass


def test_training_cut_in_the_middle_goes_on_bit_equal(tiny, trajectories, tmp_path, monkeypatch):
    recipe = replace(RECIPE, dialogues_per_step=1)
    whole = fresh(tiny)
    uncut = run(whole, trajectories, tmp_path / "whole", recipe)

    def kill(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise Cut

    monkeypatch.setattr(train._Progress, "on_step_begin", kill)
    with pytest.raises(Cut):
        run(fresh(tiny), trajectories, tmp_path / "cut", recipe)
    monkeypatch.undo()
    again = fresh(tiny)
    awake(again)  # whatever stands in the model by now
    policy = adapter_weights(again)
    could = {name for name, weight in again.named_parameters() if weight.requires_grad}
    done = run(again, trajectories, tmp_path / "cut", recipe)
    assert done.resumed and not uncut.resumed and done.steps == uncut.steps
    assert torch.equal(flat(own_weights(again)), flat(own_weights(whole)))
    assert all(torch.equal(weight, policy[name]) for name, weight in adapter_weights(again).items())
    assert {name for name, weight in again.named_parameters() if weight.requires_grad} == could


def test_a_row_holds_whole_tasks_and_only_what_is_compared(trajectories):
    plan = plan_reward(trajectories, TASKS, DIALOGUES, PAIRS[:2] + PAIRS[3:], RECIPE, seed=0)
    assert plan.cost.steps == 2, "two epochs of one step of two dialogues"
    for step in plan.steps.passes:
        assert sorted(sum([one.examples for one in step], [])) == [0, 1, 2, 5, 6, 7]
        for one in step:
            assert len({DIALOGUES[place] for place in one.examples}) == 1
            whole = {TASKS[place] for place in one.examples}
            assert all(whole.isdisjoint({TASKS[p] for p in o.examples}) for o in step if o != one)


def test_what_the_reward_model_reads(tokenizer):
    turns = Turn("user", "What lies here?"), made_turn("[ls()]", '{"files": []}')
    refused = made_turn("nonsense", "Error: no call")
    read = encode_trajectory(tokenizer, History(("{}",), (*turns, refused), 3), "files#0")
    text = tokenizer.decode(read.tokens)
    assert text.index("What lies here?") < text.index("ls()") < text.index('{"files": []}')
    assert text.index('{"files": []}') < text.index("nonsense") < text.index("Error: no call")
    assert text.endswith("API-Request: []<|im_end|>")
    shorter = encode_trajectory(tokenizer, History(("{}",), turns, 2), "files#0")
    shared = trie.build([read.tokens, shorter.tokens])
    assert len(shared.tokens) < len(read.tokens) + 100, "trajectories share their task"


def test_no_mixed_task_is_said_and_gives_no_model(rewarded, trajectories, tmp_path):
    said = []
    plan = plan_reward(trajectories, TASKS, DIALOGUES, [], RECIPE, seed=0)
    assert train_reward(rewarded, plan, seed=0, folder=tmp_path, say=said.append) is None
    assert "no reward model" in said[0]


def test_bad_input(model, trajectories, tmp_path):
    with pytest.raises(ValueError, match="trajectory 0 of task temp and 3 of size"):
        plan_reward(trajectories, TASKS, DIALOGUES, [(0, 3)], RECIPE, seed=0)
    with pytest.raises(ValueError, match="there is no reward model"):
        scores(model, trajectories, DIALOGUES, 200)
    with pytest.raises(ValueError, match="holds no reward model that can be read"):
        load_reward(model, tmp_path)
    add_reward(model, seed=0)
    save_reward(model, tmp_path)
    file = tmp_path / NAME / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="delete it and train one again"):
        load_reward(model, tmp_path)


def test_dropped_it_leaves_the_policy_as_it_was(model, trajectories):
    names = [name for name, _ in model.named_parameters()]
    trained = [weight.requires_grad for weight in model.parameters()]
    before = adapter_weights(model)
    add_reward(model, seed=0)
    found = scores(model, trajectories, DIALOGUES, 200)
    drop_reward(model)
    assert [name for name, _ in model.named_parameters()] == names
    assert [weight.requires_grad for weight in model.parameters()] == trained
    after = adapter_weights(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    drop_reward(model)  # nothing is there, and nothing happens
    add_reward(model, seed=0)
    assert scores(model, trajectories, DIALOGUES, 200) == pytest.approx(found, abs=1e-6)
    drop_reward(model)
