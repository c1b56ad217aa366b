"""`trajnb train` as a function, for processes that are forked and not started anew."""

import os
import resource
import sys


def train(file: str, words: str, limit: int) -> None:
    """Run the command; its words go to the file `words`, no file of it may have more than `limit` bytes."""
    from trajnb.study.cli import main

    descriptor = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    main(["train", file])
