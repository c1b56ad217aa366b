"""Dialogues as HTML: as conditions show them, as a model played them, as tokens that the loss
counts.

Everything that comes from a corpus, a tokenizer or a model is escaped. One style sheet, light and
dark: `templates/dialogue.css` in the colours of the reports.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby
from operator import itemgetter

from IPython.display import HTML

from trajnb.escaping import in_html as escape
from trajnb.formatting.calls import without_prefix
from trajnb.formatting.conditions import CONDITIONS, PLACEBOS, History, Line, cue_line
from trajnb.formatting.dialogue import Dialogue
from trajnb.formatting.examples import Step, steps


def show_conditions(
    dialogue: Dialogue,
    step: int,
    conditions: Mapping[str, Callable[[History], Sequence[Line]]] = CONDITIONS,
    donor: Dialogue | None = None,
    near: Dialogue | None = None,
    cue: str = "ordinal",
) -> HTML:
    """One example under every condition, side by side; hidden lines are struck out, the target is
    green.

    `donor`, `near`: the dialogues whose calls `placebo` and `placebo-near` show, see
    `examples.donors`; without one that placebo is not drawn where the history holds calls. `cue`:
    one of `conditions.CUES`.

    Raises:
        ValueError: the dialogue has no target number `step` (from 0).
    """
    chosen = next((found for found in steps(dialogue, donor) if found.step == step), None)
    if chosen is None:
        last = len(dialogue.places) - 1
        there = f"they run from 0 to {last}" if last >= 0 else "it has no target at all"
        raise ValueError(f"dialogue {dialogue.id} has no step {step}; {there}")
    called = any(turn.role == "api" for turn in chosen.history.turns)
    nearby = next(found for found in steps(dialogue, near) if found.step == step)
    columns = []
    for name, condition in conditions.items():
        history = nearby.history if name == "placebo-near" else chosen.history
        if history.donated or not called or name not in PLACEBOS:
            columns.append(_column(name, condition(history), chosen, cue))
    return _page("columns", "".join(columns))


def show_rollout(line: Mapping, title: str, dialogue: Dialogue | None = None) -> HTML:
    """A dialogue that a model played, turn by turn: what it called and got, beside the reference.

    Args:
        line: a line of `rollouts.jsonl`.
        title: what stands above.
        dialogue: the same dialogue in the corpus; with it, each turn begins with what the user
        says.
    """
    said = [turn.text for turn in dialogue.turns if turn.role == "user"] if dialogue else []
    verdicts = iter(line["turns"])  # of the turns for which the reference makes calls
    rows = []
    for number, gold in enumerate(line["gold"]):
        if said:
            user = _line("user", f"User: {said[number]}")
            rows.append(f'<tr class="said"><td colspan="3">{user}</td></tr>')
        made = [_made(call) for call in line["calls"] if call["turn"] == number]
        wanted = [_line("gold", text) for text in gold]
        mark = _mark(next(verdicts)) if gold else ""
        rows.append(
            f"<tr><td>{number + 1} {mark}</td><td>{''.join(made) or '(no call)'}</td>"
            f"<td>{''.join(wanted) or '(no call)'}</td></tr>"
        )
    head = "<tr><th>turn</th><th>called, and got</th><th>reference</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return _page("rollout", f"<b>{escape(title)}</b>{table}")


def show_supervised(tokens: Sequence[str], supervised: Iterable[bool], around: int = 400) -> HTML:
    """The tokens of one example in order, those that the loss counts on green, each ended by a thin
    bar.

    Of a longer run of other tokens only the `around` before and after what is supervised are shown.

    Args:
        tokens: the text of each token.
        supervised: for each, whether the loss counts it.

    Raises:
        ValueError: not as many marks as tokens.
    """
    pairs = zip(map(bool, supervised), tokens, strict=True)
    runs = [
        (marked, [token for _, token in run])
        for marked, run in groupby(pairs, key=itemgetter(0))
    ]
    parts = []
    for place, (marked, run) in enumerate(runs):
        keep_start = around if place > 0 else 0
        keep_end = around if place + 1 < len(runs) else 0
        if marked or len(run) <= keep_start + keep_end:
            parts.append(_tokens(run, marked))
            continue
        left_out = len(run) - keep_start - keep_end
        parts.append(_tokens(run[:keep_start], marked))
        parts.append(f'<span class="cut"> … {left_out} tokens not shown … </span>')
        parts.append(_tokens(run[len(run) - keep_end :], marked))
    return _page("tokens", "".join(parts))


@cache
def style() -> str:
    """The style sheet that each of these views carries, so that it also looks right alone."""
    folder = files("trajnb.show").joinpath("templates")
    sheets = [folder.joinpath(name).read_text("utf-8") for name in ("colours.css", "dialogue.css")]
    return f"<style>\n{''.join(sheets)}</style>"


def _page(kind: str, body: str) -> HTML:
    return HTML(f'{style()}<div class="trajnb trajnb-colours {kind}">{body}</div>')


def _column(name: str, lines: Sequence[Line], step: Step, cue: str) -> str:
    shown = sum(line.shown for line in lines)
    drawn = [_line(line.kind, line.text, hidden=not line.shown) for line in lines]
    return (
        f'<div class="column"><div class="head"><b>{escape(name)}</b> '
        f"shows {shown} of {len(lines)} lines</div>{''.join(drawn)}"
        f"{_line('cue', cue_line(step.history, cue))}{_line('gold', step.completion)}</div>"
    )


def _line(kind: str, text: str, hidden: bool = False) -> str:
    state = " hidden" if hidden else ""
    return f'<div class="line {escape(kind)}{state}">{escape(text)}</div>'


def _made(call: Mapping) -> str:
    text = without_prefix(call["text"]) or "(nothing)"
    kind = "got failed" if call["failed"] else "got"
    got = f'<span class="{kind}">→ {escape(call["response"])}</span>'
    return f'{_line("request", text)}<div class="line response">{got}</div>'


def _mark(right: bool) -> str:
    return "✓" if right else "✗"


def _tokens(run: Sequence[str], marked: bool) -> str:
    spans = "".join(f'<span class="token">{escape(token)}</span>' for token in run)
    return f'<span class="{"supervised" if marked else "plain"}">{spans}</span>'
