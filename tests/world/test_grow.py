"""Trees grown by models that are scripts."""

import random

import pytest
from world.players import player, wanderer

from trajnb.world.grow import expert_trees, grow_trees, infer
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Said, Search, forks, from_line, to_line
from trajnb.world.turns import replay, succeeds, turn_tasks

PWD, NONSENSE = "[pwd()]", "I would rather not."
FOLDER, FILE = "[cd(folder='Documents')]", "[touch(file_name='summary.txt')]"  # of `task`
SWAPPED = "multi_turn_base_83#0"


@pytest.fixture(scope="module")
def tasks(bfcl, worlds):
    """Every 30th."""
    return turn_tasks(bfcl.dialogues, worlds, bfcl.held_out)[::30]


@pytest.fixture(scope="module")
def sandbox(wheel):
    """One for all: every replay opens a world of its own."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def task(bfcl, worlds):
    dialogue = next(one for one in bfcl.dialogues if one.id == "multi_turn_base_12")
    return turn_tasks([dialogue], worlds)[0]


class Script:
    """Says what stands under the path and the number of a reply, and notes what it is asked."""

    def __init__(self, replies, otherwise="[]"):
        self.replies, self.otherwise, self.waves = replies, otherwise, []

    def __call__(self, wave):
        self.waves.append(wave)
        return [[self._say(draw) for draw in wanted.draws] for wanted in wave]

    def _say(self, draw):
        return Said(self.replies.get((*draw.path, draw.index), self.otherwise))

    @property
    def asked(self):
        return [(*d.path, d.index) for wave in self.waves for wanted in wave for d in wanted.draws]


DETOUR = {
    (0,): PWD,
    (PWD, 1): NONSENSE,
    (1,): f"API-Request: {FOLDER}",
    (FOLDER, 0): FILE,
}
TO_SUCCESS = [(1,), (FOLDER, 0), (FOLDER, FILE, 0)]


def drawn(tree):
    return [(node.parent, node.draw, node.form, node.kind) for node in tree.nodes]


def test_a_search_goes_down_before_it_goes_on_and_stops_at_success(sandbox, task):
    script = Script(DETOUR)
    (tree,) = grow_trees(sandbox, [task], script, Search())
    assert script.asked == [(0,), (PWD, 0), (PWD, 1), (PWD, 2), *TO_SUCCESS]
    assert drawn(tree) == [
        (-1, 0, PWD, "executed"),
        (0, 0, "[]", "stop"),
        (0, 1, NONSENSE, "refused"),
        (-1, 1, FOLDER, "executed"),
        (3, 0, FILE, "executed"),
        (4, 0, "[]", "stop"),
    ]
    assert (tree.won, tree.replies, tree.duplicates, tree.refused) == (True, 7, 1, 1)
    assert [node.on_path for node in tree.nodes] == [False] * 3 + [True] * 3
    assert [node.won for node in tree.nodes] == [None, False, None, None, None, True]
    assert [node.harmless for node in tree.nodes] == [True, None, None, None, None, None]


def test_a_failed_end_takes_the_search_two_levels_back(sandbox, task):
    script = Script(DETOUR)
    (tree,) = grow_trees(sandbox, [task], script, Search(back_up=2))
    assert script.asked == [(0,), (PWD, 0), *TO_SUCCESS] and tree.won


def test_after_success_the_states_of_its_path_get_what_they_lack(sandbox, task):
    script = Script(DETOUR | {(FOLDER, 1): "[cd(folder='..')]", (FOLDER, FILE, 1): PWD})
    (tree,) = grow_trees(sandbox, [task], script, Search(explore="path"))
    late = [(2,), (FOLDER, 1), (FOLDER, 2), (FOLDER, FILE, 1), (FOLDER, FILE, 2)]
    assert script.asked[-5:] == late and len(script.waves) == 7 + 1
    beside = {(n.parent, n.form): n.harmless for n in tree.nodes if n.harmless is not None}
    assert beside == {
        (-1, PWD): True,
        (-1, "[]"): False,
        (3, "[cd(folder='..')]"): False,  # going there again is not among the calls to come
        (3, "[]"): False,
        (4, PWD): True,
    }
    (tree,) = grow_trees(sandbox, [task], Script(DETOUR), Search(explore="path", budget=9))
    assert tree.won and tree.replies == 9


def test_earlier_attempts_are_told_where_asked_for(sandbox, task):
    script = Script(DETOUR)
    search = Search(diversity="prompt", explore="path")
    (tree,) = grow_trees(sandbox, [task], script, search)
    told = {(*w.draws[0].path, w.draws[0].index): w.earlier for wave in script.waves for w in wave}
    assert told[(0,)] == () and told[(1,)] == (PWD,) and told[(2,)] == (PWD, FOLDER)
    assert told[(PWD, 2)] == ("[]", NONSENSE)
    assert all(len(wanted.draws) == 1 for wave in script.waves for wanted in wave)
    script = Script({}, otherwise=PWD)
    expert_trees(sandbox, [task], script, search)
    assert len(script.waves) == 3 and all(len(wave) == 3 for wave in script.waves)
    assert {w.earlier for w in script.waves[0]} == {()}, "the reference is not told"
    assert {w.earlier for w in script.waves[2]} == {(PWD,)}


@pytest.mark.parametrize("budget, replies", [(20, 12), (5, 5), (1, 1)])
def test_a_search_ends_with_its_depth_or_its_budget(sandbox, task, budget, replies):
    (tree,) = grow_trees(sandbox, [task], Script({}, otherwise=PWD), Search(budget=budget))
    assert not tree.won and tree.replies == replies
    assert len(tree.nodes) == min(budget, 4), "two calls and two more"
    assert forks(task, tree) == []


def test_the_same_call_in_other_words_is_a_duplicate(sandbox, task):
    words = {(0,): "[ls(True)]", (1,): "API-Request: [ls(a=True)]", (2,): "Well: ls(a='True')"}
    (tree,) = expert_trees(sandbox, [task], Script(words), Search())
    first = [node.text for node in tree.nodes if node.parent == -1]
    assert first == [FOLDER, "[ls(True)]"] and tree.duplicates == 2 + 2 + 3


def test_an_answer_is_the_first_one_given(sandbox, task):
    script = Script(DETOUR)
    (tree,) = infer(sandbox, [task], script, Search())
    assert script.asked == [(0,), (PWD, 0)] and not tree.won
    assert [(node.won, node.on_path, node.harmless) for node in tree.nodes][1] == (
        False,
        False,
        None,
    )
    (tree,) = infer(sandbox, [task], Script(DETOUR | {(PWD, 0): NONSENSE, (PWD, 1): PWD}), Search())
    assert [node.form for node in tree.nodes] == [PWD, NONSENSE, PWD, "[]"] and not tree.won
    (tree,) = infer(sandbox, [task], Script(DETOUR | {(0,): NONSENSE}), Search())
    assert tree.won and [node.on_path for node in tree.nodes] == [False, True, True, True]
    (tree,) = infer(sandbox, [task], Script({(0,): NONSENSE}), Search(width=1))
    assert not tree.won and tree.replies == 1, "a chain has nothing to go back to"


def test_where_the_reference_ends_turns_a_path_has_as_many_calls(sandbox, task):
    search = Search(ends="oracle")
    for grow in (grow_trees, infer, expert_trees):
        (tree,) = grow(sandbox, [task], player([task]), search)
        assert tree.won and [node.form for node in tree.nodes] == [FOLDER, FILE], grow.__name__
        assert [node.won for node in tree.nodes] == [None, True]
    script = Script({(0,): PWD, (PWD, 0): FILE, (1,): FOLDER, (FOLDER, 1): FILE})
    (tree,) = grow_trees(sandbox, [task], script, search)
    assert [(n.form, n.won, n.harmless) for n in tree.nodes] == [
        (PWD, None, False),  # no call is left for what it does not do
        (FILE, False, None),
        ("[]", None, None),
        (FOLDER, None, None),
        ("[]", None, False),
        (FILE, True, None),
    ]


def test_a_refused_or_failed_reply_is_never_harmless_though_the_rule_would_have_it(sandbox, task):
    failing = "[cd(folder='nowhere')]"
    script = Script({(0,): failing, (1,): "[fly(to='the moon')]"}, otherwise=PWD)
    (tree,) = expert_trees(sandbox, [task], script, Search())
    found = {
        node.kind: node.harmless for node in tree.nodes if node.parent == -1 and node.draw >= 0
    }
    assert found == {"failed": False, "refused": False, "executed": True}
    goal = replay(sandbox, task, task.reference)
    assert succeeds(goal, replay(sandbox, task, [failing, *task.reference]))


def test_a_call_that_spoils_the_state_is_not_harmless(sandbox, task):
    script = Script({(0,): "[mkdir(dir_name='new')]", (FOLDER, 0): "[rm(file_name='nothing')]"})
    (tree,) = expert_trees(sandbox, [task], script, Search(width=1))
    assert [(n.form, n.kind, n.harmless) for n in tree.nodes if n.draw == 0 and n.parent == -1] == [
        ("[mkdir(dir_name='new')]", "executed", False)
    ]


def test_an_order_that_does_not_matter_does_no_harm(sandbox, bfcl, worlds):
    """The second of two calls is said first, and must not be made twice."""
    tasks = turn_tasks(bfcl.dialogues, worlds)
    task = next(one for one in tasks if one.id == SWAPPED)
    first, second = task.reference
    goal = replay(sandbox, task, task.reference)
    assert succeeds(goal, replay(sandbox, task, [second, first]))
    assert not succeeds(goal, replay(sandbox, task, [second, first, second]))
    (tree,) = expert_trees(sandbox, [task], Script({(0,): second}), Search(width=1))
    assert next(node.harmless for node in tree.nodes if node.draw == 0)


@pytest.mark.parametrize("ends", ["model", "oracle"])
def test_a_model_that_follows_the_reference_wins_without_a_wrong_reply(sandbox, tasks, ends):
    for grow in (grow_trees, infer, expert_trees):
        trees = grow(sandbox, tasks, player(tasks), Search(ends=ends))
        assert [tree.task for tree in trees] == [task.id for task in tasks]
        for task, tree in zip(tasks, trees, strict=True):
            said = [node.text.removeprefix("API-Request: ") for node in tree.nodes]
            assert tree.won and said == [*task.reference, *(["[]"] if ends == "model" else [])]
            assert all(node.on_path for node in tree.nodes)


@pytest.mark.slow
def test_all_tasks_are_won_by_who_follows_the_reference(bfcl, worlds, sandbox):
    tasks = turn_tasks(bfcl.dialogues, worlds, bfcl.held_out)
    for grow in (grow_trees, infer, expert_trees):
        assert sum(tree.won for tree in grow(sandbox, tasks, player(tasks), Search())) == 731


@pytest.mark.parametrize("grow", [grow_trees, infer, expert_trees])
@pytest.mark.parametrize("diversity", ["sample", "prompt"])
def test_trees_are_the_same_in_any_batch_and_after_a_kill(sandbox, tasks, grow, diversity):
    """By a model that says all sorts of hostile things."""
    tasks = tasks[::2]
    search = Search(explore="path", diversity=diversity)
    ask = player(tasks, wanderer())
    lines = [to_line(tree) for tree in grow(sandbox, tasks, ask, search)]
    assert sandbox.replaced == 0
    shuffled = random.Random(1).sample(tasks, len(tasks))
    kept = [to_line(tree) for tree in grow(sandbox, shuffled[:5], ask, search)]
    done = {from_line(line).task: line for line in kept}  # what a run finds that goes on
    for task in reversed(shuffled):
        if task.id not in done:
            (tree,) = grow(sandbox, [task], ask, search)
            done[task.id] = to_line(tree)
    assert [done[task.id] for task in tasks] == lines


def test_hostile_replies_are_kept_in_bounds(sandbox, tasks):
    trees = grow_trees(sandbox, tasks, player(tasks, wanderer(right=0.2)), Search())
    kinds = {node.kind for tree in trees for node in tree.nodes}
    assert kinds == {"executed", "failed", "refused", "stop"}
    for tree in trees:
        assert tree.replies <= 20
        for node in tree.nodes:
            assert len(node.text) <= 20_000 and len(node.response) <= 11_000
            assert (node.text + node.form + node.response).encode(), "no lone surrogate"
            assert node.cut is (len(node.text) == 20_000)


def test_a_search_finds_the_answer_of_the_greedy_chain(sandbox, tasks):
    ask = player(tasks, wanderer(seed=3, right=0.8))
    chains = infer(sandbox, tasks, ask, Search(width=1))
    searched = infer(sandbox, tasks, ask, Search())
    answered = [chain.nodes[-1].won is not None for chain in chains]
    assert 0 < sum(answered) < len(tasks)
    for chain, tree, same in zip(chains, searched, answered, strict=True):
        assert not same or chain == tree
    assert sum(tree.won for tree in searched) > sum(chain.won for chain in chains)


def test_forks_are_the_states_of_the_path(bfcl, sandbox, task):
    script = Script({(0,): PWD, (FOLDER, FILE, 2): NONSENSE})
    (tree,) = expert_trees(sandbox, [task], script, Search())
    dialogue = next(one for one in bfcl.dialogues if one.id == task.dialogue_id)
    found = forks(task, tree)
    assert [(fork.step, fork.chosen.text) for fork in found] == [(0, FOLDER), (1, FILE), (2, "[]")]
    assert [[other.text for other in fork.others] for fork in found] == [
        [PWD, "[]"],
        ["[]"],
        [NONSENSE],
    ]
    for fork in found:
        assert fork.history.turns == dialogue.turns[: len(task.turns) + fork.step]
        assert fork.history.ordinal == fork.step + 1 and fork.block == "file_system"
        assert fork.chosen.draw == -1 and fork.history.documents == dialogue.documents
    assert [other.harmless for other in found[0].others] == [True, False]


def test_what_cannot_be_grown_is_named(sandbox, task):
    with pytest.raises(ValueError, match="width is 1: .*expert trees"):
        grow_trees(sandbox, [task], Script({}), Search(width=1))
    for answer in ([], [[]], [[Said("a"), Said("b")]]):
        with pytest.raises(ValueError, match="a list of replies for each state"):
            infer(sandbox, [task], lambda wave, answer=answer: answer, Search())
    assert infer(sandbox, [], Script({}), Search()) == []
