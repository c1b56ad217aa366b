import re
from html import escape
from itertools import product

import pytest

from trajnb.corpora.load import load_corpus
from trajnb.formatting.calls import render
from trajnb.formatting.conditions import CONDITIONS, KINDS, PLACEBOS
from trajnb.formatting.dialogue import Call, Dialogue, Turn
from trajnb.formatting.examples import donors
from trajnb.show.dialogue import show_conditions, show_rollout, show_supervised, style
from trajnb.show.report import TEMPLATES

ATTACK = "<script>alert(\"x\")</script><img src=x onerror='alert(1)'>&amp;"


@pytest.fixture
def hostile():
    call = Call("echo", {"content": ATTACK})
    turns = (Turn("user", ATTACK), Turn("api", ATTACK, call))
    return Dialogue(ATTACK, ATTACK, (ATTACK,), 2 * turns)


def hidden_lines(html):
    return re.findall(r'<div class="line (\w+) hidden">', html)


def test_all_text_is_escaped(hostile):
    more = {ATTACK: CONDITIONS["full"]}
    for html in (
        show_conditions(hostile, 1, CONDITIONS | more).data,
        show_supervised([ATTACK, ATTACK], [False, True]).data,
    ):
        body = html.partition("</style>")[2]
        assert set(re.findall(r"<(/?\w+)", body)) <= {"div", "/div", "span", "/span", "b", "/b"}
        assert "onerror=&#x27;" in body and "&amp;amp;" in body


def test_every_condition_has_a_column_and_strikes_what_it_hides():
    dialogues = load_corpus("sample").dialogues
    dialogue = dialogues[0]
    donor, near = (donors(dialogues, name)[dialogue.id] for name in PLACEBOS)
    html = show_conditions(dialogue, 2, donor=donor, near=near).data
    columns = html.split('<div class="column">')[1:]
    assert len(columns) == len(CONDITIONS)
    for name, column in zip(CONDITIONS, columns, strict=True):
        assert f"<b>{name}</b>" in column and "Generate API Request" in column
        assert 'class="line gold"' in column
    by_name = dict(zip(CONDITIONS, columns, strict=True))
    assert hidden_lines(by_name["full"]) == []
    assert set(hidden_lines(by_name["requests"])) == {"response"}
    assert set(hidden_lines(by_name["stripped"])) == {"request", "response"}
    for name, other in zip(PLACEBOS, (donor, near), strict=True):
        call = next(turn.call for turn in other.turns if turn.call)
        assert escape(render(call)) in by_name[name]
    plain = show_conditions(dialogue, 2, {"full": CONDITIONS["full"]}, cue="plain").data
    assert "Generate API Request:" in plain


def test_without_a_donor_no_placebo_is_drawn(hostile):
    assert "<b>placebo</b>" not in show_conditions(hostile, 1).data


def test_a_new_condition_needs_nothing_here(hostile):
    html = show_conditions(hostile, 0, {"mine": CONDITIONS["full"]}).data
    assert html.count('<div class="column">') == 1 and "<b>mine</b>" in html


def test_a_step_that_is_not_there_is_named(hostile):
    with pytest.raises(ValueError, match="has no step 7; they run from 0 to 1"):
        show_conditions(hostile, 7)


def test_supervised_tokens_are_marked_and_long_prompts_shortened():
    tokens = [f"p{i} " for i in range(1000)] + ["api", "-", "call"]
    html = show_supervised(tokens, [False] * 1000 + [True] * 3, around=10).data
    marked = html.partition('<span class="supervised">')[2]
    assert re.findall(r">([^<]+)</span>", marked) == ["api", "-", "call"]
    assert "990 tokens not shown" in html and "p990 " in html and "p989 " not in html


def test_nothing_is_cut_out_of_what_is_supervised():
    html = show_supervised(["a"] * 50, [True] * 50, around=3).data
    assert html.count('class="token"') == 50 and "not shown" not in html


def test_lengths_must_agree():
    with pytest.raises(ValueError):
        show_supervised(["a"], [True, False])


def test_a_response_to_the_user_is_a_target_too():
    turns = (
        Turn("user", "How many?"),
        Turn("api", "3", Call("count", {"what": "files"})),
        Turn("ai", "There are <3>."),
        Turn("user", "And now?"),
        Turn("api", "count(what=", None),  # a call that cannot be read
    )
    dialogue = Dialogue("d", "b", ("{}",), turns, targets=(1, 2, 4))
    said = show_conditions(dialogue, 1).data
    assert "Generate AI Response:" in said
    assert '<div class="line gold">AI: There are &lt;3&gt;.</div>' in said
    unread = show_conditions(dialogue, 2).data
    assert '<div class="line gold">API-Request: count(what=</div>' in unread
    with pytest.raises(ValueError, match="has no step 3; they run from 0 to 2"):
        show_conditions(dialogue, 3)
    with pytest.raises(ValueError, match="has no step 0; it has no target at all"):
        show_conditions(Dialogue("d", "b", ("{}",), turns, targets=()), 0)


ROLLOUT = {
    "turns": [True, False],
    "gold": [["[ls()]"], [], ["[cat(file_name='<b>')]"]],
    "calls": [
        {"turn": 0, "text": "API-Request: [ls()]", "response": "<i>a</i>", "failed": False},
        {"turn": 2, "text": "<script>", "response": "Error", "failed": True},
    ],
}


def test_turns_stand_side_by_side_and_all_text_is_escaped():
    page = show_rollout(ROLLOUT, "d < e").data
    assert "<script>" not in page and "<i>" not in page
    assert "&lt;script&gt;" in page and "d &lt; e" in page
    first, second, third = page.split("<tr><td>")[1:]
    assert first.startswith("1 ✓") and second.startswith("2 <") and third.startswith("3 ✗")
    assert second.count("(no call)") == 2 and 'class="got failed"' in third


def test_with_the_dialogue_a_rollout_shows_what_the_user_says():
    turns = tuple(Turn("user", text) for text in ("First.", "Then.", ATTACK))
    page = show_rollout(ROLLOUT, ATTACK, Dialogue("d", "b", (), turns)).data
    assert page.index("User: First.") < page.index("1 ✓") < page.index("User: Then.")
    body = page.partition("</style>")[2]
    table = {"table", "thead", "tbody", "tr", "th", "td"}
    tags = {tag.removeprefix("/") for tag in re.findall(r"<(/?\w+)", body)}
    assert tags == {"div", "span", "b", *table}


def colours():
    """Every colour of the one palette, as it is in light and in dark."""
    sheet = TEMPLATES.joinpath("colours.css").read_text("utf-8")
    found = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\);", sheet)
    assert len(found) == sheet.count("--")
    return {name: both for name, *both in found}


def contrast(one, other):
    """The contrast of two colours, from 1 to 21, as WCAG 2.2 defines it."""

    def luminance(colour):
        values = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_all_text_can_be_read_in_light_and_in_dark(mode):
    grounds = ["page", "card", "request", "response", "values", "gold", "learnt", "mark", "error"]
    pairs = [("ink", ground) for ground in grounds]
    pairs += product(("soft", "accent", "up", "down"), ("page", "card"))
    pairs += [("down", "response"), ("down", "error")]
    palette = colours()
    for text, ground in pairs:
        found = contrast(palette[text][mode], palette[ground][mode])
        assert found >= 4.5, f"{text} on {ground}: {found:.1f}"


def test_the_style_sheet_knows_every_kind_of_line_and_every_colour():
    sheet = TEMPLATES.joinpath("dialogue.css").read_text("utf-8")
    for kind in KINDS:
        assert f".trajnb .{kind}" in sheet, kind
    used = set(re.findall(r"var\(--(\w+)\)", style()))
    assert used <= set(colours())
    assert 'body[data-jp-theme-light="false"] .trajnb-colours { color-scheme: dark; }' in style()
