"""Results as HTML: the answer, the headline, gold beside prediction. All text of records is escaped
here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from math import isnan

import pandas as pd

from trajnb.escaping import in_html as escape
from trajnb.formatting.calls import without_prefix
from trajnb.scoring import paper
from trajnb.scoring.answers import unit_of
from trajnb.scoring.arms import words
from trajnb.scoring.score import MEASURES
from trajnb.scoring.stats import Estimate, Interval, direction


def answers_html(sentences: Iterable[str]) -> str:
    """The sentences of `trajnb.scoring.answers` as a list, their questions set off."""
    items = []
    for sentence in sentences:
        question, mark, answer = sentence.partition("? ")
        items.append(f"<b>{escape(question)}?</b> {escape(answer)}" if mark else escape(sentence))
    return f'<ul class="verdict">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def effects_html(effects: pd.DataFrame) -> str:
    """The table of `trajnb.scoring.crossing.effects`, without what was not measured; the last two
    columns are descriptions.
    """
    titles = (
        "measure",
        "effect",
        "95 % interval",
        "corrected",
        "p",
        "Holm",
        "run pairs",
        "interval covers other",
        "items",
        "sign flips",
        "right in one arm alone",
    )
    heads = "".join(f"<th>{title}</th>" for title in titles)
    rows = []
    measured = effects[effects["items"] > 0].rename(columns={"mean": "level"})
    for (variant, measure), part in measured.groupby(["variant", "measure"], sort=False):
        name = ", ".join(filter(None, [words(variant), MEASURES[measure][0]]))
        cells = [_effect(row, unit_of(measure)[1]) for row in part.itertuples()]
        rows += _row_group(escape(name), cells)
    return (
        f'<div class="scroll"><table class="headline effects"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row_group(head: str, rows: list[str]) -> list[str]:
    """Table rows, given their cells, under one heading at their left."""
    heading = f'<th scope="rowgroup" rowspan="{len(rows)}">{head}</th>'
    first, *others = rows
    return [
        f'<tr class="first">{heading}{first}</tr>',
        *(f'<tr class="">{row}</tr>' for row in others),
    ]


def _direction(row) -> str:
    """The class of a cell: what may be said of its row."""
    return ("unclear", "up", "down")[direction(row)]


def _mark(row) -> str:
    """What stands before a number that may be called higher or lower."""
    return ("", "▲ ", "▼ ")[direction(row)]


def _effect(row, digits: int) -> str:
    alone = f"{row.left_only} : {row.right_only} <small>p {_number(row.mcnemar, 3)}</small>"
    wide = Interval(row.level, row.corrected_low, row.corrected_high)
    cells = [
        "" if isnan(wide.low) else _span(wide, digits),
        _number(row.p, 3),
        f"<b>{_number(row.holm, 3)}</b>" if row.declared else _number(row.holm, 3),
        str(row.pairs),
        escape(", ".join(row.covers)),
        f"{row.items} <small>in {row.dialogues} dialogues</small>",
        f"<small>p {_number(row.flip, 3)}</small>",
        "" if isnan(row.mcnemar) else alone,
    ]
    p = row.holm if row.declared else row.p
    judged = Estimate(row.level, row.low, row.high, p, row.pairs, row.covers)
    floor = " <small>floor</small>" if row.floor else ""
    level = f"{row.level:+z.{digits}f}{_span(row, digits)}{floor}"
    others = "".join(f'<td class="n">{cell}</td>' for cell in cells)
    return f'<td>{escape(row.effect)}</td><td class="n {_direction(judged)}">{level}</td>{others}'


def _span(row, digits: int) -> str:
    if isnan(row.low):
        return " <small>no interval</small>"
    return f" <small>{row.low:+z.{digits}f} to {row.high:+z.{digits}f}</small>"


def _number(value: float, digits: int) -> str:
    if isnan(value):
        return "–"
    return f"{value:.{digits}f}" if value >= 10**-digits else f"&lt; {10**-digits:g}"


def intervals_html(
    table: pd.DataFrame, digits: Mapping[str, int] | int = 1, signed: bool = True
) -> str:
    """A table of `Interval`s, each number above its interval; nan stays empty. `digits` may go by
    column.
    """
    places = digits if isinstance(digits, Mapping) else dict.fromkeys(table, digits)
    cells = pd.DataFrame(index=table.index)
    for column in table:
        cells[column] = [_interval(found, places[column], signed) for found in table[column]]
    cells.columns = table.columns

    def escaped(label: object) -> str:
        return escape(str(label))

    cells = cells.rename(index=escaped, columns=escaped).to_html(escape=False, classes="intervals")
    return f'<div class="scroll">{cells}</div>'


def _interval(found: object, digits: int, signed: bool) -> str:
    if not isinstance(found, Interval) or isnan(found.mean):
        return ""
    form = f"{'+' if signed else ''}z.{digits}f"
    level = f"{found.mean:{form}}"
    if isnan(found.low):
        return level
    return f"{level} <small>{found.low:{form}} to {found.high:{form}}</small>"


def headline_html(headline: pd.DataFrame) -> str:
    """The table of `trajnb.scoring.tables.headline`: one row per arm and measure, counts beside
    percent. Measures that an arm does not have are left out.
    """
    rows = []
    headline = headline.rename(columns={"change": "mean"})
    for arm, part in headline[headline.final.notna()].groupby("arm", sort=False):
        lines = list(part.itertuples())
        rows += _row_group(escape(str(arm)) + _basis(lines[0]), list(map(_headline, lines)))
    return (
        '<div class="scroll"><table class="headline"><thead><tr>'
        "<th>trained with</th><th>measure</th>"
        "<th>zero-shot</th><th>final</th><th>change, 95 % interval</th>"
        f'<th class="paper">{escape(paper.HEADING)}</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def headline_lines(
    headline: pd.DataFrame, measures: Sequence[str] = ("canonical", "name"), most: int = 14
) -> list[str]:
    """The same for a terminal: of some measures, a line an arm, of at most so many arms."""
    shown = headline[headline.measure.isin(measures) & headline.final.notna()]
    cells: dict[str, dict[str, str]] = {}
    for row in shown.itertuples():
        levels = f"{row.zero:.1f} → {row.final:.1f} % of {row.n}"
        cells.setdefault(str(row.arm), {})[row.label] = levels
    if not cells:
        return []
    table = pd.DataFrame.from_dict(cells, orient="index").fillna("")
    lines = table.head(most).to_string().splitlines()
    more = len(table) - most
    return [*lines, f"... and {more} more, see the report"] if more > 0 else lines


def _headline(row) -> str:
    return (
        f"<td>{escape(row.label)}</td>"
        f'<td class="n">{_level(row, "zero")}</td><td class="n"><b>{_level(row, "final")}</b></td>'
        f'<td class="n {_direction(row)}">{_change(row)}</td><td class="n paper">{_paper(row)}</td>'
    )


def _basis(row) -> str:
    runs = f", {row.runs} runs" if row.runs > 1 else ""
    return f"<small>{row.calls} calls in {row.dialogues} dialogues{runs}</small>"


def _level(row, when: str) -> str:
    value = getattr(row, when)
    if row.unit != "%":
        return f"{value:.2f} <small>{row.unit}</small>"
    return f"{value:.1f} % <small>{getattr(row, f'{when}_right')} of {row.n}</small>"


def _change(row) -> str:
    digits = 1 if row.unit == "%" else 2
    return f"{_mark(row)}{row.mean:+z.{digits}f}{_span(row, digits)}"


def _paper(row) -> str:
    return "" if isnan(row.paper_final) else f"{row.paper_zero:.1f} → {row.paper_final:.1f} %"


def choose_samples(final: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """Up to `count` final predictions of one arm: as many hits as misses where there are, from all
    blocks.
    """
    shuffled = final.sample(frac=1, random_state=seed)
    place = shuffled.groupby(["canonical", "block"]).cumcount()
    shuffled = shuffled.assign(place=place).sort_values("place")
    hits, misses = shuffled[shuffled.canonical], shuffled[~shuffled.canonical]
    few = min(len(hits), max(count // 2, count - len(misses)))
    return pd.concat([hits[:few], misses[: count - few]])


def samples_html(rows: pd.DataFrame, before: pd.DataFrame) -> str:
    """Gold beside prediction, one foldable row each; what departs from gold is marked.

    `rows`: final predictions (rows of `tables.frame`); `before`: zero-shot ones, of the same runs
    and items.
    """
    key = ["run", "dialogue_id", "step"]
    zero = before.set_index(key).prediction
    parts = [
        _sample(row, zero.get((row.run, row.dialogue_id, row.step), ""))
        for row in rows.itertuples()
    ]
    return f'<div class="samples">{"".join(parts)}</div>'


def _sample(row, before: str) -> str:
    """One row; `before` is what the model said before training."""
    facts = {
        "block": row.block,
        "dialogue, step": f"{row.dialogue_id}, {row.step}",
        "call": f"{row.ordinal} of user turn {row.turn}",
        "run": row.run,
        "prompt": f"{row.prompt_tokens} tokens",
        "gold log-likelihood": _nats(row.logp),
        "zero-shot said": before.strip() or "(nothing)",
    }
    more = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return (
        f'<details class="sample"><summary><span class="outcome {row.outcome.replace(" ", "-")}">'
        f"{escape(row.outcome)}</span><span class=pair><code>{escape(row.gold)}</code>"
        f"<code>{_marked(row.gold, row.prediction) or '(nothing)'}</code></span></summary>"
        f"<dl>{more}</dl></details>"
    )


def _nats(logp: float) -> str:
    return "no probabilities" if isnan(logp) else f"{logp:.2f} nats/token"


COMPARED = 400
"""Words of a call that are held against gold's: the time grows with their square, and gold has under a
hundred.
"""
_WORDS = re.compile(r"\w+|\s+|.", re.DOTALL)


def _marked(gold: str, prediction: str) -> str:
    """The prediction, escaped, with <mark> around what is not gold's; `REQUEST_PREFIX` is none."""
    pieces = []
    # by words: single letters agree by chance
    wanted, written = _WORDS.findall(gold)[:COMPARED], _WORDS.findall(without_prefix(prediction))
    written, rest = written[:COMPARED], written[COMPARED:]
    matched = SequenceMatcher(None, wanted, written, autojunk=False)
    for kind, _, _, start, end in matched.get_opcodes():
        text = escape("".join(written[start:end]))
        pieces.append(text if kind == "equal" or not text else f"<mark>{text}</mark>")
    return "".join(pieces) + escape("".join(rest))


def readings_html(sentences: Iterable[str]) -> str:
    """Sentences generated from numbers, as a list."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="readings">{items}</ul>'


def sentence_html(sentence: str) -> str:
    """A sentence generated from numbers and names, as a paragraph."""
    return f"<p>{escape(sentence)}</p>"


def heading_html(arm: object, note: str) -> str:
    """A heading for the samples of one arm."""
    return f"<h3>{escape(str(arm))} <small>{escape(note)}</small></h3>"
