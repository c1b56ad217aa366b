"""What is built of assets, ahead of time: after it a run only reads the cache."""

from collections.abc import Iterable, Iterator


def build(assets: Iterable[str]) -> Iterator[str]:
    """Build what is read of these assets, and model tiny; the name of each thing that is ready.

    Raises:
        trajnb.cache.CacheError: the cache cannot hold it.
    """
    from trajnb.corpora import bfcl  # torch takes seconds to import
    from trajnb.corpora.load import load_corpus
    from trajnb.qlora.model import MODEL_ASSETS, find_model

    for model in ("tiny", *(name for name in assets if name in MODEL_ASSETS)):
        find_model(model)
        yield f"model {model}"
    if "bfcl" in assets:
        for documents in bfcl.DOCUMENTS:
            load_corpus("bfcl", documents=documents)
            yield f"corpus bfcl with documents {documents!r}"
