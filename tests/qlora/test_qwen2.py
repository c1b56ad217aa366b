"""What is Qwen2's own: its template, its file, and the answers of the real 0.5B."""

from copy import deepcopy

import pytest

from trajnb import cache
from trajnb.assets import ASSETS
from trajnb.corpora.load import load_corpus
from trajnb.formatting.conditions import CONDITIONS
from trajnb.formatting.documents import apis_of
from trajnb.formatting.examples import build_examples
from trajnb.formatting.shots import with_shots
from trajnb.qlora import chat
from trajnb.qlora.model import find_model, load_base, load_tokenizer
from trajnb.run.answer import predict, score_calls

CODER = "qwen2.5-coder-0.5b"
DEFAULT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."


@pytest.fixture
def qwen2_tokenizer(tiny_qwen2):
    return load_tokenizer(str(tiny_qwen2.folder))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_no_default_system_text_slips_in(qwen2_tokenizer, sample, condition):
    for row in build_examples(sample, condition, "held_out"):
        example = chat.encode(qwen2_tokenizer, row)
        system, user = row["prompt"]
        wanted = (
            f"<|im_start|>system\n{system['content']}<|im_end|>\n"
            f"<|im_start|>user\n{user['content']}<|im_end|>\n"
            f"<|im_start|>assistant\nAPI-Request: {row['gold']}<|im_end|>"
        )
        assert qwen2_tokenizer.decode(example.tokens) == wanted
        assert example.tokens[-1] == qwen2_tokenizer.eos_token_id


def test_a_row_for_which_the_template_would_speak_is_refused(qwen2_tokenizer, tokenizer, sample):
    row = deepcopy(build_examples(sample, "full", "held_out")[0])
    del row["prompt"][0]
    said = qwen2_tokenizer.decode(chat.chat_tokens(qwen2_tokenizer, row["prompt"]))
    assert DEFAULT in said
    with pytest.raises(ValueError, match="dialogue .*, step .*: the prompt has no system message"):
        chat.encode(qwen2_tokenizer, row)


@pytest.fixture(scope="module")
def coder():
    """Tokenizer and model of the 0.5B, or the test is skipped: it is fetched where it is named."""
    folders = cache.cache_folder().glob(f"*{CODER}-*")
    if not any(folders):
        pytest.skip(f"{CODER} is not in the cache: `trajnb fetch {CODER}` brings it (480 MB)")
    return load_tokenizer(CODER), load_base(find_model(CODER), "none").eval()


@pytest.mark.slow
def test_the_real_one_is_read_whole(coder):
    tokenizer, model = coder
    assert model.config.model_type == "qwen2"
    assert sum(weight.numel() for weight in model.parameters()) == ASSETS[CODER].model.parameters
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()
    text = "<|im_start|>user\nIt's 2026, naïve 東京!<|im_end|>\n"
    tokens = tokenizer(text)["input_ids"]
    assert tokens[0] == 151644 and tokenizer.eos_token_id == 151645
    assert tokenizer.decode(tokens) == text
    assert tokenizer("Hello world 2026")["input_ids"] == [9707, 1879, 220, 17, 15, 17, 21]


@pytest.mark.slow
@pytest.mark.parametrize(
    "condition, shots, exact, names, calls",
    [
        ("full", 0, 3, 3, 17),
        ("full", 1, 7, 10, 23),
        ("stripped", 0, 0, 0, 14),
        ("stripped", 1, 4, 8, 20),
    ],
)
def test_24_answers_to_api_bank(coder, api_bank_files, condition, shots, exact, names, calls):
    """Of the untrained 0.5B, to every fifth held-out dialogue: 2026-11-24, float32, two CPU cores."""
    tokenizer, model = coder
    corpus = load_corpus(
        "api-bank", documents="used", corpus_path=str(api_bank_files), levels=("1", "2")
    )
    rows = build_examples(corpus, condition, "held_out")
    chosen = list(dict.fromkeys(rows["dialogue_id"]))[::5]
    rows = rows.filter(lambda row: row["dialogue_id"] in chosen)
    if shots:
        rows = with_shots(rows, build_examples(corpus, condition, "train"), shots, seed=0)
    told = predict(
        model,
        tokenizer,
        rows,
        score_calls({one.id: apis_of(one.documents) for one in corpus.dialogues}),
        stage=0,
        train_condition=condition,
        eval_condition=condition,
        max_new_tokens=64,
    )
    assert len(told) == 24
    counts = [sum(line[key] for line in told) for key in ("canonical", "name", "parsed")]
    assert counts == [exact, names, calls]
