"""Rollouts of a trained model: what 04_rollout plays, and the lines that it keeps."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from trajnb.formatting.conditions import CONDITIONS, History, messages
from trajnb.formatting.dialogue import Dialogue
from trajnb.formatting.examples import cut_to_fit
from trajnb.qlora import chat
from trajnb.qlora.session import Session
from trajnb.world.rollout import Ask, Rollout, roll
from trajnb.world.sandbox import Sandbox

TOGETHER = 20
"""Dialogues that are played at once: their caches take 46 kB a token with smollm2-135m in fp32."""


def play(
    model,
    tokenizer,
    dialogues: Sequence[Dialogue],
    scenarios: Mapping[str, tuple],
    *,
    eval_condition: str,
    ends: str,
    max_calls: int,
    max_length: int,
    max_new_tokens: int,
    say: Callable[[str], None] = print,
) -> list[dict]:
    """Play all dialogues with the model's own calls: lines of `rollouts.jsonl`, in their order."""
    began, lines = time.monotonic(), []
    for first in range(0, len(dialogues), TOGETHER):
        batch = dialogues[first : first + TOGETHER]
        with (
            Sandbox() as sandbox,
            Session(
                model,
                end_token=tokenizer.eos_token_id,
                max_new_tokens=max_new_tokens,
                tell=lambda text: say(f"{eval_condition} · {text}"),
            ) as session,
        ):
            asked: dict[tuple, dict] = {}
            ask = _ask(session, tokenizer, eval_condition, max_length, say, asked)
            done = roll(sandbox, batch, scenarios, ask, ends=ends, max_calls=max_calls)
        how = {"eval_condition": eval_condition, "ends": ends}
        lines += [line(one, asked) | how for one in done]
        right = sum(one["success"] for one in lines)
        took = time.monotonic() - began
        say(f"{eval_condition}, {ends} · {right} of {len(lines)} dialogues succeed · {took:.0f} s")
    return lines


def line(rollout: Rollout, asked: Mapping[tuple, Mapping] | None = None) -> dict:
    """A rollout as plain data.

    `asked`: what is known of the question and the answer behind a call, by dialogue, user turn from
    0 and number in this turn from 1; it is kept with the call.
    """
    known, numbers, calls = asked or {}, Counter(), []
    for call in rollout.calls:
        numbers[call.turn] += 1
        place = rollout.dialogue_id, call.turn, numbers[call.turn]
        calls.append({**vars(call), **known.get(place, {})})
    return {
        "dialogue_id": rollout.dialogue_id,
        "block": rollout.block,
        "success": rollout.verdict.success,
        "turns": list(rollout.verdict.turns),
        "progress": rollout.verdict.progress,
        "cut": rollout.cut,
        "calls": calls,
        "gold": [list(turn) for turn in rollout.reference],
    }


def _ask(
    session: Session,
    tokenizer,
    condition: str,
    max_length: int,
    say: Callable[[str], None],
    asked: dict[tuple, dict],
) -> Ask:
    """A model asked by histories; one that is too long loses whole oldest turns, as in training.

    Notes in `asked`, see `line`, how long each prompt was and by how much its answer was the best.
    """
    count, steps, said = chat.count_tokens(tokenizer), 0, time.monotonic()
    room = max_length - session.max_new_tokens

    def ask(histories: dict[str, History]) -> dict[str, str]:
        nonlocal steps, said
        for name in session.caches.keys() - histories.keys():  # it has ended
            session.forget(name)
        prompts = {}
        for name, history in histories.items():
            prompt, _ = cut_to_fit(
                history,
                lambda one: messages(one, CONDITIONS[condition](one)),
                count,
                room,
                f"dialogue {name}",
            )
            prompts[name] = chat.chat_tokens(tokenizer, prompt, add_generation_prompt=True)
        answers = session.answer(prompts)
        for name, history in histories.items():
            turn = sum(one.role == "user" for one in history.turns) - 1
            asked[name, turn, history.ordinal] = {
                "prompt_tokens": len(prompts[name]),
                "margin": answers[name].margin,
            }
        steps += 1
        if time.monotonic() - said > 5:
            said = time.monotonic()
            say(f"{condition} · step {steps} · {len(prompts)} dialogues are going on")
        written = {
            name: answer.tokens[: -1 if answer.stopped else None]
            for name, answer in answers.items()
        }
        return {
            name: tokenizer.decode(tokens, skip_special_tokens=True)
            for name, tokens in written.items()
        }

    return ask
