import math
import resource
import shutil
import signal
from copy import deepcopy
from datetime import datetime

import pytest
from templates import CASES, REFUSED
from transformers.utils import chat_template_utils

from trajnb.corpora.load import load_corpus
from trajnb.formatting.conditions import CONDITIONS
from trajnb.formatting.examples import build_examples
from trajnb.qlora import chat, generate
from trajnb.qlora.model import add_adapter, load_base, load_tokenizer
from trajnb.qlora.plan import Recipe, pack
from trajnb.qlora.train import train_block

ROW = {
    "dialogue_id": "d7",
    "step": 2,
    "prompt": [
        {"role": "system", "content": "Tools."},
        {"role": "user", "content": "User: hi\nGenerate API Request 1:"},
    ],
    "completion": [{"role": "assistant", "content": "API-Request: [cd(folder='a')]"}],
}


def test_the_prompt_is_a_prefix_and_the_end_token_closes_the_completion(tokenizer):
    example = chat.encode(tokenizer, ROW)
    assert example.tokens[: example.prompt] == chat.chat_tokens(tokenizer, ROW["prompt"], True)
    assert example.tokens[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(example.completion[:-1]) == "API-Request: [cd(folder='a')]"


def test_a_template_that_rewrites_the_prompt_is_refused(tokenizer):
    odd = deepcopy(tokenizer)
    odd.chat_template = "{{ messages | length }}" + tokenizer.chat_template
    with pytest.raises(ValueError, match="dialogue d7, step 2.*prompt differently"):
        chat.encode(odd, ROW)


def test_a_template_without_an_end_is_refused(tokenizer):
    odd = deepcopy(tokenizer)
    odd.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    with pytest.raises(ValueError, match="no <|im_end|> after an answer"):
        chat.encode(odd, ROW)


def test_counting_covers_prompt_and_completion(tokenizer):
    count = chat.count_tokens(tokenizer)
    newline = 1  # behind the end token
    counted = count([*ROW["prompt"], *ROW["completion"]])
    assert counted == len(chat.encode(tokenizer, ROW).tokens) + newline


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_prompt_of_bfcl_is_a_prefix_under_smollm2s_template(condition):
    data, tokenizer = load_corpus("bfcl", documents="ten"), load_tokenizer("smollm2-135m")
    for split in ("train", "held_out"):
        for row in build_examples(data, condition, split):
            said = tokenizer.decode(chat.encode(tokenizer, row).completion[:-1])
            assert said == f"API-Request: {row['gold']}"


RECIPE = Recipe(
    epochs=1, dialogues_per_step=1, learning_rate=1e-3, warmup_ratio=0.0, packing="trie", token_budget=999
)


@pytest.fixture(scope="module")
def learner(tiny):
    """Model tiny with room for a few tokens more, and an adapter."""
    model = load_base(tiny, "none")
    model.resize_token_embeddings(model.config.vocab_size + 8)
    return add_adapter(model, rank=2, alpha=4, dropout=0.0, seed=0)


@pytest.fixture(scope="module")
def with_template(tokenizer):
    """A function that gives the tokenizer of model tiny another template, and tokens more."""

    def give(template, special=(), added=()):
        other = deepcopy(tokenizer)
        other.bos_token = "<|im_start|>"
        other.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *special]})
        other.add_tokens(list(added))
        other.chat_template = template
        return other

    return give


def rows_of_every_length():
    """A row, one with worked examples before it, and one whose answer names an end of others."""
    shots = [{"role": "user", "content": "Use cd."}, *ROW["completion"]]
    system, user = ROW["prompt"]
    odd = {"role": "assistant", "content": "API-Request: [say(text='<|im_end|> </s> it\\'s')]"}
    return [
        ROW,
        ROW | {"dialogue_id": "d8", "prompt": [system, *shots, user]},
        ROW | {"dialogue_id": "d9", "completion": [odd]},
    ]


@pytest.fixture(scope="module")
def learnt(with_template, learner, tmp_path_factory):
    """Of every case its tokenizer, the rows as tokens, and the loss of the step that learnt them."""
    found, examples, batches = {}, [], []
    for name, case in CASES.items():
        tokenizer = with_template(case.template, case.special, case.added)
        encoded = chat.encode_all(tokenizer, rows_of_every_length())
        found[name] = tokenizer, encoded
        batches.append([list(range(len(examples), len(examples) + len(encoded)))])
        examples += encoded
    folder = tmp_path_factory.mktemp("checkpoints")
    plan = pack(examples, batches, RECIPE)
    losses = train_block(learner, plan, seed=0, folder=folder, say=lambda text: None).losses
    return {name: (*found[name], loss) for name, loss in zip(CASES, losses, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_template_is_encoded_learnt_and_answered(name, learnt, learner):
    case, rows, (tokenizer, encoded, loss) = CASES[name], rows_of_every_length(), learnt[name]
    end = tokenizer.convert_tokens_to_ids(case.end)
    assert chat.habits(tokenizer).end == end and chat.habits(tokenizer).folds == case.folds
    for row, example in zip(rows, encoded, strict=True):
        asked = chat.chat_tokens(tokenizer, row["prompt"], add_generation_prompt=True)
        assert example.tokens[: example.prompt] == asked, "it learns what it is asked with"
        said = tokenizer.decode(asked)
        assert said.endswith(case.before)
        assert said.index("Tools.") < said.index("User: hi")
        assert said.lower().count("system") == (0 if case.folds or "<<" in case.template else 1)
        assert example.completion[-1] == end
        assert tokenizer.decode(example.completion[:-1]).strip() == row["completion"][0]["content"]
    assert math.isfinite(loss) and loss > 0
    answers = generate.answer(learner, encoded, ["a", "a", "b"], end_token=end, max_new_tokens=3)
    for example, answer in zip(encoded, answers, strict=True):
        assert math.isfinite(answer.gold_nll) and answer.gold_nll > 0
        assert tokenizer.decode(answer.tokens) and example.completion


@pytest.mark.parametrize("message, template", REFUSED.items(), ids=range(len(REFUSED)))
def test_a_template_that_cannot_be_used_is_named_before_anything_runs(
    with_template, tiny, tmp_path, message, template
):
    shutil.copytree(tiny.folder, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(template)
    with pytest.raises(ValueError, match=rf"model '.*/model': the chat template .*{message}") as raised:
        load_tokenizer(str(tmp_path / "model"))
    said = str(raised.value)
    assert said.endswith("put a chat_template.jinja of your own into a copy of its folder")
    assert "\n" not in said


TOO_MUCH = "more than 1,073,741,824 bytes for one dialogue"


@pytest.mark.parametrize(
    "template, patience, told",
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", 0.2, "more than 0.2 s"),
        ("{{ messages }}" + " " * 1_000_001, 20, "it has 1,000,015 characters, more than 1,000,000"),
        ("{{ 'a' * 10 ** 10 }}", 20, TOO_MUCH),
        ("{% set all = namespace(of=[0]) %}{% for a in range(99) %}{% set all.of = all.of * 2 %}{% endfor %}", 20, TOO_MUCH),
    ],
)  # fmt: skip
def test_a_template_without_end_is_refused(with_template, monkeypatch, template, patience, told):
    monkeypatch.setattr(chat, "PATIENCE", patience)
    before, space = signal.getsignal(signal.SIGALRM), resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(ValueError, match=told):
        chat.habits(with_template(template))
    assert signal.getsignal(signal.SIGALRM) is before and signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert resource.getrlimit(resource.RLIMIT_AS) == space


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "strftime_now" in case.template])
def test_no_prompt_depends_on_the_day(with_template, monkeypatch, name):
    tokenizer = with_template(CASES[name].template, CASES[name].special)
    prompt = tokenizer.decode(chat.chat_tokens(tokenizer, ROW["prompt"], True))
    assert "2024" in prompt or "Friday, 00:00:00.000000" in prompt
    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    assert tokenizer.decode(chat.chat_tokens(tokenizer, ROW["prompt"], True)) == prompt


class Later(datetime):
    """A clock that says another day."""

    @classmethod
    def now(cls, tz=None):
        return datetime(2031, 5, 4, 3, 2, 1)


def test_a_template_that_changes_is_looked_at_again(with_template):
    tokenizer = with_template(CASES["plain"].template)
    assert not chat.habits(tokenizer).folds
    tokenizer.chat_template = CASES["must alternate"].template
    assert chat.habits(tokenizer).folds


def test_an_instruction_alone_is_counted_under_every_template(with_template):
    for case in CASES.values():
        count = chat.count_tokens(with_template(case.template, case.special, case.added))
        assert 0 < count(ROW["prompt"][:1]) < count(ROW["prompt"])
