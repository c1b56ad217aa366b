"""The stages of one run: what 02_train measures before training and after every block, and what it keeps to
go on after a kill.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from trajnb import records
from trajnb.formatting.calls import is_no_call, parse_all
from trajnb.formatting.documents import Api
from trajnb.qlora import chat, generate, train
from trajnb.scoring import errors, score


def predict(
    model,
    tokenizer,
    rows: Sequence[Mapping],
    scored: Callable[[str, Mapping], dict],
    *,
    stage: int,
    train_condition: str,
    eval_condition: str,
    max_new_tokens: int,
    cut: chat.PaperCut | None = None,
    say: Callable[[str], None] = print,
) -> list[dict]:
    """Answer and score every row of held-out examples: the lines of `predictions.jsonl`, in the order of
    `rows`.

    `scored` gives what is right about the answer to a row: `score_calls`, or `score_stop`.
    """
    encoded = chat.encode_all(tokenizer, rows, cut)
    began, lines = time.monotonic(), []
    answers = generate.answer(
        model,
        encoded,
        [row["dialogue_id"] for row in rows],
        end_token=tokenizer.eos_token_id,
        max_new_tokens=max_new_tokens,
        tell=lambda text: say(f"stage {stage} · {eval_condition} prompts · {text}"),
    )
    for row, example, answer in zip(rows, encoded, answers, strict=True):
        text = tokenizer.decode(answer.tokens[: -1 if answer.stopped else None], skip_special_tokens=True)
        line = {
            "dialogue_id": row["dialogue_id"],
            "step": row["step"],
            "block": row["block"],
            "stage": stage,
            "train_condition": train_condition,
            "eval_condition": eval_condition,
            "prompt_tokens": example.prompt,
            "generated_tokens": len(answer.tokens),
            "stopped": answer.stopped,
            "prediction": text,
            "gold_nll": answer.gold_nll,
            "gold_tokens": len(example.completion),
            **scored(text, row),
        }
        lines.append(line)
    seconds = time.monotonic() - began
    right = sum(line["canonical"] for line in lines)
    say(f"stage {stage} · {eval_condition} prompts · {right} of {len(lines)} exact · {seconds:.0f} s")
    return lines


def score_calls(apis: Mapping[str, Mapping[str, Api]]) -> Callable[[str, Mapping], dict]:
    """The scores of calls. `apis` gives for every dialogue id what its documents say, see
    `documents.apis_of`: positional arguments are bound by it, and errors told apart.
    """
    names = {name: {api.name: api.names for api in known.values()} for name, known in apis.items()}

    def scored(text: str, row: Mapping) -> dict:
        dialogue, gold = row["dialogue_id"], row["gold"]
        scores = score.score(text, gold, names[dialogue])
        return {"calls": len(parse_all(text)), **scores, "error": errors.kind(text, gold, apis[dialogue])}

    return scored


def score_stop(text: str, row: Mapping) -> dict:
    """The score of the end of a turn: whether the answer is that there is no further call."""
    return {"canonical": is_no_call(text)}


def claim(folder: Path, shaping: Mapping) -> None:
    """Say what shapes the training in `folder`, the first time; later, raise ValueError where something
    else would.

    Without this a run started again with another condition, or after a condition was rewritten, would go on
    from adapters that were trained on other prompts.
    """
    path = folder / "shaping.json"
    if path.exists():
        before = json.loads(path.read_text())
        changed = sorted(name for name in {*before, *shaping} if before.get(name) != shaping.get(name))
        if changed:
            raise ValueError(
                f"{folder} holds a run with other {', '.join(changed)}: "
                "choose another run_folder, or delete it"
            )
    else:
        records.write_json(path, shaping)


def kept(path: Path, measure: Callable[[], list[dict]]) -> list[dict]:
    """The lines of `path`; measured and written there only if the file is not there yet."""
    if not path.exists():
        records.write_lines(path, measure())
    return records.read_lines(path)


def table(
    predictions: Sequence[Mapping], blocks: Sequence[str], stages: Sequence[str], score_name: str = "name"
) -> pd.DataFrame:
    """Right answers by stage (rows, named `stages`, that before training first) and block (columns) so far,
    as `right/items`, for one evaluation condition's predictions.
    """
    counts = [[[0, 0] for _ in blocks] for _ in range(1 + max(line["stage"] for line in predictions))]
    for line in predictions:
        cell = counts[line["stage"]][blocks.index(line["block"])]
        cell[0] += line[score_name]
        cell[1] += 1
    shown = [[f"{right}/{total}" for right, total in row] for row in counts]
    return pd.DataFrame(shown, index=stages[: len(shown)], columns=list(blocks))


def save_block(model, trained: train.Trained, adapter: Path, account: Path) -> None:
    """Keep a trained block: its cost in `account`, then its adapter as a plain PEFT folder, which appears
    whole or not at all.
    """
    records.write_json(account, asdict(trained))
    fresh = adapter.with_name(f".{adapter.name}")
    model.save_pretrained(fresh)
    adapter.parent.mkdir(parents=True, exist_ok=True)
    fresh.rename(adapter)
