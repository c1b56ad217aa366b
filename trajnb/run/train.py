"""A whole run without a kernel: what 02_train does, cell by cell, in one function."""

from collections.abc import Callable

from trajnb.machine import say as aloud
from trajnb.run.answer import Answered, ask
from trajnb.run.finish import finish
from trajnb.run.learn import add_adapter, learn, load_untrained
from trajnb.run.prepare import Prepared
from trajnb.schema import Record


def train(run: Prepared, say: Callable[[str], None] = aloud) -> Record:
    """Train and ask a run from where it stands to its end; returns the record that it wrote.

    Raises:
        ValueError: the folder of the run holds another one, or what is in it is damaged.
    """
    network, answered, trained = load_untrained(run), Answered(), {}
    ask(network, run, 0, answered, say)
    learner = add_adapter(network, run.settings)
    for planned in run.stages:
        account = learn(learner, run, planned, say)
        if account:
            trained[planned.stage.name] = account
        ask(learner.network, run, planned.number, answered, say)
    record = finish(run, learner.config, trained, answered)
    seconds, memory = record.seconds["total"], record.peak_memory_mb / 1000
    say(f"finished in {seconds:.0f} s, peak memory {memory:.1f} GB")
    return record
