"""Queues of a real Kueue: admission, quotas, gangs and preemption of jobs that our launcher follows."""

import dataclasses
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL

import pytest
import yaml
from cluster import NODE, Cluster
from deployment import K8S
from jobs import LauncherThread, Shell
from objects import list_objects, wait_until
from tasks import mounted_environment

from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST
from tinyunet.mpijob.example import EXAMPLE
from tinyunet.mpijob.permissions import require_queue
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods
from tinyunet.training.run import TrainingRun

GPU = "nvidia.com/gpu"
QUOTA = 3  # GPUs of the queue; each job has two workers with one GPU each
STEPS = 200
SETTINGS = {
    "image_size": 32, "global_batch": 2, "steps": STEPS, "checkpoint_every": STEPS, "validate_every": 0,
    "precision": "float32", "deterministic": True,
}  # fmt: skip


@pytest.fixture
def queued(cluster: Cluster, kueue: Cluster, shell: Shell) -> Iterator[Callable[..., MPIJobSpec]]:
    """Builds jobs of two workers for a queue of k8s/components/kueue that has a quota of three GPUs."""
    capacity = {"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "4"}
    cluster.kubectl(
        "patch", "node", NODE, "--subresource=status", "--type=json", "-p", json.dumps([capacity])
    )
    shared = list(yaml.safe_load_all((K8S / "components/kueue/clusterqueue.yaml").read_text()))
    one = next(one for one in shared if one["kind"] == "ClusterQueue")
    one["metadata"]["name"] = shell.namespace  # each test has its own quota
    resources = one["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    next(resource for resource in resources if resource["name"] == GPU)["nominalQuota"] = QUOTA
    local = yaml.safe_load((K8S / "components/kueue/localqueue.yaml").read_text())
    local["metadata"]["namespace"], local["spec"]["clusterQueue"] = shell.namespace, shell.namespace
    cluster.apply(*shared, local)

    def build(name: str, script: str, **changes: object) -> MPIJobSpec:
        small = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi", GPU: "1"}}
        values = {"name": name, "queue": "tinyunet", "pods": WorkerPods(resources=small)}
        return shell.job(script, **(values | changes))

    yield build
    cluster.kubectl("-n", shell.namespace, "delete", "mpijobs", "--all", "--wait=false")


def pods_of(cluster: Cluster, job: MPIJobSpec) -> list[str]:
    pods = list_objects(cluster, "pods", job.namespace)
    return [name for pod in pods if (name := pod["metadata"]["name"]).startswith(f"{job.name}-")]


def test_a_job_is_admitted_by_its_queue_and_runs(queued: Callable[..., MPIJobSpec]) -> None:
    running = LauncherThread(queued("a", 'echo "rank $OMPI_COMM_WORLD_RANK"'))
    running.result()
    assert {"rank 0", "rank 1"} <= set(running.lines)
    assert running.lines[-1].endswith("/a succeeded")


def test_two_jobs_of_two_workers_on_a_quota_of_three_run_one_after_the_other(
    cluster: Cluster, queued: Callable[..., MPIJobSpec]
) -> None:
    """The wait of the second job is longer than its deadline and than the longest wait for a pod."""
    jobs = [queued(name, "sleep 15; echo done", deadline_seconds=30, pending_seconds=10) for name in "ab"]
    first = LauncherThread(jobs[0])
    wait_until("the first job has its pods", lambda: len(pods_of(cluster, jobs[0])) == 3)
    second, begin = LauncherThread(jobs[1]), time.monotonic()
    reason = f"insufficient unused quota for {GPU} in flavor tinyunet, 1 more needed"
    second.wait_for(f"waits: in queue tinyunet: couldn't assign flavors to pod set worker: {reason}")
    assert not pods_of(cluster, jobs[1])
    first.result()
    second.result()
    assert first.lines.count("done") == second.lines.count("done") == 2
    assert "MPIJob b was admitted by its queue" in second.lines
    assert time.monotonic() - begin > 20


def test_a_preempted_training_saves_a_checkpoint_and_ends_with_the_weights_of_an_undisturbed_one(
    cluster: Cluster, namespace: str, queued: Callable[..., MPIJobSpec], python: str, tmp_path: Path
) -> None:
    def training(out: Path) -> TrainingRun:
        config = FAST.replace(SETTINGS)
        return TrainingRun(records="synthetic://?train=12&test=4&size=32", out=str(out), config=config)

    reference = [python, "-m", "tinyunet", *training(tmp_path / "undisturbed").arguments()]
    undisturbed = subprocess.Popen(reference, cwd=tmp_path, stdout=DEVNULL, stderr=DEVNULL)
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    run = training(folder / "preempted")
    command = (sys.executable, "-m", "tinyunet", *run.arguments())
    pods = mounted_environment(cluster, namespace, folder)
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "3Gi", GPU: "1"}}
    pods = dataclasses.replace(pods, env=EXAMPLE.pods.env, resources=resources)
    running = LauncherThread(queued("training", "", command=command, pods=pods))
    running.wait_for(" loss ", 300)
    urgent = LauncherThread(queued("urgent", "echo it is urgent; sleep 10", priority="tinyunet-urgent"))
    running.wait_for("it was stopped (Preempted to accommodate a workload")
    urgent.wait_for("it is urgent", 120)
    saved = [path.name for path in (folder / "preempted.checkpoints").glob("step-*")]
    assert len(saved) == 1
    step = int(re.sub(r"\D", "", saved[0].removesuffix(".npz")))
    assert 0 < step < STEPS
    urgent.result()
    running.wait_for(f"steps {step} to {STEPS}", 300)
    running.result(600)
    print(*running.lines, sep="\n")
    assert undisturbed.wait(600) == 0
    digests = [json.loads((tmp_path / name / "model.json").read_text())["weights_digest"]
               for name in ("undisturbed", "shared/preempted")]  # fmt: skip
    assert digests[0] == digests[1]


def test_a_queue_that_does_not_exist_is_refused_before_the_job_is_made(
    kueue: Cluster, queued: Callable[..., MPIJobSpec], namespace: str
) -> None:
    require_queue("tinyunet", namespace)
    with pytest.raises(UserError, match=r"queue 'other' does not exist in namespace .*get localqueues"):
        require_queue("other", namespace)
