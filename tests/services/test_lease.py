"""Real ranks with a lease on a real MinIO, and what becomes of their runs in a real MLflow."""

import json
import os
import secrets
import subprocess
from itertools import takewhile
from pathlib import Path

import mlflow
import pytest

from tests.services.conftest import train_command, upload
from tests.services.proxy import Proxy
from tests.services.test_training_s3 import wait_for
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.stopping import ABANDONED
from tinyunet.storage import s3
from tinyunet.storage.lease import renewed_lease
from tinyunet.tracking.launched import end_run, nest_run, record_image
from tinyunet.tracking.tracker import Tracker
from tinyunet.training.run import TrainingRun


def command(python: str, records: object, out: str, lease: int, *more: str) -> list[str]:
    options = ("--run-key", key(out), "--lease", str(lease), "--set", "checkpoint_every=100", *more)
    return train_command(python, records, out, *options)


def key(out: str) -> str:
    return f"lease-{out.removeprefix('s3://').replace('/', '-')}"


def lease_of(out: str) -> str:
    return TrainingRun(records="r", out=out).lease_location


def run(line: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def statuses(run_key: str) -> list[str]:
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tinyunet")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`tinyunet.run_key` = '{run_key}'")
    return [one.info.status for one in runs]


def digest(out: str) -> str:
    return str(json.loads(s3.read_bytes(f"{out}/model.json"))["weights_digest"])


def test_ranks_without_a_launcher_save_a_checkpoint_and_end_and_resume_to_the_same_weights(
    records: Path, prefix: str, tmp_path: Path, python: str, undisturbed_digest: str
) -> None:
    out = f"{prefix}/model"
    s3.write_bytes(lease_of(out), b"the launcher died after this")
    abandoned = run(command(python, records, out, 1, "--ranks", "2"), tmp_path)
    assert abandoned.returncode == ABANDONED, abandoned.stdout + abandoned.stderr
    (line,) = [line for line in abandoned.stderr.splitlines() if "stopped after step" in line]
    assert f"nobody renewed {lease_of(out)} for 1 s" in line
    assert line.endswith("Retry of the pipeline run, or a new start of the job, resumes from here")
    (checkpoint,) = [uri for uri in s3.list_objects(f"{out}.checkpoints") if uri.endswith(".npz")]
    assert not s3.exists(f"{out}/model.json")
    assert statuses(key(out)) == ["KILLED"]

    with renewed_lease(lease_of(out), 10):
        resumed = run(command(python, records, out, 10), tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    step = int(Path(checkpoint).stem.removeprefix("step-"))
    assert f"steps {step} to 12" in resumed.stdout
    assert digest(out) == undisturbed_digest
    assert statuses(key(out)) == ["FINISHED"]


def test_an_outage_of_the_store_loses_checkpoints_but_neither_the_training_nor_its_lease(
    records: Path, prefix: str, tmp_path: Path, python: str, undisturbed_digest: str
) -> None:
    """Nobody renews the lease during the outage, which lasts longer than the lease."""
    upload(records, f"{prefix}/records")
    proxy, out = Proxy(os.environ["S3_ENDPOINT_URL"]), f"{prefix}/model"
    with renewed_lease(lease_of(out), 10):
        process = subprocess.Popen(
            command(python, f"{prefix}/records", out, 2, "--set", "checkpoint_every=1"),
            env={**os.environ, "S3_ENDPOINT_URL": proxy.url},
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        wait_for(f"{out}.checkpoints/step-00000002.npz", process)
        proxy.stop()
    assert process.stdout
    lines = list(takewhile(lambda line: "trying again for 3600 s" not in line, process.stdout))
    failed = sum("warning: no checkpoint of step " in line for line in lines)
    assert failed >= 5, f"each failed checkpoint takes more than 0.5 s, the lease 2 s: {lines}"
    assert sum("warning: lease-watch" in line for line in lines) == 1
    proxy.resume()
    rest, _ = process.communicate(timeout=120)
    proxy.close()
    assert process.returncode == 0, rest
    assert digest(out) == undisturbed_digest
    assert s3.list_objects(f"{out}.checkpoints") == [lease_of(out)], "the model replaces its checkpoints"


def test_the_launcher_ends_the_run_of_a_rank_that_was_killed(
    records: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def begin() -> Tracker:
        tracker = Tracker()
        tracker.start("killed", params={"steps": 1}, tags={}, dataset=manifest, run_key=run_key)
        return tracker

    manifest, run_key = RecordsManifest.read(records), secrets.token_hex(6)
    tracker = begin()
    end_run(run_key)
    assert statuses(run_key) == ["FAILED"]
    tracker.finish("FAILED")
    begin().finish("FINISHED")
    end_run(run_key)
    assert statuses(run_key) == ["FINISHED"], "a resumed training continued the same run"
    end_run("no such training")
    assert capsys.readouterr().err == ""

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    end_run(run_key)
    assert "the run of this training stays RUNNING until it is resumed" in capsys.readouterr().err


def test_the_launcher_records_the_image_of_a_training(
    records: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, run_key, tracker = RecordsManifest.read(records), secrets.token_hex(6), Tracker()
    run_id = tracker.start("training", params={}, tags={}, dataset=manifest, run_key=run_key)
    tracker.finish("FINISHED")
    record_image(run_key, "")
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    assert "image_digest" not in client.get_run(run_id).data.tags
    record_image(run_key, "sha256:12")
    assert client.get_run(run_id).data.tags["image_digest"] == "sha256:12"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    record_image(run_key, "sha256:12")
    assert "does not record its image sha256:12" in capsys.readouterr().err


def test_the_run_of_an_mpijob_becomes_a_child_of_the_run_that_kubeflows_plugin_made_for_its_task(
    records: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plugin creates a run for the pipeline run, below it one for the task, and passes its id."""
    manifest, run_key, tracker = RecordsManifest.read(records), secrets.token_hex(6), Tracker()
    run_id = tracker.start("training", params={}, tags={}, dataset=manifest, run_key=run_key)
    tracker.finish("FINISHED")
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.create_experiment(f"KFP-Default-{run_key}")
    pipeline = client.create_run(experiment).info.run_id
    task = client.create_run(experiment, tags={"mlflow.parentRunId": pipeline}).info.run_id

    nest_run(run_key)
    assert "mlflow.parentRunId" not in client.get_run(run_id).data.tags, "the plugin is off"
    monkeypatch.setenv("MLFLOW_RUN_ID", task)
    nest_run(run_key)
    assert client.get_run(run_id).data.tags["mlflow.parentRunId"] == task
    assert capsys.readouterr().err == ""

    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    nest_run(run_key)
    assert "is not shown below the run of its task" in capsys.readouterr().err
    assert client.get_run(run_id).data.tags["mlflow.parentRunId"] == task
