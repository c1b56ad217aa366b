import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from conftest import dialogue
from scipy.stats import chisquare

from trajnb.qlora import generate, sample
from trajnb.qlora.sample import Drawn

TIE = 1e-4  # two best closer than this may swap under another order of sums
BOTH = pytest.mark.parametrize("family", ["llama", "qwen2"])
NEVER = 300  # no token of the tiny models: nothing ends before the limit


@pytest.fixture
def prompts(dialogues):
    """Of three dialogues, five each, the last one twice."""
    return [one.tokens[: one.prompt] for one in sum(dialogues, [])]


NAMES = [name for name in "abc" for _ in range(5)]  # dialogues of the prompts


@pytest.fixture
def model(model):
    """One that is surer of itself: as they are, the tiny models find all tokens nearly alike."""
    with torch.no_grad():
        model.get_base_model().model.norm.weight.mul_(8)
    return model


def samples(model, prompts, draws, names=NAMES, end=NEVER, limit=12, **budgets):
    return sample.sample(
        model, prompts, draws, names, end_token=end, max_new_tokens=limit, **budgets
    )


def seen(model) -> list[int]:
    """A list that grows by the number of tokens of each forward pass."""
    counts = []
    embedding = model.get_base_model().model.embed_tokens
    embedding.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].numel()))
    return counts


def plain_logits(model, tokens) -> torch.Tensor:
    """(tokens, vocabulary) in fp64, by one plain pass."""
    model.eval()
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0].double()


def p_value(tokens: list[int], logits: torch.Tensor, temperature: float) -> float:
    """Of a chi-square test of tokens against softmax(logits / temperature), rare ones together."""
    counts, expected = Counter(tokens), len(tokens) * (logits / temperature).softmax(-1)
    often = [token for token, times in enumerate(expected.tolist()) if times >= 5]
    assert len(often) > 5
    observed = [counts[token] for token in often]
    wanted = expected[often].tolist()
    rare = len(tokens) - sum(observed), len(tokens) - sum(wanted)
    return chisquare([*observed, rare[0]], [*wanted, rare[1]]).pvalue


@BOTH
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_tokens_are_drawn_from_softmax(model, prompts, temperature):
    prompt, counts = prompts[3], seen(model)
    draws = [Drawn(0, temperature, seed) for seed in range(3000)]
    found = samples(model, [prompt], draws, ["a"], limit=2)
    assert sum(counts) == len(prompt) + len(draws), "the prompt is read once"
    logits = plain_logits(model, prompt)[-1]
    tokens = [one.tokens[0] for one in found]
    assert p_value(tokens, logits, temperature) > 0.01
    assert p_value(tokens, logits, temperature * 1.3) < 1e-6, "another temperature is told apart"


def test_the_second_token_is_drawn_given_the_first(model, prompts):
    prompt, temperature = prompts[3], 0.8
    draws = [Drawn(0, temperature, seed) for seed in range(5000)]
    found = samples(model, [prompt], draws, ["a"], limit=2)
    first, _ = Counter(one.tokens[0] for one in found).most_common(1)[0]
    logits = plain_logits(model, [*prompt, first])[-1]
    after = [one.tokens[1] for one in found if one.tokens[0] == first]
    others = [one.tokens[1] for one in found if one.tokens[0] != first]
    assert len(after) > 300
    assert p_value(after, logits, temperature) > 0.01
    assert p_value(others, logits, temperature) < 1e-6, "after another token another follows"


def test_temperature_0_is_greedy(model, tokenizer):
    end = tokenizer.eos_token_id
    groups = [dialogue(seed, 4, end) for seed in range(8)]
    examples = sum(groups, [])
    names = [str(g) for g, group in enumerate(groups) for _ in group]
    prompts = [one.tokens[: one.prompt] for one in examples]
    draws = [Drawn(index, 0, seed=index) for index in range(len(prompts))]
    found = samples(model, prompts, draws, names, end, 20)
    answers = generate.answer(model, examples, names, end_token=end, max_new_tokens=20)
    ties = 0
    model.eval()
    for prompt, one, answer in zip(prompts, found, answers, strict=True):
        with torch.inference_mode():
            output = model.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=20,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            )
        if one.margin < TIE:
            ties += 1
            continue
        assert one.tokens == answer.tokens == output[0, len(prompt) :].tolist()
        assert one.stopped == answer.stopped
        assert one.margin == pytest.approx(answer.margin, abs=1e-4)
    assert len(found) == 40 and ties <= 2


@BOTH
def test_a_draw_is_the_same_alone_in_any_order_and_in_any_company(model, prompts):
    draw = random.Random(0)
    draws = []
    for index in range(len(prompts)):
        for number in range(4):
            draws.append(Drawn(index, (0.0, 1.0, 1.0, 0.3)[number], draw.getrandbits(64)))
    together = dict(zip(draws, samples(model, prompts, draws), strict=True))
    steady = [one for one in draws if together[one].margin > TIE]
    assert len(steady) > 0.9 * len(draws)

    mixed = draw.sample(draws, len(draws))
    again = samples(model, prompts, mixed, wave_tokens=150, row_tokens=60)
    assert [one.tokens for one in again] != [together[one].tokens for one in draws]
    other = dict(zip(mixed, again, strict=True))
    for one in steady:
        assert other[one].tokens == together[one].tokens, one
        assert other[one].logps == pytest.approx(together[one].logps, abs=1e-4)
    for one in draw.sample(steady, 8):
        (alone,) = samples(model, [prompts[one.prompt]], [replace(one, prompt=0)], ["x"])
        assert alone.tokens == together[one].tokens


def test_replies_differ_by_seed_and_by_nothing_else(model, prompts):
    found = samples(model, prompts, [Drawn(14, 1.0, seed) for seed in (5, 6, 5)])
    assert found[0] == found[2] and found[0].tokens != found[1].tokens
    # the prompt is there twice, under two numbers
    (twin,) = samples(model, prompts, [Drawn(13, 1.0, 5)])
    assert prompts[13] == prompts[14] and twin.tokens == found[0].tokens


@BOTH
def test_log_probabilities_are_those_of_temperature_1(model, prompts):
    draws = [Drawn(2, 0.0, 0), Drawn(2, 1.0, 1), Drawn(7, 0.3, 2), Drawn(7, 3.0, 2)]
    for draw, one in zip(draws, samples(model, prompts, draws), strict=True):
        prompt = prompts[draw.prompt]
        logits = plain_logits(model, [*prompt, *one.tokens])[len(prompt) - 1 : -1]
        logps = logits.log_softmax(-1)[range(len(one.tokens)), one.tokens]
        assert one.logps == pytest.approx(logps.tolist(), abs=1e-4)
        assert one.logp == pytest.approx(logps.sum().item(), abs=1e-3)


def test_every_prefix_is_read_once_and_what_is_not_wanted_not_at_all(model, prompts):
    counts = seen(model)
    wanted = [0, 3, 4, 11]  # 3 and 4 are one prompt, 0 shares its beginning with them
    draws = [Drawn(index, 1.0, seed) for seed in range(5) for index in wanted]
    found = samples(model, prompts, draws)
    prefixes = set()
    for index in wanted:
        prefixes |= {tuple(prompts[index][:n]) for n in range(1, len(prompts[index]) + 1)}
    assert sum(counts) == len(prefixes) + sum(len(one.tokens) - 1 for one in found)
    assert len(counts) == 1 + 11, "all draws are written together, a pass for each token"


def test_more_draws_than_there_is_room_for_are_written_in_turns(model, prompts, monkeypatch):
    draws = [Drawn(index, 1.0, seed) for seed in range(3) for index in range(15)]
    whole = samples(model, prompts, draws)
    monkeypatch.setattr(sample, "TOGETHER", 10)
    counts = seen(model)
    parts = samples(model, prompts, draws)
    same = [one.tokens == part.tokens for one, part in zip(whole, parts, strict=True)]
    assert all(same) or min(one.margin for one in whole) < TIE
    assert len(counts) == 1 + 5 * 11 and max(counts[1:]) == 10


def test_a_reply_ends_with_the_end_token_or_at_the_limit(model, prompts):
    draws = [Drawn(index, 1.0, seed) for seed in range(4) for index in range(15)]
    endless = samples(model, prompts, draws, limit=12)
    assert all(len(one.tokens) == 12 and not one.stopped for one in endless)
    end = endless[0].tokens[5]
    stopped = 0
    for long, one in zip(endless, samples(model, prompts, draws, end=end, limit=8), strict=True):
        cut = long.tokens[:8]
        expected = cut[: cut.index(end) + 1] if end in cut else cut
        assert one.tokens == expected or min(long.margin, one.margin) < TIE
        assert one.stopped == (one.tokens[-1] == end) and len(one.logps) == len(one.tokens)
        stopped += one.stopped
    assert 0 < stopped < len(draws)
    single = samples(model, prompts, draws, limit=1)
    assert [one.tokens for one in single] == [long.tokens[:1] for long in endless]


@pytest.mark.parametrize(
    "draw, message",
    [
        (Drawn(0, -0.5, 0), "temperature is -0.5: give 0 for greedy"),
        (Drawn(0, math.nan, 0), "temperature is nan"),
        (Drawn(0, math.inf, 0), "temperature is inf"),
        (Drawn(15, 1.0, 0), "a draw wants prompt 15, of 15"),
        (Drawn(-1, 1.0, 0), "a draw wants prompt -1, of 15"),
        (Drawn(0, 1.0, -1), "seed is -1: give a whole number from 0"),
        (Drawn(0, 1.0, 2**64), "seed is 18446744073709551616"),
    ],
)
def test_a_bad_draw_is_an_error(model, prompts, draw, message):
    with pytest.raises(ValueError, match=message):
        samples(model, prompts, [Drawn(0, 1.0, 0), draw])


def test_bad_input_is_an_error(model, prompts):
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        samples(model, [[1], []], [Drawn(0, 1.0, 0)], ["a", "a"])
    with pytest.raises(ValueError, match="15 prompts and 1 dialogue ids"):
        samples(model, prompts, [Drawn(0, 1.0, 0)], ["a"])
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        samples(model, prompts, [Drawn(0, 1.0, 0)], limit=0)


def test_nothing_wanted_nothing_read(model, prompts):
    counts = seen(model)
    assert samples(model, prompts, []) == [] and samples(model, [], [], []) == []
    assert counts == []


def test_training_mode_and_weights_are_given_back(model, prompts):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.train()
    samples(model, prompts, [Drawn(0, 1.0, 0)], limit=2)
    assert model.training
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
