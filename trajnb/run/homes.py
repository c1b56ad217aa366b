"""Stages with two ends: what objectives `prefer` and `repair` do after supervised training, and where
it is kept.

How a stage learns (the objective) and what is learnt when (the strategy) are two axes: stages, their
plans and their supervised training are those of any run (`run.prepare`, `run.learn`). Then

1. `ask_before` and `play` ask the model what any run is asked, and play held-out turn tasks;
2. objective `prefer`: `grow` grows a tree of replies on every training turn task of the stage's
   blocks, `pair` makes step-wise pairs of them, `learn_pairs` learns what the run's `preference` says;
   objective `repair`: see `run.repair`;
3. the next stage begins where it ends.

What is there before that second part begins lies in a folder of the stage, its *home*: `sft` (the
adapter) and `sft.json`, `asked-<condition>.jsonl`, `turns.jsonl`, and of preferences `trees.jsonl`,
`pairs.jsonl` and, last, `pairs.json` (counts); of repair `candidates.jsonl`, `repairs.jsonl`,
`further.jsonl` where more are drawn, the folder `reward` and, last, `reward.json`. The adapter at the
end of the stage is that of any run, `adapters/<stage>`, and `training/<stage>-preferences.json`, or
`-lessons.json` and `-grpo.json`, what it took. Each of them appears whole or not at all, and what is
there is read, so that a run that was killed goes on where it was; replies are drawn from their
names, so it ends with the same bytes.

The first home does not depend on what is learnt from it, so arms of a study share it: it lies in
`preferences_folder` or `repair_folder` under a hash of all that shapes it (`_shaping_before`), as
answers before training lie in `zero_shot_folder`. Runs at work at the same time make it one after
the other (`alone`). Later homes follow from what was learnt and are the run's own.

The preference `none` ends a stage with its supervised training: such a run has no home, and its
adapters and answers are, bit for bit, those of objective `sft`. It plays turn tasks as the others do.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trajnb import machine
from trajnb.corpora.bfcl import scenarios
from trajnb.files import digest
from trajnb.run.answer import Answered
from trajnb.run.learn import shaping
from trajnb.run.prepare import Planned, Prepared
from trajnb.world.turns import TurnTask, turn_tasks


@dataclass
class SoFar:
    """What a run whose stages have two ends has made and measured so far, beside its answers."""

    tasks: list[TurnTask]
    homes: dict[str, Path | None]
    """By the name of the stage; None where it ends with its supervised training."""
    before: Answered = field(default_factory=Answered)
    """Answers of every stage before its second part."""
    turns: list[dict] = field(default_factory=list)
    """Lines of `turns.jsonl`."""
    stages: dict[str, dict] = field(default_factory=dict)
    """By name, what a stage learnt from: see `run.grow.account_of`, `run.repair.account_of`."""
    seconds: float = 0.0
    """Of playing turn tasks, and of making what is learnt from."""
    flops: float = 0.0
    """Operations of learning from pairs, without the reference's reading, or from trajectories and
    their rewards, without GRPO; see `qlora.plan`.
    """


def begin(run: Prepared) -> SoFar:
    """The turn tasks of a run and the homes of its stages; nothing is played yet."""
    corpus = run.source.corpus
    worlds = scenarios(fresh_ids=run.settings.fresh_ids)
    tasks = turn_tasks(corpus.dialogues, worlds, corpus.held_out)
    homes: dict[str, Path | None] = {planned.stage.name: None for planned in run.stages}
    if run.settings.goes_on:
        homes = {planned.stage.name: _home(run, planned) for planned in run.stages}
    return SoFar(tasks, homes)


def own_home(run: Prepared, planned: Planned) -> Path:
    """The folder of a stage that no other run shares."""
    return run.place.folder / run.settings.homes / planned.folder


def _home(run: Prepared, planned: Planned) -> Path:
    shared = run.settings.shared_folder
    if planned.number > 1 or not shared:
        return own_home(run, planned)
    name = digest(_shaping_before(run))[:16]
    return machine.resolve(shared) / f"{planned.folder}-{name}"


def _shaping_before(run: Prepared) -> dict:
    """All that shapes a run until the second part of its first stage."""
    afterwards = run.settings.afterwards
    return {name: value for name, value in shaping(run).items() if name not in afterwards}


@contextmanager
def alone(home: Path | None) -> Iterator[None]:
    """Within, no other process works on a home that runs share: it is waited for."""
    if home is None:
        yield
        return
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks
        yield
