"""The wheel that holds the APIs: downloaded once (1.9 MB), or the tests are skipped with the reason."""

import pytest

from trajnb.assets import AssetError, fetch
from trajnb.corpora.bfcl import scenarios
from trajnb.world.sandbox import Sandbox


@pytest.fixture(scope="session", autouse=True)
def wheel():
    try:
        fetch("bfcl")
    except AssetError as error:
        pytest.skip(f"the bfcl wheel is not to be had: {error}")


@pytest.fixture(scope="session")
def worlds(wheel):
    """Classes and configuration of every dialogue, by its id."""
    return scenarios()


@pytest.fixture
def sandbox(wheel):
    with Sandbox() as sandbox:
        yield sandbox
