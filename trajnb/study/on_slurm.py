"""Jobs as one array of Slurm, through submitit: `trajnb run PARAMS --engine slurm`.

A job that Slurm preempts or whose time is over is queued again, and goes on from its checkpoints;
one that was killed is sent again by `_ended`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path

from trajnb.study.cluster import ATTEMPTS, Backend, follow, wanted, work
from trajnb.study.engines import Slots
from trajnb.study.job import Job
from trajnb.study.resources import Resources


class Task:
    """`work`, which can be queued again."""

    def __call__(self, job: Job, is_done: Callable[[Job], bool]) -> str:
        return work(job, is_done)

    def checkpoint(self, job: Job, is_done: Callable[[Job], bool]):
        """What submitit queues where Slurm takes the machine away: the same, for an attempt goes on
        from the last one's checkpoints.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job, is_done)


def execute(
    jobs: list[Job],
    slots: Slots,
    is_done: Callable[[Job], bool],
    changed: Callable[[Job, str], None],
    *,
    resources: Resources,
    folder: Path,
    at_a_time: int | None = None,
    cluster: str = "slurm",
) -> dict[str, str]:
    """Execute `jobs` as `engines.local` does, as one array whose jobs each get the `resources` that
    they ask for, `at_a_time` of them at once.

    Args:
        folder: where submitit keeps what it sends and its logs.
        cluster: `slurm`; or `local`, which is submitit on this machine, for tests.

    Raises:
        ValueError: submitit is not installed, or Slurm is not on this machine or refuses the jobs.
    """
    if not jobs:
        return {}
    with wanted("slurm"):
        import submitit
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except RuntimeError as error:  # it looks for srun
        raise ValueError(
            f"no Slurm on this machine ({error}): start trajnb where you would start sbatch"
        ) from error
    executor.update_parameters(name="trajnb", **_asked(resources, at_a_time))
    begin = partial(_begin, executor, is_done)
    return follow(Backend(begin, _ended, _cancel), jobs, changed)


def _asked(resources: Resources, at_a_time: int | None) -> dict:
    """The resources in submitit's words."""
    asked = {"timeout_min": round(60 * resources.hours), "gpus_per_node": ceil(resources.gpus)}
    asked["cpus_per_task"] = max(1, ceil(resources.cpus))
    if resources.memory_gb:
        asked["mem_gb"] = resources.memory_gb
    for name in ("partition", "account"):
        if told := getattr(resources, name):
            asked[f"slurm_{name}"] = told
    if at_a_time:
        asked["slurm_array_parallelism"] = at_a_time
    return asked


@dataclass
class _Sent:
    """A job that is with Slurm."""

    begin: Callable[[], object]
    """Sends it again."""
    job: object
    """submitit's own handle."""
    starts: int = 1


def _begin(executor, is_done: Callable[[Job], bool], jobs: list[Job]) -> list[_Sent]:
    from submitit.core.utils import FailedSubmissionError

    task = Task()
    try:
        sent = executor.map_array(task, jobs, [is_done] * len(jobs))
    except FailedSubmissionError as error:
        told = " ".join(str(error).split())[:300]
        raise ValueError(f"Slurm does not take the jobs: {told}") from error
    again = [partial(executor.submit, task, job, is_done) for job in jobs]
    return [_Sent(begin, one) for begin, one in zip(again, sent, strict=True)]


def _ended(sent: _Sent) -> str | None:
    from submitit.core.utils import FailedJobError

    if not sent.job.done():
        return None
    error = sent.job.exception()
    if error is None:
        return sent.job.result()
    if not isinstance(error, FailedJobError) and sent.starts < ATTEMPTS:  # it was killed
        sent.job, sent.starts = sent.begin(), sent.starts + 1
        return None
    return " ".join(str(error).split())[-300:]


def _cancel(sent: _Sent) -> None:
    sent.job.cancel(check=False)
