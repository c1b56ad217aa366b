"""Who has a say in what an episode is worth: a reward model, the regression in its place, or noise;
and what is known of a trajectory without any of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from trajnb.formatting.pairs import Wording
from trajnb.known import check_known
from trajnb.qlora import chat, head
from trajnb.qlora.model import Model
from trajnb.qlora.pairs import completion_sums
from trajnb.scoring.length import Regression
from trajnb.scoring.reward import REWARDS, Figures, Standard, reward, shuffled
from trajnb.world.candidates import Trajectory, history_after
from trajnb.world.turns import TurnTask

Score = Callable[[Sequence[Trajectory]], list[float]]
"""A number for each trajectory, the higher the better."""


@dataclass(frozen=True)
class Judge:
    """Who has a say beside the outcome."""

    score: Score
    standard: Standard
    """Of its scores on training candidates."""

    def zs(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Standardised scores."""
        return [self.standard.z(score) for score in self.score(trajectories)]


def by_id(tasks: Sequence[TurnTask]) -> dict[str, TurnTask]:
    """Each task by its own id."""
    return {task.id: task for task in tasks}


def swapped(tasks: Sequence[TurnTask]) -> dict[str, TurnTask]:
    """By the id of each task the next one of another dialogue. Raises ValueError where all are of
    one dialogue.
    """
    found = {}
    for place, task in enumerate(tasks):
        after = [*tasks[place + 1 :], *tasks[:place]]
        other = next((one for one in after if one.dialogue_id != task.dialogue_id), None)
        if other is None:
            raise ValueError(
                f"all tasks are of dialogue {task.dialogue_id}: to show a trajectory with another "
                "task, tasks of two dialogues are needed"
            )
        found[task.id] = other
    return found


def check_reward(name: str, judge: Judge | None) -> None:
    """Raises ValueError for a reward that is not one of `REWARDS`, and for one that adds a score
    where nobody gives one.
    """
    check_known("reward", name, REWARDS)
    if judge is None and name != "outcome":
        raise ValueError(
            f"reward is {name!r}, but there is no reward model to give scores: train one on mixed "
            "tasks first, or use 'outcome'"
        )


def model_score(
    network: Model,
    tokenizer: PreTrainedTokenizerBase,
    shown: Mapping[str, TurnTask],
    token_budget: int,
) -> Score:
    """What the reward model of `network` (see `qlora.head`) gives to trajectories. It is shown the
    task that stands here for the trajectory's: the same one, see `by_id`, or to find out whether it
    looks at the task at all another one, see `swapped`.
    """

    def score(trajectories: Sequence[Trajectory]) -> list[float]:
        read, dialogues = [], []
        for one in trajectories:
            task = shown[one.task]
            name = f"task {one.task}, candidate {one.number}"
            history = history_after(task, one.calls)
            read.append(head.encode_trajectory(tokenizer, history, name))
            dialogues.append(task.dialogue_id)
        return head.scores(network, read, dialogues, token_budget)

    return score


def length_score(regression: Regression, tasks: Sequence[TurnTask]) -> Score:
    """What a regression on length gives in the reward model's place."""
    shown = by_id(tasks)

    def score(trajectories: Sequence[Trajectory]) -> list[float]:
        return [regression.score(figures(shown[one.task], one)) for one in trajectories]

    return score


def figures(task: TurnTask, one: Trajectory, logp: float | None = None) -> Figures:
    """What is known of a trajectory without a reward model; `logp` is that of its replies."""
    return Figures(
        task=one.task,
        dialogue_id=task.dialogue_id,
        author=one.author,
        outcome=float(one.won),
        kinds=tuple(move.kind for move in one.moves),
        characters=sum(len(move.text) for move in one.calls),
        logp=logp,
    )


def policy_logps(
    network: Model,
    tokenizer: PreTrainedTokenizerBase,
    wording: Wording,
    tasks: Sequence[TurnTask],
    trajectories: Sequence[Trajectory],
    token_budget: int,
) -> list[float]:
    """The log-probability that the policy gives to all replies of each trajectory, whoever made it,
    each with its end token, nats.
    """
    shown, examples, dialogues, owners = by_id(tasks), [], [], []
    for owner, one in enumerate(trajectories):
        task = shown[one.task]
        for place, move in enumerate(one.moves):
            history = history_after(task, one.moves[:place])
            row = {
                "prompt": wording.prompt(history, f"task {task.id}, call {place + 1}"),
                "completion": [{"role": "assistant", "content": move.text}],
                "dialogue_id": task.dialogue_id,
                "step": place,
            }
            examples.append(chat.encode(tokenizer, row))
            dialogues.append(task.dialogue_id)
            owners.append(owner)
    totals = [0.0] * len(trajectories)
    sums = completion_sums(network, examples, dialogues, token_budget)
    for owner, logp in zip(owners, sums, strict=True):
        totals[owner] += logp
    return totals


def rewards(
    name: str,
    trajectories: Sequence[Trajectory],
    zs: Sequence[float] | None,
    seed: int,
) -> list[float]:
    """What each trajectory earns under a reward, one of `REWARDS`, given its standardised score;
    `seed` says which score is handed to which episode where they are noise.
    """
    if name == "outcome":
        zs = None
    elif name == "outcome+noise":
        zs = shuffled(zs, seed)
    earned = []
    for place, one in enumerate(trajectories):
        kinds = [move.kind for move in one.moves]
        earned.append(reward(float(one.won), kinds, zs[place] if zs else None))
    return earned
