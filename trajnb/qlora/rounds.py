"""The steps of GRPO: a round of episodes is played, the adapter changed, and all of it kept.

What comes of a step depends on the weights and on its number alone, so that a run that was killed
goes on where it was and ends with the same weights.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import save_file

from trajnb.files import written_by_a_library
from trajnb.qlora.grpo import GrpoRecipe, Round, Step, take_step, trained
from trajnb.qlora.progress import Tell


def train_grpo(
    model: PeftModel,
    play: Callable[[int], Round],
    recipe: GrpoRecipe,
    *,
    folder: Path,
    look: Callable[[int], Mapping | None] = lambda taken: None,
    say: Tell = print,
) -> tuple[list[Step], list[dict]]:
    """Take `recipe.steps` steps: the active adapter of `model` is trained in place. Returns the
    steps, and what `look` saw.

    `folder` keeps weights, optimiser and steps after each one; a call with the same arguments after
    a kill goes on behind the last and ends with the same weights. Delete it when the result is
    kept.

    Args:
        play: the round of a step, from 0, played by `model` as it stands; what it draws comes from
            the step's number, and not from how often it was called.
        look: is called before the first step (0) and after each (how many are taken), to play fixed
            tasks, say; what it returns is kept with that number as `taken`, and None is not.
    """
    optimizer = torch.optim.AdamW(
        trained(model).values(), lr=recipe.learning_rate, weight_decay=0.0
    )
    path = folder / "grpo.safetensors"
    steps, seen = _restore(path, model, optimizer) if path.exists() else ([], [])
    if not path.exists():
        seen += _looked(look, 0)
        _keep(path, model, optimizer, steps, seen)
    while len(steps) < recipe.steps:
        step = take_step(model, optimizer, play(len(steps)), recipe)
        steps.append(step)
        seen += _looked(look, len(steps))
        _keep(path, model, optimizer, steps, seen)
        of = f"step {len(steps)}/{recipe.steps} · reward {step.reward:.3f}"
        say(f"{of} · {step.equal_groups} of {step.groups} groups without effect")
    return steps, seen


def _looked(look: Callable[[int], Mapping | None], taken: int) -> list[dict]:
    found = look(taken)
    return [] if found is None else [{"taken": taken, **found}]


def _keep(
    path: Path,
    model: PeftModel,
    optimizer: torch.optim.Optimizer,
    steps: Sequence[Step],
    seen: Sequence[dict],
) -> None:
    """Write all that the next step needs, at once: a kill leaves what was there before."""
    tensors = {}
    for name, weight in trained(model).items():
        tensors[f"weight/{name}"] = weight.detach()
        for key, value in optimizer.state.get(weight, {}).items():
            tensors[f"{key}/{name}"] = value
    taken = {"steps": [asdict(step) for step in steps], "seen": list(seen)}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    with written_by_a_library(fresh):
        save_file(tensors, fresh, metadata={"taken": json.dumps(taken)})
    os.replace(fresh, path)


def _restore(
    path: Path, model: PeftModel, optimizer: torch.optim.Optimizer
) -> tuple[list[Step], list[dict]]:
    """Put back what `_keep` wrote. Raises ValueError where it was written for another adapter."""
    with safe_open(path, "pt", device=str(model.device)) as kept:
        taken = json.loads(kept.metadata()["taken"])
        tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
    weights = trained(model)
    if {f"weight/{name}" for name in weights} != {n for n in tensors if n.startswith("weight/")}:
        raise ValueError(f"{path} holds the steps of another adapter: delete it")
    for name, weight in weights.items():
        with torch.no_grad():
            weight.copy_(tensors.pop(f"weight/{name}"))
    for name, value in tensors.items():
        key, _, of = name.partition("/")
        state = optimizer.state[weights[of]]
        state[key] = value.cpu() if key == "step" else value
    return [Step(**step) for step in taken["steps"]], taken["seen"]
