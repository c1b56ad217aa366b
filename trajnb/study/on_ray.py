"""Jobs as tasks of a Ray cluster: `trajnb run PARAMS --engine ray --address ...`.

Ray starts a task again where its machine is lost, and promises at least once, not once: that a run
counts once, its folder's rename sees to (`attempts`).
"""

import os
from collections.abc import Callable
from functools import partial

from trajnb.study.cluster import ATTEMPTS, Backend, follow, wanted, work
from trajnb.study.engines import Slots
from trajnb.study.job import Job
from trajnb.study.resources import Resources


def execute(
    jobs: list[Job],
    slots: Slots,
    is_done: Callable[[Job], bool],
    changed: Callable[[Job, str], None],
    *,
    address: str = "",
    resources: Resources,
    at_a_time: int | None = None,
) -> dict[str, str]:
    """Execute `jobs` as `engines.local` does, each with the `resources` that it asks for. Without
    an `address` it is that of RAY_ADDRESS, or else a cluster of this machine alone is started.

    Raises:
        ValueError: Ray is not installed, or no cluster answers at `address`.
    """
    if not jobs:
        return {}
    with wanted("ray"):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
    if not ray.is_initialized():
        _join(ray, address)
    asked = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "max_retries": ATTEMPTS - 1}
    asked["scheduling_strategy"] = "SPREAD"
    if resources.memory_gb:
        asked["memory"] = int(resources.memory_gb * 1e9)
    begin = partial(_begin, ray.remote(work), asked, is_done)
    cancel = partial(ray.cancel, force=False)
    return follow(Backend(begin, partial(_ended, ray), cancel, at_a_time), jobs, changed)


def _join(ray, address: str) -> None:
    asked = {"address": address} if address else {}
    try:
        ray.init(**asked, log_to_driver=False, logging_level="warning")
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise ValueError(
            f"no Ray cluster at {address or 'this machine'} ({told}): start one with "
            "`ray start --head`, and give --address HOST:PORT as it prints it"
        ) from error


def _begin(task, asked: dict, is_done: Callable[[Job], bool], jobs: list[Job]) -> list:
    return [task.options(**asked, name=job.name).remote(job, is_done) for job in jobs]


def _ended(ray, handle) -> str | None:
    ready, _ = ray.wait([handle], timeout=0)
    if not ready:
        return None
    try:
        return ray.get(handle)
    except ray.exceptions.RayError as error:  # its machine was lost too often, or `work` failed
        return " ".join(str(error).split())[-300:]
