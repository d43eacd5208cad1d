"""A soak: hundreds of small pipeline runs on one cluster, three at a time, after which nothing has grown.

Each run trains as the pipeline does: a pod like that of the train task launches an MPIJob of one worker with
the records on MinIO. This machine then evaluates its model and registers it, and deletes the pod, as Kubeflow
deletes those of old runs. SOAK sets the number of runs.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import mlflow
import psutil
import pytest
import yaml
from cluster import Cluster
from control_plane import restart_api_server
from deployment import NAMESPACE
from machine import run
from objects import list_objects, wait_until
from tasks import create_task, train_words

from tinyunet.storage import s3

RUNS = int(os.environ.get("SOAK") or 300)
AT_A_TIME = 3
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:tinyunet-launcher"
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["ResponseStarted", "ResponseComplete", "Panic"],
    "rules": [{"level": "Metadata", "users": [ACCOUNT]}, {"level": "None"}],
}
SETTINGS = {
    "image_size": 32, "global_batch": 2, "steps": 2, "checkpoint_every": 1, "validate_every": 0,
    "precision": "float32",
}  # fmt: skip
MODEL = "soak"
MOST_REQUESTS, MOST_MEMORY = 2.0, 300e6  # of a launcher: a second; bytes, 180 MB of them MLflow's client
KINDS = ("pods", "mpijobs", "jobs", "secrets", "configmaps", "services")
SERVERS = ("mlflow", "minio", "postgres", "kube-apiserver", "mpi-operator", "kubelet", "containerd")


@pytest.fixture(scope="module")  # before the records are stored
def audit(services: Cluster) -> Iterator[Path]:
    """The audit log of the requests of the launchers."""
    policy, log = services.state / "audit.yaml", services.state / "log" / "audit.log"
    policy.write_text(yaml.safe_dump(POLICY))
    restart_api_server(services, f"--audit-policy-file={policy}", f"--audit-log-path={log}")
    yield log
    restart_api_server(services)


def test_hundreds_of_runs_leave_no_object_and_no_connection_behind(
    services: Cluster,
    audit: Path,
    environment: dict[str, str],
    location: str,
    workers: SimpleNamespace,
    python: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def one(number: int) -> float:
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        memory = train(services, number, location, workers)
        s3.fetch(f"{location}/records", folder / "records")
        s3.fetch(f"{location}/soak-{number}", folder / "model")
        tinyunet = (python, "-m", "tinyunet")
        run(*tinyunet, "evaluate", "model", "records", "--out", "evaluation", env=environment, cwd=folder)
        run(*tinyunet, "register", "model", "evaluation", "--name", MODEL, env=environment, cwd=folder)
        return memory

    def several(numbers: range) -> list[float]:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            return list(pool.map(one, numbers))

    first = max(AT_A_TIME, RUNS // 10)
    several(range(first))
    before, earlier, begin = state(services), len(audit.read_text().splitlines()), time.monotonic()
    memory = several(range(first, RUNS))
    seconds = time.monotonic() - begin
    wait_until("the last objects are gone", lambda: objects(services) <= before["objects"], 120)
    after = state(services)
    rate = (len(audit.read_text().splitlines()) - earlier) / (time.monotonic() - begin) / AT_A_TIME
    with capsys.disabled():
        print(f"\n{RUNS} runs, the last {RUNS - first} in {seconds:.0f} s, {AT_A_TIME} at a time")
        print(f"launchers: at most {max(memory) / 1e6:.0f} MB, {rate:.2f} requests/s each")
        for name in before:
            print(f"{name}: {before[name]} after {first} runs, {after[name]} at the end")
    assert len(mlflow.MlflowClient().search_model_versions(f"name = '{MODEL}'")) == RUNS
    assert max(memory) <= MOST_MEMORY
    assert rate <= MOST_REQUESTS
    assert after["open files"] <= before["open files"] + 10 * len(SERVERS)
    assert after["connections of the database"] <= before["connections of the database"] + 2
    assert after["threads"] <= before["threads"] + 10 * len(SERVERS)


def train(cluster: Cluster, number: int, location: str, workers: SimpleNamespace) -> float:
    """Train a model by a pod of the train task, and return the largest memory of the pod's launcher."""
    name, settings = f"soak-{number}", SETTINGS | {"seed": number}  # equal models would be one version
    create_task(cluster, name, train_words(name, location, settings, workers, ranks=1), workers)
    with ThreadPoolExecutor() as pool:
        success = ("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=300s")
        waiting, memory = pool.submit(cluster.kubectl, "-n", NAMESPACE, *success), [0.0]
        while not waiting.done():
            memory += memory_of(name)
            time.sleep(1)
    log = cluster.kubectl("-n", NAMESPACE, "logs", name)
    assert waiting.exception() is None, log
    assert "succeeded" in log.splitlines()[-1], log
    cluster.kubectl("-n", NAMESPACE, "delete", "pod", name, "--wait=false")
    return max(memory)


def memory_of(name: str) -> list[float]:
    """Return the resident bytes of the Python processes of a task."""
    return [
        process.info["memory_info"].rss
        for process in psutil.process_iter(["cmdline", "memory_info"])
        if name in (process.info["cmdline"] or []) and process.info["cmdline"][0].endswith("python")
    ]


def state(cluster: Cluster) -> dict[str, int]:
    """Return what may grow: objects of the namespace, files, threads and memory of the servers."""
    servers = {name: processes_of(name) for name in SERVERS}
    processes = [process for found in servers.values() for process in found]
    backends = [one for one in processes_of("postgres") if "postgres: " in " ".join(one.cmdline())]
    return {
        "objects": objects(cluster),
        "open files": sum(process.num_fds() for process in processes),
        "threads": sum(process.num_threads() for process in processes),
        "connections of the database": len(backends),
    } | {
        f"MiB of {name}": sum(process.memory_info().rss for process in found) >> 20
        for name, found in servers.items()
    }


def objects(cluster: Cluster) -> int:
    """Return the number of the namespace's objects."""
    return sum(len(list_objects(cluster, kind, NAMESPACE)) for kind in KINDS)


def processes_of(name: str) -> list[psutil.Process]:
    """Return the processes of this machine, those in containers included, whose command has a name."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(Path(word).name.startswith(name) for word in (process.info["cmdline"] or [])[:3])
    ]
