"""Repairs by scripts."""

import json
import random
from dataclasses import replace

import pytest
from world.players import player, wanderer

from trajnb.formatting.pairs import Wording
from trajnb.formatting.trajectories import trajectory_rows
from trajnb.scoring.quality import KEPT, Rule, acceptance, grade
from trajnb.world.candidates import Sampling, lesson, sample_candidates
from trajnb.world.repair import (
    Repairing,
    edits,
    from_line,
    repair_candidates,
    to_line,
)
from trajnb.world.repairers import FAILURES, READS_GOLD, REPAIRERS, failure
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Said
from trajnb.world.turns import replay, succeeds, turn_tasks

PWD, NONSENSE = "[pwd()]", "I would rather not."
FOLDER, FILE = "[cd(folder='Documents')]", "[touch(file_name='summary.txt')]"  # of `task`
NOWHERE = "[cd(folder='nowhere')]"
MARKER = "[marker_of_gold(value='zanzibar')]"
HOW = {"repairing": Repairing(), "sampling": Sampling()}
TOLD = tuple(name for name in REPAIRERS if name not in READS_GOLD)

each_repairer = pytest.mark.parametrize("repairer", ["oracle", "resample", "self", "model"])


@pytest.fixture(scope="module")
def sandbox(wheel):
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def tasks(bfcl, worlds):
    """Every 90th."""
    return turn_tasks(bfcl.dialogues, worlds, bfcl.held_out)[::90]


@pytest.fixture(scope="module")
def graded(sandbox, tasks):
    """Candidates of a model that is right half of the time."""
    ask = player(tasks, wanderer(right=0.5))
    return grade(tasks, sample_candidates(sandbox, tasks, ask, Sampling()), Rule())


@pytest.fixture(scope="module")
def bad(graded):
    bad = [one.trajectory for one in graded if one.label != KEPT and one.counts]
    return bad[::2][:8]


@pytest.fixture
def task(bfcl, worlds):
    dialogue = next(one for one in bfcl.dialogues if one.id == "multi_turn_base_12")
    return turn_tasks([dialogue], worlds)[0]


class Script:
    """Says by the number of an attempt what stands at the place of a reply, and notes what it is
    asked.
    """

    def __init__(self, *attempts):
        self.attempts, self.asked = attempts, []

    def __call__(self, wave):
        self.asked += wave
        return [[self._say(draw)] for wanted in wave for draw in wanted.draws]

    def _say(self, draw):
        return Said((*self.attempts[draw.index], *["[]"] * 9)[len(draw.path)])


def candidate(sandbox, task, *calls):
    ask = Script((), calls)
    (found,) = sample_candidates(sandbox, [task], ask, Sampling(1))
    return found


def never(candidate, made):
    return False


def won(candidate, made):
    return made.won


def repaired(sandbox, task, bad, repairer, *attempts, accepts=won):
    script = Script(*attempts)
    how = HOW | {"repairing": Repairing(attempts=max(len(attempts), 1))}
    (found,) = repair_candidates(sandbox, [task], [bad], repairer, script, accepts, **how)
    return found, script


def forms(trajectory):
    return [move.form for move in trajectory.moves]


def prompts(asked):
    """All texts that a model is shown, whatever the condition."""
    return [
        [line["content"] for line in one.messages or Wording("full").prompt(one.history, "it")]
        for one in asked
    ]


@pytest.mark.parametrize(
    "calls, word",
    [
        ((FOLDER, FILE, FILE), "poor"),
        ((), "no call"),
        ((NOWHERE, NONSENSE), "refused"),
        ((NOWHERE,), "failed"),
        ((PWD, PWD, PWD, PWD), "unfinished"),
        ((FOLDER,), "not done"),
    ],
)
def test_what_is_wrong_is_seen_without_gold(sandbox, task, calls, word):
    assert failure(candidate(sandbox, task, *calls)) == word and word in FAILURES


@pytest.mark.parametrize(
    "calls, kept",
    [
        ((FOLDER, NOWHERE, PWD), [FOLDER]),
        ((NONSENSE, FOLDER), []),
        ((FOLDER, PWD), [FOLDER]),
        ((PWD, PWD, FOLDER, PWD), [PWD, PWD, FOLDER]),
        ((), []),
    ],
)
def test_resampling_goes_on_before_the_first_bad_call(sandbox, task, calls, kept):
    bad = candidate(sandbox, task, *calls)
    found, script = repaired(sandbox, task, bad, "resample", (*[""] * len(kept), FILE))
    assert forms(found.attempts[0]) == [*kept, FILE, "[]"][:4]
    history = script.asked[0].history
    assert [turn.text for turn in history.turns[len(task.turns) :]] == [
        move.response for move in bad.calls[: len(kept)]
    ]
    assert history.ordinal == len(kept) + 1


def test_who_repairs_itself_sees_what_it_did_and_what_that_got(sandbox, task):
    """The released code's repairer is never sent the trajectory that it repairs."""
    bad = candidate(sandbox, task, NOWHERE, NONSENSE)
    for repairer in ("self", "model", "endpoint"):
        found, script = repaired(sandbox, task, bad, repairer, (FOLDER, FILE))
        assert found.accepted and forms(found.trajectory) == [FOLDER, FILE, "[]"]
        for texts in prompts(script.asked):
            assert NOWHERE in texts[-1] and NONSENSE in texts[-1]
            assert all(move.response in texts[-1] for move in bad.calls)
        assert prompts(script.asked)[1][-1].count(FOLDER) == 1
        ordinals = [wanted.history.ordinal for wanted in script.asked]
        assert ordinals == [1, 2, 3]
    assert FAILURES["refused"] in prompts(script.asked)[0][-1]


def test_calls_of_a_repair_are_carried_out_without_the_bad_ones(sandbox, task):
    """`cd` into a folder a second time would fail."""
    bad = candidate(sandbox, task, FOLDER, PWD)
    for repairer in ("self", "model"):
        found, _ = repaired(sandbox, task, bad, repairer, (FILE,), (FOLDER, FILE))
        assert not found.attempts[0].won and found.accepted
        assert found.trajectory.attempt == 1 and found.trajectory.failed == 0


def test_texts_reach_the_apis_as_they_were_written(sandbox, task):
    """In the released code a doubled backslash keeps the repairer's calls from running."""
    text = "[echo(content='C:\\\\new \\n \"two\" lines')]"
    bad = candidate(sandbox, task, PWD)
    found, _ = repaired(sandbox, task, bad, "model", (text,))
    call = found.attempts[0].calls[0]
    assert call.kind == "executed"
    assert json.loads(call.response) == {"terminal_output": 'C:\\new \n "two" lines'}
    assert call.response == candidate(sandbox, task, text).calls[0].response


@pytest.mark.parametrize(
    "calls, wanted",
    [
        ((NOWHERE, FOLDER, PWD), [FOLDER, PWD, FILE]),
        ((FOLDER, FILE, FILE), [FOLDER, FILE]),  # to make it again is an error
        ((PWD, FOLDER, FILE), [PWD, FOLDER, FILE]),
        ((FILE, NONSENSE), [FOLDER, FILE]),
        ((), [FOLDER, FILE]),
        ((PWD, PWD, PWD, PWD), [PWD, FOLDER, FILE]),
    ],
)
def test_the_oracle_keeps_what_it_can_and_adds_what_it_must(sandbox, task, calls, wanted):
    bad = candidate(sandbox, task, *calls)
    found, script = repaired(sandbox, task, bad, "oracle")
    assert forms(found.trajectory) == [*wanted, "[]"] and found.reads_gold
    assert script.asked == [] and len(found.attempts) == 1


def test_the_first_attempt_is_greedy_and_the_first_accepted_is_the_last(sandbox, task):
    bad = candidate(sandbox, task, PWD)
    attempts = ((), (PWD,), (FOLDER, FILE), (FOLDER,))
    found, script = repaired(sandbox, task, bad, "model", *attempts)
    assert [one.won for one in found.attempts] == [False, False, True]
    draws = [draw for wanted in script.asked for draw in wanted.draws]
    assert [draw.index for draw in draws] == [0, 1, 1, 2, 2, 2] and draws[0].greedy
    found, _ = repaired(sandbox, task, bad, "model", *attempts, accepts=never)
    assert not found.accepted and found.trajectory is None and len(found.attempts) == 4
    names = [
        {d.seed(0) for w in _asked(sandbox, task, bad, name) for d in w.draws} for name in TOLD
    ]
    assert not set.intersection(*names), "the random numbers of each are its own"


def _asked(sandbox, task, bad, repairer):
    return repaired(sandbox, task, bad, repairer, (FOLDER,))[1].asked


@pytest.fixture(scope="module")
def fresh(wheel):
    """A process in which nothing was repaired."""
    with Sandbox() as sandbox:
        yield sandbox


@each_repairer
def test_every_accepted_repair_passes_alone_in_a_fresh_world(
    sandbox, fresh, tasks, graded, bad, repairer
):
    accepts = acceptance(tasks, graded, Rule())
    ask = player(tasks, wanderer(seed=1, right=0.7))
    found = repair_candidates(sandbox, tasks, bad, repairer, ask, accepts, **HOW)
    assert [(one.task, one.number) for one in found] == [(one.task, one.number) for one in bad]
    accepted = [one for one in found if one.accepted]
    assert 0 < len(accepted) and (repairer == "oracle" or len(accepted) < len(found))
    assert repairer != "oracle" or all(one.attempts[-1].won for one in found)
    by_id = {task.id: task for task in tasks}
    for one in accepted:
        task, calls = by_id[one.task], [move.text for move in one.trajectory.calls]
        goal = replay(sandbox, task, task.reference)
        given = replay(fresh, task, calls)
        assert succeeds(goal, given) and one.trajectory.author == repairer
        assert list(given.texts) == [move.response for move in one.trajectory.calls]
        assert len(one.trajectory.moves) <= Sampling().most(len(task.reference))
        rows = trajectory_rows(lesson(task, one.trajectory), Wording("full"))
        assert rows[-1]["target"] == "stop" and rows[0]["author"] == repairer


@each_repairer
def test_no_repairer_but_the_oracle_sees_gold(sandbox, tasks, bad, repairer):
    """The reference's calls are a marker here, and nothing is accepted, so that all attempts are
    made: not a letter that is asked or done may change.
    """
    bad = bad[:5]
    marked = [replace(task, reference=(MARKER,) * len(task.reference)) for task in tasks]

    def run(told):
        asked = []
        script = player(tasks, wanderer(seed=2, right=0.3))

        def ask(wave):
            asked.extend(wave)
            return script(wave)

        found = repair_candidates(sandbox, told, bad, repairer, ask, never, **HOW)
        return [[one.moves for one in repair.attempts] for repair in found], asked

    if repairer in READS_GOLD:
        try:
            assert "zanzibar" in str(run(marked)[0])
        except ValueError as error:  # it did try
            assert "its own reference does not succeed" in str(error)
        return
    made, asked = run(tasks)
    same, marked_asked = run(marked)
    assert same == made and marked_asked == asked
    texts = prompts(marked_asked)
    assert texts and "zanzibar" not in str(texts) and "zanzibar" not in str((same, marked_asked))


@each_repairer
def test_repairs_are_the_same_in_any_batch(sandbox, tasks, graded, bad, repairer):
    bad = bad[:5]
    accepts = acceptance(tasks, graded, Rule())
    ask = player(tasks, wanderer(seed=1, right=0.6))
    lines = [
        to_line(one)
        for one in repair_candidates(sandbox, tasks, bad, repairer, ask, accepts, **HOW)
    ]
    shuffled = random.Random(1).sample(range(len(bad)), len(bad))
    again = {}
    for group in (shuffled[:3], *([place] for place in shuffled[3:])):
        chosen = [bad[place] for place in group]
        found = repair_candidates(sandbox, tasks, chosen, repairer, ask, accepts, **HOW)
        again |= dict(zip(group, map(to_line, found), strict=True))
    assert [again[place] for place in range(len(bad))] == lines
    for line in lines:
        assert to_line(from_line(line)) == line


def test_model_and_endpoint_differ_in_who_is_asked_alone():
    assert REPAIRERS["endpoint"] is REPAIRERS["model"]
    assert list(REPAIRERS) == ["oracle", *TOLD]


def test_the_size_of_an_edit(sandbox, task):
    one = candidate(sandbox, task, FOLDER, PWD)
    for calls, size in (
        ((FOLDER, PWD), 0),
        (("Well: cd('Documents')", PWD), 0),
        ((FOLDER, FILE), 1),
        ((FOLDER,), 1),
        ((), 2),
        ((NONSENSE, FOLDER, PWD), 1),
        ((PWD, FOLDER), 2),
    ):
        other = candidate(sandbox, task, *calls)
        assert edits(task, one, other) == edits(task, other, one) == size, calls


def test_a_request_that_fails_is_an_error_and_no_score(sandbox, task):
    """In the released code it counts as a score of 0."""

    def ask(wave):
        raise ValueError("the endpoint answers 500")

    bad = candidate(sandbox, task, PWD)
    with pytest.raises(ValueError, match="answers 500"):
        repair_candidates(sandbox, [task], [bad], "endpoint", ask, won, **HOW)


def test_what_cannot_be_repaired_is_named(sandbox, task):
    bad = candidate(sandbox, task, PWD)
    for candidates, repairer, message in (
        ([bad], "orakel", "unknown repairer 'orakel' \\(did you mean 'oracle'"),
        ([bad, bad], "self", "candidate 1 of task multi_turn_base_12#0 stands here twice"),
        ([replace(bad, task="d#0")], "self", "task d#0, which is not among the tasks"),
    ):
        with pytest.raises(ValueError, match=message):
            repair_candidates(sandbox, [task], candidates, repairer, Script(()), won, **HOW)
    with pytest.raises(ValueError, match="attempts is 0: a repair needs at least 1"):
        Repairing(attempts=0)
    with pytest.raises(ValueError, match="temperature is nan: give one above 0"):
        Repairing(temperature=float("nan"))
    assert repair_candidates(sandbox, [task], [], "self", Script(()), won, **HOW) == []


def test_a_line_that_holds_no_repair_says_so(sandbox, task):
    found, _ = repaired(sandbox, task, candidate(sandbox, task, PWD), "oracle")
    content = json.loads(to_line(found))
    for wrong in ([], content | {"attempts": 3}, content | {"colour": 1}, {"task": "d#0"}):
        with pytest.raises(ValueError, match="holds no repair; repair it again"):
            from_line(json.dumps(wrong))
    with pytest.raises(ValueError, match="unknown repairer 'me'"):
        from_line(json.dumps(content | {"repairer": "me"}))
