"""Episodes of a tiny model and of a script: what is kept as tokens, and what is earned."""

from dataclasses import replace

import pytest
import torch

from trajnb.assets import AssetError
from trajnb.corpora.bfcl import scenarios
from trajnb.corpora.load import load_corpus
from trajnb.formatting.pairs import Wording
from trajnb.qlora import chat
from trajnb.qlora import model as models
from trajnb.qlora.chat import Encoded
from trajnb.qlora.grpo import GrpoRecipe, add_gradient, prepare
from trajnb.qlora.head import add_reward
from trajnb.qlora.rounds import train_grpo
from trajnb.qlora.sample import Sampled
from trajnb.run import episodes, judges
from trajnb.scoring.length import Regression
from trajnb.scoring.reward import Standard, standard
from trajnb.world import candidates
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Said
from trajnb.world.turns import turn_tasks

PLAYING = episodes.Playing(tasks_per_step=2, group=4, max_new_tokens=8)
SHORT = replace(PLAYING, group=2, most_moves=2)


@pytest.fixture(scope="module")
def tasks():
    """Those of the first training dialogue of the sample."""
    corpus = load_corpus("sample")
    learnt = [one for one in corpus.dialogues if one.id not in corpus.held_out][:1]
    try:
        return turn_tasks(learnt, scenarios(), corpus.held_out)
    except AssetError as error:
        pytest.skip(f"the bfcl wheel is not to be had: {error}")


@pytest.fixture(scope="module")
def policy():
    base = models.load_base(models.find_model("tiny"), "none")
    network = models.add_adapter(base, rank=4, alpha=8, dropout=0.1, seed=0)
    with Sandbox() as sandbox:
        yield episodes.Policy(
            network, models.load_tokenizer("tiny"), Wording("full"), sandbox, 3, lambda text: None
        )


def test_what_is_kept_is_what_was_said(policy, tasks):
    played = episodes.play(policy, tasks, SHORT, "step 0")
    assert [one.task for one in played.trajectories] == [tasks[0].id] * 2 + [tasks[1].id] * 2
    for one, replies in zip(played.trajectories, played.replies, strict=True):
        assert len(one.moves) == len(replies) > 0
        for move, reply in zip(one.moves, replies, strict=True):
            stopped = reply.example.completion[-1] == policy.tokenizer.eos_token_id
            said = chat.text_of(policy.tokenizer, reply.example.completion, stopped)
            assert said.encode("utf-8", "replace").decode() == move.text
    assert len({str(reply.example) for reply in played.replies[0]}) == len(played.replies[0])
    again, other = [episodes.play(policy, tasks[:1], SHORT, name) for name in ("step 0", "step 1")]
    assert again.trajectories == played.trajectories[:2] != other.trajectories
    assert played.logps[0] == pytest.approx(sum(sum(r.logps) for r in played.replies[0]))


def test_old_log_probabilities_are_the_policys_own(policy, tasks):
    found = episodes.rounds(policy, tasks, SHORT, "outcome")(0)
    assert {one.reward for one in found.episodes} == {-1.0}, "it says nothing that can be read"
    assert found.measures["invalid"] == 1.0 and found.measures["score"] is None
    assert prepare(found.episodes, 4096).equal_groups == 2
    other = [replace(one, reward=float(place)) for place, one in enumerate(found.episodes)]
    assert add_gradient(policy.network.eval(), prepare(other, 4096), 0.2).drift < 1e-4


def test_steps_without_effect_change_nothing(policy, tasks, tmp_path):
    recipe = GrpoRecipe(steps=2, learning_rate=1e-2, clip=0.2, token_budget=4096)
    before = models.adapter_weights(policy.network)
    steps, seen = train_grpo(
        policy.network,
        episodes.rounds(policy, tasks, SHORT, "outcome"),
        recipe,
        folder=tmp_path,
        look=lambda taken: episodes.followed(policy, tasks[:1], SHORT) if taken != 1 else None,
        say=policy.say,
    )
    assert [(step.groups, step.equal_groups) for step in steps] == [(2, 2), (2, 2)]
    after = models.adapter_weights(policy.network)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [one["taken"] for one in seen] == [0, 2]
    assert seen[0] == {**seen[1], "taken": 0}, "fixed tasks, an unchanged policy"


@pytest.fixture
def scripted(policy, monkeypatch):
    """Every task is played alike: by the reference, by nobody, by nonsense, by the reference after
    a look around.
    """

    def asked(network, tokenizer, wording, *, heard, **how):
        def said(draw, task):
            calls = {1: task.reference, 2: (), 3: ("nonsense",), 4: ("[ls()]", *task.reference)}
            script = [*calls[draw.index], "[]"]
            return script[len(draw.path)]

        def ask(wave):
            answers = []
            for state in wave:
                answers.append([Said(said(draw, asked.tasks[draw.task])) for draw in state.draws])
                for draw in state.draws:
                    heard(draw, [1, 2], Sampled([3], True, [-0.5], 1.0))
            return answers

        return ask

    monkeypatch.setattr(episodes, "asked_for_replies", asked)
    return asked


def test_what_is_earned(policy, tasks, scripted):
    scripted.tasks = {task.id: task for task in tasks}
    found = episodes.rounds(policy, tasks[:1], PLAYING, "outcome")(0)
    assert [one.reward for one in found.episodes] == [1.0, 0.0, -1.0, 1.0]
    assert found.measures["outcome"] == 0.5 and found.measures["invalid"] == 0.25
    replies = [len(one.replies) for one in found.episodes]
    calls = len(tasks[0].reference)
    assert replies == [calls + 1, 1, 2, calls + 2]
    assert found.episodes[0].replies[0].example == Encoded([1, 2, 3], 2)
    length = judges.length_score(Regression(1.0, 0.0, 0.0), tasks)
    played = episodes.play(policy, tasks[:1], PLAYING, "step 0").trajectories
    assert length(played) == [calls, 0, 1, calls + 1]
    judge = judges.Judge(length, Standard(0.0, 1.0))
    earned = episodes.rounds(policy, tasks[:1], PLAYING, "outcome+length", judge)(0)
    first, nothing, nonsense, last = [one.reward for one in earned.episodes]
    assert 1.0 < first < last < 1.2 and (nothing, nonsense) == (0.0, -1.0)
    assert earned.measures["gap"] == earned.measures["score"] - 0.5
    only_followed = episodes.rounds(policy, tasks[:1], PLAYING, "outcome", judge)(0)
    assert [one.reward for one in only_followed.episodes] == [1.0, 0.0, -1.0, 1.0]
    assert only_followed.measures == earned.measures


def test_noise_hands_scores_to_the_wrong_episodes(policy, tasks, scripted):
    scripted.tasks = {task.id: task for task in tasks}
    played = episodes.play(policy, tasks, PLAYING, "step 0").trajectories
    zs = [float(place) for place in range(len(played))]
    right = judges.rewards("outcome+rm", played, zs, 0)
    wrong = judges.rewards("outcome+noise", played, zs, 0)
    assert [int(one) for one in right] == [int(one) for one in wrong] and right != wrong
    assert wrong == judges.rewards("outcome+noise", played, zs, 0)
    assert wrong != judges.rewards("outcome+noise", played, zs, 1)


def test_a_reward_model_gives_scores_to_what_was_played(policy, tasks, scripted):
    scripted.tasks = {task.id: task for task in tasks}
    add_reward(policy.network, seed=0)
    score = judges.model_score(policy.network, policy.tokenizer, judges.by_id(tasks), 4096)
    played = episodes.play(policy, tasks, PLAYING, "step 0").trajectories
    found = score(played)
    assert len(found) == len(played) and len(set(found[:4])) == 4
    assert score(played[::-1]) == pytest.approx(found[::-1], abs=1e-5)
    other = {task.id: other for task, other in zip(tasks, tasks[::-1], strict=True)}
    blind = judges.model_score(policy.network, policy.tokenizer, other, 4096)(played)
    assert blind[0] != pytest.approx(found[0], abs=1e-5), "another task is shown"
    judge = judges.Judge(score, standard(found))
    earned = episodes.rounds(policy, tasks, PLAYING, "outcome+rm", judge)(0)
    assert all(one.reward <= 1.2 for one in earned.episodes)
    assert 0 < earned.measures["score"] < 1


def test_log_probabilities_of_what_anyone_said(policy, tasks):
    gold = candidates.gold_trajectory(policy.sandbox, tasks[1])
    silent = replace(gold, moves=gold.moves[-1:])
    asked = policy.network, policy.tokenizer, policy.wording, tasks
    found = judges.policy_logps(*asked, [gold, silent], 4096)
    prompt = policy.wording.prompt(candidates.history_after(tasks[1], []), "a task")
    before = chat.chat_tokens(policy.tokenizer, prompt, add_generation_prompt=True)
    said = [*policy.tokenizer("[]")["input_ids"], policy.tokenizer.eos_token_id]
    with torch.no_grad():
        logits = policy.network.eval()(torch.tensor([before + said])).logits[0].log_softmax(-1)
    places = range(len(before) - 1, len(before) + len(said) - 1)
    wanted = sum(logits[place, token].item() for place, token in zip(places, said, strict=True))
    assert found[1] == pytest.approx(wanted, abs=1e-3) and found[0] < found[1]
    assert judges.policy_logps(*asked, [gold], 1) == pytest.approx(found[:1], abs=1e-3)


def test_another_task_is_one_of_another_dialogue(tasks):
    other = replace(tasks[0], id="other#0", dialogue_id="other")
    found = judges.swapped([*tasks, other])
    assert {name: task.dialogue_id for name, task in found.items()} == {
        **{task.id: "other" for task in tasks},
        "other#0": tasks[0].dialogue_id,
    }
    with pytest.raises(ValueError, match="all tasks are of dialogue multi_turn_base_38"):
        judges.swapped(tasks)


def test_tasks_of_steps_come_round(tasks):
    tasks = tasks * 3  # only their number matters
    tasks = [replace(task, id=str(place)) for place, task in enumerate(tasks[:5])]
    steps = [[task.id for task in episodes.tasks_of(tasks, 2, step, 0)] for step in range(6)]
    for first in (0, 2, 4):
        both = steps[first] + steps[first + 1]
        assert len(set(both)) == 4, "each once before any comes again"
    assert steps[:2] != steps[2:4]
    assert len(episodes.tasks_of(tasks, 9, 0, 0)) == 5
    assert episodes.tasks_of(tasks, 2, 3, 0) == episodes.tasks_of(tasks, 2, 3, 0)


def test_bad_input(policy, tasks):
    with pytest.raises(ValueError, match="group is 1"):
        episodes.Playing(group=1)
    with pytest.raises(ValueError, match="'outcome[+]rm', but there is no reward model"):
        episodes.rounds(policy, tasks, PLAYING, "outcome+rm")
    with pytest.raises(ValueError, match="unknown reward"):
        episodes.rounds(policy, tasks, PLAYING, "score")
    with pytest.raises(ValueError, match="there is no task"):
        episodes.rounds(policy, [], PLAYING, "outcome")
