"""Results as HTML: the answer, the headline, gold beside prediction. All text of records is escaped here."""

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from html import escape
from math import isnan

import pandas as pd

from trajnb.formatting.calls import without_prefix
from trajnb.scoring.stats import Interval
from trajnb.scoring.tables import MEASURES
from trajnb.scoring.verdict import unit_of

PAPER_HEADING = "arXiv 2605.09734: another model and corpus"


def verdict_html(sentences: Iterable[str]) -> str:
    """The sentences of `trajnb.scoring.verdict` as a list, their questions set off."""
    items = []
    for sentence in sentences:
        question, mark, answer = sentence.partition("? ")
        items.append(f"<b>{escape(question)}?</b> {escape(answer)}" if mark else escape(sentence))
    return f'<ul class="verdict">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def effects_html(effects: pd.DataFrame) -> str:
    """The table of `trajnb.scoring.crossing.effects`, without what was not measured."""
    titles = ("measure", "effect", "95 % interval", "p", "Holm", "detectable", "right in one arm alone")
    heads = "".join(f"<th>{title}</th>" for title in (*titles, "items", "seeds × orders"))
    rows = []
    measured = effects[effects["items"] > 0].rename(columns={"mean": "level"})
    for (variant, measure), part in measured.groupby(["variant", "measure"], sort=False):
        name = ", ".join(filter(None, [variant, MEASURES[measure][0]]))
        for i, row in enumerate(part.itertuples()):
            head = f'<th scope="rowgroup" rowspan="{len(part)}">{escape(name)}</th>' if i == 0 else ""
            rows.append(
                f'<tr class="{"first" if i == 0 else ""}">{head}{_effect(row, unit_of(measure)[1])}</tr>'
            )
    return (
        f'<div class="scroll"><table class="headline effects"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _effect(row, digits: int) -> str:
    alone = f"{row.left_only} : {row.right_only} <small>p {_number(row.mcnemar, 3)}</small>"
    cells = [
        _number(row.p, 3),
        f"<b>{_number(row.holm, 3)}</b>" if row.declared else _number(row.holm, 3),
        _number(row.detectable, digits),
        "" if isnan(row.mcnemar) else alone,
        f"{row.items} <small>in {row.dialogues} dialogues</small>",
        f"{row.seeds} × {row.orders}" if row.seeds else "",
    ]
    verdict = "up" if row.low > 0 else "down" if row.high < 0 else "unclear"
    level = f'<td class="n {verdict}">{row.level:+z.{digits}f}{_span(row, digits)}</td>'
    return f"<td>{escape(row.effect)}</td>{level}" + "".join(f'<td class="n">{cell}</td>' for cell in cells)


def _span(row, digits: int) -> str:
    if isnan(row.low):
        return " <small>no interval</small>"
    return f" <small>{row.low:+z.{digits}f} to {row.high:+z.{digits}f}</small>"


def _number(value: float, digits: int) -> str:
    if isnan(value):
        return "–"
    return f"{value:.{digits}f}" if value >= 10**-digits else f"&lt; {10**-digits:g}"


def intervals_html(table: pd.DataFrame, digits: Mapping[str, int] | int = 1, signed: bool = True) -> str:
    """A table of `Interval`s, each number above its interval; nan stays empty. `digits` may go by column."""
    sign = "+" if signed else ""

    def cell(found, places: int) -> str:
        if not isinstance(found, Interval):
            return ""
        mark = ("▲ " if found.low > 0 else "▼ " if found.high < 0 else "") if signed else ""
        level = f"{mark}{found.mean:{sign}z.{places}f}"
        if isnan(found.low):
            return level
        return f"{level} <small>{found.low:{sign}z.{places}f} to {found.high:{sign}z.{places}f}</small>"

    places = digits if isinstance(digits, Mapping) else dict.fromkeys(table, digits)
    cells = table.apply(lambda column: column.map(lambda found: cell(found, places[column.name])))
    cells = cells.rename(index=escape, columns=escape).to_html(escape=False, classes="intervals")
    return f'<div class="scroll">{cells}</div>'


def headline_html(headline: pd.DataFrame) -> str:
    """The table of `trajnb.scoring.tables.headline`: one row per arm and measure, counts beside percent."""
    rows = []
    for arm, part in headline.groupby("arm", sort=False):
        for i, row in enumerate(part.itertuples()):
            head = (
                f'<th scope="rowgroup" rowspan="{len(part)}">{escape(arm)}{_basis(row)}</th>'
                if i == 0
                else ""
            )
            verdict = "up" if row.low > 0 else "down" if row.high < 0 else "unclear"
            rows.append(
                f'<tr class="{"first" if i == 0 else ""}">{head}<td>{escape(row.label)}</td>'
                f'<td class="n">{_level(row, "zero")}</td><td class="n"><b>{_level(row, "final")}</b></td>'
                f'<td class="n {verdict}">{_change(row)}</td><td class="n paper">{_paper(row)}</td></tr>'
            )
    return (
        '<div class="scroll"><table class="headline"><thead><tr><th>trained with</th><th>measure</th>'
        "<th>zero-shot</th><th>final</th><th>change, 95 % interval</th>"
        f'<th class="paper">{escape(PAPER_HEADING)}</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _basis(row) -> str:
    runs = f", {row.runs} runs" if row.runs > 1 else ""
    return f"<small>{row.n // row.runs} calls in {row.dialogues} dialogues{runs}</small>"


def _level(row, when: str) -> str:
    value = getattr(row, when)
    if row.unit != "%":
        return f"{value:.2f} <small>{row.unit}</small>"
    return f"{value:.1f} % <small>{getattr(row, f'{when}_right')} of {row.n}</small>"


def _change(row) -> str:
    digits = 1 if row.unit == "%" else 2
    mark = "▲ " if row.low > 0 else "▼ " if row.high < 0 else ""
    return f"{mark}{row.change:+z.{digits}f}{_span(row, digits)}"


def _paper(row) -> str:
    return "" if isnan(row.paper_final) else f"{row.paper_zero:.1f} → {row.paper_final:.1f} %"


def choose_samples(final: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """Up to `count` final predictions of one arm: as many hits as misses where there are, from all blocks."""
    shuffled = final.sample(frac=1, random_state=seed)
    shuffled = shuffled.assign(place=shuffled.groupby(["canonical", "block"]).cumcount()).sort_values("place")
    hits, misses = shuffled[shuffled.canonical], shuffled[~shuffled.canonical]
    few = min(len(hits), max(count // 2, count - len(misses)))
    return pd.concat([hits[:few], misses[: count - few]])


def samples_html(rows: pd.DataFrame, before: pd.DataFrame) -> str:
    """Gold beside prediction, one foldable row each; what departs from gold is marked.

    `rows`: final predictions (rows of `tables.frame`); `before`: zero-shot ones, of the same runs and items.
    """
    key = ["run", "dialogue_id", "step"]
    zero = before.set_index(key).prediction
    parts = []
    for row in rows.itertuples():
        gold, now = row.gold, row.prediction.strip()
        facts = {
            "block": row.block, "dialogue, step": f"{row.dialogue_id}, {row.step}",
            "call": f"{row.ordinal} of user turn {row.turn}", "run": row.run,
            "prompt": f"{row.prompt_tokens} tokens", "gold log-likelihood": f"{row.logp:.2f} nats/token",
            "zero-shot said": zero.get((row.run, row.dialogue_id, row.step), "").strip() or "(nothing)",
        }  # fmt: skip
        more = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
        parts.append(
            f'<details class="sample"><summary><span class="outcome {row.outcome.replace(" ", "-")}">'
            f"{escape(row.outcome)}</span><span class=pair><code>{escape(gold)}</code>"
            f"<code>{_marked(gold, now) or '(nothing)'}</code></span></summary><dl>{more}</dl></details>"
        )
    return f'<div class="samples">{"".join(parts)}</div>'


_WORDS = re.compile(r"\w+|\s+|.", re.DOTALL)


def _marked(gold: str, prediction: str) -> str:
    """The prediction, escaped, with <mark> around what is not gold's; an opening `API-Request:` is none."""
    prediction = without_prefix(prediction)
    pieces = []
    wanted, written = _WORDS.findall(gold), _WORDS.findall(prediction)  # single letters agree by chance
    for kind, _, _, start, end in SequenceMatcher(None, wanted, written, autojunk=False).get_opcodes():
        text = escape("".join(written[start:end]))
        pieces.append(text if kind == "equal" or not text else f"<mark>{text}</mark>")
    return "".join(pieces)


def readings_html(sentences: Iterable[str]) -> str:
    """Sentences generated from numbers, as a list."""
    return f'<ul class="readings">{"".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)}</ul>'


def heading_html(arm: str, note: str) -> str:
    """A heading for the samples of one arm."""
    return f"<h3>{escape(arm)} <small>{escape(note)}</small></h3>"
