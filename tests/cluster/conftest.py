"""One real cluster for all tests here; each test gets a namespace with Pod Security `restricted`."""

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from boot import down, up
from cluster import Cluster
from controllers import start_kueue
from deployment import NAMESPACE, deploy, reached
from images import deployment_images, loading, ranks_image, stop_loading
from jobs import Shell
from machine import CannotHost, run
from objects import new_namespace
from tasks import worker_settings

from tinyunet.storage import s3

collect_ignore = ["fleet/intruder.py"]  # a program of a pod, which reads its environment
IMAGES = {"trainer_image": "trainer-cpu", "serving_image": "serving"}  # of the fixtures


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
        up(instance)
        instance.load(ranks_image())
    except CannotHost as error:
        down(instance)
        pytest.fail(f"this machine cannot host the cluster: {error}", pytrace=False)
    os.environ["KUBECONFIG"] = str(instance.kubeconfig)
    for target in dict.fromkeys(name for item in request.session.items for name in _images(item)):
        loading(instance, target)
    yield instance
    stop_loading()
    down(instance)


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


@pytest.fixture
def shell(namespace: str) -> Shell:
    """Builds jobs whose ranks run a shell command."""
    return Shell(namespace)


@pytest.fixture(scope="session")
def services(cluster: Cluster) -> Cluster:
    """The cluster with the local overlay, whose services are healthy."""
    for archive in deployment_images():
        cluster.load(archive)
    result = deploy(cluster, "local")
    state = cluster.kubectl("-n", NAMESPACE, "get", "pods,events")
    assert result.returncode == 0, result.stdout + result.stderr + state
    return cluster


@pytest.fixture(scope="module")
def environment(services: Cluster) -> Iterator[dict[str, str]]:
    """The variables with which this machine reaches MLflow and MinIO in the cluster; they are set here."""
    with reached(services) as values:
        yield values


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
