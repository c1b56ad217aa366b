"""What every process of `test_ranks` does: a block in three steps of unequal rows, the same cut
before its last step and gone on with, and a whole run. The first writes what came of it.

    python -m torch.distributed.run --nproc-per-node 2 tests/qlora/two_ranks.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch

from trajnb.machine import ROOT
from trajnb.qlora import ranks, train
from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import add_adapter, find_model, load_base
from trajnb.qlora.plan import Plan, Recipe, pack
from trajnb.run.prepare import prepare
from trajnb.run.settings import Settings
from trajnb.run.train import train as train_run
from trajnb.study.parameters import notebook_parameters

ROWS = (5, 3, 2)
"""Of the three steps."""


def plan() -> Plan:
    """Every example is a row of its own; the first of a step is the longest."""
    draw = torch.Generator().manual_seed(0)
    examples, batches = [], []
    for rows in ROWS:
        batches.append([])
        for row in range(rows):
            length = 60 + 40 * (row == 0)
            tokens = torch.randint(0, 256, (length,), generator=draw).tolist()
            batches[-1].append([len(examples)])
            examples.append(Encoded(tokens, prompt=length - 10 - row))
    recipe = Recipe(1, 5, 1e-2, 0.0, packing="trie", token_budget=100)
    return pack(examples, batches, recipe)


class Cut(Exception):
    """The training was cut."""


def trained(folder: Path, cut: bool = False) -> dict:
    """The weights and the losses that training ends with."""
    planned = plan()
    assert [len(passes) for passes in planned.passes] == list(ROWS)
    model = add_adapter(load_base(find_model("tiny")), rank=4, alpha=8, dropout=0.0, seed=0)
    if cut:
        begun = train._Progress.on_step_begin
        train._Progress.on_step_begin = _cut_before_the_third
        try:
            train.train_block(model, planned, seed=5, folder=folder, say=_silent)
        except Cut:
            pass
        train._Progress.on_step_begin = begun
        model = add_adapter(load_base(find_model("tiny")), rank=4, alpha=8, dropout=0.0, seed=0)
    done = train.train_block(model, planned, seed=5, folder=folder, say=_silent)
    assert done.resumed == cut
    weights = [w.detach().flatten() for w in model.parameters() if w.requires_grad]
    return {"weights": torch.cat(weights).tolist(), "losses": done.losses}


def _cut_before_the_third(self, args, state, control, **kwargs) -> None:
    if state.global_step == 2:
        raise Cut


def _silent(text: str) -> None:
    """Nobody listens."""


def settings(folder: Path) -> Settings:
    """Of a small run: all blocks at once, so that it is asked twice."""
    known = notebook_parameters(ROOT / "notebooks" / "02_train.ipynb").items()
    told = {"learning_rate": 0.01, "dialogues_per_step": 3, "max_new_tokens": 8}
    told |= {"lora_dropout": 0.0, "strategy": "joint", "run_folder": str(folder)}
    return Settings.of({name: one.default for name, one in known} | told)


def main(folder: Path) -> None:
    with ranks.joined():
        found = [trained(folder / "block"), trained(folder / "cut", cut=True)]
        said: list[str] = []
        train_run(prepare(settings(folder / "run")), said.append)
        told = {"trained": found, "said": [len(part) for part in ranks.gathered([said])]}
        if ranks.is_first():
            (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
