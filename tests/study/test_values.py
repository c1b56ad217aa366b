"""Values that make no sensible run, and files that would burn time: refused at once, in a sentence."""

import time

import pytest

from trajnb.machine import ROOT
from trajnb.study.grid import expand
from trajnb.study.params import read_params
from trajnb.study.parts import schema

COMMON = "{corpus: sample, model: tiny}"


@pytest.fixture(scope="module")
def parameters():
    return schema(ROOT / "notebooks")


def refusal(tmp_path, parameters, text: str) -> str:
    """What is said of a params file, in under a second (a busy machine gets five)."""
    file = tmp_path / "small.yaml"
    file.write_text(text, "utf-8")
    began = time.monotonic()
    with pytest.raises(ValueError) as told:
        expand(read_params(file, parameters), parameters)
    assert time.monotonic() - began < 5
    said = str(told.value)
    assert "small" in said and len(said) < 600 and "\n" not in said
    return said


@pytest.mark.parametrize(
    "name, value",
    [
        ("learning_rate", 0), ("learning_rate", 1), ("learning_rate", "1e308"), ("lora_alpha", 0),
        ("lora_alpha", -32), ("lora_dropout", -1), ("lora_dropout", 1), ("warmup_ratio", 5),
        ("token_budget", 0), ("token_budget", -1), ("epochs", 0), ("dialogues_per_step", 0),
        ("lora_rank", 0), ("seed", -1), ("seed", 2**64), ("fold", -2), ("folds", 1),
        ("held_out_share", 0), ("max_new_tokens", 0), ("max_length", 0), ("train_dialogues", 0),
        ("rollout_dialogues", -1), ("rollout_calls", 0), ("replay_share", 1.5), ("shots", 0),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named_with_its_range(name, value, tmp_path, parameters):
    said = refusal(tmp_path, parameters, f"common: {COMMON}\nruns: [{{condition: [full], {name}: {value}}}]")
    assert f"{name} is " in said and "it must lie in " in said


def test_every_number_has_a_range_that_holds_its_default(parameters):
    numbers = [one for one in parameters.values() if one.kind in ("int", "float")]
    for one in numbers:
        one.check_range(one.default)
        with pytest.raises(ValueError, match="it must lie in"):
            one.check_range(-(10**9))
        assert len(numbers) > 15


BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))])
RUNS = "runs: [{condition: [full]}]"


@pytest.mark.parametrize(
    "text, told",
    [
        (f"title: &a [x, *a]\n{RUNS}", "refers to itself"),
        (f"{BOMB}\n{RUNS}", "more than 100,000 values"),
        ("runs: [{condition: [full], orders: &a [*a]}]", "refers to itself"),
        (f"title: {'[' * 3000}{']' * 3000}\n{RUNS}", "nesting depth"),
        (f"title: {'{a: ' * 900}{'}' * 900}\n{RUNS}", "nested more than"),
        (f"{RUNS}\ncommon: {{}}\ncommon: {{}}", "gives 'common' a second time"),
        (f"common: {{seed: 1, seed: 2}}\n{RUNS}", "gives 'seed' a second time"),
        ("runs: [{condition: [full], learning_rate: " + "9" * 400 + "}]", "learning_rate must be float"),
        ("runs: [{condition: [full], seed: " + "9" * 5000 + "}]", "digits"),
        (f"title: [a, b]\n{RUNS}", "title must be text"),
        (f"{RUNS}\n" + "# x\n" * 300_000, "more than"),
        (f"title: {'x' * 2**21}\n{RUNS}", "more than"),
        ("runs: [{seed: [" + "1, " * 200_000 + "1]}]", "more than 100,000 values"),
        ("runs: [{condition: [full], orders: [[[1]]]}]", "orders must be"),
        (f"runs: [{{seed: {list(range(100))}, epochs: {list(range(1, 101))}, lora_rank: [1, 2]}}]", "20,000 runs"),
        ("? [a]\n: 1", "has a list or a mapping for a key"),
        (f"title: 2001-99-99\n{RUNS}", "month"),
        (f"title: !!python/name:os.system ''\n{RUNS}", "not YAML"),
        ("runs: [{condition: [" + "x" * 10**5 + "]}]", "unknown condition"),
    ],
)  # fmt: skip
def test_a_file_that_would_burn_time_is_refused_at_once(text, told, tmp_path, parameters):
    assert told in refusal(tmp_path, parameters, text)


def test_a_list_may_be_named_and_used_again(tmp_path, parameters):
    file = tmp_path / "small.yaml"
    text = "runs: [{condition: [full], together: {seed: &two [0, 1], lora_rank: [4, 8]}}, {seed: *two, epochs: 2}]"
    file.write_text(f"common: {COMMON}\n{text}")
    assert len(expand(read_params(file, parameters), parameters)) == 4
