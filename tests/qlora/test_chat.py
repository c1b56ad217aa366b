from copy import deepcopy

import pytest

from trajnb.corpora.load import load_corpus
from trajnb.formatting.conditions import CONDITIONS
from trajnb.formatting.examples import build_examples
from trajnb.qlora import chat
from trajnb.qlora.model import load_tokenizer

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
