"""The real corpus for tests: downloaded once (1.9 MB), or the test is skipped with the reason."""

import pytest

from trajnb.assets import AssetError
from trajnb.formatting.corpus import load_corpus


@pytest.fixture(scope="session")
def bfcl():
    try:
        return load_corpus("bfcl")
    except AssetError as error:
        pytest.skip(f"the bfcl wheel is not to be had: {error}")


@pytest.fixture(scope="session")
def sample():
    return load_corpus("sample", documents="used")
