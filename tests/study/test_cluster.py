"""Runs on clusters: as an array of Slurm, which submitit plays on this machine, and as tasks of a
Ray cluster of three nodes on the loopback. A machine is lost in the middle of a run, which is then
begun again and counts once.
"""

import errno
import json
import shutil
import signal
import socket
import threading
import time
from contextlib import ExitStack

import psutil
import pytest

from trajnb.study import attempts, cluster, engines, on_ray, on_slurm, parts, pipeline
from trajnb.study import job as jobs_module
from trajnb.study.grid import expand
from trajnb.study.params import Study
from trajnb.study.resources import Resources

SEEDS = [0, 13, 98]
"""13 fails at its first attempt, by itself; 98 sleeps in its first attempt."""


def jobs_of(notebooks, out):
    parameters = parts.schema(notebooks)
    study = Study("small", "small", "", {}, ({"condition": ["full"], "seed": SEEDS},))
    runs = expand(study, parameters)
    (part,) = [part for part in parts.PARTS if part.notebook == parts.TRAIN]
    place = parts.Place(out.resolve(), notebooks)
    return pipeline.jobs_of(part, place, runs, dict.fromkeys(runs, "waiting"))


def kernel_of(job, seconds=900):
    """The kernel that works on a job, once it has said so and begun to sleep."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path in job.attempts.glob("*/attempts"):
            if path.read_text() == "x":
                return psutil.Process(int(path.with_name("pid").read_text()))
        time.sleep(0.2)
    raise AssertionError(f"{job.name} was not begun in {seconds} s")


def lose(kernel, named):
    """End the process whose command line names `named` with all that it has started, as a cluster
    does; what it started may outlive it by no more than a moment.
    """
    (top,) = [one for one in kernel.parents() if named in " ".join(one.cmdline())][:1]
    for process in [top, *top.children(recursive=True)]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass


def check(jobs, errors, heard):
    """All but the run that fails are there, each once, and nothing is left of their attempts."""
    good, failing, lost = jobs
    assert list(errors) == [failing.name] and "thirteen fails the first time" in errors[failing.name]
    for job in (good, lost):
        record = json.loads((job.folder / "record.json").read_text())
        assert record["parameters"]["seed"] == job.parameters["seed"]
        assert not job.attempts.exists() and job.executed.is_file()
        assert str(job.folder) in job.parameters_file.read_text()
    assert (good.folder / "attempts").read_text() == "x"
    assert (lost.folder / "attempts").read_text() == "xx", "the second found what the first had left"
    assert not failing.folder.exists() and list(failing.attempts.iterdir())
    states = [state for name, state in heard if name == lost.name]
    assert states == ["running", "finished"]


def agent_ports():
    """Free ports for the agents of a node of Ray, which then need not say them. For the port of
    the dashboard's agent a node waits all the same, and dies where that takes more than 15 seconds:
    on a very busy machine no node starts (ray#65983).
    """
    names = ["metrics_agent_port", "metrics_export_port", "runtime_env_agent_port"]
    names += ["dashboard_agent_listen_port"]
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in names]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return {name: one.getsockname()[1] for name, one in zip(names, taken, strict=True)}


def preempt(kernel):
    """Take the machine from a job as Slurm does: its process hears of it, and is queued again."""
    (top,) = [one for one in kernel.parents() if "submitit.core._submit" in " ".join(one.cmdline())]
    top.send_signal(signal.SIGUSR2)


def kill(kernel):
    lose(kernel, "submitit.core._submit")


@pytest.mark.parametrize("taken", [kill, pytest.param(preempt, marks=pytest.mark.slow)])
def test_an_array_of_slurm_of_which_a_job_loses_its_machine(notebooks, tmp_path, capsys, taken):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    jobs, heard = jobs_of(notebooks, tmp_path / "study"), []
    killer = threading.Thread(target=lambda: taken(kernel_of(jobs[2])))
    killer.start()
    errors = on_slurm.execute(
        jobs,
        [],
        parts.is_trained,
        lambda job, state: heard.append((job.name, state)),
        resources=Resources(hours=0.5),
        folder=tmp_path / "slurm",
        cluster="local",
    )
    killer.join()
    check(jobs, errors, heard)
    assert f"{jobs[0].name}: finished" in capsys.readouterr().out


@pytest.mark.slow
def test_tasks_of_ray_of_which_a_node_is_killed(notebooks, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.cluster_utils import Cluster

    jobs, heard = jobs_of(notebooks, tmp_path / "study"), []
    head = {"num_cpus": 0, "include_dashboard": False, **agent_ports()}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            nodes.add_node(num_cpus=1, **agent_ports())
        killer = threading.Thread(target=lambda: lose(kernel_of(jobs[2]), "raylet/raylet"))
        killer.start()
        errors = on_ray.execute(
            jobs,
            [],
            parts.is_trained,
            lambda job, state: heard.append((job.name, state)),
            address=nodes.address,
            resources=Resources(),
        )
        killer.join()
        check(jobs, errors, heard)
    finally:
        ray.shutdown()
        nodes.shutdown()


def test_without_locks_a_run_of_this_machine_is_an_attempt_too(notebooks, tmp_path, monkeypatch):
    """Another machine may have begun the same, and no lock would tell."""

    def no_locks(descriptor, flags):
        raise OSError(errno.ENOLCK, "no locks available")

    job, heard = jobs_of(notebooks, tmp_path / "study")[0], []
    monkeypatch.setattr(jobs_module.fcntl, "flock", no_locks)
    begun = attempts.begin
    monkeypatch.setattr(attempts, "begin", lambda one: heard.append("apart") or begun(one))
    told = engines.local([job], [{}], parts.is_trained, lambda _, state: heard.append(state))
    assert told == {} and heard == ["apart", "running", "finished"]
    assert parts.is_trained(job) and job.executed.is_file() and not job.attempts.exists()


def test_a_job_that_another_attempt_has_finished_is_not_begun(notebooks, tmp_path):
    job = jobs_of(notebooks, tmp_path)[0]
    assert cluster.work(job, lambda _: True) == "" and not job.attempts.exists()


def test_resources_in_the_words_of_slurm():
    asked = on_slurm._asked(Resources(4, 1, 32, 1.5, "gpu", "lab"), 8)
    assert asked == {
        "timeout_min": 90,
        "gpus_per_node": 1,
        "cpus_per_task": 4,
        "mem_gb": 32,
        "slurm_partition": "gpu",
        "slurm_account": "lab",
        "slurm_array_parallelism": 8,
    }


def test_without_slurm_nothing_is_sent(notebooks, tmp_path):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    if shutil.which("srun"):
        pytest.skip("this machine has Slurm")
    with pytest.raises(ValueError, match="start trajnb where you would start sbatch"):
        jobs = jobs_of(notebooks, tmp_path)
        on_slurm.execute(jobs, [], None, None, resources=Resources(), folder=tmp_path / "slurm")


@pytest.mark.parametrize("module, extra", [(on_ray, "ray"), (on_slurm, "slurm")])
def test_an_extra_that_is_not_installed_is_named(module, extra, notebooks, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, {"ray": "ray", "slurm": "submitit"}[extra], None)
    told = {"folder": tmp_path} if extra == "slurm" else {}
    with pytest.raises(ValueError, match=rf"pip install -e '.\[{extra}\]'"):
        module.execute(jobs_of(notebooks, tmp_path), [], None, None, resources=Resources(), **told)
