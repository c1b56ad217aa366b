"""Episodes for GRPO: turn tasks played by the policy, judged by execution, and rewarded.

Episodes are candidates (`world.candidates`) drawn at temperature 1, for GRPO takes every token to
be drawn from the policy itself; what was said is kept as tokens, with the log-probabilities that
the sampler found.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from transformers import PreTrainedTokenizerBase

from trajnb.formatting.pairs import Wording
from trajnb.machine import say as aloud
from trajnb.qlora.chat import Encoded
from trajnb.qlora.grpo import Episode, Round, Spoken
from trajnb.qlora.model import Model
from trajnb.qlora.sample import Sampled
from trajnb.run.ask import asked_for_replies
from trajnb.run.judges import Judge, by_id, check_reward, figures, rewards
from trajnb.scoring.reward import summary
from trajnb.world.candidates import Sampling, Trajectory, sample_candidates
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Draw
from trajnb.world.turns import TurnTask

TEMPERATURE = 1.0


@dataclass(frozen=True)
class Playing:
    """How episodes are played. Raises ValueError for a figure out of bounds."""

    tasks_per_step: int = 8
    group: int = 4
    """Episodes of one task, which are compared."""
    extra_moves: int = 2
    most_moves: int = 8
    """See `candidates.Sampling`."""
    max_new_tokens: int = 128
    """Of a reply."""

    def __post_init__(self):
        if self.group < 2:
            raise ValueError(
                f"group is {self.group}: an episode is compared with others of its task, so use 2 "
                "or more"
            )
        if self.tasks_per_step < 1:
            raise ValueError(f"tasks_per_step is {self.tasks_per_step}: a step needs at least 1")

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.group, TEMPERATURE, self.extra_moves, self.most_moves)


@dataclass(frozen=True)
class Policy:
    """Who plays, and where."""

    network: Model
    tokenizer: PreTrainedTokenizerBase
    wording: Wording
    sandbox: Sandbox
    seed: int
    say: Callable[[str], None] = aloud


@dataclass(frozen=True)
class Played:
    """Episodes as they were played, task after task."""

    trajectories: Sequence[Trajectory]
    replies: Sequence[Sequence[Spoken]]
    """Of each trajectory its moves, as tokens."""

    @property
    def logps(self) -> list[float]:
        """Of each trajectory the log-probability of its replies, nats."""
        return [_logp(replies) for replies in self.replies]


def _logp(replies: Sequence[Spoken]) -> float:
    return sum(sum(reply.logps) for reply in replies)


def play(policy: Policy, tasks: Sequence[TurnTask], playing: Playing, name: str) -> Played:
    """Play `playing.group` episodes of each task. All random numbers come from the policy's seed
    and `name`, such as that of a step.
    """
    spoken: dict[Draw, Spoken] = {}

    def heard(draw: Draw, prompt: Sequence[int], reply: Sampled) -> None:
        spoken[draw] = Spoken(Encoded([*prompt, *reply.tokens], len(prompt)), reply.logps)

    ask = asked_for_replies(
        policy.network,
        policy.tokenizer,
        policy.wording,
        seed=_seed(policy.seed, name),
        temperature=TEMPERATURE,
        max_new_tokens=playing.max_new_tokens,
        say=policy.say,
        heard=heard,
    )
    trajectories = sample_candidates(policy.sandbox, tasks, ask, playing.sampling)
    return Played(trajectories, [_replies(one, spoken) for one in trajectories])


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(sha256(json.dumps([seed, "episodes", name]).encode()).digest()[:8], "big")


def _replies(one: Trajectory, spoken: Mapping[Draw, Spoken]) -> list[Spoken]:
    """What was said in a trajectory, move by move."""
    forms = [move.form for move in one.moves]
    found = []
    for place in range(len(forms)):
        found.append(spoken[Draw(one.task, tuple(forms[:place]), one.number)])
    return found


def tasks_of(tasks: Sequence[TurnTask], count: int, step: int, seed: int) -> list[TurnTask]:
    """The tasks of a step, from 0: each once before any comes again, in an order that is shuffled
    anew for every round through them. Those that do not fill a step wait for the next round.

    Raises ValueError where there is no task.
    """
    if not tasks:
        raise ValueError("there is no task to be played: the block's training side has none")
    count = min(count, len(tasks))
    epoch, place = divmod(step, len(tasks) // count)
    order = random.Random(f"{seed} {epoch}").sample(list(tasks), len(tasks))
    return order[place * count : (place + 1) * count]


def some_of(tasks: Sequence[TurnTask], count: int, seed: int) -> list[TurnTask]:
    """A seeded few of the tasks, in their order; all where there are no more."""
    places = random.Random(f"{seed} fixed").sample(range(len(tasks)), min(count, len(tasks)))
    return [tasks[place] for place in sorted(places)]


def rounds(
    policy: Policy,
    tasks: Sequence[TurnTask],
    playing: Playing,
    name: str,
    judge: Judge | None = None,
) -> Callable[[int], Round]:
    """The function that `qlora.rounds.train_grpo` plays with: the round of a step.

    Args:
        name: of the reward, one of `REWARDS`.
        judge: whose scores are added; under "outcome" they are only followed.

    Raises:
        ValueError: see `check_reward`; no task.
    """
    check_reward(name, judge)
    tasks_of(tasks, playing.tasks_per_step, 0, policy.seed)

    def of(step: int) -> Round:
        some = tasks_of(tasks, playing.tasks_per_step, step, policy.seed)
        played = play(policy, some, playing, f"step {step}")
        zs = judge.zs(played.trajectories) if judge else None
        earned = rewards(name, played.trajectories, zs, _seed(policy.seed, f"noise {step}"))
        shown, episodes = by_id(some), []
        for one, replies, gain in zip(played.trajectories, played.replies, earned, strict=True):
            episodes.append(Episode(one.task, shown[one.task].dialogue_id, replies, gain))
        return Round(episodes, _summary(some, played, zs))

    return of


def followed(
    policy: Policy, tasks: Sequence[TurnTask], playing: Playing, judge: Judge | None = None
) -> dict[str, float | None]:
    """The means of `scoring.reward.summary` over episodes of fixed tasks, which are drawn with the
    same random numbers whenever they are asked for: what changes is the policy.
    """
    played = play(policy, tasks, playing, "fixed tasks")
    return _summary(tasks, played, judge.zs(played.trajectories) if judge else None)


def _summary(
    tasks: Sequence[TurnTask], played: Played, zs: Sequence[float] | None
) -> dict[str, float | None]:
    shown = by_id(tasks)
    return summary([figures(shown[one.task], one) for one in played.trajectories], zs)
