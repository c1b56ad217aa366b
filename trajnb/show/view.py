"""Dialogues and tokens as HTML: what a condition hides is struck out, what the loss counts is marked.

Everything that comes from a corpus, a tokenizer or a model is escaped.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import groupby

from IPython.display import HTML

from trajnb.formatting.calls import render
from trajnb.formatting.conditions import CONDITIONS, History, Line, cue
from trajnb.formatting.dialogue import Dialogue
from trajnb.formatting.examples import steps

_STYLE = """<style>
.trajnb {font: 13px/1.45 system-ui, sans-serif; color: #222; background: #fff; text-align: left; padding: 4px}
.trajnb.columns {display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start}
.trajnb .column {flex: 1 1 30%; min-width: 240px}
.trajnb .head {border-bottom: 2px solid #444; margin-bottom: 6px; padding-bottom: 2px}
.trajnb .head b {font-size: 14px}
.trajnb .line {margin: 3px 0; padding: 2px 7px; border-left: 4px solid; white-space: pre-wrap;
  overflow-wrap: anywhere}
.trajnb .user, .trajnb .ai {border-color: #666; background: #f2f2f2}
.trajnb .request {border-color: #0072b2; background: #e8f2f9; font-family: monospace; font-size: 12px}
.trajnb .values {border-color: #6a4c93; background: #f1ebf7}
.trajnb .response {border-color: #b8860b; background: #fbf4e0; font-family: monospace; font-size: 12px}
.trajnb .hidden {border-color: #ddd; background: none; color: #999; text-decoration: line-through}
.trajnb .cue {border-color: #222; background: none; font-weight: bold}
.trajnb .gold {border-color: #1b7f4d; background: #e2f4e9; font-family: monospace; font-size: 12px}
.trajnb.tokens {font-family: monospace; font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere}
.trajnb.tokens .plain {color: #666}
.trajnb.tokens .supervised {color: #0b4a2b; background: #bfe8cf}
.trajnb.tokens .token {border-right: 1px solid rgba(0, 0, 0, .25)}
.trajnb .cut {color: #999; font-style: italic}
</style>"""


def show_conditions(
    dialogue: Dialogue,
    step: int,
    conditions: Mapping[str, Callable[[History], Sequence[Line]]] = CONDITIONS,
    donor: Dialogue | None = None,
) -> HTML:
    """One example under every condition, side by side; hidden lines are struck out, the target is green.

    `donor`: the dialogue whose calls a placebo shows, see `examples.donors`; without one, no placebo is drawn
    where the history holds calls.

    Raises:
        ValueError: the dialogue has no call number `step` (from 0).
    """
    chosen = next((found for found in steps(dialogue, donor) if found.step == step), None)
    if chosen is None:
        raise ValueError(f"dialogue {dialogue.id} has no step {step}; they run from 0 to {_last(dialogue)}")
    columns = []
    if any(turn.role == "api" for turn in chosen.history.turns) and not chosen.history.donated:
        conditions = {name: condition for name, condition in conditions.items() if name != "placebo"}
    for name, condition in conditions.items():
        lines = condition(chosen.history)
        shown = sum(line.shown for line in lines)
        columns.append(
            '<div class="column">'
            f'<div class="head"><b>{escape(name)}</b> shows {shown} of {len(lines)} lines</div>'
            + "".join(map(_line, lines))
            + f'<div class="line cue">{escape(cue(chosen.history))}</div>'
            + f'<div class="line gold">API-Request: {escape(render(chosen.call))}</div></div>'
        )
    return HTML(f'{_STYLE}<div class="trajnb columns">{"".join(columns)}</div>')


def show_supervised(tokens: Sequence[str], supervised: Iterable[bool], around: int = 400) -> HTML:
    """The tokens of one example in order, those that the loss counts on green, each ended by a thin bar.

    Of a longer run of other tokens only the `around` before and after what is supervised are shown.

    Args:
        tokens: the text of each token.
        supervised: for each, whether the loss counts it.
    """
    runs = [
        (marked, [token for _, token in run])
        for marked, run in groupby(zip(supervised, tokens, strict=True), key=lambda pair: bool(pair[0]))
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
    return HTML(f'{_STYLE}<div class="trajnb tokens">{"".join(parts)}</div>')


def _line(line: Line) -> str:
    state = "" if line.shown else " hidden"
    return f'<div class="line {escape(line.kind)}{state}">{escape(line.text)}</div>'


def _tokens(run: Sequence[str], marked: bool) -> str:
    spans = "".join(f'<span class="token">{escape(token)}</span>' for token in run)
    return f'<span class="{"supervised" if marked else "plain"}">{spans}</span>'


def _last(dialogue: Dialogue) -> int:
    return sum(turn.call is not None for turn in dialogue.turns) - 1
