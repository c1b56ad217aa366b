"""A full disk, met by libraries that write past Python: an error of the system, told in a sentence."""

import errno
from contextlib import contextmanager

import pytest
import torch
from click import ClickException
from safetensors.torch import save_file

from trajnb.files import write_bytes, written_by_a_library
from trajnb.study.terminal import told

resource = pytest.importorskip("resource")
WEIGHTS = {"a": torch.ones(10_000)}


@contextmanager
def files_of(most: int):
    """Within, a file may have so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [save_file, torch.save], ids=["safetensors", "torch"])
def test_a_library_that_cannot_write_is_told_as_the_system(write, tmp_path):
    path = tmp_path / "weights"
    with pytest.raises(ClickException) as found, told(), written_by_a_library(path), files_of(5_000):
        write(WEIGHTS, path)
    cause = found.value.__cause__
    assert isinstance(cause, OSError) and cause.errno in (errno.EFBIG, errno.ENOSPC)
    assert str(path) in found.value.message and "make room" in found.value.message


def test_our_own_files_name_where_the_disk_is_full(tmp_path):
    path = tmp_path / "record.json"
    with pytest.raises(ClickException, match=f"{path}: file too large: make room"), told(), files_of(100):
        write_bytes(path, b"x" * 1000)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_error_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(RuntimeError, match="of another kind"), written_by_a_library(tmp_path):
        raise RuntimeError("of another kind")
    with pytest.raises(FileNotFoundError), written_by_a_library(tmp_path):
        (tmp_path / "nowhere").read_bytes()
