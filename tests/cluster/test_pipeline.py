"""The five steps with own images from MinIO, and MLflow: a worker is lost, and the servers are replaced."""

import base64
import json
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import numpy as np
import pytest
import yaml
from cluster import Cluster
from deployment import NAMESPACE, deploy, forwarded
from images import named
from machine import ENVIRONMENT, REPOSITORY, run
from objects import list_objects, wait_until
from PIL import Image
from served import create_version, registry, servers, stop_serving

PYTHON = ENVIRONMENT / "bin/python"
STORAGE = "from pathlib import Path; from tinyunet.storage.s3 import fetch, push; "
# The work of the pipeline's train step, with the environment variables that its task passes to the workers.
TRAIN = """
import types
from tinyunet.core.presets import FAST
from tinyunet.launch.launch import launch, pipeline_run

def ref(kind, name, key):
    return {"name": key, "valueFrom": {kind: {"name": name, "key": key}}}

config = types.SimpleNamespace(env=[
    *(ref("configMapKeyRef", "tinyunet", key)
      for key in ("MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL", "AWS_DEFAULT_REGION")),
    *(ref("secretKeyRef", "tinyunet-s3", key) for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
])
training = FAST.replace({"patch": 32, "steps": 200, "checkpoint_every": 20, "validate_every": 0})
run = pipeline_run("s3://tinyunet/records", "s3://tinyunet/model", training, "pipeline-test", "1", 2)
launch(run, slots_per_worker=1, launcher="mpijob", task_config=config)
"""
# The pipeline's last step, as its task calls it.
REGISTER = """
import sys, types
from components.register import register

artifact = lambda path: types.SimpleNamespace(path=path, uri="", log_metric=print)
names = ("records", "model", "evaluation", "decision", "table")
register.python_func(**{name: artifact(name) for name in names}, name=sys.argv[1], deploy=True)
"""
MODEL = "rolled-part"


@pytest.fixture
def environment(services: Cluster, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment variables with which a user of this machine reaches the cluster's services."""
    secret = json.loads(services.kubectl("-n", NAMESPACE, "get", "secret", "tinyunet-s3", "-o", "json"))
    keys = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    config = yaml.safe_load(services.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = NAMESPACE
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    with forwarded(services, "mlflow", 5000) as mlflow, forwarded(services, "minio", 9000) as minio:
        addresses = {
            "KUBECONFIG": str(tmp_path / "kubeconfig"),
            "MLFLOW_TRACKING_URI": f"http://localhost:{mlflow}",
            "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
            "S3_ENDPOINT_URL": f"http://localhost:{minio}",
            "TINYUNET_IMAGE": named("trainer-cpu"),
        }
        yield os.environ | keys | addresses | {"PYTHONPATH": str(REPOSITORY)}


@pytest.mark.usefixtures("trainer_image", "serving_image")
def test_a_run_that_loses_a_worker_resumes_and_ends_with_new_servers(
    services: Cluster, environment: dict[str, str], tmp_path: Path, python: str
) -> None:
    def tinyunet(*words: object) -> str:
        return run(python, "-m", "tinyunet", *words, env=environment, cwd=tmp_path, timeout=300)

    def push(folder: str) -> None:
        program = f"[push(path, f's3://tinyunet/{{path}}') for path in Path('{folder}').rglob('*.*')]"
        run(python, "-c", STORAGE + program, env=environment, cwd=tmp_path)

    write_parts(tmp_path / "parts")
    push("parts")
    tinyunet("ingest", "s3://tinyunet/parts", "--out", "raw")
    tinyunet("convert", "raw", "--out", "records")
    push("records")

    lines = run_train_step(environment, tmp_path, lambda: kill_a_worker(services))
    starts = [int(match[1]) for line in lines if (match := re.search(r"steps (\d+) to 200", line))]
    assert starts[0] == 0
    assert starts[-1] >= 20, lines
    assert any("starting it again" in line for line in lines)
    assert lines[-1].endswith("succeeded")

    run(python, "-c", STORAGE + "fetch('s3://tinyunet/model', Path('model'))", env=environment, cwd=tmp_path)
    assert json.loads((tmp_path / "model/model.json").read_text())["world_size"] == 2
    tinyunet("evaluate", "model", "records", "--out", "evaluation")
    before = serve_a_worse_champion(services, tmp_path)
    output = run(PYTHON, "-c", REGISTER, MODEL, env=environment, cwd=tmp_path, timeout=300)
    print(output)
    assert "version 2 replaces version 1 as champion" in output
    last = f"serving-{MODEL} in namespace {NAMESPACE} serves version 2 of {MODEL} now: all pods are new"
    assert output.splitlines()[-1].startswith(last)
    after = servers(services, MODEL)
    assert len(after) == 2
    assert not after.keys() & before.keys()
    for address in after.values():
        with urllib.request.urlopen(f"http://{address}:8080/metrics", timeout=20) as answer:
            assert re.search(rf'model_info{{name="{MODEL}",.*version="2"', answer.read().decode())
    stop_serving(services, MODEL)
    wait_until("workers are released", lambda: not running_workers(services))


def write_parts(folder: Path) -> None:
    """Write 48 images of 140×100 pixels, every second with a defect, and their masks."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(48):
        image, mask = rng.integers(90, 130, (100, 140), np.uint8), np.zeros((100, 140), np.uint8)
        if number % 2:
            row, column = rng.integers(0, 80, 2)
            image[row : row + 20, column : column + 20] += 60
            mask[row : row + 20, column : column + 20] = 255
        for kind, pixels in (("images", image), ("masks", mask)):
            Image.fromarray(pixels).save(folder / kind / f"part-{number:02}.png")


def serve_a_worse_champion(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Register a champion whose scores on the same test images are 0, and return its servers."""
    digest = json.loads((folder / "evaluation/metrics.json").read_text())["data"]["test_digest"]
    scores = {"test_digest": digest, "dice_defective": "0", "image_ap": "0", "synthetic": "False"}
    with registry(cluster) as client:
        client.create_registered_model(MODEL)
        version = create_version(client, MODEL, folder / "worse", **scores)
        client.set_registered_model_alias(MODEL, "champion", version)
    result = deploy(cluster, "local", SERVE=MODEL)
    assert result.returncode == 0, result.stdout + result.stderr
    wait_until("two servers are ready", lambda: len(servers(cluster, MODEL)) == 2, 120)
    return servers(cluster, MODEL)


def run_train_step(
    environment: dict[str, str], folder: Path, after_checkpoint: Callable[[], None]
) -> list[str]:
    """Run the train step, call a function after its first checkpoint, and return the lines of its log."""
    lines: list[str] = []
    called = False
    words = [PYTHON, "-u", "-c", TRAIN]
    with Popen(words, env=environment, cwd=folder, stdout=PIPE, stderr=STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="")
            lines.append(line.rstrip())
            step = re.match(r"step (\d+)/", line)
            if step and int(step[1]) >= 40 and not called:
                called = True
                after_checkpoint()
    assert process.returncode == 0, "\n".join(lines[-20:])
    return lines


def kill_a_worker(cluster: Cluster) -> None:
    name = running_workers(cluster)[1]
    cluster.kubectl("-n", NAMESPACE, "delete", "pod", name, "--grace-period=0", "--force")


def running_workers(cluster: Cluster) -> list[str]:
    names = [pod["metadata"]["name"] for pod in list_objects(cluster, "pods", NAMESPACE)]
    return sorted(name for name in names if "-worker-" in name)
