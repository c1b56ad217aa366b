"""A reward model beside the policy: an adapter of its own and a linear head on the same frozen
weights.

It reads a whole trajectory (prompt, calls, responses, `[]`) and gives it one number, from the last
hidden state. It is trained in `reward`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from transformers import PreTrainedTokenizerBase, set_seed

from trajnb.files import written_by_a_library
from trajnb.formatting.calls import NO_CALL, REQUEST_PREFIX
from trajnb.formatting.conditions import History
from trajnb.formatting.pairs import Wording
from trajnb.qlora import trie
from trajnb.qlora.attention import UNREAD, TrieLayout
from trajnb.qlora.chat import Encoded, encode
from trajnb.qlora.model import on_gpu, quiet
from trajnb.qlora.pairs import on_device
from trajnb.qlora.plan import by_dialogue, pack_passes
from trajnb.qlora.progress import Pace, Tell, silent

NAME = "reward"
"""Of the adapter, and of its folder beside the policy's files."""


def add_reward(model: PeftModel, *, rank: int = 8, seed: int) -> None:
    """Give `model`, in place, a fresh reward model: an adapter on the layers that the policy's is
    on, twice the rank its alpha, and a head. One that is there is replaced; the policy's adapter
    stays the active one.
    """
    set_seed(seed)
    _make_room(model)
    layers = set(model.peft_config["default"].target_modules)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=layers,
        modules_to_save=["score"],
        task_type="CAUSAL_LM",
    )
    with quiet():
        model.add_adapter(NAME, config)
    model.get_base_model().score.original_module.requires_grad_(False)


def _make_room(model: PeftModel) -> None:
    """No reward model, and a fresh head for the next."""
    if NAME in model.peft_config:
        model.delete_adapter(NAME)
    base = model.get_base_model()
    config = base.config.get_text_config()
    head = torch.nn.Linear(config.hidden_size, 1, bias=False)  # in fp32, as adapters are
    torch.nn.init.normal_(head.weight, std=config.initializer_range)
    base.score = head.requires_grad_(False).to(model.device)


def drop_reward(model: PeftModel) -> None:
    """Take the reward model out of `model`, in place; the policy's adapter is left alone."""
    if NAME not in model.peft_config:
        return
    model.delete_adapter(NAME)
    del model.get_base_model().score


def save_reward(model: PeftModel, folder: Path) -> None:
    """Write the reward model into `folder/reward`, as PEFT writes an adapter: what else lies in
    `folder`, such as the policy's adapter, is left alone.
    """
    with written_by_a_library(folder / NAME):
        model.save_pretrained(str(folder), selected_adapters=[NAME])


def load_reward(model: PeftModel, folder: Path) -> None:
    """Put the reward model that `save_reward` wrote into `model`, in place.

    Raises ValueError where the folder holds none, or one that is damaged or of another shape.
    """
    place = folder / NAME
    try:
        config = LoraConfig.from_pretrained(str(place))
        weights = load_peft_weights(str(place), device=str(model.device))
        add_reward(model, rank=config.r, seed=0)
        if set(weights) != set(get_peft_model_state_dict(model, adapter_name=NAME)):
            raise ValueError("it holds other weights than a reward model's")
        set_peft_model_state_dict(model, weights, adapter_name=NAME)
    except Exception as error:  # safetensors, torch and peft each raise their own
        raise ValueError(
            f"{place} holds no reward model that can be read ({type(error).__name__}: {error}); "
            "delete it and train one again"
        ) from error


@contextmanager
def rewarding(model: PeftModel) -> Iterator[None]:
    """Within, the reward model's adapter is the active one and can be trained; afterwards the
    policy's is, as it was before. Raises ValueError where there is no reward model.
    """
    if NAME not in model.peft_config:
        raise ValueError("there is no reward model: train one, or load one, before it is asked")
    weights = list(model.parameters())
    could = [weight.requires_grad for weight in weights]
    active = model.active_adapter
    model.set_adapter(NAME)
    model.get_base_model().score.original_module.requires_grad_(False)
    try:
        yield
    finally:
        model.set_adapter(active)
        for weight, before in zip(weights, could, strict=True):
            weight.requires_grad_(before)


def encode_trajectory(
    tokenizer: PreTrainedTokenizerBase, history: History, name: str, wording: Wording | None = None
) -> Encoded:
    """A trajectory as the reward model reads it: the prompt that asks for what follows its last
    call, with all its calls and responses, and `[]`, whether or not the model said so.

    Args:
        history: of the turn with all its calls, see `world.turns.history_of`. That of another task
            with the same calls shows whether the model looks at the task at all.
        name: says in errors whose trajectory it is.
        wording: by default everything is shown, whatever the policy sees.
    """
    wording = wording or Wording("full")
    stop = {"role": "assistant", "content": f"{REQUEST_PREFIX} {NO_CALL}"}
    row = {"prompt": wording.prompt(history, name), "completion": [stop]}
    return encode(tokenizer, row | {"dialogue_id": name, "step": history.ordinal})


def reward_batch(packed: trie.Trie) -> dict:
    """Inputs for the scores of all trajectories of one row: `ends` are the nodes of their last
    tokens, (trajectories,).
    """
    return {
        "input_ids": torch.tensor([packed.tokens]),  # (1, nodes)
        "position_ids": torch.tensor([packed.depths]),  # (1, nodes)
        "layout": TrieLayout(packed.segments),
        "ends": torch.tensor([path[-1][1] - 1 for path in packed.paths]),
    }


def row_scores(model: PeftModel, inputs: Mapping) -> torch.Tensor:
    """Scores of the trajectories of a `reward_batch`, (trajectories,), in fp32. The reward model's
    adapter must be the active one, see `rewarding`.
    """
    base = model.get_base_model()
    with torch.autocast(model.device.type, torch.bfloat16, enabled=on_gpu()):
        hidden = base.get_decoder()(
            input_ids=inputs["input_ids"],
            position_ids=inputs["position_ids"],
            layout=inputs["layout"],
            attention_mask=UNREAD,
            use_cache=False,
        ).last_hidden_state  # (1, nodes, width)
    with torch.autocast(model.device.type, enabled=False):
        return base.score(hidden[0, inputs["ends"]].float())[:, 0]


@torch.no_grad()
def scores(
    model: PeftModel,
    trajectories: Sequence[Encoded],
    dialogue_ids: Sequence[str],
    token_budget: int,
    say: Tell = silent,
) -> list[float]:
    """What the reward model gives to trajectories, in order; `dialogue_ids` names the dialogue of
    each. A row has at most `token_budget` distinct tokens, where a single one does not need more.

    Raises ValueError where `model` has no reward model.
    """
    rows = pack_passes(trajectories, list(by_dialogue(dialogue_ids).values()), token_budget)
    pace, found = Pace(say), {}
    training = model.training
    model.eval()
    try:
        with rewarding(model):
            for row in rows:
                inputs = on_device(reward_batch(row.packed), model.device)
                found |= zip(row.examples, row_scores(model, inputs).tolist(), strict=True)
                pace(f"scores of {len(found)} of {len(trajectories)} trajectories")
    finally:
        model.train(training)
    return [found[place] for place in range(len(trajectories))]
