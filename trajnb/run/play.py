"""Rollouts of a trained model: what 04_rollout plays, and the lines that it keeps."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from trajnb import machine
from trajnb.files import write_json, write_lines
from trajnb.formatting.conditions import CONDITIONS, History, messages
from trajnb.formatting.dialogue import Corpus, Dialogue
from trajnb.formatting.examples import cut_to_fit
from trajnb.known import check_known
from trajnb.machine import say as aloud
from trajnb.qlora import chat
from trajnb.qlora import model as models
from trajnb.qlora.session import Session
from trajnb.run.settings import asked_with, check_played
from trajnb.strategies import strategy_of
from trajnb.world.rollout import Ask, Rollout, roll
from trajnb.world.sandbox import Sandbox

TOGETHER = 20
"""Dialogues that are played at once: their caches take 46 kB a token with smollm2-135m in fp32."""


UNTRAINED = {
    "corpus": "sample",
    "held_out_dialogues": 1,
    "fresh_ids": False,
    "model": "tiny",
    "revision": "",
    "quantization": "auto",
    "lora_rank": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "condition": "full",
    "prompt_format": "own",
    "cue": "ordinal",
    "truncation": "turns",
    "stop_targets": False,
    "seed": 0,
    "max_length": 8192,
    "max_new_tokens": 96,
    "eval_conditions": [],
}
"""Parameters of a run that was never trained: what is played where there is no run."""


@dataclass(frozen=True)
class Player:
    """A trained model that can be asked."""

    network: PeftModel
    tokenizer: PreTrainedTokenizerBase
    stage: int
    """After how many blocks; 0 is before training."""


def ways_to_play(
    parameters: Mapping, eval_conditions: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Under which conditions a run is played (as asked, else those that it was asked with), and how
    turns end: as the reference's, and, where the model has learnt to say so, when the model ends
    them.

    Raises:
        ValueError: an unknown condition, or one that shows what the right call needs.
    """
    tested = list(eval_conditions or asked_with(parameters))
    for name in tested:
        check_known("condition", name, CONDITIONS)
    check_played(tested)
    return tested, ["oracle", "model"] if parameters["stop_targets"] else ["oracle"]


def first_held_out(corpus: Corpus, count: int) -> list[Dialogue]:
    """The first `count` held-out dialogues of every block.

    Raises:
        ValueError: there are none.
    """
    chosen = []
    for block in corpus.blocks:
        held_out = [one for one in corpus.dialogues if one.id in corpus.held_out]
        chosen += [one for one in held_out if one.block == block][:count]
    if not chosen:
        raise ValueError("there is no held-out dialogue to be played: raise rollout_dialogues")
    return chosen


def load_player(parameters: Mapping, folder: Path | None) -> Player:
    """The model that the run in `folder` ended with; None: the untrained one.

    Raises:
        ValueError: the folder keeps no adapters, or the run ended with no one model.
    """
    files = models.find_model(parameters["model"], parameters["revision"])
    tokenizer = models.load_tokenizer(parameters["model"], parameters["revision"])
    shape = {name: parameters[f"lora_{name}"] for name in ("rank", "alpha", "dropout")}
    network = models.load_base(files, parameters["quantization"])
    network = models.add_adapter(network, **shape, seed=parameters["seed"])
    if folder is None:
        return Player(network, tokenizer, 0)
    if not strategy_of(parameters).ends_with_one_model:
        name = strategy_of(parameters).name
        raise ValueError(f"strategy {name!r} ends with no one model to be played")
    adapters = sorted(folder.glob("adapters/*"), key=lambda path: int(path.name.partition("-")[0]))
    if not adapters:
        raise ValueError(f"{folder} holds no adapters: they are not part of kept records")
    models.restore_adapter(network, adapters[-1])
    return Player(network, tokenizer, len(adapters))


def keep(
    folder: Path, asked: Mapping, lines: Sequence[Mapping], summary: pd.DataFrame, seconds: float
) -> None:
    """Write `rollouts.jsonl` and, last, `rollout.json`: the means, and the parameters `asked` of
    04_rollout that made them.
    """
    write_lines(folder / "rollouts.jsonl", lines)
    content = {
        "parameters": dict(asked),
        "dialogues": len({line["dialogue_id"] for line in lines}),
        "figures": json.loads(summary.reset_index().to_json(orient="records")),
        "seconds": seconds,
        "versions": machine.versions(),
        "machine": machine.describe(),
        "git_commit": machine.git_commit(),
        "finished": machine.now(),
    }
    write_json(folder / "rollout.json", content)


def play(
    player: Player,
    dialogues: Sequence[Dialogue],
    scenarios: Mapping[str, tuple],
    *,
    eval_condition: str,
    ends: str,
    max_calls: int,
    max_length: int,
    max_new_tokens: int,
    cue: str = "ordinal",
    say: Callable[[str], None] = aloud,
) -> list[dict]:
    """Play all dialogues with the model's own calls: lines of `rollouts.jsonl`, in their order."""
    model, tokenizer = player.network, player.tokenizer
    began, lines = time.monotonic(), []
    for first in range(0, len(dialogues), TOGETHER):
        batch = dialogues[first : first + TOGETHER]
        with (
            Sandbox() as sandbox,
            Session(
                model,
                end_token=chat.habits(tokenizer).end,
                max_new_tokens=max_new_tokens,
                tell=lambda text: say(f"{eval_condition} · {text}"),
            ) as session,
        ):
            asked: dict[tuple, dict] = {}
            ask = _ask(session, tokenizer, eval_condition, cue, max_length, say, asked)
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
    cue: str,
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
                lambda one: messages(one, CONDITIONS[condition](one), cue),
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
        return {
            name: chat.text_of(tokenizer, answer.tokens, answer.stopped)
            for name, answer in answers.items()
        }

    return ask
