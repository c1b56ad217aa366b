"""What is built of assets, ahead of time: after it a run only reads the cache."""

from collections.abc import Iterable


def build(assets: Iterable[str]) -> None:
    """Build what is read of these assets: models, of which model tiny is always one, and corpora.

    Raises:
        trajnb.cache.CacheError: the cache cannot hold it.
    """
    from trajnb.corpora import bfcl, load  # torch takes seconds to import
    from trajnb.qlora import model as models

    models.find_model("tiny")
    for asset in assets:
        if asset in models.MODEL_ASSETS:
            models.find_model(asset)
        if asset == "bfcl":
            for documents in bfcl.DOCUMENTS:
                load.load_corpus("bfcl", documents=documents)
