"""Terminated runs: the pod of the train task ends at a random moment, as Argo ends it, and nothing remains.

The moments of every second one are in the training, those of the others between the start of the task and it.
TERMINATIONS sets their number, and TERMINATION_SEED repeats the moments of an earlier run.
"""

import base64
import json
import os
import random
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from types import SimpleNamespace

import mlflow
import pytest
from boot import Cluster
from conftest import ENVIRONMENT, NAMESPACE, forwarded, list_objects, mounted_environment, wait_until
from images import RANKS
from machine import run

from tinyunet.storage import s3

NUMBER = int(os.environ.get("TERMINATIONS") or 2)
SEED = os.environ.get("TERMINATION_SEED") or str(secrets.randbelow(10**6))
LEASE_S = 10
START_S, TRAINING_S = 20.0, 10.0  # seconds after the start of the task, and after the first checkpoint
SETTINGS = {
    "image_size": 32, "global_batch": 2, "steps": 100_000, "checkpoint_every": 5, "validate_every": 0,
    "precision": "float32",
}  # fmt: skip
VARIABLES = {
    "configMapKeyRef": ("tinyunet", ("MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL", "AWS_DEFAULT_REGION")),
    "secretKeyRef": ("tinyunet-s3", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
}
TRAIN = """
import json, sys, types
from tinyunet.core.presets import FAST
from tinyunet.launch import following
from tinyunet.launch.launch import launch, pipeline_run
following.SHORTEST_LEASE_S = 1  # a user's lease is longer than this test
location, run_id, settings, workers = sys.argv[1:]
config = FAST.replace(json.loads(settings))
run = pipeline_run(location + "/records", location + "/" + run_id, config, run_id, "", 2)
print("the task begins", flush=True)
launch(run, slots_per_worker=1, launcher="mpijob", task_config=types.SimpleNamespace(**json.loads(workers)))
"""
# The first process of Argo's container forwards SIGTERM and ends at its next look, at most about a second
# later. With it, the kernel ends all other processes of the container.
ARGO = """\
trap 'kill -TERM $child; sleep $DELAY; exit 143' TERM
"$@" & child=$!
wait $child
"""


@pytest.fixture(scope="module")
def environment(services: Cluster) -> Iterator[dict[str, str]]:
    """The variables with which this machine reaches MLflow and MinIO in the cluster; they are set here."""
    secret = json.loads(services.kubectl("-n", NAMESPACE, "get", "secret", "tinyunet-s3", "-o", "json"))
    keys = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    with (
        forwarded(services, "mlflow", 5000) as mlflow_port,
        forwarded(services, "minio", 9000) as minio_port,
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
    folder, uri = tmp_path_factory.mktemp("terminations"), f"s3://tinyunet/{secrets.token_hex(4)}"
    tinyunet = (python, "-m", "tinyunet")
    run(*tinyunet, "ingest", "synthetic://?train=12&test=4&size=32", "--out", "raw", cwd=folder)
    run(*tinyunet, "convert", "raw", "--out", "records", "--set", "shards=1", cwd=folder)
    for path in (folder / "records").iterdir():
        s3.push(path, f"{uri}/records/{path.name}")
    return uri


@pytest.fixture(scope="module")
def workers(services: Cluster) -> SimpleNamespace:
    """Settings of the worker pods: this Python environment, and the variables of the pipeline's tasks."""
    mounted = mounted_environment(services, NAMESPACE)
    references = [
        {"name": key, "valueFrom": {kind: {"name": name, "key": key}}}
        for kind, (name, keys) in VARIABLES.items()
        for key in keys
    ]
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}}
    return SimpleNamespace(
        env=references, resources=resources, volumes=mounted.volumes, volume_mounts=mounted.volume_mounts
    )


@pytest.fixture(params=range(NUMBER))
def number(request: pytest.FixtureRequest) -> int:
    """The number of the termination."""
    return int(request.param)


def test_a_terminated_run_leaves_no_pod_and_no_open_mlflow_run_and_its_checkpoint_resumes(
    services: Cluster,
    environment: dict[str, str],
    location: str,
    workers: SimpleNamespace,
    number: int,
    python: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, numbers, trains = (
        f"terminated-{secrets.token_hex(3)}",
        random.Random(f"{SEED}-{number}"),
        number % 2 == 0,
    )
    seconds = numbers.uniform(0, TRAINING_S if trains else START_S)
    delay = numbers.choice([0.0, numbers.uniform(0, 1.3)])
    start_task(services, name, location, workers, delay)
    if trains:
        wait_until("the ranks train", lambda: checkpoints(f"{location}/{name}.checkpoints"), 400)
    time.sleep(seconds)
    before = pods_of(services, name)
    services.kubectl("-n", NAMESPACE, "exec", name, "--", "sh", "-c", "kill -TERM 1")
    begin = time.monotonic()
    wait_until("the task has ended", lambda: not pods_of(services, name, "task"), 30)
    wait_until("nothing of the job runs", lambda: has_ended(services, name), 300)
    silence = time.monotonic() - begin
    statuses = statuses_of(name)
    assert set(statuses) <= {"KILLED"}, "every run in MLflow has an end"
    steps = checkpoints(f"{location}/{name}.checkpoints")
    resumed = resume(python, environment, location, name, tmp_path) if steps else None
    with capsys.disabled():
        print(
            f"\nseed {SEED}: terminated {seconds:.1f} s after the {'checkpoint' if trains else 'start'}, "
            f"killed {delay:.2f} s later; pods {before}; "
            f"none {silence:.1f} s later; MLflow {statuses}; checkpoints {steps}, resumed {resumed}"
        )
    assert steps or not trains
    if resumed:
        assert resumed[0] == steps[-1] < resumed[1]
    services.kubectl("-n", NAMESPACE, "delete", "pod", name, "--wait=false")
    services.kubectl("-n", NAMESPACE, "delete", "mpijob", f"tinyunet-{name}", "--ignore-not-found")


def start_task(cluster: Cluster, name: str, location: str, workers: SimpleNamespace, delay: float) -> None:
    """Start a pod like that of the train task, and wait until its container runs."""
    words = [location, name, json.dumps(SETTINGS), json.dumps(vars(workers))]
    fields = {"KFP_POD_NAME": "metadata.name", "KFP_POD_UID": "metadata.uid"}
    values = {"DELAY": f"{delay:.2f}", "TINYUNET_IMAGE": RANKS, "TINYUNET_LEASE_SECONDS": str(LEASE_S)}
    env = [{"name": key, "value": value} for key, value in values.items()]
    env += [{"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()]
    main = {
        "name": "main", "image": RANKS,
        "command": ["/bin/sh", "-c", ARGO, "argo", f"{ENVIRONMENT}/bin/python", "-c", TRAIN, *words],
        "env": [*env, *workers.env],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": list(workers.volume_mounts),
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}},
    }  # fmt: skip
    secure = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"serviceAccountName": "tinyunet-launcher", "restartPolicy": "Never", "securityContext": secure}
    spec |= {"containers": [main], "volumes": list(workers.volumes)}
    labels = {"app.kubernetes.io/component": "launcher"}
    meta = {"name": name, "namespace": NAMESPACE, "labels": labels}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    wait_until("the task runs", lambda: pods_of(cluster, name, "task") == {name: "Running"})


def pods_of(cluster: Cluster, name: str, role: str = "") -> dict[str, str]:
    """Return the pods that have not ended, with their phases: of the job, or with `task` that of the task."""
    wanted: Callable[[str], bool] = (lambda pod: pod == name) if role else (
        lambda pod: pod.startswith(f"tinyunet-{name}-")
    )  # fmt: skip
    pods = {p["metadata"]["name"]: p["status"]["phase"] for p in list_objects(cluster, "pods", NAMESPACE)}
    return {p: phase for p, phase in pods.items() if wanted(p) and phase in ("Pending", "Running")}


def has_ended(cluster: Cluster, name: str) -> bool:
    """Return whether the job of a task does not exist or has failed, and none of its pods runs."""
    jobs = [
        job for job in list_objects(cluster, "mpijobs", NAMESPACE) if job["metadata"]["name"].endswith(name)
    ]
    conditions = [one for job in jobs for one in job.get("status", {}).get("conditions", [])]
    failed = any(one["type"] == "Failed" and one["status"] == "True" for one in conditions)
    return (failed or not jobs) and not pods_of(cluster, name)


def statuses_of(run_key: str) -> list[str]:
    """Return the statuses of the training's runs in MLflow."""
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    if (experiment := client.get_experiment_by_name("tinyunet")) is None:
        return []
    runs = client.search_runs([experiment.experiment_id], f"tags.`tinyunet.run_key` = '{run_key}'")
    return [one.info.status for one in runs]


def checkpoints(uri: str) -> list[int]:
    """Return the steps of the checkpoints, in order."""
    names = [Path(key).stem for key in s3.list_objects(uri)]
    return [int(name.removeprefix("step-")) for name in names if name.startswith("step-")]


def resume(
    python: str, environment: dict[str, str], location: str, name: str, folder: Path
) -> tuple[int, int]:
    """Resume a training in one process, and stop it; return its first step and its last one."""
    settings = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    words = [python, "-m", "tinyunet", "train", f"{location}/records", "--out", f"{location}/{name}"]
    words += ["--run-key", name, *settings]
    output = ""
    with Popen(words, env=environment, cwd=folder, stdout=PIPE, stderr=STDOUT, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            output += line
            if f" to {SETTINGS['steps']}" in line:
                process.send_signal(signal.SIGTERM)
    first, last = (re.search(text, output) for text in (r"steps (\d+) to", r"stopped after step (\d+);"))
    assert first, output
    assert last, output
    return int(first[1]), int(last[1])
