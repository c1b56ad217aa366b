"""Objective `repair`: what a stage does after its supervised training, and whom it asks.

    so_far = begin(run)
    for planned in run.stages:
        supervise(learner, run, planned, so_far)
        ask_before(learner.network, run, planned, so_far)
        graded = draw(learner.network, run, planned, so_far)
        repairs = repair(learner.network, run, planned, graded, so_far)
        judge = learn_reward(learner, run, planned, graded, repairs, so_far)
        teach(learner, run, planned, graded, repairs, so_far)
        reinforce(learner, run, planned, judge, so_far)

`draw` has the model play every training turn task of the stage's blocks several times, and grades
what it did; `repair` lets every repairer of the run try its hand at what is wrong or poor. Both are
here. The reward model is learnt in `run.rewarding`, before the trajectories, for all arms of a study
have the same then; the other two are in `run.teaching`. See `run.homes` for what is kept where.

Of the repairers the first one's repairs are learnt; the others' are counted beside them.
"""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from trajnb.files import write_bytes
from trajnb.machine import say as aloud
from trajnb.qlora import model as models
from trajnb.run.ask import asked_for_replies
from trajnb.run.endpoint import asked_at
from trajnb.run.grow import by_dialogues, tasks_of
from trajnb.run.homes import SoFar, alone
from trajnb.run.learn import place_of
from trajnb.run.prepare import Planned, Prepared
from trajnb.run.repairing import RepairSettings
from trajnb.run.turns import asking, wording_of
from trajnb.scoring.quality import KEPT, LABELS, Grade, acceptance, grade
from trajnb.world import candidates, repairers
from trajnb.world.candidates import Trajectory, mark_repeats, sample_candidates
from trajnb.world.repair import Repair, repair_candidates
from trajnb.world.repair import from_line as repair_of
from trajnb.world.repair import to_line as line_of_repair
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Ask
from trajnb.world.turns import TurnTask

Say = Callable[[str], None]


def draw(network, run: Prepared, planned: Planned, so_far: SoFar, say: Say = aloud) -> list[Grade]:
    """What the model as it is does on the training turn tasks of the stage's blocks, graded: tasks in
    the order of `so_far.tasks`, candidates in theirs. Those that are kept already are read.
    """
    home, tasks = so_far.homes[planned.stage.name], tasks_of(planned, so_far)
    began = time.monotonic()
    with alone(home):
        found = _drawn(network, run, planned, tasks, home / "candidates.jsonl", 1, say)
    graded = grade(tasks, found, run.settings.rule)
    so_far.seconds += time.monotonic() - began
    so_far.stages[planned.stage.name] = account_of(planned, tasks, graded)
    labels = Counter(one.label for one in graded if one.counts)
    told = ", ".join(f"{labels[label]} {label}" for label in LABELS)
    say(f"{place_of(run, planned)} · {len(graded)} candidates of {len(tasks)} tasks, distinct: {told}")
    return graded


def draw_further(
    network,
    run: Prepared,
    planned: Planned,
    graded: Sequence[Grade],
    so_far: SoFar,
    say: Say = aloud,
) -> list[Grade]:
    """As many candidates again, under further numbers: those that are kept and say nothing that one
    of the first ones says. The model must be as it was when these were drawn.
    """
    home, tasks = so_far.homes[planned.stage.name], tasks_of(planned, so_far)
    first = run.settings.candidates + 1
    with alone(home):
        found = _drawn(network, run, planned, tasks, home / "further.jsonl", first, say)
    by_task: dict[str, list[Trajectory]] = {task.id: [] for task in tasks}
    for one in [*(known.trajectory for known in graded), *found]:
        by_task[one.task].append(one)
    further = []
    for task in tasks:
        marked = mark_repeats(task, by_task[task.id])
        further += [one for one in marked if one.number >= first]
    kept = grade(tasks, further, run.settings.rule)
    return [one for one in kept if one.label == KEPT and one.counts]


def _drawn(
    network, run: Prepared, planned: Planned, tasks: Sequence[TurnTask], path: Path, first: int, say
) -> list[Trajectory]:
    """The candidates of a file, made where it lacks them; it is written anew after every few
    dialogues.
    """
    settings, where = run.settings, place_of(run, planned)
    known: dict[str, list[Trajectory]] = {}
    for one in map(candidates.from_line, _lines(path)):
        known.setdefault(one.task, []).append(one)
    lacking = [task for task in tasks if task.id not in known]
    for some in by_dialogues(lacking):
        with Sandbox() as sandbox:
            ask = asking(
                network,
                run,
                settings.candidate_temperature,
                lambda text: say(f"{where} · candidates · {text}"),
            )
            for one in sample_candidates(sandbox, some, ask, settings.sampling, first=first):
                known.setdefault(one.task, []).append(one)
        made = [one for task in tasks for one in known.get(task.id, ())]
        _write(path, map(candidates.to_line, made))
    return [one for task in tasks for one in known[task.id]]


def repair(
    network,
    run: Prepared,
    planned: Planned,
    graded: Sequence[Grade],
    so_far: SoFar,
    say: Say = aloud,
) -> dict[str, list[Repair]]:
    """What each repairer of the run makes of the candidates that are not kept, each distinct one once:
    by the repairer's name, in the order of the candidates. Those that are kept already are read.

    Raises:
        EndpointError: a request failed; what was answered until then is kept.
    """
    home, tasks = so_far.homes[planned.stage.name], tasks_of(planned, so_far)
    began, path = time.monotonic(), home / "repairs.jsonl"
    bad = [one.trajectory for one in graded if one.label != KEPT and one.counts]
    accepts = acceptance(tasks, graded, run.settings.rule)
    with alone(home):
        known = {(one.repairer, one.task, one.number): one for one in map(repair_of, _lines(path))}
        for name in run.settings.repairers:
            wanted = [one for one in bad if (name, one.task, one.number) not in known]
            if not wanted:
                continue
            with _asked(name, network, run, planned, home, say) as ask:
                for some in by_dialogues(tasks):
                    made = _repaired(run, name, some, wanted, ask, accepts)
                    known |= {(name, one.task, one.number): one for one in made}
                    _write(path, map(line_of_repair, known.values()))
        if not path.is_file():  # all candidates are kept
            _write(path, [])
    repairs = {}
    for name in run.settings.repairers:
        repairs[name] = [known[name, one.task, one.number] for one in bad]
        accepted = sum(one.accepted for one in repairs[name])
        marked = " (reads gold)" if name in repairers.READS_GOLD else ""
        say(f"{place_of(run, planned)} · {name}{marked}: {accepted} of {len(bad)} repairs accepted")
    so_far.seconds += time.monotonic() - began
    so_far.stages[planned.stage.name]["repairs"] = {
        name: counts_of_repairs(found) for name, found in repairs.items()
    }
    return repairs


def _repaired(
    run: Prepared, name: str, tasks: Sequence[TurnTask], wanted: Sequence[Trajectory], ask: Ask, accepts
) -> list[Repair]:
    """What a repairer makes of those candidates that are of `tasks`."""
    names = {task.id for task in tasks}
    own = [one for one in wanted if one.task in names]
    how = {"repairing": run.settings.repairing, "sampling": run.settings.sampling}
    with Sandbox() as sandbox:
        return repair_candidates(sandbox, tasks, own, name, ask, accepts, **how)


@contextmanager
def _asked(
    name: str, network, run: Prepared, planned: Planned, home: Path, say
) -> Iterator[Ask]:
    """Who is asked by a repairer: the model itself, another one, or an endpoint. The oracle asks
    nobody.
    """
    settings: RepairSettings = run.settings
    where, temperature = place_of(run, planned), settings.repairing.temperature

    def tell(text: str) -> None:
        say(f"{where} · {name} · {text}")

    if name == "endpoint":
        cache = home / "replies"
        yield asked_at(settings.endpoint, cache, seed=settings.seed, temperature=temperature)
        return
    if name != "model":
        yield asking(network, run, temperature, tell)
        return
    files = models.find_model(settings.repair_model, settings.repair_revision)
    other = models.load_base(files, settings.quantization)
    try:
        yield asked_for_replies(
            other,
            models.load_tokenizer(settings.repair_model, settings.repair_revision),
            wording_of(run),
            seed=settings.seed,
            temperature=temperature,
            max_new_tokens=settings.max_new_tokens,
            say=tell,
        )
    finally:
        del other
        gc.collect()  # before another is loaded, or this one is trained


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _write(path: Path, lines) -> None:
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def account_of(planned: Planned, tasks: Sequence[TurnTask], graded: Sequence[Grade]) -> dict:
    """What a stage learns from, counted: its candidates here, its `repairs` by `counts_of_repairs`;
    `reward`, `lessons` and `grpo` are added as they are learnt.

    Of the candidates: `distinct` leaves out what says the same as an earlier one of its task, and all
    that stands below counts these alone. `mixed` are the tasks that have a success and a failure.
    """
    own = [one for one in graded if one.counts]
    won: dict[str, set[bool]] = {}
    for one in own:
        won.setdefault(one.trajectory.task, set()).add(one.trajectory.won)
    return {
        "stage": planned.number,
        "blocks": list(planned.stage.blocks),
        "candidates": {
            "tasks": len(tasks),
            "candidates": len(graded),
            "distinct": len(own),
            "won": sum(one.trajectory.won for one in graded),
            "label": {label: sum(one.label == label for one in own) for label in LABELS},
            "solved tasks": sum(True in found for found in won.values()),
            "mixed tasks": sum(len(found) == 2 for found in won.values()),
        },
        "repairs": {},
        "reward": None,
        "lessons": None,
        "grpo": None,
    }


def counts_of_repairs(repairs: Sequence[Repair]) -> dict:
    """Of one repairer: how many it tried, and by the kind of failure; how many were accepted, and by
    that kind; attempts of all, and replies that accepted ones changed.
    """
    accepted = [one for one in repairs if one.accepted]
    return {
        "repaired": len(repairs),
        "accepted": len(accepted),
        "attempts": sum(len(one.attempts) for one in repairs),
        "edits": sum(one.edits for one in accepted),
        "reads gold": bool(repairs) and repairs[0].reads_gold,
        "failure": dict(Counter(one.failure for one in repairs)),
        "accepted failure": dict(Counter(one.failure for one in accepted)),
    }


def learnt_repairs(run: Prepared, repairs: Mapping[str, Sequence[Repair]]) -> list[Repair]:
    """The accepted repairs of the repairer that is learnt from, the first one."""
    return [one for one in repairs[run.settings.repairers[0]] if one.accepted]
