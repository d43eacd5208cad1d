"""A fleet: 64 simulated nodes with 8 GPUs each, 100 jobs in one queue, and a launcher for each of them.

The simulated pods run no program, so that only the control plane and our launchers work. Five launchers are
processes, whose memory is measured; the others are threads of the test, because 100 processes are too many
for two cores. All of them use an account of their own, whose requests the API server counts in its audit log.
"""

import dataclasses
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT

import psutil
import pytest
import yaml
from cluster import NODE, Cluster
from control_plane import restart_api_server
from controllers import start_kwok
from deployment import K8S
from jobs import LauncherThread, Shell
from objects import list_objects, wait_until
from pki import add_client

from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods

GPU = "nvidia.com/gpu"
NODES, GPUS = 64, 8
JOBS, PROCESSES = 100, 5
DURATION_S = 240.0  # of a simulated launcher pod; 64 jobs run first, then the other 36
SETTLED_S = 40.0  # after this time, a launcher looks rarely at a job that does not change
WINDOW_S = 90.0
MOST_REQUESTS, MOST_MEMORY = 0.2, 150e6  # of one launcher: requests a second, and bytes
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["ResponseStarted", "ResponseComplete", "Panic"],
    "rules": [{"level": "Metadata", "users": ["launcher"]}, {"level": "None"}],
}
LAUNCH = Path(__file__).parent.parent / "launch.py"


@pytest.fixture
def audit(cluster: Cluster, kueue: Cluster) -> Path:
    """The audit log of all requests of the account `launcher`."""
    policy, log = cluster.state / "audit.yaml", cluster.state / "log" / "audit.log"
    policy.write_text(yaml.safe_dump(POLICY))
    restart_api_server(cluster, f"--audit-policy-file={policy}", f"--audit-log-path={log}")
    return log


@pytest.fixture
def fleet(cluster: Cluster, audit: Path, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Simulated nodes, a queue for all their GPUs, and an account of the launchers; returns the audit log."""
    start_kwok(cluster, nodes=NODES, gpus=GPUS, seconds=DURATION_S)
    shared = list(yaml.safe_load_all((K8S / "components/kueue/clusterqueue.yaml").read_text()))
    one = next(one for one in shared if one["kind"] == "ClusterQueue")
    for resource in one["spec"]["resourceGroups"][0]["flavors"][0]["resources"]:
        resource["nominalQuota"] = {GPU: NODES * GPUS, "cpu": "6k", "memory": "64Ti"}[resource["name"]]
    local = yaml.safe_load((K8S / "components/kueue/localqueue.yaml").read_text())
    role = yaml.safe_load((K8S / "base/role.yaml").read_text())
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "launcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tinyunet-launcher"},
        "subjects": [{"kind": "User", "name": "launcher"}],
    }  # fmt: skip
    for namespaced in (local, role, binding):
        namespaced["metadata"]["namespace"] = namespace
    cluster.apply(*shared, local, role, binding)
    config = str(add_client(cluster.state, "launcher", "/CN=launcher"))
    # The client reads KUBECONFIG when it is imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", config)
    monkeypatch.setenv("KUBECONFIG", config)
    yield audit
    cluster.stop("kwok")
    cluster.kubectl("delete", "node", "-l", "type=kwok", "--wait=false")
    cluster.kubectl("uncordon", NODE)


def test_100_launchers_follow_their_jobs_with_few_requests_and_little_memory_and_lose_none(
    cluster: Cluster, fleet: Path, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each job has two workers with four GPUs each, so that 64 jobs fill the nodes."""
    resources = {"limits": {GPU: "4", "memory": "16Gi"}, "requests": {"cpu": "8"}}
    jobs = [
        shell.job("", name=f"job-{number}", queue="tinyunet", slots_per_worker=4, pending_seconds=300)
        for number in range(JOBS)
    ]
    jobs = [dataclasses.replace(job, pods=WorkerPods(resources=resources)) for job in jobs]
    begin = time.monotonic()
    processes = [start(job) for job in jobs[-PROCESSES:]]
    threads = [LauncherThread(job) for job in jobs[:-PROCESSES]]
    wait_until("64 jobs run", lambda: len(running(cluster, shell.namespace)) == NODES * GPUS // 8, 600)
    started = time.monotonic() - begin
    time.sleep(SETTLED_S)
    before = requests(fleet)
    time.sleep(WINDOW_S)
    window = requests(fleet) - before
    memory = [psutil.Process(process.pid).memory_info().rss for process in processes]
    rate = window.total() / WINDOW_S / JOBS
    with capsys.disabled():
        print(
            f"\n{JOBS} jobs: {NODES * GPUS // 8} run after {started:.0f} s; {rate:.3f} requests/s per "
            f"launcher in {WINDOW_S:.0f} s ({dict(window)}); memory of {PROCESSES} launchers "
            f"{[round(one / 1e6) for one in memory]} MB"
        )
    for thread in threads:
        thread.result(2 * DURATION_S + 300)
    outputs = [process.communicate(timeout=2 * DURATION_S)[0] for process in processes]
    with capsys.disabled():
        print(f"all ended after {time.monotonic() - begin:.0f} s; requests: {dict(requests(fleet))}")
    assert [process.returncode for process in processes] == [0] * PROCESSES, outputs
    assert all(thread.lines[-1].endswith("succeeded") for thread in threads)
    assert rate <= MOST_REQUESTS
    assert max(memory) <= MOST_MEMORY


def start(job: MPIJobSpec) -> "subprocess.Popen[str]":
    values = json.dumps(dataclasses.asdict(job))
    return subprocess.Popen([sys.executable, LAUNCH, values], stdout=PIPE, stderr=STDOUT, text=True)


def running(cluster: Cluster, namespace: str) -> list[dict]:
    """Return the jobs with the condition Running."""
    time.sleep(5)  # reading all jobs is work for the API server, too
    return [
        job
        for job in list_objects(cluster, "mpijobs", namespace)
        for one in job.get("status", {}).get("conditions", [])
        if (one["type"], one["status"]) == ("Running", "True")
    ]


def requests(audit: Path) -> Counter[str]:
    """Return the number of the launchers' requests, by verb and resource."""
    events = [json.loads(line) for line in audit.read_text().splitlines()]
    return Counter(f"{one['verb']} {one.get('objectRef', {}).get('resource')}" for one in events)
