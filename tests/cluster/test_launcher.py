"""The MPIJob launcher on a real cluster: it runs a job, follows it, and continues after interruptions."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import Cluster
from control_plane import restart_api_server
from jobs import LauncherThread, Shell
from objects import list_objects, nothing_runs, wait_until

from tinyunet.mpijob.client import Cluster as Client
from tinyunet.mpijob.run import run_mpijob
from tinyunet.mpijob.spec import MPIJobSpec
from tinyunet.mpijob.status import JobFailed

SECCOMP = {"type": "RuntimeDefault"}
LAUNCH = Path(__file__).with_name("launch.py")


def start(spec: MPIJobSpec, **environment: str) -> "subprocess.Popen[str]":
    values = json.dumps(dataclasses.asdict(spec))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, LAUNCH, values], env=os.environ | environment, **pipes)


def read_to(process: "subprocess.Popen[str]", text: str) -> None:
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"the launcher ended without the line {text!r}")


def uid(cluster: Cluster, namespace: str) -> str:
    return cluster.kubectl("-n", namespace, "get", "mpijob", "ranks", "-o", "jsonpath={.metadata.uid}")


def test_two_ranks_run_to_success_and_the_workers_are_released_and_the_job_is_not_run_a_second_time(
    cluster: Cluster, shell: Shell
) -> None:
    job = shell.job('echo "rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE"')
    lines: list[str] = []
    run_mpijob(job, log=lines.append)
    assert "rank 0 of 2" in lines
    assert "rank 1 of 2" in lines
    assert lines[-1].endswith("succeeded")
    wait_until("workers are released", lambda: nothing_runs(cluster, shell.namespace))
    first, lines = uid(cluster, shell.namespace), []
    run_mpijob(job, log=lines.append)
    assert "already exists" in lines[0]
    assert lines[-1].endswith("succeeded")
    assert uid(cluster, shell.namespace) == first


def test_sigterm_deletes_the_job_within_a_second(cluster: Cluster, shell: Shell) -> None:
    process = start(shell.job("echo started; sleep 600"))
    read_to(process, "started")
    process.send_signal(signal.SIGTERM)
    assert process.wait(3) == 143
    process.stdout.close()
    wait_until("the job is deleted", lambda: not list_objects(cluster, "mpijobs", shell.namespace))
    wait_until("its pods have ended", lambda: nothing_runs(cluster, shell.namespace))


def test_a_retry_of_a_killed_launcher_follows_the_same_job(cluster: Cluster, shell: Shell) -> None:
    job = shell.job("echo started; sleep 6; echo finished")
    process = start(job)
    read_to(process, "started")
    process.kill()
    process.wait()
    process.stdout.close()
    first = uid(cluster, shell.namespace)
    lines: list[str] = []
    run_mpijob(job, log=lines.append)
    assert "already exists" in lines[0]
    assert lines.count("finished") == 2  # two ranks, each line once
    assert uid(cluster, shell.namespace) == first


def test_a_failed_job_is_replaced_by_a_new_job(cluster: Cluster, shell: Shell) -> None:
    with pytest.raises(JobFailed):
        run_mpijob(shell.job("exit 1"), log=lambda line: None)
    first = uid(cluster, shell.namespace)
    with pytest.raises(JobFailed):
        run_mpijob(shell.job("exit 1"), log=lambda line: None)
    assert uid(cluster, shell.namespace) != first


def test_another_specification_for_a_running_job_is_refused(cluster: Cluster, shell: Shell) -> None:
    running = LauncherThread(shell.job("echo started; sleep 600"))
    running.wait_for("started")
    with pytest.raises(JobFailed, match=r"another specification.*delete mpijob ranks"):
        run_mpijob(shell.job("echo other"), log=lambda line: None)
    cluster.kubectl("-n", shell.namespace, "delete", "mpijob", "ranks", "--wait=false")
    with pytest.raises(JobFailed, match="deleted while it ran"):
        running.result()


def test_the_job_is_deleted_with_the_pod_of_its_task(
    cluster: Cluster, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {
        "securityContext": {"runAsUser": 1000, "runAsNonRoot": True, "seccompProfile": SECCOMP},
        "containers": [{
            "name": "main", "image": shell.job("x").image, "command": ["sleep", "600"],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }],
    }  # fmt: skip
    meta = {"name": "task", "namespace": shell.namespace}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    pod = cluster.kubectl("-n", shell.namespace, "get", "pod", "task", "-o", "jsonpath={.metadata.uid}")
    monkeypatch.setenv("KFP_POD_NAME", "task")
    monkeypatch.setenv("KFP_POD_UID", pod)
    running = LauncherThread(shell.job("echo started; sleep 600"))
    running.wait_for("started")
    cluster.kubectl("-n", shell.namespace, "delete", "pod", "task", "--grace-period=0", "--force")
    with pytest.raises(JobFailed, match="deleted while it ran"):
        running.result()


def test_a_restart_of_the_api_server_loses_neither_log_lines_nor_the_job(
    cluster: Cluster, shell: Shell
) -> None:
    running = LauncherThread(
        shell.job('for i in $(seq 30); do echo "line-$OMPI_COMM_WORLD_RANK-$i"; sleep .5; done')
    )
    running.wait_for("line-0-3")
    restart_api_server(cluster)
    running.result()
    lines = [line for line in running.lines if line.startswith("line-0-")]
    assert lines == [f"line-0-{number}" for number in range(1, 31)]
    assert running.lines[-1].endswith("succeeded")


def test_expired_watches_lose_neither_log_lines_nor_the_job(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every watch of this launcher starts at a version that the API server refuses with 410 Gone."""
    from kubernetes import watch  # the import reads KUBECONFIG, which is set when the cluster runs
    from kubernetes.client import ApiException, CustomObjectsApi

    statuses = []
    wait = Client.wait

    def wait_from_an_expired_version(self: Client, name: str, version: str, *, seconds: int) -> None:
        resource = ("kubeflow.org", "v2beta1", self.namespace, "mpijobs")
        objects = CustomObjectsApi().list_namespaced_custom_object
        stream = watch.Watch().stream(objects, *resource, resource_version="1", timeout_seconds=5)
        with pytest.raises(ApiException) as refused:
            next(stream)
        statuses.append(refused.value.status)
        wait(self, name, "1", seconds=seconds)

    monkeypatch.setattr(Client, "wait", wait_from_an_expired_version)
    lines: list[str] = []
    run_mpijob(
        shell.job('for i in 1 2 3; do echo "line-$OMPI_COMM_WORLD_RANK-$i"; sleep 1; done'), log=lines.append
    )
    assert set(statuses) == {410}
    assert [line for line in lines if line.startswith("line-0-")] == [f"line-0-{i}" for i in (1, 2, 3)]
    assert lines[-1].endswith("succeeded")
