"""Train the stages of a run, one adapter folder each; what is trained already is read instead."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from trajnb.files import read_json, whole_folder, write_json, written_by_a_library
from trajnb.machine import say as aloud
from trajnb.qlora import memory, ranks
from trajnb.qlora import model as models
from trajnb.qlora.train import train_block
from trajnb.run.prepare import Planned, Prepared
from trajnb.run.settings import Settings, identity


@dataclass(frozen=True)
class Learner:
    """A model with an adapter in training; no model where answers are copied, see `run.recall`."""

    network: PeftModel | None
    initial: dict[str, Tensor]
    """The adapter's weights before any training: where a fresh one begins."""

    @property
    def config(self) -> PreTrainedConfig | None:
        """Of the model."""
        return self.network.config if self.network else None

    @property
    def words(self) -> str:
        """How much of it is trained, for people."""
        if not self.network:
            return "No model: answers are copied from training examples."
        trained, total = self.network.get_nb_trainable_parameters()
        return f"{trained:,} of {total:,} parameters are trained ({trained / total:.2%})."


def load_untrained(run: Prepared) -> PreTrainedModel | None:
    """The model before training, and the folder of the run claimed for it; None where answers are
    copied.

    Raises:
        ValueError: the folder holds a run that other things shape, or this machine has less memory
            than its training needs.
    """
    claim(run.place.folder, shaping(run))
    if run.settings.plan_of_learning.recalls:
        return None
    if wanted := needed(run):
        memory.check_fits(wanted)
    return models.load_base(run.source.files, run.settings.quantization)


def needed(run: Prepared) -> memory.Needed | None:
    """The memory for the largest row of a run, whatever the stage; None where nothing is trained."""
    plans = [planned.plan for planned in run.stages]
    passes = list(chain.from_iterable(chain.from_iterable(plan.passes for plan in plans)))
    if not passes:
        return None
    supervised = 0
    for plan in plans:
        for one in chain.from_iterable(plan.passes):
            completions = [len(plan.examples[index].completion) for index in one.examples]
            supervised = max(supervised, sum(completions))
    settings = run.settings
    rank, dropout = settings.lora_rank, settings.lora_dropout
    shape = memory.shape_of(run.source.files, settings.quantization, rank, dropout)
    return memory.needed_by(shape, passes, supervised)


def shaping(run: Prepared) -> dict:
    """All that shapes the training of a run: its parameters, the weights, the examples as tokens.
    """
    found = identity(vars(run.settings)) | {
        "weights": run.source.weights,
        "examples": run.material.digest,
    }
    if run.settings.match_tokens:
        found["budgets"] = {planned.stage.name: planned.budget for planned in run.stages}
    return found


def claim(folder: Path, shaping: dict) -> None:
    """Say what shapes the training in `folder`, the first time; later, raise ValueError where
    something that was said is another.

    Without this a run started again with another condition, or after a condition was rewritten,
    would go on from adapters that were trained on other prompts.
    """
    before = ranks.from_first(lambda: _claimed(folder / "shaping.json", shaping))
    changed = sorted(name for name in before if before[name] != shaping.get(name))
    if changed:
        raise ValueError(
            f"{folder} holds a run with other {', '.join(changed)}: choose another run_folder, or delete it"
        )


def _claimed(path: Path, shaping: dict) -> dict:
    """What was said there before, or else is said now. Of an older version it says less."""
    if not path.exists():
        write_json(path, shaping)
    return read_json(path)


def add_adapter(network: PreTrainedModel | None, settings: Settings) -> Learner:
    """A fresh adapter on `network`, drawn by the run's seed."""
    if network is None:
        return Learner(None, {})
    adapted = models.add_adapter(
        network,
        rank=settings.lora_rank,
        alpha=settings.lora_alpha,
        dropout=settings.lora_dropout,
        seed=settings.seed,
    )
    return Learner(adapted, models.adapter_weights(adapted))


def learn(
    learner: Learner,
    run: Prepared,
    planned: Planned,
    say: Callable[[str], None] = aloud,
    home: Path | None = None,
) -> dict | None:
    """Bring the learner to the end of a stage: trained now, gone on with after a kill, or read from
    the adapter that is there. Returns what training took, see `qlora.train.Trained`; None where a
    stage trains nothing.

    `home`: a folder for the adapter of a stage that goes on to learn preferences, see `run.prefer`;
    without it the adapter is the stage's last one, and its folder tells that it has ended.
    """
    if not planned.stage.examples:
        return None
    folder, name = run.place.folder, planned.folder
    adapter = home / "sft" if home else folder / "adapters" / name
    account = home / "sft.json" if home else folder / "training" / f"{name}.json"
    where = place_of(run, planned)
    if ranks.from_first(adapter.exists):
        models.restore_adapter(learner.network, adapter)
        say(f"{where} · trained before")
        return ranks.from_first(lambda: read_json(account))
    if planned.stage.fresh:
        models.set_adapter_weights(learner.network, learner.initial)
    checkpoints = folder / "checkpoints" / name
    trained = train_block(
        learner.network,
        planned.plan,
        seed=1000 * run.settings.seed + planned.number,
        folder=checkpoints,
        say=lambda text: say(f"{where} · {text}"),
    )
    shared = home is not None
    ranks.from_first(lambda: save(learner.network, trained, adapter, account, shared))
    ranks.from_first(lambda: shutil.rmtree(checkpoints, ignore_errors=True))
    return ranks.from_first(lambda: read_json(account))


def place_of(run: Prepared, planned: Planned) -> str:
    """Where in a run a stage is, for people."""
    return f"block {planned.number}/{len(run.stages)} {planned.stage.name}"


def save(
    network: PeftModel,
    trained: object | None,
    adapter: Path,
    account: Path,
    shared: bool = False,
) -> None:
    """Keep a trained stage: what it took in `account` (a dataclass, such as `Trained`), then its
    adapter as a plain PEFT folder, which appears whole or not at all.

    `shared`: where no file locks are, another run may do the same at this moment.
    """
    try:
        models.check_finite(models.adapter_weights(network))
    except ValueError as error:
        raise ValueError(f"training diverged, {error}: lower learning_rate") from None
    write_json(account, asdict(trained) if trained else None)
    with whole_folder(adapter, shared) as fresh, written_by_a_library(fresh):
        network.save_pretrained(fresh)
