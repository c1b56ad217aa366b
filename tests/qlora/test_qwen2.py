"""What is Qwen2's own: its template, its file, and the answers of the real 0.5B."""

import shutil
from collections import namedtuple
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from gguf import GGUFWriter
from transformers import Qwen2Config, Qwen2ForCausalLM

from trajnb import assets, cache
from trajnb.assets import ASSETS, Size
from trajnb.corpora.load import load_corpus
from trajnb.formatting.conditions import CONDITIONS
from trajnb.formatting.documents import apis_of
from trajnb.formatting.examples import build_examples
from trajnb.formatting.shots import with_shots
from trajnb.qlora import chat
from trajnb.qlora import model as models
from trajnb.qlora.model import find_model, load_base, load_tokenizer
from trajnb.run.answer import predict, score_calls

CODER = "qwen2.5-coder-0.5b"
DEFAULT = "You are a model of this test. You are helpful."


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


GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
    "model.layers": "blk",
}


@pytest.fixture
def small():
    """A random Qwen2 whose heads are as wide as its format says."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=260,  # what the tokenizer has and one merge
        hidden_size=14 * 8,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    model = Qwen2ForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(0, 0.5)
    return model


@pytest.fixture
def from_gguf(small, qwen2_tokenizer, tmp_path, monkeypatch):
    """The name of an asset that is `small`, as llama.cpp writes a Qwen2."""
    (tmp_path / "asset").mkdir()
    config = small.config
    writer = GGUFWriter(tmp_path / "asset" / "small.gguf", "qwen2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    words = sorted(qwen2_tokenizer.get_vocab(), key=qwen2_tokenizer.get_vocab().get)
    words.append(words[0] + words[1])  # the format wants a merge
    kinds = [3 if word.startswith("<|") else 1 for word in words]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{words[0]} {words[1]}"])
    writer.add_eos_token_id(qwen2_tokenizer.eos_token_id)
    writer.add_chat_template(qwen2_tokenizer.chat_template)
    for name, weight in small.state_dict().items():
        for theirs, ours in GGUF_NAMES.items():
            name = name.replace(theirs, ours)
        writer.add_tensor(name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    size = Size(sum(weight.numel() for weight in small.parameters()), 1)
    monkeypatch.setenv("TRAJNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(ASSETS, "small", replace(ASSETS[CODER], model=size))
    monkeypatch.setattr(models, "MODEL_ASSETS", ["small"])
    monkeypatch.setattr(assets, "fetch", lambda asset: tmp_path / "asset")
    return "small"


def test_a_gguf_becomes_the_same_model(from_gguf, small, qwen2_tokenizer):
    read, tokenizer = load_base(find_model(from_gguf), "none").eval(), load_tokenizer(from_gguf)
    assert read.config.tie_word_embeddings is False
    tokens = torch.tensor([[1, 2, 3, 4, 200]])
    with torch.inference_mode():
        assert torch.allclose(read(tokens).logits, small(tokens).logits, atol=1e-5)
    text = "<|im_start|>user\nls('naïve')<|im_end|>"
    assert tokenizer(text)["input_ids"] == qwen2_tokenizer(text)["input_ids"]
    assert tokenizer.chat_template == qwen2_tokenizer.chat_template
    assert tokenizer.eos_token_id == qwen2_tokenizer.eos_token_id


def test_a_copy_for_which_there_is_no_room_is_not_begun(from_gguf, monkeypatch, tmp_path):
    """Not even the download is."""
    needed = 4 * ASSETS["small"].model.parameters + assets.still_to_write("small")
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(needed - 1))
    with monkeypatch.context() as patched:
        patched.setattr(assets, "fetch", lambda asset: pytest.fail("it was fetched"))
        with pytest.raises(
            cache.CacheError, match="small with its plain copy needs .* TRAJNB_CACHE"
        ):
            find_model(from_gguf)
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(needed))
    find_model(from_gguf)


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
    """Of the untrained 0.5B, to every fifth held-out dialogue, as measured in float32 on a CPU."""
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
