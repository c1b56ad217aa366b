"""A rollout, turn by turn: what the model called and got, beside the reference; all text is escaped."""

from collections.abc import Mapping
from html import escape

_STYLE = """<style>
.rollout {font: 13px/1.45 system-ui, sans-serif; color: #222; background: #fff; padding: 4px}
.rollout table {border-collapse: collapse; width: 100%}
.rollout td, .rollout th {text-align: left; vertical-align: top; padding: 3px 8px; border-top: 1px solid #ddd}
.rollout code {font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere}
.rollout .got {color: #666}
.rollout .failed {color: #a33}
</style>"""


def rollout_html(line: Mapping, title: str) -> str:
    """One row per user turn of a line of `rollouts.jsonl`."""
    verdicts = iter(line["turns"])
    rows = []
    for number, gold in enumerate(line["gold"]):
        verdict = ("✓" if next(verdicts) else "✗") if gold else ""
        made = [_call(call) for call in line["calls"] if call["turn"] == number]
        wanted = [f"<code>{escape(text)}</code>" for text in gold]
        rows.append(
            f"<tr><td>{number + 1} {verdict}</td><td>{'<br>'.join(made) or '(no call)'}</td>"
            f"<td>{'<br>'.join(wanted) or '(no call)'}</td></tr>"
        )
    return (
        f'{_STYLE}<div class="rollout"><b>{escape(title)}</b><table><thead><tr><th>turn</th><th>called, and '
        f"got</th><th>reference</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _call(call: Mapping) -> str:
    text = call["text"].removeprefix("API-Request:").strip() or "(nothing)"
    kind = "got failed" if call["failed"] else "got"
    return f'<code>{escape(text)}</code><br><code class="{kind}">→ {escape(call["response"])}</code>'
