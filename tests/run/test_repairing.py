"""A run that repairs, without a kernel: recorded, cut anywhere, by a script, without gold, and refused."""

import json
from dataclasses import fields, replace

import pytest
import torch
import yaml
from click.testing import CliRunner

from trajnb import records
from trajnb.files import read_lines
from trajnb.formatting.trajectories import ARMS
from trajnb.machine import ROOT
from trajnb.qlora import head
from trajnb.qlora import model as models
from trajnb.qlora.sample import Sampled
from trajnb.run import answer, ask, episodes, homes, learn, prepare, repair, rewarding, teaching, turns
from trajnb.run.by_objective import settings_class
from trajnb.run.endpoint import KEY, EndpointError
from trajnb.run.repairing import RepairSettings
from trajnb.run.train import train
from trajnb.scoring import preferences as scored
from trajnb.scoring import repairs as counted
from trajnb.scoring.length import BLIND, LENGTHS, MODEL
from trajnb.study.cli import main
from trajnb.study.grid import run_name
from trajnb.study.parameters import check_run, notebook_parameters
from trajnb.study.parts import of_training, schema
from trajnb.world.repair import from_line
from trajnb.world.repairers import READS_GOLD
from trajnb.world.sandbox import Sandbox
from trajnb.world.trees import Said
from trajnb.world.turns import replay, succeeds

NOTEBOOKS = ROOT / "notebooks"
SCHEMA = of_training(NOTEBOOKS)
WEIGHTS = "adapter_model.safetensors"
DEFAULTS = {name: one.default for name, one in SCHEMA.items()}
QUICK = {
    "train_dialogues": 1,
    "learning_rate": 0.01,
    "max_new_tokens": 8,
    "strategy": "joint",
    "eval_stages": "ends",
    "stop_targets": True,
    "objective": "repair",
    "extra_depth": 1,
}
NONSENSE = "I would rather not."
MARKER = "[marker_of_gold(value='zanzibar')]"


def told(folder, **other):
    return DEFAULTS | QUICK | {"run_folder": str(folder)} | other


def prepared(folder, **other):
    values = told(folder, **other)
    return prepare.prepare(settings_class(values).of(values))


def quiet(text):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of the tiny model, by the command line, and what it said."""
    folder = tmp_path_factory.mktemp("repair") / "whole"
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump({**QUICK, "run_folder": str(folder)}))
    done = CliRunner().invoke(main, ["train", str(file)])
    assert done.exit_code == 0, done.output
    return folder, done.output


def everything(folder):
    """What a run leaves, as bytes, but for times."""
    made = ("*.safetensors", "candidates.jsonl", "repairs.jsonl", "turns.jsonl", "predictions.jsonl")
    found = [path for name in (*made, "before_preferences.jsonl") for path in folder.rglob(name)]
    return {path.relative_to(folder): path.read_bytes() for path in found}


def test_the_notebooks_parameters_are_the_settings_and_those_of_02_as_they_are():
    own, two, five = (
        notebook_parameters(NOTEBOOKS / f"{name}.ipynb") for name in ("06_repair", "02_train", "05_prefer")
    )
    assert set(own) == {field.name for field in fields(RepairSettings)}
    apart = {name for name in two if own[name] != two[name]}
    assert apart == {"stop_targets", "train_dialogues", "max_new_tokens", "strategy"}
    assert all(own[name].help == two[name].help for name in two)
    assert all(own[name].help == five[name].help for name in own.keys() & five.keys())
    assert [name for name in own if name in two] == list(two), "in the same bands"
    assert schema(NOTEBOOKS)["objective"].default == "sft"


def test_a_stage_keeps_what_it_learns_from_and_its_end(whole):
    folder, said = whole
    there = {path.name for path in (folder / "repair" / "1-joint").iterdir()} - {"lock", "README.md"}
    assert there == {
        "sft", "sft.json", "asked-full.jsonl", "turns.jsonl", "candidates.jsonl", "repairs.jsonl",
        "reward", "reward.json", "taught", "lessons.json",
    }  # fmt: skip
    assert [path.name for path in (folder / "adapters").iterdir()] == ["1-joint"]
    assert not list((folder / "adapters").rglob(head.NAME)), "a policy's folder holds no reward model"
    for words in ("oracle (reads gold): ", "reward model · step 1", "trajectories · step 1", "GRPO · step 1"):
        assert f"block 1/1 joint · {words}" in said


def test_the_record_says_what_was_learnt_from(whole):
    run = records.read_run(whole[0])
    (stage,) = run.record.repair["stages"]
    own = stage["candidates"]
    assert own["candidates"] == 2 * own["tasks"] and own["distinct"] == sum(own["label"].values())
    for name, one in stage["repairs"].items():
        assert one["repaired"] == sum(one["failure"].values()) > 0
        assert one["reads gold"] == (name in READS_GOLD)
    assert stage["repairs"]["oracle"]["accepted"] == stage["repairs"]["oracle"]["repaired"]
    tested = stage["reward"]["tested"]
    assert set(tested["right"]) == {MODEL, BLIND, *LENGTHS, "log-probability", "author"}
    assert stage["lessons"]["training"]["cost"]["steps"] > 0
    assert [seen["taken"] for seen in stage["grpo"]["seen"]] == [0, 1]
    assert run.record.seconds["GRPO"] > 0 and run.record.preferences == {}
    played, called = scored.turns([run]), scored.calls([run])
    tasks = played[played.stage == 0]
    assert len(played) == 3 * len(tasks) and len(called) == 3 * len(run.items)
    assert set(played.search) == {"greedy"}
    texts = json.dumps(run.record.repair)
    assert not any(item["dialogue_id"] in texts for item in run.items), "records hold no texts"


def test_every_accepted_repair_passes_alone_in_a_fresh_world(whole):
    tasks = {task.id: task for task in homes.begin(prepared(whole[0])).tasks}
    lines = (whole[0] / "repair" / "1-joint" / "repairs.jsonl").read_text("utf-8").splitlines()
    accepted = [one.trajectory for one in map(from_line, lines) if one.accepted]
    with Sandbox() as sandbox:
        for one in accepted:
            task = tasks[one.task]
            goal = replay(sandbox, task, task.reference)
            assert succeeds(goal, replay(sandbox, task, [move.text for move in one.calls]))
    assert accepted


def test_the_reward_model_that_is_served_is_the_one_that_was_trained(whole, monkeypatch):
    """The released code trains it with question and template and serves it with the bare reply, and
    another head than the trained one.
    """
    run = prepared(whole[0])
    account = json.loads((whole[0] / "repair" / "1-joint" / "reward.json").read_text())
    learner, so_far = learn.add_adapter(learn.load_untrained(run), run.settings), homes.begin(run)
    head.load_reward(learner.network, so_far.homes["joint"])
    judge = rewarding.judge_of(learner.network, run, account, so_far)
    graded = repair.draw(learner.network, run, run.stages[0], so_far, quiet)
    own = [one.trajectory for one in graded if one.counts]
    scores = judge.score(own)
    assert sum(scores) / len(scores) == pytest.approx(account["standard"]["mean"], abs=1e-4)
    found = rewarding.compare(run, run.stages[0], graded, {"oracle": []}, so_far)
    read = []
    monkeypatch.setattr(head, "scores", lambda network, rows, *_: read.extend(rows) or [0.0] * len(rows))
    judge.score(own)
    assert read == list(rewarding._plan(run, found).steps.examples), "read as it was learnt"


def test_again_it_learns_draws_plays_and_asks_nothing(whole, monkeypatch):
    folder, _ = whole
    before = everything(folder)
    for module, name in (
        (learn, "train_block"), (teaching, "train_block"), (teaching, "train_grpo"),
        (rewarding, "train_reward"), (ask, "sample"), (answer, "predict"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it was done again"))
    train(prepared(folder), quiet)
    assert everything(folder) == before


def test_cut_wherever_it_is_it_ends_with_the_same_bytes(whole, tmp_path, monkeypatch):
    cuts = []

    def cut_behind(real):
        def cut(*given, **more):
            real(*given, **more)  # what it changes is not kept
            cuts.append(1)
            raise KeyboardInterrupt

        return cut

    for module, name in (
        (repair, "sample_candidates"), (repair, "repair_candidates"), (rewarding, "train_reward"),
        (teaching, "train_block"), (teaching, "train_grpo"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(module, name, cut_behind(getattr(module, name)))
            with pytest.raises(KeyboardInterrupt):
                train(prepared(tmp_path / "cut"), quiet)
    assert len(cuts) == 5 and not (tmp_path / "cut" / "adapters").exists()
    train(prepared(tmp_path / "cut"), quiet)
    assert everything(tmp_path / "cut") == everything(whole[0])


def script(draw, reference):
    """Of the first three candidates one succeeds, of the further three another way; repairs do so too,
    in that way.
    """
    other = (NONSENSE, *reference)
    ways = {1: (NONSENSE,), 2: reference, 3: (), 4: other, 5: (), 6: ()}
    return [*(other if draw.purpose else ways[draw.index]), "[]"][len(draw.path)]


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """A stage whose model is a script, with its reward model: run, learner, planned, what was drawn and
    repaired, the reward model's account, and what the run has made so far.
    """
    how = {"candidates": 3, "extra_depth": 2, "repairers": ["resample"], "lessons_per_step": 4}
    run = prepared(tmp_path_factory.mktemp("scripted") / "run", **how)
    learner, so_far = learn.add_adapter(learn.load_untrained(run), run.settings), homes.begin(run)
    by_id = {task.id: task for task in so_far.tasks}

    def asked(*_, **__):
        return lambda wave: [
            [Said(script(draw, by_id[draw.task].reference)) for draw in one.draws] for one in wave
        ]

    (planned,) = run.stages
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "asked_for_replies", asked)
        graded = repair.draw(learner.network, run, planned, so_far, quiet)
        repairs = repair.repair(learner.network, run, planned, graded, so_far, quiet)
        repair.draw_further(learner.network, run, planned, graded, so_far, quiet)
        before = models.adapter_weights(learner.network)
        names = {name for name, _ in learner.network.named_parameters()}
        account = rewarding.learn_reward(learner, run, planned, graded, repairs, so_far, quiet)
    after = models.adapter_weights(learner.network)
    assert all(torch.equal(before[name], after[name]) for name in before), "the policy is left alone"
    assert names == {name for name, _ in learner.network.named_parameters()}
    return run, learner, planned, graded, repairs, account, so_far


def with_settings(run, **other):
    values = vars(run.settings) | other
    return prepare.Prepared(RepairSettings.of(values), run.place, run.source, run.material, run.stages)


def test_arms_have_equal_examples_and_steps_and_are_what_they_say(scripted):
    run, learner, planned, graded, repairs, _, so_far = scripted
    arms, steps, authors = {}, {}, {}
    for name in ARMS:
        own = with_settings(run, lessons=name)
        arm, repeated = teaching.arm_of(learner.network, own, planned, graded, repairs, so_far, quiet)
        arms[name] = (arm.lessons, len(arm.rows), len({row["task"] for row in arm.rows}))
        steps[name] = teaching._plan(own, arm).cost.steps
        authors[name] = {row["author"] for row in arm.rows}
        prompts = [line["content"] for row in arm.rows for line in row["completion"]]
        assert not any("error" in text for text in prompts), "no response is learnt"
    count = arms["kept"][0]
    assert {name: found[0] for name, found in arms.items()} == {
        "kept": count, "kept+repaired": 2 * count, "gold": 2 * count, "resampled": 2 * count,
    }  # fmt: skip
    assert len({found[1:] for found in arms.values()}) == 1 == len(set(steps.values()))
    assert repeated == count, "two candidates of a task are repaired to the same"
    assert authors == {
        "kept": {"student"}, "kept+repaired": {"student", "resample"}, "gold": {"gold"},
        "resampled": {"student"},
    }  # fmt: skip


def test_pairs_of_outcomes_have_one_author_and_are_told_from_those_of_repairs(scripted):
    """In the released code all pairs are a repairer's before the student's, so that the author and the
    length tell them apart.
    """
    run, _, planned, graded, repairs, account, so_far = scripted
    found = rewarding.compare(run, planned, graded, repairs, so_far)
    authors = {}
    for kind, pairs in found.pairs.items():
        sides = [[found.trajectories[place].author for place in pair] for pair in pairs]
        authors[kind] = {tuple(pair) for pair in sides}
    assert authors == {"outcome": {("student", "student")}, "repair": {("resample", "student")}}
    tested = account["tested"]
    by_author = [right for kind, right in zip(tested["kind"], tested["right"]["author"], strict=True)
                 if kind == "outcome"]  # fmt: skip
    assert by_author and set(by_author) == {0.5}, "it cannot tell two of one author apart"
    learnt = {found.dialogue(better) for better, _ in found.learnt("both")}
    assert learnt and not learnt & found.held_out and found.held_out
    assert so_far.stages["joint"]["candidates"]["mixed tasks"] == len(found.tasks)


@pytest.mark.parametrize("reward", ["outcome+rm", "outcome+length", "outcome+noise"])
def test_a_say_is_standardised_on_the_stages_candidates(scripted, reward):
    run, learner, _, graded, _, account, so_far = scripted
    own = [one.trajectory for one in graded if one.counts]
    head.load_reward(learner.network, so_far.homes["joint"])
    judge = rewarding.judge_of(learner.network, with_settings(run, reward=reward), account, so_far)
    zs = judge.zs(own)
    head.drop_reward(learner.network)
    assert sum(zs) / len(zs) == pytest.approx(0, abs=1e-3)
    assert sum(z * z for z in zs) / (len(zs) - 1) == pytest.approx(1, abs=1e-3)
    calls = [len(one.calls) for one in own]
    if reward == "outcome+length":
        none = [z for z, count in zip(zs, calls, strict=True) if count == 0]
        assert len(none) > 1 == len(set(none)), "what has no call has one length"


def test_a_stage_without_a_mixed_task_has_no_reward_model_and_says_so(scripted, tmp_path, monkeypatch):
    run, learner, planned, graded, repairs, _, so_far = scripted
    lost = [replace(one, label="wrong", trajectory=replace(one.trajectory, won=False)) for one in graded]
    said, elsewhere = [], tmp_path / "home"
    own = with_settings(run, reward="outcome+rm")
    monkeypatch.setitem(so_far.homes, "joint", elsewhere)
    account = rewarding.learn_reward(learner, own, planned, lost, {"resample": []}, so_far, said.append)
    assert account is None and "no task has both a better and a worse trajectory" in said[-1]
    assert not (elsewhere / head.NAME).exists()
    rewards = []

    def rounds(policy, tasks, playing, name, judge):
        rewards.append((name, judge))

    monkeypatch.setattr(teaching, "rounds", rounds)
    monkeypatch.setattr(teaching, "train_grpo", lambda *_, **__: ([], []))
    took = teaching.reinforce(learner, own, planned, account, so_far, said.append)
    assert rewards == [("outcome", None)] and took["reward"] == "outcome"
    assert any("no reward model, so that outcome+rm is outcome here" in text for text in said)


def test_an_arm_without_a_trajectory_is_said_and_ends_as_it_is(scripted):
    run, learner, planned, graded, _, _, so_far = scripted
    none = [replace(one, label="wrong") for one in graded]
    said = []
    own = with_settings(run, lessons="kept")
    assert teaching.teach(learner, own, planned, none, {"resample": []}, so_far, said.append) is None
    assert "no trajectory of kept: nothing is learnt" in said[-1]
    assert so_far.stages["joint"]["lessons"]["training"] is None


@pytest.mark.parametrize("repairers", [["resample", "self"], ["model"]])
def test_no_prompt_and_no_choice_of_a_run_knows_gold(tmp_path, monkeypatch, repairers):
    """The references of the tasks are a marker: what is put to a model, kept or scored is the same as
    with their own.
    """
    shown, found = [], {}

    def sample(network, prompts, draws, *_, **__):
        shown.extend(prompts)
        text = said[bool(draws[0].temperature)]
        return [Sampled(list(text), True, [-0.5] * len(text), 1.0) for _ in draws]

    monkeypatch.setattr(ask, "sample", sample)
    how = {"repairers": repairers, "attempts": 2, "train_dialogues": 1}
    how |= {"repair_model": "tiny"} if "model" in repairers else {}
    for name in ("own", "marked"):
        run = prepared(tmp_path / name, **how)
        tokenizer, so_far = run.source.tokenizer, homes.begin(run)
        end = [tokenizer.eos_token_id]
        said = [tokenizer(text)["input_ids"] + end for text in ("[ls()]", "[pwd()]")]
        if name == "marked":
            so_far.tasks = [replace(one, reference=(MARKER,) * len(one.reference)) for one in so_far.tasks]
        (planned,) = run.stages
        shown.clear()
        graded = repair.draw(None, run, planned, so_far, quiet)
        repairs = repair.repair(None, run, planned, graded, so_far, quiet)
        read = [rewarding._encoded(run, rewarding.compare(run, planned, graded, repairs, so_far), place)
                for place in range(sum(one.counts for one in graded))]  # fmt: skip
        texts = [tokenizer.decode(prompt) for prompt in shown]
        texts += [tokenizer.decode(one.tokens) for one in read]
        home = so_far.homes["joint"]
        found[name] = [
            texts, *(read_lines(home / f"{file}.jsonl") for file in ("candidates", "repairs")),
        ]  # fmt: skip
        assert not any("zanzibar" in text for text in texts)
    assert found["own"] == found["marked"] and len(found["own"][0]) > 10
    kept = [repair.candidates.trajectory_of(line) for line in found["own"][1]]
    assert not any(one.won for one in kept), "the script succeeds nowhere"


def test_a_failed_request_ends_the_run_and_counts_for_nothing(scripted, tmp_path, monkeypatch):
    """In the released code it counts as a score of 0."""
    run, learner, planned, graded, _, _, so_far = scripted
    url = {"endpoint_url": "http://127.0.0.1:9/v1", "endpoint_model": "any"}
    own = with_settings(run, repairers=["endpoint"], **url)
    monkeypatch.setitem(so_far.homes, "joint", tmp_path)
    monkeypatch.setattr("trajnb.run.endpoint.time.sleep", lambda seconds: None)
    with pytest.raises(EndpointError, match="gave no reply after 3 tries"):
        repair.repair(learner.network, own, planned, graded, so_far, quiet)
    assert not (tmp_path / "repairs.jsonl").exists()


def test_arms_share_what_is_before_what_they_learn(tmp_path):
    shared = {"repair_folder": str(tmp_path / "shared")}
    others = ({}, {"lessons": "gold"}, {"reward": "outcome+rm", "grpo_steps": 3}, {"candidates": 3})
    runs = [prepared(tmp_path / str(place), **shared, **other) for place, other in enumerate(others)]
    first, gold, rewarded, other = (homes.begin(run).homes["joint"] for run in runs)
    assert first == gold == rewarded != other and first.parent == tmp_path / "shared"


def test_repairs_shape_no_run_of_another_objective(tmp_path):
    for objective in ("sft", "prefer"):
        plain = DEFAULTS | {"objective": objective, "stop_targets": True}
        assert run_name(plain, SCHEMA) == run_name(plain | {"candidates": 9, "reward": "outcome+rm"}, SCHEMA)
    own = told(tmp_path)
    assert run_name(own, SCHEMA) == run_name(own | {"beta": 0.5, "width": 2}, SCHEMA)
    assert run_name(own, SCHEMA) != run_name(own | {"candidates": 9}, SCHEMA)


HERE = {"endpoint_url": "http://127.0.0.1:8000/v1", "endpoint_model": "any"}
AWAY = {"endpoint_url": "https://models.example/v1", "endpoint_model": "any"}


@pytest.mark.parametrize(
    "other, message",
    [
        ({"corpus": "jsonl"}, "objective 'repair' executes calls, and those of the corpus 'jsonl' cannot"),
        ({"strategy": "few-shot"}, "under strategy 'few-shot' nothing is trained"),
        ({"condition": "placebo"}, "objective 'repair' plays turn tasks: no rollout under placebo"),
        ({"stop_targets": False}, "asks the model to end its turns.*stop_targets: true"),
        ({"reward": "outcome+rm", "reward_epochs": 0}, "with reward_epochs 0 there is no reward model"),
        ({"reward": "score"}, "unknown reward 'score'"),
        ({"lessons": "keep"}, r"unknown lessons 'keep' \(did you mean 'kept'\?\)"),
        ({"quality": "call"}, r"unknown quality 'call' \(did you mean 'calls'\?\)"),
        ({"quality_schema": 0.5}, "the weights of quality .* sum to 1.3: make it 1"),
        ({"repairers": []}, r"repairers is \[\]: name at least one of oracle"),
        ({"repairers": ["self", "self"]}, "each once"),
        ({"repairers": ["orakel"]}, r"unknown repairer 'orakel' \(did you mean 'oracle'\?\)"),
        ({"repairers": ["model"]}, "the repairer 'model' needs repair_model"),
        ({"repairers": ["endpoint"]}, "needs endpoint_url and endpoint_model"),
        ({"repairers": ["endpoint"], **HERE, "endpoint_url": "http://models.example/v1"}, "use https"),
        ({"repairers": ["endpoint"], **AWAY}, f"put its key into {KEY}"),
        ({"repairers": ["endpoint"], **HERE, "endpoint_model": ""}, "the endpoint needs a model"),
    ],
)
def test_what_cannot_be_repaired_is_refused_with_the_remedy(tmp_path, monkeypatch, other, message):
    monkeypatch.delenv(KEY, raising=False)
    values = told(tmp_path, **other)
    for check in (RepairSettings.of, lambda run: check_run(run, SCHEMA)):
        with pytest.raises(ValueError, match=message):
            check(values)


@pytest.mark.parametrize(
    "name, value, of_notebook, within",
    [
        ("candidates", 0, "it must be at least 1", "[1, 100]"),
        ("lesson_rate", 0.0, "it must be above 0", "(0, 1)"),
        ("clip", 1.0, "give a number between 0 and 1", "(0, 1)"),
        ("reward_held_out", 0.0, "give a number between 0 and 1", "(0, 1)"),
        ("group", 1, "an episode is compared with others of its task, so use 2 or more", "[2, 1000]"),
    ],
)
def test_a_number_out_of_range_is_refused_by_notebook_and_params(tmp_path, name, value, of_notebook, within):
    values = told(tmp_path, **{name: value})
    with pytest.raises(ValueError) as found:
        RepairSettings.of(values)
    assert str(found.value) == f"{name} is {value}: {of_notebook}"
    with pytest.raises(ValueError) as found:
        check_run(values, SCHEMA)
    assert str(found.value) == f"{name} is {value}: it must lie in {within}"


def test_an_endpoint_on_this_machine_needs_no_key(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    settings = RepairSettings.of(told(tmp_path, repairers=["endpoint"], **HERE))
    assert settings.endpoint.is_here and settings.endpoint.max_tokens == settings.max_new_tokens


def test_tables_of_a_run_add_up(whole):
    runs = [records.read_run(whole[0])]
    candidates, repairs = counted.candidates_by_stage(runs), counted.acceptance(runs)
    assert (candidates[["kept", "low", "wrong"]].sum(axis=1) == candidates.distinct).all()
    for _, rows in repairs.groupby("repairer"):
        kinds = rows[rows.failure != "all"]
        assert kinds[["repaired", "accepted"]].sum().tolist() == rows[rows.failure == "all"][
            ["repaired", "accepted"]
        ].iloc[0].tolist()  # fmt: skip
    steps, followed = counted.grpo_steps(runs), counted.followed(runs)
    assert len(steps) == 1 and "1 of 1 groups (100%) had no effect" in counted.effectless(steps)
    assert set(followed.side) == {"train", "held_out"} and len(followed) == 4
    assert any("nothing can be said" in text for text in counted.answers(runs))


def test_fixed_tasks_are_the_same_whenever_they_are_asked_for(whole):
    tasks = homes.begin(prepared(whole[0])).tasks
    assert episodes.some_of(tasks, 3, 0) == episodes.some_of(tasks, 3, 0)
    assert episodes.some_of(tasks, 99, 0) == tasks and episodes.some_of(tasks, 0, 0) == []
