"""One real cluster for all tests here; each test gets a namespace with Pod Security `restricted`."""

import base64
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from boot import Cluster
from controllers import start_kueue
from images import RANKS, deployment_images, loading, ranks_image, stop_loading
from machine import REPOSITORY, CannotHost, programs, run

from tinyunet.mpijob.run import run_mpijob
from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods
from tinyunet.storage import s3

collect_ignore = ["fleet/intruder.py"]  # a program of a pod, which reads its environment
PYTHON = Path(sys.base_prefix)
ENVIRONMENT = Path(sys.prefix)
K8S = REPOSITORY / "k8s"
NAMESPACE = "tinyunet"  # of the deployment
VARIABLES = {
    "configMapKeyRef": ("tinyunet", ("MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL", "AWS_DEFAULT_REGION")),
    "secretKeyRef": ("tinyunet-s3", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
}
IMAGES = {"trainer_image": "trainer-cpu", "serving_image": "serving"}  # of the fixtures
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of images come last, because their images are built while the other tests run."""
    items.sort(key=lambda item: bool(_images(item)))


def _images(item: pytest.Item) -> list[str]:
    """Return the targets of the images that a test uses."""
    return [target for name, target in IMAGES.items() if name in getattr(item, "fixturenames", ())]


@pytest.fixture(scope="session", autouse=True)
def _own_models() -> None:
    """The cluster is in the cache folder of this machine, and stays there."""


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The running cluster; it is stopped at the end of the session."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a terminated test run stops its cluster too
    instance = Cluster()
    try:
        instance.up()
        instance.load(ranks_image(PYTHON, ENVIRONMENT))
    except CannotHost as error:
        instance.down()
        pytest.fail(f"this machine cannot host the cluster: {error}", pytrace=False)
    os.environ["KUBECONFIG"] = str(instance.kubeconfig)
    for target in dict.fromkeys(name for item in request.session.items for name in _images(item)):
        loading(instance, target)
    yield instance
    stop_loading()
    instance.down()


@pytest.fixture(scope="session")
def trainer_image(cluster: Cluster) -> Path:
    """The archive of the image of the tasks, which the node has loaded."""
    return loading(cluster, IMAGES["trainer_image"]).result()


@pytest.fixture(scope="session")
def serving_image(cluster: Cluster) -> Path:
    """The archive of the servers' image, which the node has loaded."""
    return loading(cluster, IMAGES["serving_image"]).result()


@pytest.fixture(scope="session")
def kueue(cluster: Cluster) -> Cluster:
    """The cluster with a running Kueue."""
    start_kueue(cluster)
    return cluster


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for one test; it is deleted after the test."""
    with new_namespace(cluster) as name:
        yield name


@contextmanager
def new_namespace(cluster: Cluster) -> Iterator[str]:
    """Create a namespace, yield its name, and delete it."""
    name = f"test-{next(_numbers)}"
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def shell(namespace: str) -> "Shell":
    """Builds jobs whose ranks run a shell command."""
    return Shell(namespace)


class Shell:
    """Builds jobs of shell ranks, which start within a second."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def job(self, script: str, **changes: object) -> MPIJobSpec:
        """Return a job of two ranks that run `script`."""
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


def mounted_environment(cluster: Cluster, namespace: str, *writable: Path) -> WorkerPods:
    """Return worker pods with this Python environment, mounted read-only at its paths, and writable folders.

    Pod Security `restricted` forbids hostPath volumes in pods. Each folder is therefore a cluster volume with
    a claim.
    """
    volumes: list[dict] = []
    mounts: list[dict] = []
    for number, path in enumerate((PYTHON, ENVIRONMENT, REPOSITORY / "components", *writable)):
        name = f"{namespace}-{number}"
        cluster.apply(*_volume_and_claim(name, namespace, path))
        claim = {"claimName": name, "readOnly": path not in writable}
        volumes.append({"name": f"host-{number}", "persistentVolumeClaim": claim})
        mounts.append({"name": f"host-{number}", "mountPath": str(path), "readOnly": path not in writable})
    bound = ("wait", "--for=jsonpath={.status.phase}=Bound", "pvc", "--all", "--timeout=60s")
    cluster.kubectl("-n", namespace, *bound)
    return WorkerPods(volumes=volumes, volume_mounts=mounts)


def _volume_and_claim(name: str, namespace: str, path: Path) -> tuple[dict, dict]:
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    size, claim = {"storage": "1Gi"}, {"name": name, "namespace": namespace}
    volume = common | {"capacity": size, "hostPath": {"path": str(path)}, "claimRef": claim}
    request = common | {"volumeName": name, "resources": {"requests": size}}
    return (
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim, "spec": request},
    )


def list_objects(cluster: Cluster, kind: str, namespace: str) -> list[dict]:
    """Return the objects of a kind in a namespace."""
    return json.loads(cluster.kubectl("-n", namespace, "get", kind, "-o", "json"))["items"]


def wait_until(condition: str, call: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `call` returns a true value; `condition` describes it for the failure message."""
    deadline = time.monotonic() + seconds
    while not call():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {condition}"
        time.sleep(0.2)


def nothing_runs(cluster: Cluster, namespace: str) -> bool:
    """Return whether no pod of the namespace is running or pending."""
    phases = {pod["status"]["phase"] for pod in list_objects(cluster, "pods", namespace)}
    return not phases & {"Running", "Pending"}


class LauncherThread:
    """A launcher that follows its job in a thread of the test."""

    def __init__(self, spec: MPIJobSpec) -> None:
        self.namespace, self.lines = spec.namespace, list[str]()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(spec,), daemon=True)
        self._thread.start()

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait for a line of the log that contains `text`."""
        wait_until(
            f"a line {text!r} in {self.lines}", lambda: any(text in line for line in self.lines), seconds
        )

    def wait(self, seconds: float = 120) -> None:
        """Wait for the end of the launcher."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"still running after {seconds:.0f} s: {self.lines}"

    def result(self, seconds: float = 120) -> None:
        """Wait for the end of the launcher, and raise the error that ended it."""
        self.wait(seconds)
        if self._error:
            raise self._error

    def _run(self, spec: MPIJobSpec) -> None:
        try:
            run_mpijob(spec, log=self.lines.append)
        except BaseException as error:
            self._error = error


def deploy(cluster: Cluster, overlay: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return run_script(cluster, "deploy.sh", overlay, **settings)


def run_script(
    cluster: Cluster, name: str, *words: str, **settings: str
) -> "subprocess.CompletedProcess[str]":
    """Run a script of k8s/ to its end; settings are environment variables."""
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
    """The cluster with the local overlay, whose services are healthy."""
    for archive in deployment_images():
        cluster.load(archive)
    result = deploy(cluster, "local")
    state = cluster.kubectl("-n", NAMESPACE, "get", "pods,events")
    assert result.returncode == 0, result.stdout + result.stderr + state
    return cluster


@contextmanager
def forwarded(cluster: Cluster, service: str, port: int) -> Iterator[int]:
    """Forward a port of this machine to a service, and yield the port."""
    command = [programs() / "kubectl", "--kubeconfig", cluster.kubeconfig, "-n", NAMESPACE]
    words = [*command, "port-forward", f"service/{service}", f":{port}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        threading.Thread(target=_read_line, args=(process, lines := []), daemon=True).start()
        wait_until(f"{service} is forwarded", lambda: lines, 20)
        try:
            yield int(lines[0].split(":")[1].split()[0])
        finally:
            process.kill()


def _read_line(process: "subprocess.Popen[str]", lines: list[str]) -> None:
    lines.append(process.stdout.readline())


@pytest.fixture(scope="module")
def environment(services: Cluster) -> Iterator[dict[str, str]]:
    """The variables with which this machine reaches MLflow and MinIO in the cluster; they are set here."""
    with reached(services) as values:
        yield values


@contextmanager
def reached(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Set the variables with which this machine reaches MLflow and MinIO, and yield the environment.

    The connections end when a pod of one of the two is replaced.
    """
    secret = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "secret", "tinyunet-s3", "-o", "json"))
    keys = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    with (
        forwarded(cluster, "mlflow", 5000) as mlflow_port,
        forwarded(cluster, "minio", 9000) as minio_port,
        pytest.MonkeyPatch.context() as patch,
    ):
        values = keys | {
            "MLFLOW_TRACKING_URI": f"http://localhost:{mlflow_port}",
            "S3_ENDPOINT_URL": f"http://localhost:{minio_port}",
        }
        for name, value in values.items():
            patch.setenv(name, value)
        yield os.environ | values


@pytest.fixture(scope="module")
def location(environment: dict[str, str], python: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A prefix on MinIO with the records of a tiny data set."""
    folder, uri = tmp_path_factory.mktemp("location"), f"s3://tinyunet/{secrets.token_hex(4)}"
    tinyunet = (python, "-m", "tinyunet")
    run(*tinyunet, "ingest", "synthetic://?train=12&test=4&size=32", "--out", "raw", cwd=folder)
    run(*tinyunet, "convert", "raw", "--out", "records", "--set", "shards=1", cwd=folder)
    for path in (folder / "records").iterdir():
        s3.push(path, f"{uri}/records/{path.name}")
    return uri


@pytest.fixture(scope="module")
def workers(services: Cluster) -> SimpleNamespace:
    """Settings of the worker pods, see `worker_settings`."""
    return worker_settings(services)


def worker_settings(cluster: Cluster, *writable: Path) -> SimpleNamespace:
    """Return this Python environment, writable folders, and the variables of the pipeline's tasks."""
    mounted = mounted_environment(cluster, NAMESPACE, *writable)
    references = [
        {"name": key, "valueFrom": {kind: {"name": name, "key": key}}}
        for kind, (name, keys) in VARIABLES.items()
        for key in keys
    ]
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}}
    return SimpleNamespace(
        env=references, resources=resources, volumes=mounted.volumes, volume_mounts=mounted.volume_mounts
    )
