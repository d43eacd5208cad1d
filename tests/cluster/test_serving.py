"""The real server image as a Deployment: it answers, loses no request, and follows its champion."""

import base64
import io
import json
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import numpy as np
import pytest
from boot import Cluster
from conftest import NAMESPACE, deploy, forwarded, list_objects, wait_until
from images import target_image
from machine import run
from PIL import Image

from tests.engines import bright_spot_network, write_engine
from tinyunet.mpijob.rollout import roll_out
from tinyunet.tracking.names import ENGINE_FOLDER

MODEL = "served-part"
DEPLOYMENT = f"serving-{MODEL}"
KINDS = "deployment,service,hpa,pdb,networkpolicy,serviceaccount"
MEGABYTE = 10**6


def picture() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.full((32, 48), 100, np.uint8)).save(data, "PNG")
    return data.getvalue()


PICTURE = picture()


@dataclass
class Clients:
    """Threads that ask for an inspection, one request after the other, each on a new connection.

    Attributes:
        versions: Version of every answer, in order.
        failures: Every request that was not answered with 200.
    """

    address: str
    token: str
    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def ask(self) -> dict:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "image/png"}
        request = urllib.request.Request(f"{self.address}/inspect", PICTURE, headers)
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    def loop(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.versions.append(str(self.ask()["version"]))
            except OSError as error:
                self.failures.append(f"{time.strftime('%H:%M:%S')} {error!r}")
            time.sleep(0.05)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask in two threads during the block."""
        stop = threading.Event()
        threads = [threading.Thread(target=self.loop, args=(stop,), daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def register(cluster: Cluster, folder: Path, offset: float) -> str:
    """Register an engine as the new champion; return the number of its version."""
    with forwarded(cluster, "mlflow", 5000) as port:
        client = mlflow.MlflowClient(f"http://localhost:{port}")
        write_engine(folder / ENGINE_FOLDER, bright_spot_network(offset=offset))
        experiment = client.get_experiment_by_name(MODEL)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(MODEL)
        model = client.create_logged_model(experiment_id, name="model")
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        source = f"models:/{model.model_id}"
        version = client.create_model_version(MODEL, source, model_id=model.model_id).version
        client.set_registered_model_alias(MODEL, "champion", version)
    return str(version)


@pytest.fixture(scope="module")
def archive(services: Cluster) -> Path:
    """The archive of the image, which the node has loaded."""
    image = target_image("serving")
    services.load(image)
    return image


@pytest.fixture(scope="module")
def clients(services: Cluster, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """Clients of the servers of version 1."""
    with forwarded(services, "mlflow", 5000) as port:
        mlflow.MlflowClient(f"http://localhost:{port}").create_registered_model(MODEL)
    assert register(services, tmp_path_factory.mktemp("first"), -40.0) == "1"
    result = deploy(services, "local", SERVE=MODEL)
    state = services.kubectl("-n", NAMESPACE, "get", "pods,events")
    assert result.returncode == 0, result.stdout + result.stderr + state
    wait_until("two servers are ready", lambda: len(ready(services)) == 2, 120)
    (service,) = (
        one for one in list_objects(services, "services", NAMESPACE) if one["metadata"]["name"] == DEPLOYMENT
    )
    secret = json.loads(services.kubectl("-n", NAMESPACE, "get", "secret", "tinyunet-serving", "-o", "json"))
    token = base64.b64decode(secret["data"]["token"]).decode()
    yield Clients(f"http://{service['spec']['clusterIP']}:8080", token)
    services.kubectl("-n", NAMESPACE, "delete", KINDS, "-l", f"tinyunet/served={MODEL}")


def ready(cluster: Cluster) -> set[str]:
    """Return the names of the servers that are ready and are not stopping."""
    return {
        pod["metadata"]["name"]
        for pod in list_objects(cluster, "pods", NAMESPACE)
        if pod["metadata"]["labels"].get("app.kubernetes.io/name") == "serving"
        and "deletionTimestamp" not in pod["metadata"]
        and any(
            one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ())
        )
    }


def test_the_image_is_small_and_has_no_shell_compiler_or_other_framework(archive: Path) -> None:
    print(f"{archive.stat().st_size / MEGABYTE:.0f} MB")
    assert archive.stat().st_size <= 500 * MEGABYTE
    names: set[str] = set()
    with tarfile.open(archive) as image:
        for member in image:
            if member.name.endswith(".tar") and member.isfile():
                with tarfile.open(fileobj=image.extractfile(member)) as layer:
                    names |= set(layer.getnames())
    programs = {Path(name).name for name in names if "bin" in Path(name).parts}
    assert programs & {"sh", "bash", "dash", "perl", "gcc", "cc", "g++", "apt-get", "pip", "uv"} == set()
    packages = {parts[i + 1] for name in names if "site-packages" in (parts := Path(name).parts)
                for i in [parts.index("site-packages")] if len(parts) > i + 1}  # fmt: skip
    assert {"tinyunet", "kserve", "openvino"} <= packages
    assert packages & {"tensorflow", "keras", "mlflow", "grpc_tools", "onnx", "pip", "matplotlib"} == set()
    config = json.loads(run("skopeo", "inspect", "--config", f"docker-archive:{archive}"))["config"]
    assert config["User"] == "1000"


def test_an_answer_needs_the_token_and_names_its_version(clients: Clients) -> None:
    answer = clients.ask()
    assert answer["version"] == "1"
    assert round(answer["score"]) == -15
    for token in ("", "wrong"):
        with pytest.raises(urllib.request.HTTPError, match="401"):
            Clients(clients.address, token).ask()


def test_the_deletion_of_a_pod_under_load_fails_no_request(services: Cluster, clients: Clients) -> None:
    before = ready(services)
    with clients.asking():
        services.kubectl("-n", NAMESPACE, "delete", "pod", min(before), "--wait=false")
        wait_until("another pod is ready", lambda: len(ready(services)) == 2, 120)
        gone = ("-n", NAMESPACE, "wait", "--for=delete", f"pod/{min(before)}", "--timeout=90s")
        services.kubectl(*gone)
        time.sleep(2)
    print(f"{len(clients.versions)} answers")
    assert clients.failures == []
    assert len(clients.versions) > 50


def test_a_new_champion_is_followed_and_a_rollout_replaces_all_pods_without_a_failed_request(
    services: Cluster, clients: Clients, tmp_path: Path
) -> None:
    before, answered = ready(services), len(clients.versions)
    with clients.asking():
        assert register(services, tmp_path / "second", -50.0) == "2"
        wait_until("all servers follow", lambda: set(clients.versions[-20:]) == {"2"}, 120)
        assert ready(services) == before
        line = roll_out(MODEL, "2", timeout_s=240)
        assert line.startswith(f"{DEPLOYMENT} in namespace {NAMESPACE} serves version 2 of {MODEL} now")
        assert not ready(services) & before
        assert roll_out(MODEL, "2").endswith("already")
        time.sleep(12)  # the old pods answer for 10 s and end
    print(line, f"{len(clients.versions) - answered} answers")
    assert clients.failures == []
    assert round(clients.ask()["score"]) == -25


def test_a_server_answers_on_without_mlflow_and_a_restarted_one_finds_its_model(
    services: Cluster, clients: Clients
) -> None:
    scale = ("-n", NAMESPACE, "scale", "deployment/mlflow")
    services.kubectl(*scale, "--replicas=0")
    try:
        stopped = ("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=mlflow", "--timeout=90s")
        services.kubectl("-n", NAMESPACE, *stopped)
        with clients.asking():
            pod = min(ready(services))
            # The first process of the container; there is no shell in it.
            stop = "import os, signal; os.kill(1, signal.SIGTERM)"
            services.kubectl("-n", NAMESPACE, "exec", pod, "--", "python", "-c", stop)
            wait_until("the container restarts", lambda: restarts(services, pod) == 1, 60)
            wait_until("it is ready", lambda: pod in ready(services), 60)
        assert clients.failures == []
    finally:
        services.kubectl(*scale, "--replicas=1")
        services.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/mlflow", "--timeout=180s")


def restarts(cluster: Cluster, name: str) -> int:
    pod = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "pod", name, "-o", "json"))
    return int(pod["status"]["containerStatuses"][0]["restartCount"])
