"""What a stage of objective `repair` learns last: trajectories, by supervised training, and what they
earn, by GRPO.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trajnb.files import read_json
from trajnb.formatting.trajectories import Arm, Lesson, choose_lessons, equal_arms
from trajnb.machine import say as aloud
from trajnb.qlora import chat, head
from trajnb.qlora import model as models
from trajnb.qlora.grpo import GrpoRecipe, Step
from trajnb.qlora.plan import Plan, Recipe, make_plan
from trajnb.qlora.rounds import train_grpo
from trajnb.qlora.train import train_block
from trajnb.run.episodes import Playing, Policy, followed, rounds, some_of
from trajnb.run.grow import tasks_of
from trajnb.run.homes import SoFar, own_home
from trajnb.run.learn import Learner, place_of, save
from trajnb.run.prepare import Planned, Prepared
from trajnb.run.repair import draw_further, learnt_repairs
from trajnb.run.rewarding import judge_of
from trajnb.run.turns import wording_of
from trajnb.scoring.quality import KEPT, Grade
from trajnb.world.candidates import STUDENT, Trajectory, gold_trajectory, lesson, mark_repeats
from trajnb.world.repair import Repair
from trajnb.world.sandbox import Sandbox
from trajnb.world.turns import TurnTask

Say = Callable[[str], None]
MEASURE = ("kept+repaired", "gold")
"""Arms whose larger one says how many examples all arms of a stage have: they need no further
candidates, and `kept` is never larger.
"""
_MADE_OF = {
    "kept": ("kept",),
    "kept+repaired": ("kept", "repaired"),
    "gold": ("kept", "repaired"),
    "resampled": ("kept", "further"),
}
"""What the trajectories of each arm are made of, or stand for."""


def teach(
    learner: Learner,
    run: Prepared,
    planned: Planned,
    graded: Sequence[Grade],
    repairs: Mapping[str, Sequence[Repair]],
    so_far: SoFar,
    say: Say = aloud,
) -> dict | None:
    """Learn the trajectories of the run's arm, its `lessons`. Returns what that took, see
    `qlora.train.Trained`; None where there was none to learn from, which is said.
    """
    name, where, own = planned.stage.name, place_of(run, planned), own_home(run, planned)
    adapter, account = own / "taught", own / "lessons.json"
    arm, repeated = arm_of(learner.network, run, planned, graded, repairs, so_far, say)
    told = {"arm": run.settings.lessons, "repeated repairs": repeated, "training": None}
    so_far.stages[name]["lessons"] = told | {"trajectories": 0, "examples": 0, "distinct": 0}
    if arm is None:
        say(f"{where} · no trajectory of {run.settings.lessons}: nothing is learnt from any")
        return None
    plan = _plan(run, arm)
    if adapter.exists():
        models.restore_adapter(learner.network, adapter)
        say(f"{where} · trajectories learnt before")
    else:
        checkpoints = run.place.folder / "checkpoints" / f"{planned.folder}-lessons"
        trained = train_block(
            learner.network,
            plan,
            seed=1000 * run.settings.seed + planned.number,
            folder=checkpoints,
            say=lambda text: say(f"{where} · trajectories · {text}"),
        )
        save(learner.network, trained, adapter, account)
        shutil.rmtree(checkpoints, ignore_errors=True)
    so_far.flops += plan.operations(learner.config, run.settings.lora_rank)
    counts = {"trajectories": arm.lessons, "examples": len(arm.rows), "distinct": arm.distinct}
    so_far.stages[name]["lessons"] = told | counts | {"training": read_json(account)}
    return so_far.stages[name]["lessons"]["training"]


def arm_of(
    network,
    run: Prepared,
    planned: Planned,
    graded: Sequence[Grade],
    repairs: Mapping[str, Sequence[Repair]],
    so_far: SoFar,
    say: Say,
) -> tuple[Arm | None, int]:
    """The examples of the run's arm, as many as every other arm has; none where it has no trajectory.
    And how many accepted repairs say what a trajectory before them says: they are learnt once.
    """
    tasks = {task.id: task for task in tasks_of(planned, so_far)}
    kept = [one.trajectory for one in graded if one.label == KEPT and one.counts]
    made = [one.trajectory for one in learnt_repairs(run, repairs)]
    repaired = _distinct(tasks, kept, made)
    further = []
    if run.settings.lessons == "resampled":
        drawn = draw_further(network, run, planned, graded, so_far, say)
        further = [one.trajectory for one in drawn]
    with Sandbox() as sandbox:
        named = dict.fromkeys(one.task for one in (*kept, *repaired))
        gold = {name: lesson(tasks[name], gold_trajectory(sandbox, tasks[name])) for name in named}
    given = {
        "kept": _lessons(tasks, kept),
        "repaired": _lessons(tasks, repaired),
        "gold": gold,
        "further": _lessons(tasks, further),
    }
    repeated = len(made) - len(repaired)
    made_of = [given[name] for name in _MADE_OF[run.settings.lessons]]
    if not (given["kept"] or given["repaired"]) or not any(made_of):
        return None, repeated
    wording = wording_of(run)
    measures = {name: choose_lessons(name, **given) for name in MEASURE}
    most = len(equal_arms(measures, wording)[MEASURE[0]].rows)
    own = {run.settings.lessons: _by_task(tasks, choose_lessons(run.settings.lessons, **given))}
    return equal_arms(own, wording, examples=most)[run.settings.lessons], repeated


def _distinct(
    tasks: Mapping[str, TurnTask], kept: Sequence[Trajectory], made: Sequence[Trajectory]
) -> list[Trajectory]:
    """Repairs without those that say what a kept candidate or an earlier repair of the task says."""
    found = []
    for name, task in tasks.items():
        own = [one for one in (*kept, *made) if one.task == name]
        marked = mark_repeats(task, own)
        found += [one for one in marked if not one.repeats and one.author != STUDENT]
    return found


def _lessons(tasks: Mapping[str, TurnTask], found: Sequence[Trajectory]) -> list[Lesson]:
    """As something to be learnt, but for those that made no call that was carried out: a task that
    any harmless call passes may be passed so.
    """
    lessons = [lesson(tasks[one.task], one) for one in found]
    return [one for one in lessons if one.dialogue.targets]


def _by_task(tasks: Mapping[str, TurnTask], lessons: Sequence[Lesson]) -> list[Lesson]:
    """In the order of the tasks: what shares a prompt is then learnt in one step."""
    places = {name: place for place, name in enumerate(tasks)}
    return sorted(lessons, key=lambda one: places[one.task])


def _plan(run: Prepared, arm: Arm) -> Plan:
    """Steps of `lessons_per_step` examples: as many in every arm."""
    settings = run.settings
    recipe = Recipe(
        settings.lesson_epochs,
        1,  # the unit is a step's examples, not a dialogue
        settings.lesson_rate,
        settings.warmup_ratio,
        settings.packing,
        settings.token_budget,
        settings.report_to,
    )
    encoded = [chat.encode(run.source.tokenizer, row) for row in arm.rows]
    units = [str(place // settings.lessons_per_step) for place in range(len(encoded))]
    return make_plan(encoded, units, recipe, settings.seed)


@dataclass(frozen=True)
class Reinforced:
    """What GRPO took in a stage."""

    reward: str
    """What was earned: the run's reward, or `outcome` where the stage has no reward model."""
    steps: list[Step]
    seen: list[dict]
    """Of fixed tasks, by how many steps were taken (`taken`): `train` and `held_out`, each the means of
    `scoring.reward.summary`, over tasks of the stage's blocks.
    """
    seconds: float
    resumed: bool
    """A kill cut it once: `seconds` counts from the last step before that on."""


def reinforce(
    learner: Learner,
    run: Prepared,
    planned: Planned,
    account: Mapping | None,
    so_far: SoFar,
    say: Say = aloud,
) -> dict | None:
    """GRPO on the training turn tasks of the stage's blocks; its end is kept as any stage's. Returns
    what it took, see `Reinforced`; None where the run wants no step.

    `account`: of the stage's reward model, see `run.rewarding.learn_reward`.
    """
    name, where = planned.stage.name, place_of(run, planned)
    adapter = run.place.folder / "adapters" / planned.folder
    kept = run.place.folder / "training" / f"{planned.folder}-grpo.json"
    if adapter.exists():
        models.restore_adapter(learner.network, adapter)
        say(f"{where} · stage ended before")
    else:
        checkpoints = run.place.folder / "checkpoints" / f"{planned.folder}-grpo"
        took = None
        if run.settings.grpo_steps:
            took = _reinforced(learner.network, run, planned, account, so_far, checkpoints, say)
        save(learner.network, took, adapter, kept)
        shutil.rmtree(checkpoints, ignore_errors=True)
    so_far.stages[name]["grpo"] = read_json(kept)
    return so_far.stages[name]["grpo"]


def _reinforced(
    network, run: Prepared, planned: Planned, account, so_far: SoFar, folder, say: Say
) -> Reinforced:
    settings, began = run.settings, time.monotonic()
    resumed, where = folder.exists(), place_of(run, planned)

    def tell(text: str) -> None:
        say(f"{where} · GRPO · {text}")

    if account:
        head.load_reward(network, so_far.homes[planned.stage.name])
    judge = judge_of(network, run, account, so_far)
    reward = settings.reward if judge else "outcome"
    if reward != settings.reward:
        tell(f"the stage has no reward model, so that {settings.reward} is {reward} here")
    recipe = GrpoRecipe(
        settings.grpo_steps, settings.grpo_rate, settings.clip, settings.token_budget
    )
    playing = Playing(
        tasks_per_step=settings.grpo_tasks,
        group=settings.group,
        extra_moves=settings.extra_depth,
        max_new_tokens=settings.max_new_tokens,
    )
    fixed = _fixed(run, planned, so_far)
    seed = 1000 * settings.seed + planned.number
    with Sandbox() as sandbox:
        wording = wording_of(run)
        policy = Policy(network, run.source.tokenizer, wording, sandbox, seed, tell)

        def look(taken: int) -> dict | None:
            if taken % settings.follow_every and taken < settings.grpo_steps:
                return None
            found = {
                side: followed(policy, some, playing, judge) for side, some in fixed.items() if some
            }
            return found or None

        play = rounds(policy, tasks_of(planned, so_far), playing, reward, judge)
        steps, seen = train_grpo(network, play, recipe, folder=folder, look=look, say=tell)
    if account:
        head.drop_reward(network)
    return Reinforced(reward, steps, seen, time.monotonic() - began, resumed)


def _fixed(run: Prepared, planned: Planned, so_far: SoFar) -> dict[str, list[TurnTask]]:
    """The tasks that are followed through GRPO, a seeded few of each side."""
    blocks, count = planned.stage.blocks, run.settings.followed_tasks
    sides = {
        "train": tasks_of(planned, so_far),
        "held_out": [task for task in so_far.tasks if task.block in blocks and task.held_out],
    }
    return {side: some_of(tasks, count, run.settings.seed) for side, tasks in sides.items()}
