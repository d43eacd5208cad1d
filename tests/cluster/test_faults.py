"""Real failures of an MPIJob: each gives a clear error, and no pod remains running."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from cluster import Cluster
from control_plane import install_operator
from jobs import LauncherThread, Shell
from objects import list_objects, new_namespace, nothing_runs, wait_until

from tinyunet.core.errors import UserError
from tinyunet.mpijob.client import Cluster as Client
from tinyunet.mpijob.run import run_manifest, run_mpijob
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods, build
from tinyunet.mpijob.status import JobFailed

WORKER = ("delete", "pod", "ranks-worker-1", "--grace-period=0", "--force")
LOST = re.compile("evicted or deleted|lost the connection to a worker pod|launcher pod no longer exists")


@pytest.fixture(autouse=True)
def _clean(cluster: Cluster, namespace: str) -> Iterator[None]:
    yield
    wait_until("no pod runs", lambda: nothing_runs(cluster, namespace))


def discard(line: str) -> None:
    pass


def failing_jobs(cluster: Cluster, stack: ExitStack) -> Iterator[tuple[str, MPIJobSpec]]:
    """Yield jobs that fail without any action of a test; each has a namespace of its own."""

    def shell() -> Shell:
        return Shell(stack.enter_context(new_namespace(cluster)))

    yield "exit", shell().job("echo the last line; exit 7")
    small = {"limits": {"memory": "128Mi", "ephemeral-storage": "5Mi"}, "requests": {"cpu": "10m"}}
    script = '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || head -c 50000000 /dev/zero >/tmp/full; sleep 600'
    yield "disk", shell().job(script, pods=WorkerPods(resources=small))
    yield "memory", shell().job("/usr/bin/python3 -c 'x = b\"x\" * 1_000_000_000'")
    yield "deadline", shell().job("sleep 600", deadline_seconds=5)
    yield "image", shell().job("true", image="localhost/no-such-image:1", pending_seconds=10)
    pods = WorkerPods(resources={"limits": {"nvidia.com/gpu": "64"}})
    yield "gpus", shell().job("true", pods=pods, pending_seconds=10)
    limited = shell()
    meta, spec = {"name": "small", "namespace": limited.namespace}, {"hard": {"requests.memory": "40Mi"}}
    cluster.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": spec})
    yield "quota", limited.job("true", pending_seconds=10)


@pytest.fixture(scope="module")
def failed(cluster: Cluster) -> Iterator[dict[str, LauncherThread]]:
    """The launchers of all `failing_jobs`, which run at the same time and have ended."""
    with ExitStack() as stack:
        jobs = dict(failing_jobs(cluster, stack))
        launchers = {name: LauncherThread(job) for name, job in jobs.items()}
        for name, launcher in launchers.items():
            launcher.wait(180)
            wait_until(f"no pod of {name} runs", lambda n=jobs[name].namespace: nothing_runs(cluster, n))
        yield launchers


def test_a_failing_rank_is_reported_with_exit_code_and_last_lines(failed: dict[str, LauncherThread]) -> None:
    with pytest.raises(JobFailed, match="launcher exited 7") as caught:
        failed["exit"].result()
    assert caught.value.exit_code == 7
    assert "the last line" in str(caught.value)


def test_after_the_loss_of_a_worker_the_job_is_restarted(cluster: Cluster, shell: Shell) -> None:
    running = LauncherThread(shell.job("echo started; sleep 6; echo finished", restarts=1))
    running.wait_for("started")
    cluster.kubectl("-n", shell.namespace, *WORKER)
    running.result()
    assert any(LOST.search(line) and "starting it again" in line for line in running.lines)
    assert running.lines.count("finished") == 2


def test_the_loss_of_a_worker_without_remaining_restarts_is_an_error(cluster: Cluster, shell: Shell) -> None:
    running = LauncherThread(shell.job("echo started; sleep 600"))
    running.wait_for("started")
    cluster.kubectl("-n", shell.namespace, *WORKER)
    with pytest.raises(JobFailed, match=LOST):
        running.result()
    wait_until("the job is deleted", lambda: not list_objects(cluster, "mpijobs", shell.namespace))


def test_the_ranks_of_a_drained_worker_are_asked_to_stop_and_the_job_is_restarted(
    cluster: Cluster, shell: Shell
) -> None:
    script = "trap 'echo asked; exit 140' USR2; echo started; sleep 600 & wait"
    running = LauncherThread(shell.job(script, restarts=1))
    running.wait_for("started")
    cluster.kubectl("-n", shell.namespace, "delete", "pod", "ranks-worker-1", "--wait=false")
    running.wait_for("starting it again")
    assert "asked" in running.lines
    wait_until("the ranks run again", lambda: running.lines.count("started") > 2)
    cluster.kubectl("-n", shell.namespace, "delete", "mpijob", "ranks", "--wait=false")
    with pytest.raises(JobFailed, match="deleted while it ran"):
        running.result()


def test_an_evicted_worker_is_named(failed: dict[str, LauncherThread]) -> None:
    with pytest.raises(JobFailed, match=r"a pod was evicted or deleted \(.*ranks-worker-1"):
        failed["disk"].result()


def test_a_rank_out_of_memory_is_reported_with_the_limit(failed: dict[str, LauncherThread]) -> None:
    with pytest.raises(JobFailed, match=r"OOMKilled.*128Mi"):
        failed["memory"].result()


def test_the_cluster_ends_a_job_after_its_deadline(failed: dict[str, LauncherThread]) -> None:
    with pytest.raises(JobFailed, match="ran longer than its limit of 5 s"):
        failed["deadline"].result()


def test_a_missing_image_is_reported_after_the_timeout(
    cluster: Cluster, failed: dict[str, LauncherThread]
) -> None:
    with pytest.raises(UserError, match=r"cannot start .*no-such-image"):
        failed["image"].result()
    namespace = failed["image"].namespace
    wait_until("the job is deleted", lambda: not list_objects(cluster, "mpijobs", namespace))


def test_too_many_gpus_are_reported_with_the_message_of_the_scheduler(
    failed: dict[str, LauncherThread],
) -> None:
    with pytest.raises(UserError, match=r"did not start within 10 s.*Insufficient nvidia.com/gpu"):
        failed["gpus"].result()


def test_an_exceeded_quota_is_reported(failed: dict[str, LauncherThread]) -> None:
    with pytest.raises(UserError, match="exceeded quota: small"):
        failed["quota"].result()


def test_a_refusal_by_the_operator_is_reported_at_once(shell: Shell) -> None:
    manifest = build(shell.job("true"))
    manifest["metadata"]["name"] = "x" * 62
    with pytest.raises(UserError, match=r"the MPI Operator refuses the job.*invalid DNS label"):
        run_manifest(Client(shell.namespace), manifest, pending_seconds=60, log=discard)


def test_a_refusal_by_the_schema_is_reported_at_once(shell: Shell) -> None:
    manifest = build(shell.job("true"))
    manifest["spec"]["slotsPerWorker"] = "two"
    with pytest.raises(UserError, match=r"the cluster refuses the MPIJob.*slotsPerWorker"):
        run_manifest(Client(shell.namespace), manifest, pending_seconds=60, log=discard)


def test_a_missing_namespace_is_reported(shell: Shell) -> None:
    with pytest.raises(UserError, match="namespace 'nowhere' does not exist"):
        run_mpijob(shell.job("true", namespace="nowhere"), log=discard)


def test_tainted_gpu_nodes_run_the_workers_and_not_the_launcher(cluster: Cluster, shell: Shell) -> None:
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    resources = {"limits": {"nvidia.com/gpu": "1", "memory": "128Mi"}, "requests": {"cpu": "10m"}}
    pods = WorkerPods(resources=resources, tolerations=[toleration])
    cluster.kubectl("taint", "node", "node-0", "nvidia.com/gpu=present:NoSchedule")
    try:
        running = LauncherThread(shell.job("echo finished", pods=pods))
        running.wait_for("untolerated taint")
        pods_by_role = {
            pod["metadata"]["name"][:12]: pod for pod in list_objects(cluster, "pods", shell.namespace)
        }
        assert pods_by_role["ranks-worker"]["status"]["phase"] == "Running"
        assert pods_by_role["ranks-launch"]["status"]["phase"] == "Pending"
    finally:
        cluster.kubectl("taint", "node", "node-0", "nvidia.com/gpu:NoSchedule-")
    running.result()
    assert running.lines.count("finished") == 2


def test_a_missing_mpijob_type_is_reported_with_the_remedy(cluster: Cluster, shell: Shell) -> None:
    kind = json.loads(cluster.kubectl("get", "crd", "mpijobs.kubeflow.org", "-o", "json"))
    assert kind["spec"]["versions"][0]["name"] == "v2beta1"
    cluster.kubectl("delete", "crd", "mpijobs.kubeflow.org")
    try:
        with pytest.raises(UserError, match=r"has no API for MPIJob.*install the MPI Operator"):
            run_mpijob(shell.job("true"), log=discard)
    finally:
        install_operator(cluster)
