"""What a model says to the held-out examples after a stage, and what is right about it.

Answers are kept as they come, so that a run that is cut asks nothing twice.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trajnb.files import digest, read_lines, write_lines
from trajnb.formatting.calls import is_no_call, parse_all
from trajnb.formatting.documents import Api, apis_of
from trajnb.formatting.examples import build_examples, sides
from trajnb.formatting.shots import with_shots
from trajnb.machine import say as aloud
from trajnb.qlora import chat, generate, ranks
from trajnb.qlora.plan import by_dialogue
from trajnb.run import recall
from trajnb.run.prepare import Prepared
from trajnb.scoring import errors, score
from trajnb.upgrades import upgrade_prediction


@dataclass
class Answered:
    """What was answered so far, all stages and evaluation conditions."""

    predictions: list[dict] = field(default_factory=list)
    """Lines of `predictions.jsonl`."""
    stops: list[dict] = field(default_factory=list)
    """Lines of `stops.jsonl`: answers at the ends of turns."""
    seconds: float = 0.0

    def table(self, run: Prepared, score_name: str = "name") -> pd.DataFrame:
        """Right answers by stage and block under the first evaluation condition, see `table`."""
        first = run.place.tested[0]
        lines = [line for line in self.predictions if line["eval_condition"] == first]
        stages = ["before training", *(f"after {one.stage.name}" for one in run.stages)]
        return table(lines, run.source.order, stages, score_name)


def ask(
    network: PreTrainedModel | None,
    run: Prepared,
    stage: int,
    answered: Answered,
    say: Callable[[str], None] = aloud,
    home: Path | None = None,
) -> None:
    """Ask the held-out examples after `stage` under every evaluation condition, all or those that
    `eval_stages` wants there; what is kept already is read, wanted or not. The lines are added to
    `answered`. Without a network answers are copied, see `run.recall`.

    `home`: a folder for the answers of a stage that goes on to learn preferences, see `run.prefer`;
    the ends of turns are then not asked about.
    """
    began = time.monotonic()
    for name in run.place.tested:
        answered.predictions += _calls(network, run, stage, name, say, home)
    if run.settings.stop_targets and stage > 0 and not home:
        for name in run.place.tested:
            answered.stops += _stops(network, run, stage, name, say)
    answered.seconds += time.monotonic() - began


def _calls(
    network, run: Prepared, stage: int, condition: str, say, home: Path | None
) -> list[dict]:
    held_out = sides(run.source.corpus)["held_out"]
    scored = score_calls({one.id: apis_of(one.documents) for one in held_out})
    path = run.place.folder / "stages" / f"{stage}-{_in_files(condition)}.jsonl"
    path = home / f"asked-{condition}.jsonl" if home else path
    rows = run.material.asked[condition]
    if stage == 0 and not run.settings.plan_of_learning.recalls:
        path = run.place.zero_shot / f"{condition}-{_same_question(run, rows)[:16]}.jsonl"

    question = _with_shots(run, rows, condition) if stage > 0 else rows

    def measure(asked: Sequence[Mapping]) -> list[dict]:
        return _predict(network, run, asked, scored, stage, condition, say)

    # answers before training are shared, whatever each run is about to train
    own = {"train_condition": run.settings.condition, "eval_condition": condition}
    # kept perhaps by an older version
    lines = kept(path, question, run.blocks_asked(stage), measure)
    gold = {(row["dialogue_id"], row["step"]): row["gold"] for row in question}
    return [
        upgrade_prediction(line | own, gold[line["dialogue_id"], line["step"]])
        for line in lines
    ]


def _in_files(condition: str) -> str:
    """A condition in the names of files. Answers to `placebo-near` were kept as `placebo` before
    there was another one, and must not be taken for its own.
    """
    return {"placebo": "placebo-far", "placebo-near": "placebo"}.get(condition, condition)


def _same_question(run: Prepared, rows: Dataset) -> str:
    """What runs have in common that may share their answers before training."""
    settings, cut = run.settings, run.material.cut
    asked = [
        settings.quantization,
        settings.max_new_tokens,
        *([cut] if cut else []),
        list(rows["prompt"]),
    ]
    return digest([run.source.weights, *asked])


def _with_shots(run: Prepared, rows: Dataset, condition: str) -> Sequence[Mapping]:
    """The rows with worked examples in their prompts, where the strategy wants them."""
    settings = run.settings
    if not settings.plan_of_learning.with_shots:
        return rows
    worked = build_examples(run.source.corpus, condition, "train", **run.material.shape)
    return with_shots(rows, worked, settings.shots, settings.seed)


def _stops(network, run: Prepared, stage: int, condition: str, say) -> list[dict]:
    path = run.place.folder / "stages" / f"{stage}-{_in_files(condition)}-stops.jsonl"

    shape = run.material.shape
    rows = build_examples(run.source.corpus, condition, "held_out", stops=True, **shape)

    def measure(asked: Sequence[Mapping]) -> list[dict]:
        return _predict(network, run, asked, score_stop, stage, condition, say)

    return kept(path, rows, run.blocks_asked(stage), measure)


def _predict(network, run: Prepared, rows, scored, stage: int, condition: str, say) -> list[dict]:
    if run.settings.plan_of_learning.recalls:
        return _copy(run, rows, scored, stage, condition, say)
    return predict(
        network,
        run.source.tokenizer,
        rows,
        scored,
        stage=stage,
        train_condition=run.settings.condition,
        eval_condition=condition,
        max_new_tokens=run.settings.max_new_tokens,
        cut=run.material.cut,
        say=say,
    )


def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
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
    """Answer and score every row of held-out examples: the lines of `predictions.jsonl`, in the
    order of `rows`.

    `scored` gives what is right about the answer to a row: `score_calls`, or `score_stop`.
    """
    encoded = chat.encode_all(tokenizer, rows, cut)
    began, lines = time.monotonic(), []
    answers = generate.answer(
        model,
        encoded,
        [row["dialogue_id"] for row in rows],
        end_token=chat.habits(tokenizer).end,
        max_new_tokens=max_new_tokens,
        tell=lambda text: say(f"stage {stage} · {eval_condition} prompts · {text}"),
    )
    for row, example, answer in zip(rows, encoded, answers, strict=True):
        text = chat.text_of(tokenizer, answer.tokens, answer.stopped)
        said = {
            "generated_tokens": len(answer.tokens),
            "stopped": answer.stopped,
            "prediction": text,
            "gold_nll": answer.gold_nll,
        }
        asked = _asked(row, example, stage, train_condition, eval_condition)
        lines.append(asked | said | _against_gold(text, row, example, scored))
    told = f"{_right(lines, began)}{_share_of_all()}"
    say(f"stage {stage} · {eval_condition} prompts · {told}")
    return lines


def _share_of_all() -> str:
    """What is said behind the count of a process that asks some of the dialogues."""
    return f" · one of {ranks.count()} shares" if ranks.count() > 1 else ""


def _copy(run: Prepared, rows, scored, stage: int, condition: str, say) -> list[dict]:
    """The same lines as `predict` has, but for what only a model can give."""
    encoded = chat.encode_all(run.source.tokenizer, rows, run.material.cut)
    began, lines = time.monotonic(), []
    answers = recall.copy(run, rows, stage)
    for row, example, answer in zip(rows, encoded, answers, strict=True):
        said = {
            "generated_tokens": answer.tokens,
            "stopped": True,
            "prediction": answer.text,
            "gold_nll": None,
        }
        asked = _asked(row, example, stage, run.settings.condition, condition)
        lines.append(asked | said | _against_gold(answer.text, row, example, scored))
    say(f"stage {stage} · {condition} prompts · {_right(lines, began)}")
    return lines


def _asked(
    row: Mapping, example: chat.Encoded, stage: int, train_condition: str, eval_condition: str
) -> dict:
    """What was asked, after which stage and under which conditions."""
    return {
        "dialogue_id": row["dialogue_id"],
        "step": row["step"],
        "block": row["block"],
        "stage": stage,
        "train_condition": train_condition,
        "eval_condition": eval_condition,
        "prompt_tokens": example.prompt,
    }


def _against_gold(text: str, row: Mapping, example: chat.Encoded, scored) -> dict:
    return {"gold_tokens": len(example.completion), **scored(text, row)}


def _right(lines: Sequence[Mapping], began: float) -> str:
    """How many of the answers are exact, and what they took since `began`, for people."""
    right = sum(line["canonical"] for line in lines)
    return f"{right} of {len(lines)} exact · {time.monotonic() - began:.0f} s"


def score_calls(apis: Mapping[str, Mapping[str, Api]]) -> Callable[[str, Mapping], dict]:
    """The scores of calls. `apis` gives for every dialogue id what its documents say, see
    `documents.apis_of`: positional arguments are bound by it, and errors told apart.
    """
    names = {name: {api.name: api.names for api in known.values()} for name, known in apis.items()}

    def scored(text: str, row: Mapping) -> dict:
        dialogue, gold = row["dialogue_id"], row["gold"]
        scores = score.score(text, gold, names[dialogue])
        return {
            "calls": len(parse_all(text)),
            **scores,
            "error": errors.kind(text, gold, apis[dialogue]),
        }

    return scored


def score_stop(text: str, row: Mapping) -> dict:
    """The score of the end of a turn: whether the answer is that there is no further call."""
    return {"canonical": is_no_call(text)}


def kept(
    path: Path,
    rows: Iterable[Mapping],
    blocks: Collection[str],
    measure: Callable[[Sequence[Mapping]], list[dict]],
) -> list[dict]:
    """The lines of `path`, in the order of `rows`; of those rows that are of `blocks` the lines
    that are not there yet are measured and added. Several processes measure some dialogues each,
    and all return all lines.
    """
    rows = list(rows)
    found = {_item(line): line for line in ranks.from_first(lambda: _there(path))}
    lacking = [row for row in rows if row["block"] in blocks and _item(row) not in found]
    if lacking:
        found |= {_item(line): line for line in ranks.gathered(_measure_own(lacking, measure))}
        lines = [found[_item(row)] for row in rows if _item(row) in found]
        ranks.from_first(lambda: write_lines(path, lines))
    return ranks.from_first(lambda: read_lines(path))


def _measure_own(
    rows: Sequence[Mapping], measure: Callable[[Sequence[Mapping]], list[dict]]
) -> list[dict]:
    """The lines of those rows that are this process's: whole dialogues, for what their prompts
    share is read once, and about as much to read as every other process has.
    """
    if ranks.count() == 1:
        return measure(rows)
    groups = list(by_dialogue([row["dialogue_id"] for row in rows]).values())
    longest = [max(_characters(rows[index]) for index in group) for group in groups]
    dealt = ranks.deal(longest, ranks.count())[ranks.rank()]
    own = sorted(chain.from_iterable(groups[group] for group in dealt))
    return measure([rows[index] for index in own]) if own else []


def _characters(row: Mapping) -> int:
    return sum(len(message["content"]) for message in row["prompt"])


def _there(path: Path) -> list[dict]:
    """The lines of a file, none where it is not there or was emptied with its disk."""
    if not path.exists():
        return []
    try:
        return read_lines(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and its answers are asked again") from None


def _item(row: Mapping) -> tuple[str, int]:
    return row["dialogue_id"], row["step"]


def table(
    predictions: Sequence[Mapping],
    blocks: Sequence[str],
    stages: Sequence[str],
    score_name: str = "name",
) -> pd.DataFrame:
    """Right answers by stage (rows, named `stages`, that before training first) and block (columns)
    so far, as `right/items`, for one evaluation condition's predictions; – where nothing was asked.
    """
    counts = [
        [[0, 0] for _ in blocks] for _ in range(1 + max(line["stage"] for line in predictions))
    ]
    for line in predictions:
        cell = counts[line["stage"]][blocks.index(line["block"])]
        cell[0] += line[score_name]
        cell[1] += 1
    shown = [[f"{right}/{total}" if total else "–" for right, total in row] for row in counts]
    return pd.DataFrame(shown, index=stages[: len(shown)], columns=list(blocks))
