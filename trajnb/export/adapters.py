"""Adapters of finished runs as PEFT loads them, each with a model card filled from the record."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from trajnb.escaping import in_markdown
from trajnb.files import read_json, write_bytes, write_json
from trajnb.formatting.dialogue import hub_id
from trajnb.records import Run
from trajnb.scoring.score import MEASURES

BASES = {
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "qwen2.5-coder-0.5b": "Qwen/Qwen2.5-Coder-0.5B-Instruct",
    "qwen2.5-coder-1.5b": "Qwen/Qwen2.5-Coder-1.5B-Instruct",
}
"""The publisher's repository of models that trajnb has a name of its own for; all Apache-2.0."""
QUANTISED = (
    "It was trained on weights de-quantised from a GGUF file of this model, which differ from the "
    "publisher's by that quantisation."
)
SHOWN = ("canonical", "name", "parsed")
"""Measures of the card."""


def write_adapters(runs: Sequence[Run], out: Path) -> list[Path]:
    """A folder `<run>/<stage>` for every adapter that a run kept, to be given to
    `PeftModel.from_pretrained`; returns their paths.

    Raises:
        ValueError: no run has kept one, or one is damaged.
    """
    written = []
    for run in runs:
        for source in sorted(run.folder.glob("adapters/*"), key=_number):
            target = out / run.folder.name / source.name
            target.mkdir(parents=True, exist_ok=True)
            _copy(source, target, base_of(run))
            card = card_of(run, _number(source))
            write_bytes(target / "README.md", card.encode("utf-8", errors="replace"))
            written.append(target)
    if not written:
        raise ValueError(
            "these runs hold no adapters: they are not part of kept records; export the folder in "
            "which the study was run"
        )
    return written


def _number(adapter: Path) -> int:
    found = re.match(r"\d+", adapter.name)
    return int(found[0]) if found else 0


def _copy(source: Path, target: Path, base: str) -> None:
    """Weights as they are, and what shapes them with the base model's public name."""
    shape = read_json(source / "adapter_config.json")
    if not isinstance(shape, Mapping):
        raise ValueError(f"{source / 'adapter_config.json'} does not describe an adapter")
    write_json(target / "adapter_config.json", {**shape, "base_model_name_or_path": base})
    weights = source / "adapter_model.safetensors"
    if weights.is_symlink() or not weights.is_file():
        raise ValueError(f"{weights} is no file with the weights of an adapter")
    shutil.copyfile(weights, target / weights.name)


def base_of(run: Run) -> str:
    """The model that an adapter belongs on, as the hub knows it; a local folder by its name."""
    model = run.record.model["id"]
    if model in BASES:
        return BASES[model]
    return model if hub_id(f"{model}@main") and not Path(model).is_absolute() else Path(model).name


def card_of(run: Run, stage: int) -> str:
    """The model card of the adapter after this stage, in Markdown with its data in front."""
    record, own = run.record, run.record.parameters
    about = {
        "base_model": base_of(run),
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "tool-use", "continual-learning", "trajnb"],
    }
    if record.model["id"] in BASES:
        about["license"] = "apache-2.0"
    learnt = [block for blocks in record.stages[:stage] for block in blocks]
    facts = {
        "Base model": "{id} {revision}, sha256 {sha256}".format(**record.model),
        "Training prompts": own["condition"],
        "Learnt, in this order": ", ".join(learnt),
        "Corpus": f"{record.corpus['name']}, sha256 {record.corpus['hash']}",
        "Seed": own["seed"],
        "Optimisation": ", ".join(f"{name} {own[name]}" for name in _OPTIMISATION if name in own),
        "Tokens trained": f"{record.tokens['train_total']:,} in all stages of the run",
        "Machine": record.machine,
        "Finished": record.finished,
        "Versions": ", ".join(f"{name} {number}" for name, number in record.versions.items()),
        "Code": f"trajnb, commit {record.git_commit}",
    }
    lines = ["---", yaml.safe_dump(about, sort_keys=False).strip(), "---", ""]
    lines += [f"# {in_markdown(run.folder.name)}, stage {stage} of {len(record.stages)}", ""]
    lines += ["A LoRA adapter that predicts the next API call of a dialogue.", ""]
    lines += [f"- {name}: {in_markdown(value)}" for name, value in facts.items() if value != ""]
    if record.model["id"] in BASES:
        lines += ["", QUANTISED]
    lines += ["", "## Held-out calls after this stage", "", *_scores(run, stage)]
    lines += ["", "One training; it tells nothing about other seeds.", "", "## Use", "", *_USE]
    return "\n".join([*lines, ""])


_OPTIMISATION = (
    "epochs", "learning_rate", "dialogues_per_step", "warmup_ratio", "lora_rank", "lora_alpha",
    "lora_dropout", "quantization", "max_length",
)  # fmt: skip
_USE = [
    "```python",
    "from peft import AutoPeftModelForCausalLM",
    "model = AutoPeftModelForCausalLM.from_pretrained(FOLDER)",
    "```",
    "",
    "Prompts are those of trajnb: `trajnb export trl` writes them, with the calls.",
]


def _scores(run: Run, stage: int) -> list[str]:
    """A line of Markdown for each condition that was asked, by measure, with counts."""
    heads = [MEASURES[name][0] for name in SHOWN]
    lines = [f"| asked with | {' | '.join(heads)} |", "| --- " * (1 + len(heads)) + "|"]
    for condition, scores in run.record.matrix.items():
        cells = [_count(scores[name][stage], run.record.items) for name in SHOWN]
        lines.append(f"| {in_markdown(condition)} | {' | '.join(cells)} |")
    return lines


def _count(right: Sequence[int | None], items: Sequence[int]) -> str:
    """Right answers over all blocks that were asked about at this stage."""
    asked = [(count, of) for count, of in zip(right, items, strict=True) if count is not None]
    return f"{sum(count for count, _ in asked)} of {sum(of for _, of in asked)}"
