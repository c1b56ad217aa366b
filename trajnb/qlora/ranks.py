"""Several processes that work on one run, a device each: `accelerate launch -m trajnb train` and
torchrun start them.

All prepare the same run and hold the same weights. They share the forward passes of a training step
and the dialogues that are asked about; what one alone may do (speak, write, decide what is there
already) the first does, and the others are told. With one process every function here does the
plain thing.
"""

import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState

T = TypeVar("T")

PATIENCE = timedelta(hours=24)
"""How long a process waits for the others: one may download a model, or ask alone."""
REMEDY = "accelerate launch -m trajnb train PARAMETERS.yaml"


def count() -> int:
    """How many processes work on this run."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def rank() -> int:
    """The number of this process among them, from 0."""
    return int(os.environ.get("RANK") or 0) if count() > 1 else 0


def is_first() -> bool:
    """Whether this process is the one that speaks and writes."""
    return rank() == 0


def place() -> int:
    """The number of this process's device on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK") or 0) if count() > 1 else 0


@contextmanager
def joined() -> Iterator[None]:
    """Within, this process works with the others that were started for the same run."""
    if count() == 1:
        yield
        return
    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    yield
    # Not where an error came through: the launcher then ends the others, who may be waiting.
    dist.destroy_process_group()


def check_joined() -> None:
    """Raise ValueError where this is one of several processes that do not know of one another: each
    would train the whole run into the same folder.
    """
    if count() > 1 and not dist.is_initialized():
        raise ValueError(
            f"WORLD_SIZE is {count()}, so this is one of several processes of one run, and a "
            f"notebook trains with one: start the run with `{REMEDY}`, or unset WORLD_SIZE"
        )


def from_first(make: Callable[[], T]) -> T:
    """What `make` returns in the first process, in all of them; the others do not call it. So they
    also wait until it is done.
    """
    if count() == 1:
        return make()
    told = [make() if is_first() else None]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def gathered(own: Sequence[T]) -> list[T]:
    """What all processes have, the first one's before the second's."""
    if count() == 1:
        return list(own)
    parts: list = [None] * count()
    dist.all_gather_object(parts, list(own))
    return sum(parts, [])


def deal(sizes: Sequence[int], hands: int) -> list[list[int]]:
    """The places of `sizes` in so many hands, as equal in sum as can be told quickly: the largest
    first, each to the hand that has least; in a hand they stand in their order.
    """
    loads = [(0, hand) for hand in range(hands)]
    dealt: list[list[int]] = [[] for _ in range(hands)]
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        load, hand = heapq.heappop(loads)
        dealt[hand].append(index)
        heapq.heappush(loads, (load + sizes[index], hand))
    return [sorted(hand) for hand in dealt]
