"""The reward model of a stage: what it learns from, what it knows beside length, and who uses it.

It is learnt from the candidates and repairs of the stage, and tested on pairs of other dialogues.
What it says of these, and what figures that need no model say, is kept pair by pair, so that pairs
of all stages and runs can be counted together (`scoring.repairs`).
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trajnb.files import digest, read_json, sync_files, write_json
from trajnb.machine import say as aloud
from trajnb.qlora import head
from trajnb.qlora.plan import Recipe
from trajnb.qlora.reward import RewardPlan, plan_reward, train_reward
from trajnb.run.grow import tasks_of
from trajnb.run.homes import SoFar, alone
from trajnb.run.judges import (
    Judge,
    by_id,
    figures,
    length_score,
    model_score,
    policy_logps,
    swapped,
)
from trajnb.run.learn import Learner, place_of
from trajnb.run.prepare import Planned, Prepared
from trajnb.run.repair import learnt_repairs
from trajnb.run.turns import wording_of
from trajnb.scoring.length import (
    BLIND,
    MODEL,
    Regression,
    apart,
    baselines,
    fit,
    outcome_pairs,
    rights,
)
from trajnb.scoring.quality import Grade
from trajnb.scoring.reward import Figures, Standard, standard
from trajnb.world.candidates import Trajectory, history_after
from trajnb.world.repair import Repair
from trajnb.world.turns import TurnTask

Say = Callable[[str], None]
Places = list[tuple[int, int]]
"""The better and the worse trajectory of each pair, as places among the compared ones."""


@dataclass(frozen=True)
class Compared:
    """The trajectories of a stage that can be compared, and their pairs."""

    tasks: dict[str, TurnTask]
    trajectories: list[Trajectory]
    """Distinct candidates, then accepted repairs."""
    candidates: int
    """How many of them are candidates."""
    pairs: dict[str, Places]
    """By kind: `outcome`, two candidates; `repair`, a repair and what it repairs."""
    held_out: set[str]
    """Dialogues that are not learnt from; none where only one has pairs."""

    def dialogue(self, place: int) -> str:
        return self.tasks[self.trajectories[place].task].dialogue_id

    def learnt(self, kinds: str) -> Places:
        """The pairs that are learnt from, see `repairing.REWARD_PAIRS`."""
        chosen = self.pairs if kinds == "both" else {kinds: self.pairs[kinds]}
        found = [pair for pairs in chosen.values() for pair in pairs]
        return [pair for pair in found if self.dialogue(pair[0]) not in self.held_out]

    def tested(self) -> dict[str, Places]:
        """By kind the pairs of dialogues that are not learnt from."""
        return {
            kind: [pair for pair in pairs if self.dialogue(pair[0]) in self.held_out]
            for kind, pairs in self.pairs.items()
        }


def compare(
    run: Prepared,
    planned: Planned,
    graded: Sequence[Grade],
    repairs: Mapping[str, Sequence[Repair]],
    so_far: SoFar,
) -> Compared:
    """The pairs of a stage's candidates and of the repairs that are learnt from."""
    tasks = by_id(tasks_of(planned, so_far))
    own = [one.trajectory for one in graded if one.counts]
    places = {(one.task, one.number): place for place, one in enumerate(own)}
    made = learnt_repairs(run, repairs)
    pairs = {
        "outcome": outcome_pairs([figures(tasks[one.task], one) for one in own]),
        "repair": [
            (len(own) + place, places[one.task, one.number]) for place, one in enumerate(made)
        ],
    }
    found = Compared(tasks, [*own, *(one.trajectory for one in made)], len(own), pairs, set())
    names = {found.dialogue(better) for kind in pairs.values() for better, _ in kind}
    if len(names) < 2:
        return found
    share, seed = run.settings.reward_held_out, run.settings.seed
    held_out = apart(sorted(names), share, seed)
    return Compared(tasks, found.trajectories, len(own), pairs, held_out)


def learn_reward(
    learner: Learner,
    run: Prepared,
    planned: Planned,
    graded: Sequence[Grade],
    repairs: Mapping[str, Sequence[Repair]],
    so_far: SoFar,
    say: Say = aloud,
) -> dict | None:
    """Learn the reward model of a stage and test it, or read what came of that; the learner's network
    is as it was afterwards. None where the run wants none, and where there was no pair to learn from,
    which is said.
    """
    settings, home, where = run.settings, so_far.homes[planned.stage.name], place_of(run, planned)
    if not settings.reward_epochs:
        return None
    compared = compare(run, planned, graded, repairs, so_far)
    plan = _plan(run, compared)
    with alone(home):
        if (home / "reward.json").is_file():
            say(f"{where} · reward model learnt before")
        else:
            account = _learnt(learner, run, planned, compared, plan, home, say)
            write_json(home / "reward.json", account)
        account = read_json(home / "reward.json")
    so_far.flops += plan.steps.operations(learner.config, settings.reward_rank)
    so_far.stages[planned.stage.name]["reward"] = account
    return account if account["training"] else None


def _plan(run: Prepared, compared: Compared) -> RewardPlan:
    settings = run.settings
    recipe = Recipe(
        settings.reward_epochs,
        settings.dialogues_per_step,
        settings.reward_rate,
        settings.warmup_ratio,
        "trie",
        settings.token_budget,
        settings.report_to,
    )
    names = [one.task for one in compared.trajectories]
    read = [_encoded(run, compared, place) for place in range(len(names))]
    dialogues = [compared.dialogue(place) for place in range(len(names))]
    return plan_reward(
        read, names, dialogues, compared.learnt(settings.reward_pairs), recipe, settings.seed
    )


def _encoded(run: Prepared, compared: Compared, place: int):
    one = compared.trajectories[place]
    name = f"task {one.task}, candidate {one.number}"
    history = history_after(compared.tasks[one.task], one.calls)
    return head.encode_trajectory(run.source.tokenizer, history, name)


def _learnt(
    learner: Learner,
    run: Prepared,
    planned: Planned,
    compared: Compared,
    plan: RewardPlan,
    home: Path,
    say: Say,
) -> dict:
    """Train, keep and test the reward model; returns its account."""
    settings, network = run.settings, learner.network
    learnt, where = compared.learnt(settings.reward_pairs), place_of(run, planned)

    def tell(text: str) -> None:
        say(f"{where} · reward model · {text}")

    account = {"pairs": _counts(compared, learnt), "training": None, "tested": None}
    checkpoints = run.place.folder / "checkpoints" / f"{planned.folder}-reward"
    head.add_reward(network, rank=settings.reward_rank, seed=settings.seed)
    try:
        trained = train_reward(
            network,
            plan,
            seed=1000 * settings.seed + planned.number,
            folder=checkpoints,
            say=tell,
        )
        if trained is None:
            return account
        head.save_reward(network, home)
        sync_files(home / head.NAME)
        own = compared.trajectories[: compared.candidates]
        scores = model_score(
            network, run.source.tokenizer, compared.tasks, settings.token_budget
        )
        known = [figures(compared.tasks[one.task], one) for one in compared.trajectories]
        account |= {
            "training": asdict(trained),
            "standard": asdict(standard(scores(own))),
            "length": _length(known, learnt, compared.candidates),
            "tested": _tested(network, run, compared, learnt, known, tell),
        }
    finally:
        head.drop_reward(network)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return account


def _counts(compared: Compared, learnt: Places) -> dict[str, int]:
    tested = compared.tested()
    counts = {kind: len(pairs) for kind, pairs in compared.pairs.items()}
    return counts | {"learnt": len(learnt), "tested": sum(map(len, tested.values()))}


def _length(known: Sequence[Figures], learnt: Places, candidates: int) -> dict:
    """The regression in the reward model's place, and what its scores are measured against."""
    regression = fit(known, learnt)
    scores = [regression.score(one) for one in known[:candidates]]
    return {"weights": asdict(regression), "standard": asdict(standard(scores))}


def _tested(
    network, run: Prepared, compared: Compared, learnt: Places, known: Sequence[Figures], say: Say
) -> dict | None:
    """Of every held-out pair its dialogue (hashed) and kind, and by name whether scores put the better
    one first (1, 0, or 0.5 for equal ones); None where there is no held-out pair.
    """
    tested = compared.tested()
    pairs = [pair for kind in tested.values() for pair in kind]
    if not pairs:
        return None
    settings, tokenizer = run.settings, run.source.tokenizer
    learnt_places, held_places = (sorted({p for pair in some for p in pair}) for some in (learnt, pairs))
    held = [compared.trajectories[place] for place in held_places]
    tasks, budget = list(compared.tasks.values()), settings.token_budget
    logps = policy_logps(network, tokenizer, wording_of(run), tasks, held, budget)
    held_known = [figures(compared.tasks[o.task], o, p) for o, p in zip(held, logps, strict=True)]
    learnt_known = [known[place] for place in learnt_places]
    own, theirs = _moved(pairs, held_places), _moved(learnt, learnt_places)
    scores = baselines(learnt_known, theirs, held_known)
    scores[MODEL] = model_score(network, tokenizer, compared.tasks, budget)(held)
    scores[BLIND] = model_score(network, tokenizer, swapped(tasks), budget)(held)
    right = {name: rights(values, own) for name, values in scores.items()}
    mean = sum(right[MODEL]) / len(pairs)
    say(f"right in {mean:.0%} of {len(pairs)} held-out pairs")
    corpus = run.source.corpus.name
    return {
        "dialogue": [digest([corpus, compared.dialogue(better)])[:16] for better, _ in pairs],
        "kind": [kind for kind, some in tested.items() for _ in some],
        "right": right,
    }


def _moved(pairs: Places, places: Sequence[int]) -> Places:
    """Pairs of places as pairs of places among `places`."""
    new = {place: number for number, place in enumerate(places)}
    return [(new[better], new[worse]) for better, worse in pairs]


def judge_of(network, run: Prepared, account: Mapping | None, so_far: SoFar) -> Judge | None:
    """Who has a say in what episodes of a stage earn, or is only followed: the reward model, which
    must be loaded, or under "outcome+length" the regression. None where the stage has none.
    """
    if account is None:
        return None
    if run.settings.reward == "outcome+length":
        weights = Regression(**account["length"]["weights"])
        score = length_score(weights, so_far.tasks)
        return Judge(score, Standard(**account["length"]["standard"]))
    shown, budget = by_id(so_far.tasks), run.settings.token_budget
    score = model_score(network, run.source.tokenizer, shown, budget)
    return Judge(score, Standard(**account["standard"]))
