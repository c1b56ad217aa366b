"""The tokenizer of a model without the model: nothing here loads torch, which takes seconds, where the
model is one of ours and on this machine already.
"""

import json

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trajnb.assets import ASSETS
from trajnb.cache import cache_folder

OURS = ("tiny", *(name for name, asset in ASSETS.items() if asset.model))
"""Models that are built into the cache; their templates are known to be usable."""
PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of tokenizers that are their `tokenizer.json` and nothing else."""


def load_tokenizer(model: str, revision: str = "") -> PreTrainedTokenizerBase:
    """The tokenizer that `qlora.model.load_tokenizer` loads.

    Raises:
        ValueError: it has no chat template, or one that cannot be used; the message says what to do.
    """
    if model in OURS:
        folder = cache_folder() / f"model-{model}-1"  # see `qlora.model.find_model`
        told = folder / "tokenizer_config.json"
        if told.is_file() and json.loads(told.read_text("utf-8")).get("tokenizer_class") in PLAIN:
            return PreTrainedTokenizerFast.from_pretrained(folder)
    from trajnb.qlora import model as models

    return models.load_tokenizer(model, revision)
