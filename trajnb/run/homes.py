"""Preferences: what a stage of objective `prefer` does after its supervised training.

How a stage learns (the objective) and what is learnt when (the strategy) are two axes: stages, their
plans and their supervised training are those of any run (`run.prepare`, `run.learn`). Then

1. `ask_before` and `play` ask the model what any run is asked, and play held-out turn tasks;
2. `grow` grows a tree of replies on every training turn task of the stage's blocks;
3. `pair` makes step-wise pairs of them;
4. `learn_pairs` learns from the pairs what the run's `preference` says, and the next stage begins
   where it ends.

What is there before preferences begin lies in a folder of the stage, its *home*: `sft` (the adapter)
and `sft.json`, `asked-<condition>.jsonl`, `turns.jsonl`, `trees.jsonl`, `pairs.jsonl` and, last,
`pairs.json` (counts). The adapter at the end of the stage is that of any run, `adapters/<stage>`, and
`training/<stage>-preferences.json` what it took. Each of them appears whole or not at all, and what
is there is read, so that a run that was killed goes on where it was; replies are drawn from their
names, so it ends with the same bytes.

The first home does not depend on what is learnt from its pairs, so arms of a study share it: it lies
in `preferences_folder` under a hash of all that shapes it (`_shaping_before`), as answers before
training lie in `zero_shot_folder`. Runs at work at the same time make it one after the other
(`alone`). Later homes follow from preferences and are the run's own.

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

AFTERWARDS = ("preference", "beta", "preference_rate", "preference_epochs")
"""Parameters of which nothing depends before the first preferences are learnt."""


@dataclass
class Preferring:
    """What a run that learns preferences has made and measured so far, beside its answers."""

    tasks: list[TurnTask]
    homes: dict[str, Path | None]
    """By the name of the stage; None where nothing is learnt from pairs."""
    before: Answered = field(default_factory=Answered)
    """Answers of every stage before its preferences."""
    turns: list[dict] = field(default_factory=list)
    """Lines of `turns.jsonl`."""
    stages: dict[str, dict] = field(default_factory=dict)
    """By name, what a stage learnt from: see `run.grow.account_of`."""
    seconds: float = 0.0
    """Of growing trees and playing turn tasks."""
    flops: float = 0.0
    """Operations of learning from pairs, without the reference's reading, see `qlora.plan`."""


def begin(run: Prepared) -> Preferring:
    """The turn tasks of a run and the homes of its stages; nothing is played yet."""
    corpus = run.source.corpus
    worlds = scenarios(fresh_ids=run.settings.fresh_ids)
    tasks = turn_tasks(corpus.dialogues, worlds, corpus.held_out)
    homes: dict[str, Path | None] = {planned.stage.name: None for planned in run.stages}
    if run.settings.learnt_from_pairs.learns:
        homes = {planned.stage.name: _home(run, planned) for planned in run.stages}
    return Preferring(tasks, homes)


def _home(run: Prepared, planned: Planned) -> Path:
    shared = run.settings.preferences_folder
    if planned.number > 1 or not shared:
        return run.place.folder / "preferences" / planned.folder
    name = digest(_shaping_before(run))[:16]
    return machine.resolve(shared) / f"{planned.folder}-{name}"


def _shaping_before(run: Prepared) -> dict:
    """All that shapes a run until its first preferences are learnt."""
    return {name: value for name, value in shaping(run).items() if name not in AFTERWARDS}


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
