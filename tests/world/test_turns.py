from collections import Counter

import pytest
from world.players import HOSTILE

from trajnb.corpora.bfcl import scenarios
from trajnb.corpora.load import load_corpus
from trajnb.world.sandbox import Sandbox
from trajnb.world.turns import FREE, history_of, replay, succeeds, turn_tasks


@pytest.fixture(scope="module")
def tasks(bfcl, worlds):
    return turn_tasks(bfcl.dialogues, worlds, bfcl.held_out)


def test_every_turn_with_a_reference_call_is_a_task(tasks):
    assert len({task.id for task in tasks}) == len(tasks) == 731
    counted = Counter((task.block, task.held_out) for task in tasks)
    blocks = ("file_system", "vehicle_control", "trading", "travel")
    assert [counted[block, False] for block in blocks] == [130, 131, 167, 159]
    assert [counted[block, True] for block in blocks] == [29, 40, 36, 39]
    assert sum(len(task.reference) for task in tasks) == 1142


def test_a_task_is_what_stands_before_its_calls(bfcl, tasks):
    dialogues = {one.id: one for one in bfcl.dialogues}
    for task in tasks:
        dialogue = dialogues[task.dialogue_id]
        assert task.turns == dialogue.turns[: len(task.turns)] and task.turns[-1].role == "user"
        assert sum(turn.role == "user" for turn in task.turns) == task.turn + 1
        assert len(task.past) == sum(turn.role == "api" for turn in task.turns)
        after = dialogue.turns[len(task.turns) :][: len(task.reference)]
        assert all(turn.role == "api" for turn in after)
        responses = [turn.text for turn in after]
        history = history_of(task, task.reference, responses)
        assert history.turns == (*task.turns, *after)
        assert history.ordinal == len(task.reference) + 1


@pytest.mark.parametrize(
    "corpus, step",
    [
        ("bfcl", 8),
        ("fresh", 16),
        ("sample", 2),
        pytest.param("bfcl", 1, marks=pytest.mark.slow),
        pytest.param("fresh", 1, marks=pytest.mark.slow),
    ],
)
def test_the_reference_passes_and_the_free_tasks_are_those_that_need_nothing(
    bfcl, tasks, corpus, step
):
    if corpus != "bfcl":
        fresh = corpus == "fresh"
        chosen = load_corpus("bfcl", fresh_ids=True) if fresh else load_corpus("sample")
        tasks = turn_tasks(chosen.dialogues, scenarios(fresh), chosen.held_out)
    tasks = [task for place, task in enumerate(tasks) if place % step == 0 or task.id in FREE]
    free = []
    with Sandbox() as sandbox:
        for task in tasks:
            done, idle = (replay(sandbox, task, calls) for calls in (task.reference, ()))
            assert succeeds(done, done) and not succeeds(done, idle), task.id
            known = [turn.text for turn in task.turns if turn.role == "api"]
            assert list(done.before) == known and not any(one.failed for one in done.responses)
            if done.state == idle.state and Counter(done.texts) <= Counter(known):
                free.append(task.id)
    assert set(free) == set(FREE) & {task.id for task in tasks}


def test_a_turn_is_judged_alone(sandbox, tasks):
    """A call that is left out fails its turn; a further one that changes nothing is free."""
    task = next(task for task in tasks if task.id == "multi_turn_base_12#0")
    done = replay(sandbox, task, task.reference)
    folder, file = task.reference
    for calls, right in (
        ([folder], False),
        ([file], False),
        ([file, folder], False),
        (["[pwd()]", folder, "[ls()]", file], True),
        ([folder, file, file], True),
        ([folder, file, "[mkdir(dir_name='more')]"], False),
        ([*(text for text in HOSTILE if "rm" not in text), folder, file], True),
    ):
        assert succeeds(done, replay(sandbox, task, calls)) is right, calls


def test_a_corpus_without_worlds_is_named(bfcl):
    with pytest.raises(ValueError, match="has no world to be played in: .* bfcl or sample"):
        turn_tasks(bfcl.dialogues, {})
