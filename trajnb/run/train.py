"""A whole run without a kernel: what 02_train, 05_prefer or 06_repair does, cell by cell, in one function."""

from collections.abc import Callable

from trajnb.machine import say as aloud
from trajnb.objectives import objective_of
from trajnb.qlora import ranks
from trajnb.qlora.model import load_base
from trajnb.qlora.progress import silent
from trajnb.run.answer import Answered, ask
from trajnb.run.finish import finish
from trajnb.run.grow import grow, pair
from trajnb.run.homes import begin
from trajnb.run.learn import add_adapter, learn, load_untrained
from trajnb.run.prefer import learn_pairs, supervise
from trajnb.run.prepare import Prepared
from trajnb.run.repair import draw, repair
from trajnb.run.rewarding import learn_reward
from trajnb.run.teaching import reinforce, teach
from trajnb.run.turns import ask_before, play
from trajnb.schema import Record


def train(run: Prepared, say: Callable[[str], None] = aloud) -> Record:
    """Train and ask a run from where it stands to its end; returns the record that it wrote.

    Several processes may work on it, see `qlora.ranks`: the first one speaks and writes.

    Raises:
        ValueError: the folder of the run holds another one, or what is in it is damaged; several
            processes are to learn preferences.
    """
    objective = objective_of(vars(run.settings))
    if objective.plays and ranks.count() > 1:
        does = "grows its trees" if objective.prefers else "plays its turn tasks"
        raise ValueError(
            f"objective {run.settings.objective!r} {does} on one device, and this is one of "
            f"{ranks.count()} processes: start it with `trajnb train`"
        )
    say = say if ranks.is_first() else silent
    ways = {"prefer": _preferring, "repair": _repairing}
    record = ways.get(objective.name, _supervised)(run, say)
    seconds, memory = record.seconds["total"], record.peak_memory_mb / 1000
    say(f"finished in {seconds:.0f} s, peak memory {memory:.1f} GB")
    return record


def ask_untrained(run: Prepared, say: Callable[[str], None] = aloud) -> None:
    """Ask the model before any training, for all runs that share its answers; what is there is
    read, and the folder of the run is left alone.
    """
    ask(load_base(run.source.files, run.settings.quantization), run, 0, Answered(), say)


def _supervised(run: Prepared, say: Callable[[str], None]) -> Record:
    """Objective `sft`."""
    network, answered, trained = load_untrained(run), Answered(), {}
    ask(network, run, 0, answered, say)
    learner = add_adapter(network, run.settings)
    for planned in run.stages:
        account = learn(learner, run, planned, say)
        if account:
            trained[planned.stage.name] = account
        ask(learner.network, run, planned.number, answered, say)
    return ranks.from_first(lambda: finish(run, learner.config, trained, answered))


def _preferring(run: Prepared, say: Callable[[str], None]) -> Record:
    """Objective `prefer`."""
    network, answered, trained = load_untrained(run), Answered(), {}
    so_far = begin(run)
    ask(network, run, 0, answered, say)
    play(network, run, 0, so_far, say)
    learner = add_adapter(network, run.settings)
    for planned in run.stages:
        trained[planned.stage.name] = supervise(learner, run, planned, so_far, say)
        ask_before(learner.network, run, planned, so_far, say)
        trees = grow(learner.network, run, planned, so_far, say)
        pairs = pair(run, planned, trees, so_far, say)
        learn_pairs(learner, run, planned, pairs, so_far, say)
        ask(learner.network, run, planned.number, answered, say)
        play(learner.network, run, planned.number, so_far, say)
    return finish(run, learner.config, trained, answered, so_far)


def _repairing(run: Prepared, say: Callable[[str], None]) -> Record:
    """Objective `repair`."""
    network, answered, trained = load_untrained(run), Answered(), {}
    so_far = begin(run)
    ask(network, run, 0, answered, say)
    play(network, run, 0, so_far, say)
    learner = add_adapter(network, run.settings)
    for planned in run.stages:
        trained[planned.stage.name] = supervise(learner, run, planned, so_far, say)
        ask_before(learner.network, run, planned, so_far, say)
        graded = draw(learner.network, run, planned, so_far, say)
        repairs = repair(learner.network, run, planned, graded, so_far, say)
        account = learn_reward(learner, run, planned, graded, repairs, so_far, say)
        teach(learner, run, planned, graded, repairs, so_far, say)
        reinforce(learner, run, planned, account, so_far, say)
        ask(learner.network, run, planned.number, answered, say)
        play(learner.network, run, planned.number, so_far, say)
    return finish(run, learner.config, trained, answered, so_far)
