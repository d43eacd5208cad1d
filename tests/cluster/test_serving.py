"""The real server image as a Deployment: it answers, loses no request, and follows its champion."""

import base64
import io
import json
import os
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from cluster import Cluster
from deployment import NAMESPACE, deploy, forwarded
from machine import run
from minio import Minio, S3Error
from objects import list_objects, wait_until
from PIL import Image
from served import create_version, registry, restarts, servers, stop_serving

from tests.inspection_load import Load

LOAD_SECONDS = float(os.environ.get("LOAD_SECONDS", "40"))
MODEL = "served-part"
DEPLOYMENT = f"serving-{MODEL}"
# Of the versions; with these, bfloat16 and float32 give the same verdicts.
OFFSETS = (-40.0, -48.0, -50.0, -52.0, -54.0, -56.0)
MEGABYTE, MEBIBYTE = 10**6, 2**20


def picture(spot: int) -> bytes:
    """Return a grey image of 512×512 with a bright spot of this side."""
    pixels, data = np.full((512, 512), 100, np.uint8), io.BytesIO()
    pixels[:spot, :spot] = 250
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


PICTURES = [picture(spot) for spot in (0, 20, 60, 100)]


@pytest.fixture(scope="module")
def load(services: Cluster, serving_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Clients of the servers of version 1, which keep images; five more versions are registered."""
    with registry(services) as client:
        client.create_registered_model(MODEL)
        for i, offset in enumerate(OFFSETS):
            folder = tmp_path_factory.mktemp(f"version{i}")
            assert create_version(client, MODEL, folder, offset=offset) == str(i + 1)
        client.set_registered_model_alias(MODEL, "champion", "1")
    result = deploy(services, "local", SERVE=MODEL, KEEP=f"s3://review/{MODEL}?most-uncertain=3")
    state = services.kubectl("-n", NAMESPACE, "get", "pods,events")
    assert result.returncode == 0, result.stdout + result.stderr + state
    wait_until("two servers are ready", lambda: len(servers(services, MODEL)) == 2, 120)
    (service,) = (
        one for one in list_objects(services, "services", NAMESPACE) if one["metadata"]["name"] == DEPLOYMENT
    )
    token = secret(services, "tinyunet-serving")["token"]
    yield Load(f"http://{service['spec']['clusterIP']}:8080", PICTURES, token=token)
    stop_serving(services, MODEL)


def secret(cluster: Cluster, name: str) -> dict[str, str]:
    data = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "secret", name, "-o", "json"))["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def ask(load: Load, token: str) -> dict:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
    request = urllib.request.Request(f"{load.url}/inspect", PICTURES[0], headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def test_the_image_is_small_and_has_no_shell_compiler_or_other_framework(serving_image: Path) -> None:
    print(f"{serving_image.stat().st_size / MEGABYTE:.0f} MB")
    assert serving_image.stat().st_size <= 500 * MEGABYTE
    names: set[str] = set()
    with tarfile.open(serving_image) as image:
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
    config = json.loads(run("skopeo", "inspect", "--config", f"docker-archive:{serving_image}"))["config"]
    assert config["User"] == "1000"


def test_an_answer_needs_the_token_and_names_its_version(load: Load) -> None:
    answer = ask(load, load.token)
    assert answer["version"] == "1"
    assert round(answer["score"]) == -15
    for token in ("", "wrong"):
        with pytest.raises(urllib.request.HTTPError, match="401"):
            ask(load, token)


def test_images_are_kept_with_a_key_that_reaches_no_other_bucket(services: Cluster, load: Load) -> None:
    ask(load, load.token)
    key = secret(services, "tinyunet-review")
    with forwarded(services, "minio", 9000) as port:
        store = Minio(
            f"localhost:{port}", key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"], secure=False
        )

        def names() -> list[str]:
            return [str(one.object_name) for one in store.list_objects("review", recursive=True)]

        wait_until("the image is kept", lambda: f"{MODEL}/review.csv" in names(), 30)
        folders = [name.split("/")[:2] for name in names()]
        assert all([MODEL, folder] in folders for folder in ("images", "masks", "records")), names()
        for bucket in ("mlflow", "tinyunet", "mlpipeline"):
            with pytest.raises(S3Error, match="AccessDenied"):
                list(store.list_objects(bucket))


def change_the_pods(cluster: Cluster) -> None:
    """A rolling update; the new pods look at the alias every two seconds."""
    path = "/spec/template/spec/containers/0/command/-"
    patch = json.dumps([{"op": "add", "path": path, "value": "--poll=2"}])
    cluster.kubectl("-n", NAMESPACE, "patch", "deployment", DEPLOYMENT, "--type=json", "-p", patch)
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=240s")


def move_the_champion(version: int) -> Callable[[Cluster], None]:
    def move(cluster: Cluster) -> None:
        set_champion(cluster, version)
        wait_until(f"all servers follow to {version}", lambda: all_serve(cluster, version), 120)

    return move


def set_champion(cluster: Cluster, version: int) -> None:
    with registry(cluster) as client:
        client.set_registered_model_alias(MODEL, "champion", str(version))


def all_serve(cluster: Cluster, version: int) -> bool:
    """Return whether two servers or more are ready, and the metrics of all say that this version answers."""
    addresses = servers(cluster, MODEL).values()
    with suppress(OSError):
        texts = [
            urllib.request.urlopen(f"http://{address}:8080/metrics", timeout=20).read()
            for address in addresses
        ]
        return len(texts) >= 2 and all(f'version="{version}"'.encode() in text for text in texts)
    return False


def delete_a_pod(cluster: Cluster) -> None:
    before = servers(cluster, MODEL)
    cluster.kubectl("-n", NAMESPACE, "delete", "pod", min(before), "--wait=false")
    wait_until("another pod is ready", lambda: len(servers(cluster, MODEL)) == 2, 120)
    cluster.kubectl("-n", NAMESPACE, "wait", "--for=delete", f"pod/{min(before)}", "--timeout=90s")


def scale(cluster: Cluster, workload: str, replicas: int) -> None:
    cluster.kubectl("-n", NAMESPACE, "scale", workload, f"--replicas={replicas}")
    if replicas:
        cluster.kubectl("-n", NAMESPACE, "rollout", "status", workload, "--timeout=240s")
    else:
        pods = ("pod", "-l", f"app.kubernetes.io/name={workload.split('/')[1]}")
        cluster.kubectl("-n", NAMESPACE, "delete", *pods, "--grace-period=0", "--force")
        cluster.kubectl("-n", NAMESPACE, "wait", "--for=delete", *pods, "--timeout=90s")


def kill_minio(cluster: Cluster) -> None:
    """The champion moves while MinIO is away: the servers take it when MinIO is back."""
    scale(cluster, "statefulset/minio", 0)
    set_champion(cluster, 4)
    time.sleep(6)  # three looks at the alias
    wait_until("version 3 answers on", lambda: all_serve(cluster, 3))
    scale(cluster, "statefulset/minio", 1)
    wait_until("all servers follow to 4", lambda: all_serve(cluster, 4), 180)


def kill_mlflow(cluster: Cluster) -> None:
    """A container that restarts while MLflow is away finds its model in its cache."""
    scale(cluster, "deployment/mlflow", 0)
    pod = min(servers(cluster, MODEL))
    # The first process of the container; there is no shell in it.
    stop = "import os, signal; os.kill(1, signal.SIGTERM)"
    cluster.kubectl("-n", NAMESPACE, "exec", pod, "--", "python", "-c", stop)
    wait_until("the container restarts", lambda: restarts(cluster, pod) == 1, 60)
    wait_until("it is ready", lambda: pod in servers(cluster, MODEL), 120)
    wait_until("version 4 answers on", lambda: all_serve(cluster, 4))
    scale(cluster, "deployment/mlflow", 1)


EVENTS: list[tuple[str, Callable[[Cluster], None]]] = [
    ("all pods are replaced", change_the_pods),
    ("champion 2", move_the_champion(2)),
    ("a pod is deleted", delete_a_pod),
    ("champion 3", move_the_champion(3)),
    ("MinIO is killed, champion 4, MinIO is back", kill_minio),
    ("MLflow is killed, a server restarts, MLflow is back", kill_mlflow),
    ("champion 5", move_the_champion(5)),
    ("champion 6", move_the_champion(6)),
]


def sizes() -> list[int]:
    """Return the resident memory of all servers in MiB; pods are processes of this machine."""
    processes = [one.info for one in psutil.process_iter(["cmdline", "memory_info"])]
    ours = [one for one in processes if f"models:/{MODEL}@champion" in (one["cmdline"] or ())]
    return [one["memory_info"].rss // MEBIBYTE for one in ours]


def log_of_the_servers(cluster: Cluster) -> str:
    """Return what the servers logged beside their requests."""
    words = ("-l", f"tinyunet/served={MODEL},app.kubernetes.io/name=serving", "--tail=-1", "--prefix")
    lines = cluster.kubectl("-n", NAMESPACE, "logs", *words).splitlines()
    return "\n".join(line for line in lines if '"message": "request"' not in line)


def test_under_load_no_request_fails_whatever_happens_to_pods_champions_and_services(
    services: Cluster, load: Load
) -> None:
    """The events take about two minutes; a larger LOAD_SECONDS spreads them over this time."""
    with load.asking():
        start = time.monotonic()
        time.sleep(3)
        print("memory", sizes())
        try:
            for number, (name, event) in enumerate(EVENTS, 1):
                event(services)
                print(f"{time.monotonic() - start:4.0f} s  {name}; memory {sizes()}", flush=True)
                time.sleep(max(0.0, start + LOAD_SECONDS * number / len(EVENTS) - time.monotonic()))
        finally:
            print(log_of_the_servers(services))
    print(json.dumps(load.summary()))
    assert load.failures == []
    assert set(load.versions) == {str(i + 1) for i in range(len(OFFSETS))}
    assert round(ask(load, load.token)["score"]) == -31
    assert max(sizes()) < 1000
