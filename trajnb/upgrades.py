"""Records of earlier versions, as one of today would be written; what was not measured then is None."""

from collections.abc import Callable, Mapping

from trajnb.formatting.calls import opened_name
from trajnb.formatting.dialogue import NO_FOLD, CorpusChoice
from trajnb.objectives import USUAL
from trajnb.schema import Item, Prediction
from trajnb.strategies import PLAIN

OLDER_PARAMETERS = {
    "strategy": PLAIN.name,
    "match_tokens": "",
    "fresh_ids": False,
    "skip_unusable": False,
    "stop_targets": False,
    "cue": "ordinal",
    "fold": NO_FOLD,
    "folds": CorpusChoice.folds,
    "eval_stages": "all",
    "objective": USUAL.name,
}
"""What older records lack: parameters that came later, at what was done before there was a choice."""
_GONE_PARAMETERS = ("data_seed",)  # it was always the seed
_RENAMED_CONDITIONS = {"placebo": "placebo-near"}  # its donors were of the same block


def upgrade(record: Mapping) -> dict:
    """A record as one of today would be written; what was not measured then is None."""
    added = {
        "stages": [[block] for block in record["blocks"]],
        "steps": None,
        "flops": None,
        "resumed": False,
        "cut_turns": {},
        "scores_only": False,
        "leaks": {},
        "preferences": {},
        "repair": {},
    }
    today = condition_of_today(record["parameters"])
    return (
        added
        | dict(record)
        | {"parameters": upgrade_parameters(record["parameters"])}
        | {"matrix": {today(name): scores for name, scores in record["matrix"].items()}}
    )


def upgrade_parameters(parameters: Mapping) -> dict:
    """The parameters of a run, of its record or of study.yaml, as one of today would have them."""
    today = condition_of_today(parameters)
    kept = {k: v for k, v in parameters.items() if k not in _GONE_PARAMETERS}
    kept |= {k: today(kept[k]) for k in ("condition", "match_tokens") if k in kept}
    if "eval_conditions" in kept:
        kept["eval_conditions"] = list(map(today, kept["eval_conditions"]))
    return OLDER_PARAMETERS | kept


def condition_of_today(parameters: Mapping) -> Callable[[str], str]:
    """What the conditions of a run with these parameters are called today. Runs without a `cue` are
    older than the placebo of another block.
    """
    if "cue" in parameters:
        return lambda name: name
    return lambda name: _RENAMED_CONDITIONS.get(name, name)


def upgrade_item(item: Mapping, parameters: Mapping) -> Item:
    named = item.get("name_response_only", False)
    added = {
        "name_response_only": named,
        "answerable": not (item["response_only"] or named),
        "prompt_characters": None,
        "shared_api": None,
        "cut_turns": None,
    }
    if parameters.get("prompt_format") == "paper":  # its stripped prompts lose the cue too
        return _completed(item, added) | {"same_prompt": False}
    return _completed(item, added)


def upgrade_prediction(
    prediction: Mapping, gold: str | None, today: Callable[[str], str] = str
) -> Prediction:
    """A prediction to the call `gold` as one of today would be written; `today` is the
    `condition_of_today` of its run.
    """
    added = {"error": None}
    if "opened_name" not in prediction:
        added["opened_name"] = opened_name(prediction["prediction"] or "") == opened_name(gold or "")
    conditions = {k: today(prediction[k]) for k in ("train_condition", "eval_condition")}
    return _completed(prediction, added) | conditions


def _completed(line: Mapping, added: Mapping) -> dict:
    """A line with what it lacks; its own keys come first and keep their order, so that records that
    are read and kept again stay letter for letter what they were.
    """
    return dict(line) | {key: value for key, value in added.items() if key not in line}
