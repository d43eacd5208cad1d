"""One real cluster for all tests here; every test gets a namespace with Pod Security `restricted`."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from boot import Cluster
from images import RANKS, deployment_images, ranks_image
from machine import REPOSITORY, CannotHost, programs

from tinyunet.mpijob.run import run_mpijob
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods

PYTHON = Path(sys.base_prefix)
ENVIRONMENT = Path(sys.prefix)
K8S = REPOSITORY / "k8s"
NAMESPACE = "tinyunet"  # of the deployment
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The booted cluster; it is ended with the session."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped test run ends its cluster too
    made = Cluster()
    try:
        made.up()
        made.load(ranks_image(PYTHON, ENVIRONMENT))
    except CannotHost as error:
        made.down()
        pytest.fail(f"this machine cannot host the cluster: {error}", pytrace=False)
    os.environ["KUBECONFIG"] = str(made.kubeconfig)
    yield made
    made.down()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of one test; it and all in it are gone afterwards."""
    name = f"test-{next(_numbers)}"
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def shell(namespace: str) -> "Shell":
    """Makes jobs whose ranks run a shell command."""
    return Shell(namespace)


class Shell:
    """Jobs of plain shell ranks: they start in a second."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def job(self, script: str, **changes: object) -> MPIJobSpec:
        """Give a job of two ranks that run `script`."""
        small = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}
        values = {
            "name": "ranks",
            "namespace": self.namespace,
            "image": RANKS,
            "command": ("sh", "-c", script),
            "pods": WorkerPods(resources=small),
            "shm": "32Mi",
            "restarts": 0,
            "pending_seconds": 60,
        }
        return MPIJobSpec(**(values | changes))


def mounted_environment(cluster: Cluster, namespace: str) -> WorkerPods:
    """Give worker pods that see this Python environment, read-only, at its own paths.

    Pod Security `restricted` forbids hostPath in pods, so each folder is a cluster volume with a claim.
    """
    volumes: list[dict] = []
    mounts: list[dict] = []
    for number, path in enumerate((PYTHON, ENVIRONMENT, REPOSITORY / "components")):
        name = f"{namespace}-{number}"
        cluster.apply(*_claimed(name, namespace, path))
        claim = {"claimName": name, "readOnly": True}
        volumes.append({"name": f"host-{number}", "persistentVolumeClaim": claim})
        mounts.append({"name": f"host-{number}", "mountPath": str(path), "readOnly": True})
    bound = ("wait", "--for=jsonpath={.status.phase}=Bound", "pvc", "--all", "--timeout=60s")
    cluster.kubectl("-n", namespace, *bound)
    return WorkerPods(volumes=volumes, volume_mounts=mounts)


def _claimed(name: str, namespace: str, path: Path) -> tuple[dict, dict]:
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    size, claim = {"storage": "1Gi"}, {"name": name, "namespace": namespace}
    volume = common | {"capacity": size, "hostPath": {"path": str(path)}, "claimRef": claim}
    request = common | {"volumeName": name, "resources": {"requests": size}}
    return (
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim, "spec": request},
    )


def python_pod(
    cluster: Cluster, namespace: str, name: str, code: str, *, account: str = "default", **container: object
) -> str:
    """Run code in a pod that sees this Python environment, to its end; give its log."""
    mounted = mounted_environment(cluster, namespace)
    main = {
        "name": "main", "image": RANKS, "command": [f"{ENVIRONMENT}/bin/python", "-c", code],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": list(mounted.volume_mounts),
    }  # fmt: skip
    secure = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"serviceAccountName": account, "restartPolicy": "Never", "securityContext": secure}
    spec |= {"containers": [main | container], "volumes": list(mounted.volumes)}
    meta = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/component": "launcher"}}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})

    def phase() -> str:
        pod = json.loads(cluster.kubectl("-n", namespace, "get", "pod", name, "-o", "json"))
        return str(pod["status"]["phase"])

    until(f"{name} ends", lambda: phase() in ("Succeeded", "Failed"), 90)
    said = cluster.kubectl("-n", namespace, "logs", name)
    cluster.kubectl("-n", namespace, "delete", "pod", name)
    return said


def items(cluster: Cluster, kind: str, namespace: str) -> list[dict]:
    """List objects of a kind."""
    return json.loads(cluster.kubectl("-n", namespace, "get", kind, "-o", "json"))["items"]


def until(what: str, call: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `call` gives something true."""
    end = time.monotonic() + seconds
    while not call():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def nothing_runs(cluster: Cluster, namespace: str) -> bool:
    """Tell whether no pod of the namespace runs or may still run."""
    phases = {pod["status"]["phase"] for pod in items(cluster, "pods", namespace)}
    return not phases & {"Running", "Pending"}


class Running:
    """A launcher that follows its job beside the test."""

    def __init__(self, spec: MPIJobSpec) -> None:
        self.lines: list[str] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(spec,), daemon=True)
        self._thread.start()

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait for a line of the log."""
        until(f"a line {text!r} in {self.lines}", lambda: any(text in line for line in self.lines), seconds)

    def result(self, seconds: float = 120) -> None:
        """Wait for the launcher's end; raise what it raised."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"still running after {seconds:.0f} s: {self.lines}"
        if self._error:
            raise self._error

    def _run(self, spec: MPIJobSpec) -> None:
        try:
            run_mpijob(spec, log=self.lines.append)
        except BaseException as error:
            self._error = error


def deploy(cluster: Cluster, overlay: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return script(cluster, "deploy.sh", overlay, **settings)


def script(cluster: Cluster, name: str, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a script of k8s/ to its end; settings are variables of its environment."""
    environment = {
        "KUBECTL": str(programs() / "kubectl"),
        "KUBECONFIG": str(cluster.kubeconfig),
        "TIMEOUT": "180",
        "REGISTRY": "",
        "TAG": "",
    }
    command = [K8S / name, *words]
    return subprocess.run(
        command, env=os.environ | environment | settings, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def services(cluster: Cluster) -> Cluster:
    """The local overlay, healthy."""
    for archive in deployment_images():
        cluster.load(archive)
    done = deploy(cluster, "local")
    state = cluster.kubectl("-n", NAMESPACE, "get", "pods,events")
    assert done.returncode == 0, done.stdout + done.stderr + state
    return cluster


@contextmanager
def forwarded(cluster: Cluster, service: str, port: int) -> Iterator[int]:
    """Give a port of this machine that leads to a service."""
    command = [programs() / "kubectl", "--kubeconfig", cluster.kubeconfig, "-n", NAMESPACE]
    words = [*command, "port-forward", f"service/{service}", f":{port}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        threading.Thread(target=_first_line, args=(process, found := []), daemon=True).start()
        until(f"{service} is forwarded", lambda: found, 20)
        try:
            yield int(found[0].split(":")[1].split()[0])
        finally:
            process.kill()


def _first_line(process: "subprocess.Popen[str]", found: list[str]) -> None:
    found.append(process.stdout.readline())
