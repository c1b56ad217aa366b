"""Every figure that README and reports print, computed anew from the committed records.

In the texts a figure stands between two comments, which a reader of the page does not see: what
computes it, and its end. `level`, `effect` and the others are the functions of this module:

    <!--=level crossing-quick canonical full full-->20.0<!--/-->

    python -m tests.printed      # write all of them anew, after a report was made

test_printed fails where one differs, and where a figure stands outside of them.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median

import pandas as pd

from trajnb.machine import ROOT
from trajnb.records import Run, read_study
from trajnb.scoring import crossing, repairs
from trajnb.scoring.answers import answer, unit_of
from trajnb.scoring.arms import arms_of
from trajnb.scoring.length import MODEL
from trajnb.scoring.overview import plan_of
from trajnb.scoring.paired import fold_means, values
from trajnb.scoring.paper import results
from trajnb.scoring.power import smallest_effect
from trajnb.scoring.preferences import turns
from trajnb.scoring.stats import FEW_RUNS, p_words, runs_words
from trajnb.scoring.tables import frame

TEXTS = (
    "README.md",
    "reports/README.md",
    "reports/api-bank/README.md",
    "reports/api-bank-disjoint/README.md",
    "reports/api-bank-controls/README.md",
    "reports/bench/README.md",
)
BENCHES = {  # file -> what was timed
    "train-bfcl-full": "train, bfcl `full`, ten documents",
    "train-bfcl-stripped": "train, bfcl `stripped`, ten documents",
    "train-api-bank-full": "train, API-Bank level 1, `full`",
    "evaluate-bfcl-full": "evaluate, bfcl `full`, after one epoch",
}
CALL = ["dialogue_id", "step"]
MARKED = re.compile(r"<!--=(?P<call>[^>]*?)-->(?P<said>.*?)<!--/-->", re.DOTALL)


@cache
def runs(study: str) -> tuple[Run, ...]:
    """The committed runs of a report."""
    return tuple(read_study(ROOT / "reports" / study))


@cache
def table(study: str) -> pd.DataFrame:
    """Their predictions, see `scoring.tables.frame`."""
    return frame(runs(study))


@cache
def effects(study: str) -> pd.DataFrame:
    """Their effects, those that the params file declared marked as such."""
    plan = plan_of(ROOT / "reports" / study)
    return crossing.effects(table(study), plan.measures(), plan.family)


def level(study: str, measure: str, train: str, asked: str) -> str:
    """Percent right at the end, of one training and one test prompt; train `none` is before it."""
    levels = crossing.levels(crossing.plain(table(study)), measure)
    (row,) = levels[(levels.train == train) & (levels.asked == asked)].itertuples()
    return f"{row.mean:.1f}"


def memory(study: str, measure: str, strategy: str, condition: str) -> str:
    """Percent right of an arm without training, `lookup`, `most-frequent` or `few-shot`, mean of its
    folds as `level` is.
    """
    rows = table(study)
    own = rows[(rows.strategy == strategy) & (rows.condition == condition)]
    return f"{fold_means(values(own, measure, 'final')).mean():.1f}"


def effect(study: str, measure: str, name: str) -> str:
    """One effect with its interval, in points, and with p where there are pairs enough to test."""
    return _said(_effect(study, measure, name), measure)


def effect_among(study: str, other: str, kind: str, measure: str, name: str) -> str:
    """That of the calls alone whose targets are `novel` in the split of another study, or `seen`;
    nobody declared it, so its p is uncorrected.
    """
    plan = plan_of(ROOT / "reports" / study)
    found = crossing.effects(_among(study, other, kind), plan.measures(), {})
    return _said(_plain(found, measure, name), measure)


def calls_among(study: str, other: str, kind: str) -> str:
    """How many those calls are."""
    return f"{len(_among(study, other, kind)[CALL].drop_duplicates()):,}"


def _among(study: str, other: str, kind: str) -> pd.DataFrame:
    seen = {"novel": False, "seen": True}[kind]
    theirs = table(other)[[*CALL, "seen_target"]].drop_duplicates()
    return table(study).merge(theirs.loc[theirs.seen_target == seen, CALL], on=CALL)


def _said(row, measure: str) -> str:
    unit, digits = unit_of(measure)
    span = f"{row.low:+z.{digits}f} to {row.high:+z.{digits}f}"
    said = f"{row.mean:+z.{digits}f} {unit} (95 % interval {span}"
    if row.pairs < FEW_RUNS:
        return f"{said} over dialogues alone, {runs_words(row.pairs)})"
    p = row.holm if row.declared else row.p
    return f"{said}, {p_words(p)}, {row.pairs} run pairs)"


def finding(study: str, measure: str, name: str) -> str:
    """The sentence that the report's first page has of one effect."""
    return answer(_effect(study, measure, name))


def _effect(study: str, measure: str, name: str):
    return _plain(effects(study), measure, name)


def _plain(found: pd.DataFrame, measure: str, name: str):
    (row,) = found[
        (found.effect == name) & (found.measure == measure) & (found.variant.map(len) == 0)
    ].itertuples()
    return row


def finished(study: str) -> str:
    """How many of its planned runs are there, of those that train."""
    planned = plan_of(ROOT / "reports" / study).runs
    return f"{len(runs(study))} of {len(planned)}"


def pairs(study: str, name: str = "training@full") -> str:
    """How many run pairs of an effect there are, of the two plain arms unless another is named."""
    return str(_effect(study, "canonical", name).pairs)


def findable(study: str, novel: str, name: str = "training@full") -> str:
    """The smallest effect that the finished pairs can find, reckoned as its params file does: at the
    hardest test of the family, if such a share of the calls is novel.
    """
    count = int(pairs(study, name))
    held_out = table(study).groupby("run").dialogue_id.nunique().mean()
    family = plan_of(ROOT / "reports" / study).family
    tests = len(family["measures"]) * len(family["effects"])
    return f"{smallest_effect(count, held_out, counted=float(novel), tests=tests):.1f} points"


def calls(study: str) -> str:
    """How many different calls are held out."""
    return f"{len(table(study)[CALL].drop_duplicates()):,}"


def tokens(study: str, condition: str, which: str) -> str:
    """Training tokens of a run, `total` or `computed`, mean of its runs."""
    own = [run.record for run in runs(study) if run.record.parameters["condition"] == condition]
    trained = [record.tokens[f"train_{which}"] for record in own if record.tokens["train_total"]]
    return f"{sum(trained) / len(trained):,.0f}"


def more_tokens(study: str) -> str:
    """How many more training tokens `full` has than `stripped`, in percent."""
    full, stripped = (
        float(tokens(study, name, "total").replace(",", "")) for name in ("full", "stripped")
    )
    return f"{100 * (full / stripped - 1):.1f}"


def hours(study: str) -> str:
    """What all its runs took together, training and evaluation."""
    return f"{sum(run.record.seconds['total'] for run in runs(study)) / 3600:.1f}"


def machine(study: str) -> str:
    """Where it was run."""
    return "; ".join(sorted({run.record.machine for run in runs(study)}))


def model(study: str) -> str:
    """The model's name."""
    return ", ".join(sorted({run.record.parameters["model"] for run in runs(study)}))


def date(study: str) -> str:
    """When the last of its runs finished."""
    return max(run.record.finished[:10] for run in runs(study))


def arms(study: str) -> str:
    """How many arms it has."""
    return str(len(set(arms_of([run.record.parameters for run in runs(study)]))))


def paper(measure: str, arm: str) -> str:
    """The published final percent of an arm, A or B."""
    last = results()["full_percent"][measure][arm][-1]
    return f"{sum(last) / len(last):.1f}"


def pairs_learnt(study: str, preference: str) -> str:
    """Trees and pairs of one arm, over its stages, and how many replies were no pair for harm."""
    (run,) = _of_preference(study, preference)
    stages = run.record.preferences["stages"]
    trees = sum(stage["trees"]["tasks"] for stage in stages)
    kinds = Counter()
    for stage in stages:
        kinds.update(stage["pairs"]["kind"])
    harmless = sum(stage["pairs"]["harmless"] for stage in stages)
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"{trees} trees gave {kinds.total()} pairs ({said}); {harmless} replies were harmless"


def turns_passed(study: str, preference: str, search: str) -> str:
    """Held-out turn tasks that one arm passes at the end, by a `greedy` chain or a `tree`."""
    rows = turns(_of_preference(study, preference))
    rows = rows[rows["last"] & (rows.moment == "after") & (rows.search == search)]
    return f"{int(rows.passed.sum())} of {len(rows)}"


def _of_preference(study: str, preference: str) -> list[Run]:
    return [run for run in runs(study) if run.record.parameters.get("preference") == preference]


def repairs_accepted(study: str) -> str:
    """Of every repairer how many repairs were accepted, over stages and runs."""
    table = repairs.acceptance(runs(study))
    said = []
    for row in table[table.failure == "all"].to_dict("records"):
        marked = " (reads the reference)" if row["reads gold"] else ""
        said.append(f"{row['repairer']}{marked} {row['accepted']} of {row['repaired']}")
    return ", ".join(said)


def pairs_right(study: str, kind: str) -> str:
    """How often the reward model and the regression on length are right, of held-out pairs of a kind."""
    table = repairs.accuracies(runs(study))
    own = table[table.kind == kind].set_index("name")
    if own.empty:
        return "no held-out pair"
    said = [f"{name} {own.right[name].mean * own.pairs[name]:g}" for name in (MODEL, "regression")]
    return f"{', '.join(said)} of {own.pairs[MODEL]}"


def groups_without_effect(study: str) -> str:
    """Groups of GRPO whose episodes all earned the same."""
    steps = repairs.grpo_steps(runs(study))
    return f"{steps.equal_groups.sum()} of {steps.groups.sum()}"


def turns_at_the_end(study: str) -> str:
    """Held-out turn tasks that runs which repair pass at the end by one greedy chain."""
    rows = turns(repairs.repairing(runs(study)))
    rows = rows[rows["last"] & (rows.search == "greedy")]
    return f"{int(rows.passed.sum())} of {len(rows)}"


def bench() -> str:
    """The table of `trajnb bench`: medians over the repeats of every arm of every file."""
    head = (
        "| work | arm | seconds | tokens/s | share of peak | peak memory, GB | `trie` is faster by |"
    )
    lines = ["", head, "| --- " * 7 + "|"]
    for file, work in BENCHES.items():
        found = json.loads((ROOT / "reports" / "bench" / f"{file}.json").read_text())
        for arm, repeats in found["runs"].items():
            cells = [work, arm, *_medians(repeats), _faster(found["times_as_fast"][arm])]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", ""])


def bench_prefer() -> str:
    """The table of `trajnb bench prefer`."""
    head = (
        "| arm | turns | seconds | of the cores | tokens of both sides | computed | peak memory, GB | "
        "`trie` is faster by |"
    )
    lines = ["", head, "| --- " * 8 + "|"]
    found = json.loads((ROOT / "reports" / "bench" / "prefer-bfcl-full.json").read_text())
    for arm, repeats in found["runs"].items():
        of = {name: median(one[name] for one in repeats) for name in repeats[0]}
        computed = of["computed"] if arm == "trie" else of["tokens"]
        cells = [arm, str(len(repeats)), f"{of['seconds']:,.1f}", f"{of['cpu_seconds']:,.1f}"]
        cells += [f"{of['tokens']:,.0f}", f"2 x {computed:,.0f}", f"{of['peak_memory_mb'] / 1000:.1f}"]
        lines.append(f"| {' | '.join([*cells, _faster(found['times_as_fast'][arm])])} |")
    return "\n".join([*lines, "", ""])


PEAK = 989e12
"""Operations a second of an H100 SXM in bfloat16, without sparsity: NVIDIA's data sheet."""
WANTED = 0.45
"""Of the peak: what issue and bench page want of a GPU, unmeasured."""
PRICE = 3.0
"""EUR for an hour of such a GPU, assumed."""
SHAPES = {  # of the published configurations
    "8B (Llama 3.1)": (4096, 14336, 32, 32, 8, 128256),
    "70B (Llama 3.1)": (8192, 28672, 80, 64, 8, 128256),
}


def on_paper() -> str:
    """What training a billion tokens would take, once and a thousand times, by counted operations."""
    from transformers import LlamaConfig

    from trajnb.qlora.plan import operations

    head = (
        "| model | operations a distinct token | one run, GPU hours, shared | not shared | 1,000 runs, "
        "GPU hours, shared | EUR |"
    )
    lines = ["", head, "| --- " * 6 + "|"]
    tokens, distinct = 936_675, 241_306  # of all of bfcl's training examples, see above
    for name, (width, inner, layers, heads, shared, words) in SHAPES.items():
        config = LlamaConfig(
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=shared,
            vocab_size=words,
        )
        # each token looks at a thousand, and one in fifty is supervised
        each = operations(config, 16, 1000, 1_000_000, 20) / 1000
        unshared = 1e9 * each / (WANTED * PEAK) / 3600
        hours = unshared * distinct / tokens
        cells = [name, f"{each / 1e9:.0f} G", f"{hours:,.1f}", f"{unshared:,.0f}"]
        cells += [f"{1000 * hours:,.0f}", f"{1000 * hours * PRICE:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", ""])


def _medians(repeats: list[dict]) -> list[str]:
    """Seconds, tokens a second, percent of the machine's peak, GB; empty where not measured."""
    said = []
    for name, form in (
        ("seconds", "{:.1f}"),
        ("tokens_per_second", "{:.0f}"),
        ("share_of_peak", "{:.0%}"),
        ("peak_memory_mb", "{:.0f}"),
    ):
        values = [one[name] for one in repeats if one.get(name) is not None]
        said.append(form.format(median(values)) if values else "")
    said[-1] = f"{float(said[-1]) / 1000:.1f}"
    return said


def _faster(ratio: float) -> str:
    return "" if ratio == 1 else f"**{ratio:.1f}**"


FIGURES: dict[str, Callable[..., str]] = {
    one.__name__: one
    for one in (
        level,
        memory,
        effect,
        effect_among,
        finding,
        finished,
        pairs,
        findable,
        calls,
        calls_among,
        tokens,
        more_tokens,
        hours,
        machine,
        model,
        date,
        arms,
        paper,
        pairs_learnt,
        turns_passed,
        repairs_accepted,
        pairs_right,
        groups_without_effect,
        turns_at_the_end,
        bench,
        bench_prefer,
        on_paper,
    )
}


def printed(text: str) -> str:
    """The text with every figure computed anew."""
    return MARKED.sub(lambda found: f"<!--={found['call']}-->{_figure(found)}<!--/-->", text)


def _figure(found: re.Match) -> str:
    name, *arguments = found["call"].split()
    return FIGURES[name](*arguments)


def write() -> list[str]:
    """Write the figures of all texts anew; returns those texts that changed."""
    changed = []
    for name in TEXTS:
        path = Path(ROOT, name)
        before = path.read_text("utf-8")
        if (after := printed(before)) != before:
            path.write_text(after, "utf-8")
            changed.append(name)
    return changed


if __name__ == "__main__":
    print("\n".join(write()) or "nothing changed")
