"""What can go wrong with an MPIJob, each caused for real: a clear error, and nothing left running."""

import json
from collections.abc import Iterator

import pytest
from boot import Cluster
from conftest import Running, Shell, items, nothing_runs, until

from tinyunet.core.errors import UserError
from tinyunet.mpijob.client import Cluster as Client
from tinyunet.mpijob.run import run_manifest, run_mpijob
from tinyunet.mpijob.spec import WorkerPods, build
from tinyunet.mpijob.status import JobFailed

WORKER = ("delete", "pod", "ranks-worker-1", "--grace-period=0", "--force")


@pytest.fixture(autouse=True)
def _clean(cluster: Cluster, namespace: str) -> Iterator[None]:
    yield
    until("nothing is left running", lambda: nothing_runs(cluster, namespace))


def quiet(line: str) -> None:
    pass


def test_a_failing_rank_gives_its_exit_code_and_last_lines(shell: Shell) -> None:
    with pytest.raises(JobFailed, match="launcher exited 7") as caught:
        run_mpijob(shell.job("echo the last words; exit 7"), log=quiet)
    assert caught.value.exit_code == 7
    assert "the last words" in str(caught.value)


def test_a_killed_worker_is_a_lost_pod_and_the_job_starts_again(cluster: Cluster, shell: Shell) -> None:
    running = Running(shell.job("echo started; sleep 6; echo finished", restarts=1))
    running.wait_for("started")
    cluster.kubectl("-n", shell.namespace, *WORKER)
    running.result()
    assert any("lost a" in line and "starting it again" in line for line in running.lines)
    assert running.lines.count("finished") == 2


def test_a_killed_worker_without_restarts_left_is_an_error(cluster: Cluster, shell: Shell) -> None:
    running = Running(shell.job("echo started; sleep 600"))
    running.wait_for("started")
    cluster.kubectl("-n", shell.namespace, *WORKER)
    with pytest.raises(JobFailed, match="lost a"):
        running.result()
    until("the job is gone", lambda: not items(cluster, "mpijobs", shell.namespace))


def test_an_evicted_worker_is_named(shell: Shell) -> None:
    small = {"limits": {"memory": "128Mi", "ephemeral-storage": "5Mi"}, "requests": {"cpu": "10m"}}
    script = '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || head -c 50000000 /dev/zero >/tmp/full; sleep 600'
    with pytest.raises(JobFailed, match=r"lost a pod.*ranks-worker-1"):
        run_mpijob(shell.job(script, pods=WorkerPods(resources=small)), log=quiet)


def test_an_out_of_memory_rank_is_told_with_the_limit(shell: Shell) -> None:
    with pytest.raises(JobFailed, match=r"OOMKilled.*128Mi"):
        run_mpijob(shell.job("/usr/bin/python3 -c 'x = b\"x\" * 1_000_000_000'"), log=quiet)


def test_a_job_past_its_deadline_is_ended_by_the_cluster(shell: Shell) -> None:
    with pytest.raises(JobFailed, match="exceeded its deadline of 5 s"):
        run_mpijob(shell.job("sleep 600", deadline_seconds=5), log=quiet)


def test_an_image_that_does_not_exist_is_told_after_the_wait(cluster: Cluster, shell: Shell) -> None:
    job = shell.job("true", image="localhost/no-such-image:1", pending_seconds=3)
    with pytest.raises(UserError, match=r"cannot start .*no-such-image"):
        run_mpijob(job, log=quiet)
    until("the job is gone", lambda: not items(cluster, "mpijobs", shell.namespace))


def test_more_gpus_than_the_cluster_has_are_told_in_the_schedulers_words(shell: Shell) -> None:
    pods = WorkerPods(resources={"limits": {"nvidia.com/gpu": "64"}})
    with pytest.raises(UserError, match=r"did not start within 3 s.*Insufficient nvidia.com/gpu"):
        run_mpijob(shell.job("true", pods=pods, pending_seconds=3), log=quiet)


def test_an_exceeded_quota_is_told(cluster: Cluster, shell: Shell) -> None:
    meta = {"name": "small", "namespace": shell.namespace}
    spec = {"hard": {"requests.memory": "40Mi"}}
    cluster.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": spec})
    with pytest.raises(UserError, match="exceeded quota: small"):
        run_mpijob(shell.job("true", pending_seconds=5), log=quiet)


def test_a_spec_that_the_operator_refuses_is_told_at_once(shell: Shell) -> None:
    manifest = build(shell.job("true"))
    manifest["metadata"]["name"] = "x" * 62
    with pytest.raises(UserError, match=r"the MPI Operator refuses the job.*invalid DNS label"):
        run_manifest(Client(shell.namespace), manifest, pending_seconds=60, log=quiet)


def test_a_spec_that_the_schema_refuses_is_told_at_once(shell: Shell) -> None:
    manifest = build(shell.job("true"))
    manifest["spec"]["slotsPerWorker"] = "two"
    with pytest.raises(UserError, match=r"the cluster refuses the MPIJob.*slotsPerWorker"):
        run_manifest(Client(shell.namespace), manifest, pending_seconds=60, log=quiet)


def test_a_namespace_that_does_not_exist_is_told(shell: Shell) -> None:
    with pytest.raises(UserError, match="namespace 'nowhere' does not exist"):
        run_mpijob(shell.job("true", namespace="nowhere"), log=quiet)


def test_tainted_gpu_nodes_take_the_workers_and_not_the_launcher(cluster: Cluster, shell: Shell) -> None:
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    resources = {"limits": {"nvidia.com/gpu": "1", "memory": "128Mi"}, "requests": {"cpu": "10m"}}
    pods = WorkerPods(resources=resources, tolerations=[toleration])
    cluster.kubectl("taint", "node", "node-0", "nvidia.com/gpu=present:NoSchedule")
    try:
        running = Running(shell.job("echo finished", pods=pods))
        running.wait_for("untolerated taint")
        found = {pod["metadata"]["name"][:12]: pod for pod in items(cluster, "pods", shell.namespace)}
        assert found["ranks-worker"]["status"]["phase"] == "Running"
        assert found["ranks-launch"]["status"]["phase"] == "Pending"
    finally:
        cluster.kubectl("taint", "node", "node-0", "nvidia.com/gpu:NoSchedule-")
    running.result()
    assert running.lines.count("finished") == 2


def test_without_the_operators_type_the_error_says_what_to_install(cluster: Cluster, shell: Shell) -> None:
    kind = json.loads(cluster.kubectl("get", "crd", "mpijobs.kubeflow.org", "-o", "json"))
    assert kind["spec"]["versions"][0]["name"] == "v2beta1"
    cluster.kubectl("delete", "crd", "mpijobs.kubeflow.org")
    try:
        with pytest.raises(UserError, match=r"has no API for MPIJob.*install the MPI Operator"):
            run_mpijob(shell.job("true"), log=quiet)
    finally:
        cluster.install_operator()
