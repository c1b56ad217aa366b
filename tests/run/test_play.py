"""A rollout of the tiny model against what the same model answers after the reference's history."""

import pytest
import torch

from trajnb.assets import AssetError
from trajnb.corpora.bfcl import scenarios
from trajnb.corpora.load import load_corpus
from trajnb.formatting.documents import apis_of
from trajnb.formatting.examples import build_examples
from trajnb.qlora import model as models
from trajnb.run import answer, play
from trajnb.scoring.dialogues import against_forced

STAGE = 2


@pytest.fixture(scope="module")
def worlds():
    try:
        return scenarios()
    except AssetError as error:
        pytest.skip(f"the bfcl wheel is not to be had: {error}")


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("sample")


@pytest.fixture(scope="module")
def network():
    """The tiny model with an adapter that does something, so that merging it matters."""
    model = models.load_base(models.find_model("tiny"), "none")
    model = models.add_adapter(model, rank=4, alpha=8, dropout=0.0, seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2, generator=draw)
    return model


@pytest.fixture(
    scope="module", params=[("stripped", "ordinal"), ("full", "ordinal"), ("full", "plain")]
)
def both(request, network, corpus, worlds):
    """Condition, lines of rollouts, lines of predictions."""
    tokenizer, (condition, cue) = models.load_tokenizer("tiny"), request.param
    held_out = [one for one in corpus.dialogues if one.id in corpus.held_out][:4]
    how = {"eval_condition": condition, "max_new_tokens": 16}
    player = play.Player(network, tokenizer, STAGE)
    limits = {"max_calls": 3, "max_length": 8192, "cue": cue}
    lines = play.play(player, held_out, worlds, ends="oracle", **limits, **how)
    apis = {one.id: apis_of(one.documents) for one in held_out}
    examples = build_examples(corpus, condition, "held_out", cue=cue)
    rows = [row for row in examples if row["dialogue_id"] in apis]
    scored = answer.score_calls(apis)
    predictions = answer.predict(
        network, tokenizer, rows, scored, stage=STAGE, train_condition=condition, **how
    )
    return condition, [{**line, "stage": STAGE} for line in lines], predictions


def test_calls_of_the_same_prompt_agree(both, corpus):
    condition, lines, predictions = both
    found = against_forced(lines, predictions, {one.id: one for one in corpus.dialogues})
    assert set(found.found) <= {"same", "tie"}
    assert set(found.dialogue_id) == {line["dialogue_id"] for line in lines}
    # a stripped prompt does not tell whose calls went before: all calls of the rollout are compared
    expected = len(predictions) if condition == "stripped" else len(lines)
    assert len(found) >= expected and (found.margin > 0).all()


def test_a_prediction_that_was_tampered_with_is_found(both, corpus):
    _, lines, predictions = both
    by_id = {one.id: one for one in corpus.dialogues}
    before = against_forced(lines, predictions, by_id)
    row = before[(before.found == "same") & (before.margin > 1e-3)].iloc[-1]
    tampered = [
        {**one, "prediction": "API-Request: [ls()]"}
        if (one["dialogue_id"], one["step"]) == (row.dialogue_id, row.step)
        else one
        for one in predictions
    ]
    after = against_forced(lines, tampered, by_id)
    (wrong,) = after[after.found == "differs"].itertuples()
    assert (wrong.dialogue_id, wrong.step) == (row.dialogue_id, row.step)


def test_every_call_keeps_how_sure_it_was_and_how_long_its_prompt(both):
    _, lines, predictions = both
    lengths = {(one["dialogue_id"], one["step"]): one["prompt_tokens"] for one in predictions}
    for line in lines:
        assert list(line["calls"][0])[-2:] == ["prompt_tokens", "margin"]
        assert line["calls"][0]["prompt_tokens"] == lengths[line["dialogue_id"], 0]
