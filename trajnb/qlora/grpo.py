"""GRPO (arXiv 2402.03300) on packed rows: what did better than its group is made likelier.

A turn of n replies is n examples, for every reply has a prompt of its own, and all of its tokens
have the advantage of their episode. One update for a step's episodes, so that the policy that is
changed is the one that said them; the loss is the mean over all tokens of the step ("dapo"), with a
clipped ratio and without a KL term. Nothing here knows of worlds or rewards; the steps are taken in
`rounds`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from peft import PeftModel

from trajnb.qlora.chat import Encoded
from trajnb.qlora.model import on_gpu
from trajnb.qlora.pairs import completion_batch, on_device, token_logps
from trajnb.qlora.plan import Pass, by_dialogue, pack_passes
from trajnb.qlora.prefer import without_dropout

EPSILON = 1e-4
"""Added to the deviation of a group, as TRL does."""
LONGEST = 1.0
"""A gradient with a larger norm is scaled down to it, as the Trainer does in all other training."""


@dataclass(frozen=True)
class GrpoRecipe:
    """The figures of GRPO. Raises ValueError for one out of bounds."""

    steps: int
    """Rounds of episodes, each with one update."""
    learning_rate: float
    """The same at every step."""
    clip: float
    """How far a token's probability may leave what it was before the loss looks away."""
    token_budget: int
    """Distinct tokens of one forward pass, where a single reply does not need more."""

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}: GRPO takes at least one")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}: use one above zero")
        if not 0 < self.clip < 1:
            raise ValueError(f"clip is {self.clip}: use a number between 0 and 1, such as 0.2")


@dataclass(frozen=True)
class Spoken:
    """One reply, as tokens."""

    example: Encoded
    """Its prompt and what was written, the end token included where one was."""
    logps: Sequence[float]
    """Of every token that was written, under the policy that wrote it at temperature 1, nats."""

    def __post_init__(self):
        count = len(self.example.completion)
        if count != len(self.logps):
            raise ValueError(f"a reply of {count} tokens has {len(self.logps)} log-probabilities")


@dataclass(frozen=True)
class Episode:
    """One turn as it was played."""

    group: str
    """Episodes of one group are compared: those of one task."""
    dialogue_id: str
    replies: Sequence[Spoken]
    reward: float


@dataclass(frozen=True)
class Round:
    """The episodes of one step."""

    episodes: Sequence[Episode]
    measures: Mapping[str, float | None]
    """What else is to be recorded of them, see `scoring.reward.summary`."""


@dataclass(frozen=True)
class Step:
    """What a step found and did."""

    reward: float
    """Mean over its episodes."""
    loss: float
    gradient: float
    """Its norm, before it is scaled down; 0 where there was none."""
    groups: int
    equal_groups: int
    """Groups whose episodes all had one reward: they have no effect."""
    tokens: int
    """That were written in all its episodes."""
    clipped: float
    """Share of the tokens of other groups at which the clip holds the loss."""
    drift: float
    """The largest difference, over these tokens, of the log-probability now and when written, nats:
    rounding, for the policy is the same.
    """
    measures: Mapping[str, float | None]
    """Those of its round."""


def advantages(rewards: Sequence[float]) -> list[float]:
    """Of the episodes of one group: (reward - mean) / (deviation + 1e-4), the deviation with n - 1.
    All are 0 where the rewards are equal. Raises ValueError for a group of one.
    """
    if len(rewards) < 2:
        raise ValueError(
            f"a group has {len(rewards)} episode: an episode is compared with others of its task, "
            "so use a group of 2 or more"
        )
    if min(rewards) == max(rewards):
        return [0.0] * len(rewards)
    mean, deviation = fmean(rewards), stdev(rewards)
    return [(reward - mean) / (deviation + EPSILON) for reward in rewards]


def token_losses(
    logps: torch.Tensor, before: torch.Tensor, advantage: torch.Tensor, clip: float
) -> torch.Tensor:
    """The loss of every token, (tokens,), from its log-probability now and when it was written, and
    the advantage of its episode.
    """
    ratio = (logps - before).exp()
    return -torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def is_clipped(
    logps: torch.Tensor, before: torch.Tensor, advantage: torch.Tensor, clip: float
) -> torch.Tensor:
    """Whether the clip holds the loss of a token, (tokens,): it has no gradient then."""
    ratio = (logps - before).exp()
    return ((ratio > 1 + clip) & (advantage > 0)) | ((ratio < 1 - clip) & (advantage < 0))


@dataclass(frozen=True)
class Learnt:
    """What of a round has an effect, packed."""

    replies: list[Spoken]
    advantages: list[float]
    """Of each reply that of its episode; none is 0."""
    passes: list[Pass]
    tokens: int
    """Of all replies of the round, those without effect too."""
    groups: int
    equal_groups: int


def prepare(episodes: Sequence[Episode], token_budget: int) -> Learnt:
    """The replies of a round that have an advantage, in rows. Raises ValueError for a group of one
    episode and for one without a reply.
    """
    groups: dict[str, list[Episode]] = {}
    for episode in episodes:
        if not episode.replies:
            raise ValueError(f"an episode of {episode.group} has no reply: nothing can be learnt")
        groups.setdefault(episode.group, []).append(episode)
    replies, gains, dialogues, equal = [], [], [], 0
    for group in groups.values():
        found = advantages([episode.reward for episode in group])
        if not any(found):
            equal += 1
            continue
        for episode, advantage in zip(group, found, strict=True):
            if advantage:
                replies += episode.replies
                gains += [advantage] * len(episode.replies)
                dialogues += [episode.dialogue_id] * len(episode.replies)
    rows = list(by_dialogue(dialogues).values())
    passes = pack_passes([reply.example for reply in replies], rows, token_budget)
    tokens = 0
    for episode in episodes:
        tokens += sum(len(reply.logps) for reply in episode.replies)
    return Learnt(replies, gains, passes, tokens, len(groups), equal)


@dataclass(frozen=True)
class Sums:
    """What was found while the gradient of a round was computed."""

    loss: float
    clipped: float
    drift: float


def add_gradient(model: PeftModel, learnt: Learnt, clip: float) -> Sums:
    """Add the gradient of a round's loss to that of `model`'s weights. Dropout must be off."""
    loss = drift = 0.0
    clipped = count = 0
    for row in learnt.passes:
        replies = [learnt.replies[index] for index in row.examples]
        inputs = completion_batch([reply.example for reply in replies], row.packed)
        before, gains = [], []
        for index, reply in zip(row.examples, replies, strict=True):
            before += reply.logps
            gains += [learnt.advantages[index]] * len(reply.logps)
        known = torch.tensor([before, gains], device=model.device)  # (2, tokens)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=on_gpu()):
            logps = token_logps(model, on_device(inputs, model.device))
        part = token_losses(logps, *known, clip).sum() / learnt.tokens
        part.backward()
        loss += part.item()
        now = logps.detach()
        drift = max(drift, (now - known[0]).abs().max().item())
        clipped += is_clipped(now, *known, clip).sum().item()
        count += len(now)
    return Sums(loss, clipped / count if count else 0.0, drift)


def take_step(
    model: PeftModel, optimizer: torch.optim.Optimizer, one: Round, recipe: GrpoRecipe
) -> Step:
    """One update of the adapter of `model` on a round of its own episodes; none where no group has
    two rewards.
    """
    learnt = prepare(one.episodes, recipe.token_budget)
    optimizer.zero_grad()
    found, norm = Sums(0.0, 0.0, 0.0), 0.0
    if learnt.replies:
        with without_dropout(model):
            found = add_gradient(model, learnt, recipe.clip)
        _check_drift(found.drift)
        norm = torch.nn.utils.clip_grad_norm_(trained(model).values(), LONGEST).item()
        optimizer.step()
        optimizer.zero_grad()
    return Step(
        reward=fmean(episode.reward for episode in one.episodes),
        loss=found.loss,
        gradient=norm,
        groups=learnt.groups,
        equal_groups=learnt.equal_groups,
        tokens=learnt.tokens,
        clipped=found.clipped,
        drift=found.drift,
        measures=dict(one.measures),
    )


def trained(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """The weights that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _check_drift(drift: float) -> None:
    """On a CPU the policy that is changed is, to rounding, the one that spoke; in bf16 a token's
    probability may well differ, and that is only recorded.
    """
    assert on_gpu() or drift <= 1e-2, (
        f"a token's log-probability is {drift:.2g} from what it was when it was written, so the "
        "episodes are another policy's: play each round with the weights that it changes"
    )
