"""Files of the Hugging Face hub, and what goes wrong there in one sentence each.

The hub's own client downloads, caches, and goes on where a connection broke. It checks no more of a file than
its size, so the content is checked here.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

PATIENCE = 5.0
"""Seconds in which the hub must begin to answer where something else would do too."""


def fetch_files(repo: str, revision: str, names: Sequence[str]) -> list[Path]:
    """These files of a dataset, in the hub's own cache, each with the content that the hub states for it.

    Give a commit as the revision: what the cache has of a commit needs no network. Contents are checked on
    every use. Where a run was killed, whole files stay and the one that was cut begins anew.

    Raises:
        ValueError: a file cannot be had or is damaged; the message says what to do.
    """
    from huggingface_hub import hf_hub_download

    wanted = f"dataset {repo!r} at revision {revision!r}"
    paths = []
    for name in names:
        with hub_errors(wanted, file=name):
            path = Path(hf_hub_download(repo, name, repo_type="dataset", revision=revision))
            _verify(path, _stated_hash(path, repo, revision, name), f"{name} of {wanted}")
        paths.append(path)
    return paths


def dataset_rows(repo: str, config: str | None, revision: str | None) -> dict[str | None, Iterable[dict]]:
    """The rows of a dataset by split; of one that has a single split, by None. `datasets` keeps them.

    Raises:
        ValueError: no revision is given (the message names today's), or the dataset cannot be had or is
            none that `datasets` reads.
    """
    import datasets
    from huggingface_hub import HfApi

    wanted = f"dataset {repo!r}" + (f" at revision {revision!r}" if revision else "")
    with hub_errors(wanted, instead="a file"):
        if not revision:
            latest = HfApi().dataset_info(repo).sha
            raise ValueError(
                f"{wanted} needs a revision, or a study that goes on could find other rows: write "
                f"{repo}{':' + config if config else ''}@{latest}"
            )
        try:
            splits = datasets.load_dataset(repo, config, revision=revision)
        except Exception as error:  # of datasets, pyarrow, fsspec: each has exceptions of its own
            HfApi().dataset_info(repo, revision=revision)  # where that is the reason, its error says more
            said = str(error.__cause__ or error).strip().partition("\n")[0][:200]
            raise ValueError(
                f"{wanted} cannot be read by datasets ({type(error).__name__}: {said}): give a config as "
                "owner/name:config@revision, or download its file and give corpus_path that"
            ) from error
    return dict(splits) if len(splits) > 1 else {None: next(iter(splits.values()))}


def published_file(repo: str, name: str) -> Path:
    """A file of a model's repository, in the hub's own cache. Only its size is checked here.

    Raises:
        ValueError: it is not in the cache, and the hub does not answer at once or has no such
            file. The message is the reason alone, for callers who have it from elsewhere too.
    """
    from huggingface_hub import get_session, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HTTPError

    cached = try_to_load_from_cache(repo, name)
    if isinstance(cached, str):
        return Path(cached)
    try:
        # the client itself asks a hub that is silent again and again, for half a minute
        answer = get_session().head(hf_hub_url(repo, name), timeout=PATIENCE)
        if answer.status_code >= 400:
            raise OSError(f"status {answer.status_code}")
        return Path(hf_hub_download(repo, name))
    except (HTTPError, OSError, RuntimeError) as error:  # RuntimeError: from hf_xet
        said = str(error).strip().partition("\n")[0][:200]
        raise ValueError(f"{type(error).__name__}: {said}") from error


@contextmanager
def hub_errors(wanted: str, *, file: str = "", instead: str = "") -> Iterator[None]:
    """Turn what the hub's client raises into a ValueError whose one sentence says what to do.

    Args:
        wanted: what is asked for, e.g. "model 'owner/name' at revision 'main'".
        file: the file that is asked for, where it is one.
        instead: what can be used without the hub, e.g. "a folder that exists".
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    instead = f", or use {instead}" if instead else ""
    try:
        yield
    except GatedRepoError as error:  # before RepositoryNotFoundError, of which it is one
        raise ValueError(f"{wanted} is gated: accept its licence on the hub, then `hf auth login`") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ValueError(
            f"unknown {wanted}: check its id on the hub, `hf auth login` if it is private{instead}"
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(
            f"{wanted}: the hub has no such revision; give a branch, tag or commit that it has"
        ) from error
    except RemoteEntryNotFoundError as error:
        raise ValueError(
            f"{wanted} has no file {file!r}: check its name among the files on the hub, or give a revision "
            "that has it"
        ) from error
    except (HTTPError, OSError, RuntimeError) as error:  # RuntimeError: from hf_xet
        missing = isinstance(error, LocalEntryNotFoundError)
        cause = error.__cause__ if missing and error.__cause__ else error  # why the cache was looked into
        said = str(cause).strip().partition("\n")[0][:200]
        reason = f"{type(cause).__name__}: {said}"
        if getattr(getattr(cause, "response", None), "status_code", None) in (401, 403):
            sentence = f"the hub refuses {wanted} ({reason}): `hf auth login` with a token that may read it"
        elif missing:
            sentence = f"{wanted} is not in the hub cache and the hub does not answer ({reason}): "
            sentence += f"try again with a network and without HF_HUB_OFFLINE{instead}"
        else:
            sentence = f"{wanted} did not arrive whole ({reason}): run again; if that does not help, "
            sentence += "check the network and that the disk of the hub cache (HF_HOME) has room"
        raise ValueError(sentence) from error


def _stated_hash(path: Path, repo: str, revision: str, name: str) -> str:
    """The ETag of a file, for which the client names the blob that a file in its cache is a link to."""
    if path.is_symlink():
        return Path(os.readlink(path)).name
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # a file system without links

    return get_hf_file_metadata(hf_hub_url(repo, name, repo_type="dataset", revision=revision)).etag or ""


def _verify(path: Path, stated: str, what: str) -> None:
    """The hub states the sha256 of a large file (LFS, Xet), and git's hash of any other."""
    if re.fullmatch(r"[0-9a-f]{64}", stated):
        start = hashlib.sha256
    elif re.fullmatch(r"[0-9a-f]{40}", stated):
        start = partial(hashlib.sha1, b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        raise ValueError(f"{what} cannot be checked, its ETag {stated!r} is no hash: unset HF_ENDPOINT")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, start).hexdigest()
    if found != stated:
        _remove(path)
        raise ValueError(
            f"{what} is damaged, its hash is {found} where the hub states {stated}: the file was removed "
            "from the cache; run again, and if that does not help, look for a proxy that alters downloads"
        )


def _remove(path: Path) -> None:
    """A file of the cache with every link on the way to it, or the client would link the damage again."""
    while path.is_symlink():
        target = path.parent / os.readlink(path)
        path.unlink()
        path = target
    path.unlink(missing_ok=True)
