"""Terminated runs: the pod of the train task ends at a random moment, as Argo ends it, and nothing remains.

The moments of every second one are in the training, those of the others between the start of the task and it.
TERMINATIONS sets their number, and TERMINATION_SEED repeats the moments of an earlier run.
"""

import os
import random
import re
import secrets
import signal
import time
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from types import SimpleNamespace

import mlflow
import pytest
from cluster import Cluster
from deployment import NAMESPACE
from objects import list_objects, wait_until
from tasks import pods_of, start_task

from tinyunet.storage import s3

NUMBER = int(os.environ.get("TERMINATIONS") or 2)
SEED = os.environ.get("TERMINATION_SEED") or str(secrets.randbelow(10**6))
LEASE_S = 10
START_S, TRAINING_S = 20.0, 10.0  # seconds after the start of the task, and after the first checkpoint
SETTINGS = {
    "image_size": 32, "global_batch": 2, "steps": 100_000, "checkpoint_every": 5, "validate_every": 0,
    "precision": "float32",
}  # fmt: skip


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
    variables = {"DELAY": f"{delay:.2f}", "TINYUNET_LEASE_SECONDS": str(LEASE_S)}
    start_task(services, name, location, SETTINGS, workers, **variables)
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
