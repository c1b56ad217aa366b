"""One held-out call, or one dialogue that was played, as HTML that needs no script.

The facts are those of the pages of items and of rollouts: rows of `items.items_data` and of
`rollouts.rollouts_data`. All text of records is escaped here.
"""

from collections.abc import Iterable, Mapping, Sequence

from trajnb.escaping import in_html

FOLDED = 12
"""Lines of one text that are shown before it is folded."""


def item_html(data: Mapping, row: Mapping, stage: int | None = None) -> str:
    """A call: gold, what each arm answered argument by argument, all stages, its prompts.

    `stage`: of the answers; None is the one that counts as final, also for an arm that was not
    asked at this one.
    """
    shown = "At the end" if stage is None else f"After {row['stages'][stage]}"
    parts = [
        _head(row["where"], row["facts"], data["notes"]),
        text_html(data["texts"][row["gold"]] or "(text not kept)", "line gold"),
        f"<h4>{in_html(shown)}</h4>",
        _answers(data, row, stage),
        "<h4>Over stages</h4>",
        _stages(data, row),
        f'<div class="columns">{"".join(_prompts(data, row))}</div>',
    ]
    return f'<div class="trajnb trajnb-colours item">{"".join(parts)}</div>'


def rollout_html(data: Mapping, row: Mapping) -> str:
    """A dialogue: by user turn what is said, and the calls of each arm beside the reference."""
    arms = [arm["name"] for arm in data["arms"]]
    turns = [["", "user turns"]]
    for name, marks in zip(arms, row["arms"], strict=True):
        turns.append([in_html(name), in_html(marks or "not played")])
    parts = [_head(row["d"], row["where"], data["notes"]), table_html(turns)]
    for number, turn in enumerate(row["turns"], 1):
        said = "(what the user says is in the corpus)"
        said = said if turn["user"] is None else data["texts"][turn["user"]]
        parts.append(text_html(f"User turn {number}: {said}", "line user"))
        parts.append(_passed(arms, turn["passed"]))
        lines = [["reference", *map(in_html, arms)]]
        lines += [_slot(data["texts"], slot) for slot in turn["slots"]]
        none = "<p>The reference makes no call here.</p>"
        parts.append(table_html(lines) if turn["slots"] else none)
    return f'<div class="trajnb trajnb-colours item">{"".join(parts)}</div>'


def table_html(lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells, which are HTML; the first line and the first cell of each are headings."""
    head, *body = lines
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    rows = []
    for first, *cells in body:
        rows.append(f"<tr><th>{first}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def text_html(text: str, kind: str) -> str:
    """A text as it is; one of many lines is folded behind its first."""
    text = text.strip() or "(none)"
    body = f'<div class="{in_html(kind)}">{in_html(text)}</div>'
    lines = text.splitlines()
    if len(lines) <= FOLDED:
        return body
    first = in_html(lines[0][:120])
    return f"<details><summary>{first} … {len(lines)} lines</summary>{body}</details>"


def _head(title: str, facts: str, notes: Iterable[str]) -> str:
    said = "".join(f'<p class="note">{in_html(note)}</p>' for note in notes)
    return f"<h3>{in_html(title)}</h3><small>{in_html(facts)}</small>{said}"


def _word(text: str, good: bool) -> str:
    return f'<b class="word {"right" if good else "wrong"}">{in_html(text)}</b>'


def _answers(data: Mapping, row: Mapping, stage: int | None) -> str:
    """Arguments by arms: the same as gold's, different, missing or too many."""
    shown = [place for place, own in enumerate(row["answers"]) if own]
    answers = [_at(row["answers"][place], stage) for place in shown]
    calls = [row["call"], *(answer[1] for answer in answers)]
    gold, *given = [dict(data["calls"][call]) if call >= 0 else {} for call in calls]
    lines = [["", "gold", *(in_html(data["arms"][place]["name"]) for place in shown)]]
    marks = [
        _word(f"{'✗✓'[answer[2]]} {data['kinds'][answer[3]]}", answer[2]) for answer in answers
    ]
    lines.append(["", "", *marks])
    for key in dict.fromkeys(key for call in (gold, *given) for key in call):
        cells = []
        for call, answer in zip(given, answers, strict=True):
            alike = key in answer[6] if len(answer) > 6 else False
            cells.append(_argument(gold.get(key), call, key, alike))
        lines.append([in_html(key), _code(gold.get(key)), *cells])
    written = [text_html(data["texts"][answer[0]], "code") for answer in answers]
    lines.append(["as written", "", *written])
    lines.append(["gold, prompt", "", *map(_likelihood, answers)])
    return table_html(lines)


def _at(own: Mapping, stage: int | None) -> list:
    """The answer of a stage, or the one that counts as final."""
    at = own["at"]
    return (at[stage] if stage is not None and stage < len(at) else None) or at[own["last"]]


def _argument(wanted: str | None, call: Mapping, key: str, alike: bool) -> str:
    if not call:
        return _word("no call", False)
    if key not in call:
        return "" if wanted is None else _word("missing", False)
    if wanted is None:
        return f"{_code(call[key])} {_word('extra', False)}"
    same = alike or call[key] == wanted
    return f"{_code(call[key])} {_word('same' if same else 'differs', same)}"


def _code(text: str | None) -> str:
    return "" if text is None else f"<code>{in_html(text)}</code>"


def _likelihood(answer: Sequence) -> str:
    likely = "–" if answer[4] is None else f"{answer[4]:.3f}"
    return f"{likely} nats/token, {answer[5]} tokens"


def _stages(data: Mapping, row: Mapping) -> str:
    lines = [["", *map(in_html, row["stages"])]]
    for arm, own in zip(data["arms"], row["answers"], strict=True):
        at = own["at"] if own else []
        marks = [_word("✗✓"[one[2]], one[2]) if one else "" for one in at]
        lines.append([in_html(arm["name"]), *marks])
    return table_html(lines)


def _prompts(data: Mapping, row: Mapping) -> list[str]:
    """The prompts at this step; none where the corpus is not to be had."""
    found = []
    for name, view in row.get("views", {}).items():
        documents = "".join(_line(data, number) for number in row["documents"])
        lines = "".join(_line(data, number) for number in (*view, row["cue"]))
        found.append(
            f'<div class="column"><h4>{in_html(name)} prompt</h4>'
            f"<details><summary>documents</summary>{documents}</details>{lines}</div>"
        )
    return found


def _line(data: Mapping, number: int) -> str:
    """A line of a prompt; one that the prompt does not show has a number below zero."""
    kind, text = data["lines"][number if number >= 0 else -1 - number]
    return text_html(data["texts"][text], f"line {kind}{'' if number >= 0 else ' hidden'}")


def _passed(arms: Sequence[str], passed: Sequence[bool | None]) -> str:
    pairs = zip(arms, passed, strict=True)
    return " ".join(_word(f"{arm} {'✗✓'[one]}", one) for arm, one in pairs if one is not None)


def _slot(texts: Sequence[str], slot: Sequence) -> list[str]:
    reference, *calls = slot
    first = text_html(texts[reference[0]], "line gold") if reference else ""
    return [first, *(_call(texts, call) for call in calls)]


def _call(texts: Sequence[str], call: Sequence | None) -> str:
    if call is None:
        return ""
    text, response, failed, says = call
    if says == "missing":
        return _word("no call", False)
    shown = text_html(texts[text], "line request") + text_html(texts[response], "line response")
    return f"{shown}{_word(says, says == 'same')}{_word('error', False) if failed else ''}"
