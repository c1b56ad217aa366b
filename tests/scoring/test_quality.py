"""Hand cases; the worlds are played in tests/world."""

import math
from dataclasses import replace

import pytest

from trajnb.formatting.calls import parse
from trajnb.formatting.dialogue import Turn
from trajnb.formatting.documents import apis_of
from trajnb.scoring.errors import MISSING, against_document
from trajnb.scoring.quality import Rule, acceptance, grade, published_quality, quality, terms
from trajnb.world.candidates import Move, Trajectory
from trajnb.world.turns import TurnTask

DOCUMENTS = (
    '{"name":"cd","parameters":{"folder":{"type":"string"}}}',
    '{"name":"ls","parameters":{"a":{"type":"boolean","default":false}}}',
)
TASK = TurnTask(
    id="d#0",
    dialogue_id="d",
    block="file_system",
    turn=0,
    held_out=False,
    scenario=((), {}),
    documents=DOCUMENTS,
    turns=(Turn("user", "Go."),),
    past=(),
    reference=("[cd(folder='a')]", "[ls()]"),
)
CD, LS, END = (
    Move("[cd(folder='a')]", "[cd(folder='a')]", "{}", "executed"),
    Move("[ls()]", "[ls()]", "{}", "executed"),
    Move("[]", "[]", "", "stop"),
)
GOOD = Trajectory("d#0", "file_system", "student", 1, (CD, LS, END), True)


def made(number, *moves, won=True, **more):
    return Trajectory("d#0", "file_system", "student", number, (*moves, END), won, **more)


def failed(move):
    return replace(move, kind="failed", response='{"error": "no such folder"}')


UNREADABLE = Move("well", "well", "Error", "refused")
FLY = Move("[fly(to='x')]", "[fly(to='x')]", "Error", "refused")


@pytest.mark.parametrize(
    "text, word",
    [
        ("[cd(folder='a')]", None),
        ("[cd('a')]", None),
        ("[ls()]", None),
        ("[ls(a='True')]", None),
        ("[fly()]", "invented function"),
        ("[cd(folder='a', fast=True)]", "invented argument"),
        ("[cd('a', 'b')]", "invented argument"),
        ("[ls(a='all')]", "wrong type"),
        ("[cd(folder=['a'])]", "wrong type"),
        ("[cd()]", MISSING),
    ],
)
def test_what_documents_have_against_a_call(text, word):
    assert against_document(parse(text), apis_of(DOCUMENTS)) == word


@pytest.mark.parametrize(
    "moves, wanted",
    [
        ((CD, LS), (1, 1, 1, 1, 1)),
        ((CD,), (1, 1, 1, 1, 1)),
        ((CD, UNREADABLE, LS), (2 / 3, 1, 1, 1, 1)),
        ((FLY, CD, failed(CD), LS), (1, 3 / 4, 2 / 4, 2 / 4, 3 / 4)),
        ((CD, replace(CD, text="API-Request: [cd('a')]"), LS, LS), (1, 1, 1, 2 / 4, 2 / 4)),
        ((UNREADABLE,), (0, 0, 0, 0, 0)),
        ((), (0, 0, 0, 0, 0)),
    ],
)
def test_terms_by_hand(moves, wanted):
    found = terms(TASK, made(1, *moves))
    assert tuple(found.values()) == pytest.approx(wanted)
    weights = (0.1, 0.2, 0.3, 0.2, 0.2)
    total = sum(weight * term for weight, term in zip(weights, wanted, strict=True))
    assert quality(TASK, made(1, *moves), Rule()) == pytest.approx(total)


def test_the_score_knows_what_tools_answered_where_the_published_one_reads_words():
    """The released code's score is the same whatever the tools said."""
    fine, bad = made(1, CD, LS), made(2, failed(CD), LS)
    assert quality(TASK, fine, Rule()) - quality(TASK, bad, Rule()) == pytest.approx(0.15)
    published = Rule(form="published")
    assert quality(TASK, fine, published) == quality(TASK, bad, published)


def test_the_published_form_by_hand():
    assert published_quality("a b c d e") == pytest.approx(1)
    assert published_quality("a b a b a b") == pytest.approx(0.7 + 0.3 * 2 / 4)
    half = math.exp(-(3**2) / (2 * 3**2))
    assert published_quality("a b c d e f g h i", 6) == pytest.approx(0.7 + 0.3 * half)
    assert published_quality("a b c d e f g h i") == pytest.approx(1), "its own length"


def labels(*group, rule=None):
    return [one.label for one in grade([TASK], group, rule or Rule())]


def test_each_candidate_is_one_of_three_and_has_one_row():
    poor = (LS, LS, CD)  # economy 2/3, non-repetition 2/3: 0.867
    worse = (failed(CD), CD, LS)  # 0.767
    assert labels(made(1, CD, LS), made(2, LS, CD)) == ["kept", "kept"]
    assert labels(made(1, *poor), made(2, CD, LS), made(3, won=False)) == ["low", "kept", "wrong"]
    assert labels(made(1, *poor), made(2, *worse)) == ["kept", "low"]
    assert labels(made(1, *worse)) == ["low"] and labels(made(1, won=False)) == ["wrong"]
    again = made(3, *poor, repeats=1)
    found = grade([TASK], [made(1, *poor), made(2, *worse), again], Rule())
    assert [(one.label, one.counts) for one in found] == [
        ("kept", True),
        ("low", True),
        ("kept", False),
    ]
    assert [one.trajectory.number for one in found] == [1, 2, 3]
    assert labels(made(2, CD, LS), made(1, won=False)) == ["kept", "wrong"], "in their order"
    assert labels() == []


def test_the_published_form_prefers_the_shortest():
    long = made(1, *[CD, LS] * 8)
    assert labels(long, made(2, CD, LS), rule=Rule(form="published")) == ["low", "kept"]


def test_a_repair_is_accepted_above_a_threshold_and_above_the_candidate():
    worse, poor, best = (failed(CD), CD, LS), (LS, LS, CD), (CD, LS)
    candidates = [made(1, won=False), made(2, *worse), made(3, *worse, LS)]
    accepts = acceptance([TASK], grade([TASK], candidates, Rule()), Rule())
    wrong, low, _ = candidates
    assert not accepts(wrong, made(1, *best, won=False)), "it must succeed"
    assert accepts(wrong, made(1, *poor)) and not accepts(wrong, made(1, *worse))
    assert accepts(low, made(2, *best)) and accepts(low, made(2, *poor))
    strict = Rule(best_kept=0.9)
    accepts = acceptance([TASK], grade([TASK], candidates, strict), strict)
    assert accepts(low, made(2, *best)) and not accepts(low, made(2, *poor))
    published = Rule(form="published", all_kept=1, best_kept=1)
    accepts = acceptance([TASK], grade([TASK], candidates, published), published)
    assert accepts(wrong, made(1, *worse)), "its own length"
    assert not accepts(low, made(2, *worse)), "not above the candidate's"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"form": "words"}, "unknown quality 'words'.*calls, published"),
        ({"validity": 0.2}, "sum to 1.1: make it 1"),
        ({"validity": -0.1, "schema": 0.4}, "validity is -0.1: give a number from 0 to 1"),
        ({"best_kept": 86}, "best_kept is 86"),
        ({"all_kept": float("nan")}, "all_kept is nan"),
    ],
)
def test_a_rule_that_cannot_be_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Rule(**wrong)


def test_candidates_that_cannot_be_graded_are_named():
    with pytest.raises(ValueError, match="task e#0, which is not among the tasks"):
        grade([TASK], [replace(GOOD, task="e#0")], Rule())
    with pytest.raises(ValueError, match="d#0 has two candidates of one number"):
        grade([TASK], [GOOD, GOOD], Rule())
