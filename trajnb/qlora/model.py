"""The model: where its files come from, where it computes, how it is quantised, and its adapter."""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    load_peft_weights,
    prepare_model_for_kbit_training,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from trajnb import assets, cache, machine
from trajnb.hub import hub_errors
from trajnb.plain import parse_json
from trajnb.qlora import attention, chat, ranks
from trajnb.shapes import check_shape

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUANTIZATIONS = ("auto", "none", "nf4")
MODEL_ASSETS = [name for name, asset in assets.ASSETS.items() if asset.model]

Model = PreTrainedModel | PeftModel
"""A model of transformers, with or without an adapter."""


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk."""

    folder: Path
    id: str
    """What the user asked for."""
    revision: str
    """What the user asked for, resolved to a commit on the hub."""

    def sha256(self) -> str:
        """Hash of the weights: of the one file, or of the hashes, a line each, of several files.

        Raises ValueError as `weights`.
        """
        hashes = [cache.sha256(file) for file in self.weights()]
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


    def weights(self) -> list[Path]:
        """The files that are loaded, by name: `model.safetensors`, or those that its index names.

        Raises ValueError where the folder holds none, or is that of an adapter, which would load
        another model, or where the index leads out of the folder.
        """
        if (self.folder / "adapter_config.json").exists():
            raise ValueError(
                f"model {self.id!r} is an adapter, which loads its base from elsewhere: name the base, "
                "or merge the two into one model"
            )
        config = self.folder / "config.json"
        if config.is_file() and "transformers_weights" in (parse_json(config.read_text("utf-8")) or {}):
            raise ValueError(
                f"{config} names files of its own as weights (transformers_weights), which are not read: "
                "take that line out, and let the weights be model.safetensors"
            )
        whole, index = (self.folder / name for name in ("model.safetensors", INDEX))
        if whole.is_file():
            return [whole]
        if not index.is_file():
            raise ValueError(
                f"{self.folder} holds no model.safetensors: "
                "other weight formats can run code and are not read"
            )
        check_shape(shards := parse_json(index.read_text("utf-8")), Index, str(index))
        names = sorted(set(shards["weight_map"].values()))
        for name in names:
            if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name) or not (self.folder / name).is_file():
                raise ValueError(f"{index} names {name!r:.80}, which is no *.safetensors beside it")
        return [self.folder / name for name in names]


INDEX = "model.safetensors.index.json"


class Index(TypedDict):
    """Which tensor is in which file."""

    weight_map: dict[str, str]


def find_model(model: str, revision: str = "") -> ModelFiles:
    """Bring a model to disk: `tiny` (built in), an asset such as `smollm2-135m`, a local folder (a
    relative path starts at the clone), or a hub id at `revision`.

    Raises ValueError, with what to do, for a name that is none of these and for a hub that does
    not answer, and CacheError for an asset that cannot be had or for which the disk has no room.
    """
    if model == "tiny":
        return ModelFiles(cache.build_once("model-tiny-1", _build_tiny), model, "")
    if model in MODEL_ASSETS:
        folder = cache.build_once(f"model-{model}-1", partial(_convert, model))
        return ModelFiles(folder, model, assets.ASSETS[model].revision)
    if (folder := machine.resolve(model)).is_dir():
        return ModelFiles(folder, model, "")
    return _from_hub(model, revision)


def is_at_hand(model: str, revision: str = "") -> bool:
    """Whether `find_model` needs no download for a model."""
    if model in MODEL_ASSETS:
        return (cache.cache_folder() / f"model-{model}-1").is_dir()
    if model == "tiny" or machine.resolve(model).is_dir():
        return True
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(model, "config.json", revision=revision or None), str)
    except HFValidationError:
        return False


def _from_hub(model: str, revision: str) -> ModelFiles:
    from huggingface_hub import snapshot_download

    wanted = f"model {model!r}" + (f" at revision {revision!r}" if revision else "")
    instead = f"tiny, {', '.join(MODEL_ASSETS)} or a folder that exists"
    with hub_errors(wanted, instead=instead):
        folder = snapshot_download(
            model,
            revision=revision or None,
            allow_patterns=["*.json", "*.jinja", "*.safetensors", "tokenizer.model"],
            ignore_patterns=["original/*"],
        )
    return ModelFiles(Path(folder), model, Path(folder).name)


def load_tokenizer(model: str, revision: str = "") -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Raises:
        ValueError: it has no chat template, or one that cannot be used; the message says what to do.
    """
    tokenizer = AutoTokenizer.from_pretrained(
        find_model(model, revision).folder, trust_remote_code=False
    )
    if tokenizer.chat_template is None:
        raise ValueError(f"model {model!r} has no chat template: use an instruction-tuned model")
    try:
        chat.habits(tokenizer)
    except ValueError as error:
        raise ValueError(
            f"model {model!r}: {error}; use an instruction-tuned model of text, or put a "
            "chat_template.jinja of your own into a copy of its folder"
        ) from error
    return tokenizer


def on_gpu() -> bool:
    """Whether this process computes on a GPU, or else on the CPU."""
    return torch.cuda.is_available()


def device() -> torch.device:
    """What this process computes on: of several GPUs the first, or that of its place where several
    processes work on a run.
    """
    return torch.device("cuda", ranks.place()) if on_gpu() else torch.device("cpu")


def load_base(files: ModelFiles, quantization: str = "auto") -> PreTrainedModel:
    """The frozen base model on the GPU where there is one (bf16, NF4 under `auto`), else on the CPU
    in fp32. Raises ValueError for an unknown `quantization`.

    bfloat16 is 40 times slower than fp32 on a CPU without its instructions, so a CPU computes in
    fp32 throughout.
    """
    if quantization not in QUANTIZATIONS:
        known = ", ".join(QUANTIZATIONS)
        raise ValueError(f"unknown quantization {quantization!r}: one of {known}")
    dtype = torch.bfloat16 if on_gpu() else torch.float32
    nf4 = quantization == "nf4" or (quantization == "auto" and on_gpu())
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    files.weights()  # what cannot be vouched for is not loaded
    with quiet():
        return AutoModelForCausalLM.from_pretrained(
            files.folder,
            trust_remote_code=False,
            dtype=dtype,
            quantization_config=config if nf4 else None,
            device_map={"": device()},
            attn_implementation=attention.NAME,
            use_safetensors=True,
        )


def layer_count(model: Model) -> int:
    """How many layers with attention a token passes."""
    return model.config.get_text_config().num_hidden_layers


def add_adapter(
    base: PreTrainedModel, *, rank: int, alpha: int, dropout: float, seed: int
) -> PeftModel:
    """A fresh LoRA adapter on every linear layer of `base`.

    The seed is set before the adapter is built.
    """
    set_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with quiet():
        return get_peft_model(_prepare(base), config)


def adapter_weights(model: PeftModel) -> dict[str, torch.Tensor]:
    """A copy of the adapter's weights, on the CPU."""
    weights = get_peft_model_state_dict(model)
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}


def set_adapter_weights(model: PeftModel, weights: dict[str, torch.Tensor]) -> None:
    """Put weights that `adapter_weights` gave into `model`, in place."""
    set_peft_model_state_dict(model, weights)


def check_finite(weights: dict[str, torch.Tensor]) -> None:
    """Raise ValueError where a weight is infinite or nan: nothing could be learnt or asked on."""
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise ValueError(f"the weights {name} are not finite")


@contextmanager
def merged(model: Model) -> Iterator[None]:
    """Within, the adapter of `model` is part of its weights, which saves two products and an
    addition in every linear layer; afterwards the weights are what they were, to the bit.

    In fp32 only: in fewer bits the sum of weight and adapter would be rounded to another model.
    Elsewhere, and for a model without an adapter, nothing is done.
    """
    if not isinstance(model, PeftModel) or getattr(model, "is_loaded_in_4bit", False):
        yield
        return
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    if any(weight.dtype != torch.float32 for weight in weights):
        yield
        return
    kept = [weight.detach().clone() for weight in weights]
    model.merge_adapter()
    try:
        yield
    finally:
        model.unmerge_adapter()
        for weight, before in zip(weights, kept, strict=True):
            weight.data.copy_(before)


def restore_adapter(model: PeftModel, folder: Path) -> None:
    """Put a saved adapter's weights into `model`, in place.

    Raises ValueError where the folder is damaged or of another shape.
    """
    try:
        if not (folder / "adapter_model.safetensors").is_file():
            raise ValueError("it holds no adapter_model.safetensors, and no other format is read")
        weights = load_peft_weights(str(folder), device=str(model.device))
        check_finite(weights)
        if set(weights) != set(get_peft_model_state_dict(model)):
            raise ValueError("it holds other weights than this run's adapter")
        set_peft_model_state_dict(model, weights)
    except Exception as error:  # safetensors, torch and peft each raise their own
        raise ValueError(
            f"adapter folder {folder} is damaged or incomplete ({type(error).__name__}: {error}); "
            "delete it and run again: training goes on from the block before"
        ) from error


def _prepare(base: PreTrainedModel) -> PreTrainedModel:
    if not getattr(base, "is_loaded_in_4bit", False):
        return base
    return prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Loading without bars, which print thousands of lines into an executed notebook, and without
    notes on what a later transformers will rename.
    """
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        # the GGUF reader writes a bar of its own to stderr
        with redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _build_tiny(folder: Path) -> None:
    """A random Llama of 150,000 parameters over bytes: it learns nothing useful, but every step of
    a study runs with it.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32768,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with quiet():
            LlamaForCausalLM(config).save_pretrained(folder)


def _convert(asset: str, folder: Path) -> None:
    """The model of an asset as safetensors: the asset is a GGUF, which takes 16 s to de-quantise
    for smollm2-135m and a minute and more for a larger one; the copy loads in seconds.
    """
    weights = 4 * assets.ASSETS[asset].model.parameters  # bytes
    cache.check_room(weights + assets.still_to_write(asset), f"{asset} with its plain copy")
    source = assets.fetch(asset)
    (gguf,) = source.rglob("*.gguf")
    told = cache.told(lambda seconds: f"{asset}: weights are de-quantised, once, {seconds:.0f} s")
    with told, quiet():
        tokenizer = AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, trust_remote_code=False
        )
        tokenizer.save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
        )
        _plain(model).save_pretrained(folder)


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights, not copied, in a model that does not know that it was read from a GGUF:
    `save_pretrained` refuses one that does.
    """
    shape = model.config.to_dict()
    shape.pop("quantization_config", None)
    with torch.device("meta"):
        plain = type(model)(type(model.config)(**shape))
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    return plain
