"""A run's model as `world.trees` asks it: states of turn tasks in, replies out."""

from collections.abc import Callable, Sequence

from trajnb.formatting.pairs import Wording
from trajnb.machine import say as aloud
from trajnb.qlora import chat
from trajnb.qlora.sample import Drawn, sample
from trajnb.run.prepare import Prepared
from trajnb.world.trees import Ask, Said, Search, Wanted


def wording_of(run: Prepared) -> Wording:
    """How a state of a turn task is put to the model of a run."""
    settings = run.settings
    count = chat.count_tokens(run.source.tokenizer)
    return Wording(settings.condition, settings.cue, settings.max_length, count)


def asking(network, run: Prepared, search: Search, say: Callable[[str], None] = aloud) -> Ask:
    """The model of a run, drawn from as a search wants it: the first reply to a state is greedy, others
    come at the search's temperature, each from the seed of its name.
    """
    settings, tokenizer, wording = run.settings, run.source.tokenizer, wording_of(run)

    def ask(wave: Sequence[Wanted]) -> list[list[Said]]:
        prompts, draws = [], []
        for place, wanted in enumerate(wave):
            prompt = wording.prompt(
                wanted.history, wanted.task, settings.max_new_tokens, wanted.earlier
            )
            prompts.append(chat.chat_tokens(tokenizer, prompt, add_generation_prompt=True))
            for draw in wanted.draws:
                temperature = 0.0 if draw.greedy else search.temperature
                draws.append(Drawn(place, temperature, draw.seed(settings.seed)))
        replies = iter(
            sample(
                network,
                prompts,
                draws,
                [wanted.task.partition("#")[0] for wanted in wave],
                end_token=tokenizer.eos_token_id,
                max_new_tokens=settings.max_new_tokens,
                tell=say,
            )
        )
        return [[_said(tokenizer, next(replies)) for _ in wanted.draws] for wanted in wave]

    return ask


def _said(tokenizer, reply) -> Said:
    written = reply.tokens[: -1 if reply.stopped else None]
    return Said(tokenizer.decode(written, skip_special_tokens=True), cut=not reply.stopped)
