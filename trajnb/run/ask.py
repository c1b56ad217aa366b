"""A model that trees are grown with: asked by states, it gives the replies that they want."""

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

from trajnb.formatting.pairs import Wording
from trajnb.machine import say as aloud
from trajnb.qlora import chat
from trajnb.qlora.model import Model
from trajnb.qlora.sample import Drawn, Sampled, sample
from trajnb.words import counted
from trajnb.world.trees import Ask, Draw, Said, Wanted

Heard = Callable[[Draw, Sequence[int], Sampled], None]
"""Takes a reply as it was drawn, after its name and the tokens of its prompt."""


def asked_for_replies(
    network: Model,
    tokenizer: PreTrainedTokenizerBase,
    wording: Wording,
    *,
    seed: int,
    temperature: float,
    max_new_tokens: int,
    say: Callable[[str], None] = aloud,
    heard: Heard | None = None,
) -> Ask:
    """The function that `world.grow` asks: all replies of a wave are drawn together, and what the
    prompts of a dialogue's states share is read once.

    Each first reply to a state is greedy, every other drawn at `temperature` with random numbers of
    its own name under `seed`. A reply of `max_new_tokens` without an end is marked as cut.

    `heard` is given every reply as tokens too, for training on what was said.
    """

    def ask(wave: Sequence[Wanted]) -> list[list[Said]]:
        prompts, draws, named = [], [], []
        for place, state in enumerate(wave):
            name = f"task {state.task}, call {state.history.ordinal}"
            messages = state.messages or wording.prompt(state.history, name, state.earlier)
            prompts.append(chat.chat_tokens(tokenizer, messages, add_generation_prompt=True))
            draws += [_drawn(place, draw, seed, temperature) for draw in state.draws]
            named += state.draws
        replies = sample(
            network,
            prompts,
            draws,
            [_dialogue(state.task) for state in wave],
            end_token=tokenizer.eos_token_id,
            max_new_tokens=max_new_tokens,
            tell=lambda text: say(f"{counted(len(wave), 'state')} · {text}"),
        )
        if heard is not None:
            for name, draw, reply in zip(named, draws, replies, strict=True):
                heard(name, prompts[draw.prompt], reply)
        left = iter(replies)
        said = []
        for state in wave:
            said.append([_said(tokenizer, next(left)) for _ in state.draws])
        return said

    return ask


def _dialogue(task: str) -> str:
    """The dialogue of a turn task, see `TurnTask.id`: its states share much of their prompts."""
    return task.rpartition("#")[0]


def _drawn(prompt: int, draw: Draw, seed: int, temperature: float) -> Drawn:
    return Drawn(prompt, 0.0 if draw.greedy else temperature, draw.seed(seed))


def _said(tokenizer: PreTrainedTokenizerBase, reply: Sampled) -> Said:
    return Said(chat.text_of(tokenizer, reply.tokens, reply.stopped), cut=not reply.stopped)
