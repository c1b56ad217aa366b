"""Candidates drawn from models that are scripts."""

import json
import random
from dataclasses import replace

import pytest
from world.players import player, wanderer

from trajnb.formatting.pairs import Wording
from trajnb.formatting.trajectories import trajectory_rows
from trajnb.scoring.quality import Rule, grade, terms
from trajnb.world.candidates import (
    Sampling,
    from_line,
    gold_trajectory,
    lesson,
    mark_repeats,
    sample_candidates,
    to_line,
)
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Said
from trajnb.world.turns import replay, succeeds, turn_tasks

PWD, NONSENSE = "[pwd()]", "I would rather not."
FOLDER, FILE = "[cd(folder='Documents')]", "[touch(file_name='summary.txt')]"  # of `task`


@pytest.fixture(scope="module")
def tasks(bfcl, worlds):
    """Every 60th."""
    return turn_tasks(bfcl.dialogues, worlds, bfcl.held_out)[::60]


@pytest.fixture(scope="module")
def sandbox(wheel):
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def task(bfcl, worlds):
    dialogue = next(one for one in bfcl.dialogues if one.id == "multi_turn_base_12")
    return turn_tasks([dialogue], worlds)[0]


@pytest.fixture
def ask(tasks):
    return player(tasks, wanderer(right=0.7))


class Script:
    """Says the next reply of a list for each candidate, and notes what it is asked."""

    def __init__(self, *candidates):
        self.candidates, self.waves = candidates, []

    def __call__(self, wave):
        self.waves.append(wave)
        return [[self._say(draw) for draw in wanted.draws] for wanted in wave]

    def _say(self, draw):
        return Said((*self.candidates[draw.index - 1], *["[]"] * 9)[len(draw.path)])


def drawn(sandbox, task, *candidates, **more):
    script = Script(*candidates)
    found = sample_candidates(sandbox, [task], script, Sampling(len(candidates), **more))
    return found, script


def test_a_candidate_goes_on_to_its_end_and_is_judged(sandbox, task):
    found, _ = drawn(
        sandbox,
        task,
        (FOLDER, FILE),
        (NONSENSE, FOLDER, FILE),
        (FOLDER, PWD),
        (),
        (FOLDER, FILE, PWD, PWD),
        ("", ""),
    )
    kinds = [[move.kind for move in one.moves] for one in found]
    assert kinds[0] == ["executed", "executed", "stop"]
    assert kinds[1] == ["refused", "executed", "executed", "stop"], "the model may recover"
    assert kinds[3] == ["stop"] and kinds[5] == ["refused", "refused", "stop"]
    assert len(kinds[4]) == 4 and not found[4].ended, "two calls and two more"
    assert [one.won for one in found] == [True, True, False, False, False, False]
    assert [one.number for one in found] == [1, 2, 3, 4, 5, 6]
    assert (found[1].failed, found[0].failed, len(found[1].calls)) == (1, 0, 3)


def test_an_empty_answer_never_succeeds(sandbox, tasks):
    """In the released code it is a part of every gold text, and so correct."""
    for said in ("", "[]", " \n"):
        found = sample_candidates(
            sandbox, tasks, lambda wave, said=said: [[Said(said)] for _ in wave], Sampling(1)
        )
        assert not any(one.won for one in found)


def test_candidates_at_one_history_share_a_prompt(sandbox, task):
    _, script = drawn(sandbox, task, (FOLDER, FILE), (PWD, FOLDER), ("[cd('Documents')]", PWD))
    first, second, *_ = script.waves
    assert [[draw.index for draw in state.draws] for state in first] == [[1, 2, 3]]
    assert [[draw.index for draw in state.draws] for state in second] == [[1], [2], [3]]
    _, script = drawn(sandbox, task, (FOLDER, FILE), (PWD, FOLDER), (f"API-Request: {FOLDER}", PWD))
    assert [[draw.index for draw in state.draws] for state in script.waves[1]] == [[1, 3], [2]]
    draws = [draw for wave in script.waves for state in wave for draw in state.draws]
    assert len({draw.seed(0) for draw in draws}) == len(draws)
    assert not any(draw.greedy for draw in draws)


def test_equal_calls_count_once(sandbox, task):
    found, _ = drawn(
        sandbox,
        task,
        (FOLDER, FILE),
        ("Well: cd('Documents')", FILE),
        (FOLDER, NONSENSE, FILE),
        (FOLDER, f"  {NONSENSE}\n", FILE),
        (FILE, FOLDER),
    )
    assert [one.repeats for one in found] == [0, 1, 0, 3, 0]
    further = sample_candidates(
        sandbox, [task], Script(*[()] * 5, (FOLDER, FILE)), Sampling(1), first=6
    )
    assert [one.number for one in further] == [6]
    assert mark_repeats(task, [*found, *further])[-1].repeats == 1


def test_candidates_are_the_same_in_any_batch(sandbox, tasks, ask):
    """By a model that says all sorts of hostile things."""
    lines = [to_line(one) for one in sample_candidates(sandbox, tasks, ask, Sampling())]
    assert len(lines) == 4 * len(tasks) and sandbox.replaced == 0
    shuffled = random.Random(1).sample(tasks, len(tasks))
    again = sample_candidates(sandbox, shuffled[:4], ask, Sampling())
    for task in shuffled[4:]:
        again += sample_candidates(sandbox, [task], ask, Sampling())
    by_task = {task.id: [to_line(one) for one in again if one.task == task.id] for task in tasks}
    assert [line for task in tasks for line in by_task[task.id]] == lines
    later = sample_candidates(sandbox, tasks[:3], ask, Sampling(2), first=3)
    told = [json.loads(line) for line in lines[:12]]
    assert [one.moves for one in later] == [
        from_line(json.dumps(one)).moves for one in told if one["number"] > 2
    ]


def test_a_success_passes_alone_and_so_does_what_is_learnt_of_it(sandbox, tasks, ask):
    found = sample_candidates(sandbox, tasks, ask, Sampling())
    by_id = {task.id: task for task in tasks}
    wins = [one for one in found if one.won]
    assert len(tasks) < len(wins) < len(found)
    left_out = 0
    for one in wins:
        task = by_id[one.task]
        goal = replay(sandbox, task, task.reference)
        assert succeeds(goal, replay(sandbox, task, [move.text for move in one.calls]))
        learnt = lesson(task, one)
        rows = trajectory_rows(learnt, Wording("full"))
        assert succeeds(goal, replay(sandbox, task, [row["gold"] for row in rows[:-1]]))
        assert [row["target"] for row in rows] == ["call"] * (len(rows) - 1) + ["stop"]
        assert len(rows) + learnt.refused == len(one.moves)
        left_out += learnt.refused
    assert left_out > 0
    with pytest.raises(ValueError, match="is none of task"):
        lesson(tasks[0], found[-1])


def test_the_reference_is_worth_most(sandbox, tasks):
    """Its calls are carried out, and documents have little against them."""
    golds = [gold_trajectory(sandbox, task) for task in tasks]
    assert all(gold.won and gold.author == "gold" for gold in golds)
    for task, gold in zip(tasks, golds, strict=True):
        found = terms(task, gold)
        assert found.pop("schema") > 0 and found.pop("non_repetition") > 0.5
        assert set(found.values()) == {1.0}, task.id
    assert {one.label for one in grade(tasks, golds, Rule())} == {"kept"}


def test_a_candidate_is_one_line_and_back(sandbox, tasks, ask):
    found = sample_candidates(sandbox, tasks[:3], ask, Sampling())
    found.append(replace(found[0], moves=(replace(found[0].moves[0], form="<a>\u2028"),)))
    for one in found:
        line = to_line(one)
        assert len(line.splitlines()) == 1 and from_line(line) == one
    content = json.loads(to_line(found[0]))
    for wrong in ([], content | {"moves": 3}, content | {"colour": 1}, {"task": "d#0"}):
        with pytest.raises(ValueError, match="holds no trajectory; sample it again"):
            from_line(json.dumps(wrong))
    content["moves"][0]["kind"] = "lost"
    with pytest.raises(ValueError, match="unknown kind 'lost'"):
        from_line(json.dumps(content))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"candidates": 0}, "candidates is 0: sampling needs at least 1"),
        ({"extra_moves": 0}, "extra_moves is 0"),
        ({"most_moves": -1}, "most_moves is -1"),
        ({"temperature": 0.0}, "temperature is 0.0: give one above 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
    ],
)
def test_sampling_that_cannot_be_is_named(sandbox, wrong, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**wrong)
    with pytest.raises(ValueError, match="first is 0: candidates are numbered from 1"):
        sample_candidates(sandbox, [], Script(), Sampling(), first=0)
