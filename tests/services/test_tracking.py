"""Training runs on a real MLflow server that stores its artifacts in a real MinIO."""

import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pytest
from mlflow.entities import Run

from tests.conftest import Registered
from tests.services.proxy import Proxy
from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.model import MlflowReference, ModelDocument
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.storage import s3
from tinyunet.tracking.tracker import NullTracker, Tracker
from tinyunet.training.distributed import World
from tinyunet.training.loop import train
from tinyunet.training.model_folder import Row
from tinyunet.training.run import TrainingRun


@pytest.fixture
def client() -> mlflow.MlflowClient:
    uri = os.environ["MLFLOW_TRACKING_URI"]
    return mlflow.MlflowClient(uri, registry_uri=uri)


@pytest.fixture
def manifest(records: Path) -> RecordsManifest:
    return RecordsManifest.read(records)


def begin(
    tracker: Tracker,
    manifest: RecordsManifest,
    run_key: str,
    *,
    history: Sequence[Row] = (),
    **params: object,
) -> str:
    return tracker.start(
        "test",
        params={"steps": 10, **params},
        tags={"preset": "fast"},
        dataset=manifest,
        run_key=run_key,
        history=history,
    )


def points(client: mlflow.MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client.get_metric_history(run_id, name)]


@pytest.fixture
def run(client: mlflow.MlflowClient, registered: Registered) -> Run:
    return client.get_run(registered.result.run_id)


def test_a_training_creates_one_run(client: mlflow.MlflowClient, run: Run) -> None:
    same = client.search_runs([run.info.experiment_id], "tags.`tinyunet.run_key` = 'fixture'")
    assert [r.info.run_id for r in same] == [run.info.run_id]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "dagm-class1-fast-64px-seed0"


def test_a_run_has_its_parameters_and_tags(run: Run, manifest: RecordsManifest) -> None:
    expected = {"steps": "12", "global_batch": "8", "image_size": "64", "world_size": "1", "seed": "0"}
    assert expected.items() <= run.data.params.items()
    assert run.data.params["precision"] == "float32"
    assert run.data.tags["preset"] == "fast"
    assert run.data.tags["dataset"] == "dagm-class1"
    assert run.data.tags["data_digest"] == manifest.digest
    assert run.data.tags["synthetic"] == "True"


def test_curves_have_one_point_per_step(client: mlflow.MlflowClient, run: Run) -> None:
    for name in ("loss", "learning_rate", "gradient_norm", "images_per_s"):
        assert [step for step, _ in points(client, run.info.run_id, name)] == list(range(1, 13))
    assert [step for step, _ in points(client, run.info.run_id, "validation_dice")] == [6, 12]


def test_even_a_short_run_has_system_metrics(client: mlflow.MlflowClient, run: Run) -> None:
    memory = points(client, run.info.run_id, "system/system_memory_usage_megabytes")
    assert memory
    assert all(value > 0 for _, value in memory)
    assert "system/cpu_utilization_percentage" in run.data.metrics


def test_the_splits_are_logged_as_datasets_with_their_digests(run: Run, manifest: RecordsManifest) -> None:
    datasets = {i.tags[0].value: (i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs}
    splits = manifest.splits
    assert datasets == {
        "training": ("dagm-class1-train", splits["train"].digest[:36]),
        "validation": ("dagm-class1-validation", splits["validation"].digest[:36]),
        "testing": ("dagm-class1-test", splits["test"].digest[:36]),
    }


def test_the_evaluation_is_logged_in_the_run_of_the_training(run: Run, registered: Registered) -> None:
    test = Evaluation.read(registered.evaluation).test
    assert run.data.metrics["test_dice_defective"] == pytest.approx(test.dice_defective)
    assert run.data.metrics["test_image_ap"] == pytest.approx(test.image_ap)
    assert run.data.metrics["test_nvidia_iou_0.5"] == pytest.approx(test.nvidia_iou["0.5"])
    assert run.data.metrics["test_dice_defective_p5"] <= run.data.metrics["test_dice_defective_p95"]


def test_artifacts_are_stored_as_objects_in_minio(run: Run, registered: Registered) -> None:
    prefix = f"s3://mlflow/{urlsplit(run.info.artifact_uri).path.strip('/')}"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    local, objects = registered.evaluation, set(s3.list_objects(prefix))
    names = ["report.html", "model_card.md", "metrics.json"]
    names += [
        p.relative_to(local).as_posix()
        for folder in ("curves", "overlays")
        for p in (local / folder).iterdir()
    ]
    uri = f"{prefix}/{registered.result.evaluation}"
    assert {f"{uri}/{name}" for name in names} <= objects
    assert s3.read_bytes(f"{uri}/report.html") == (local / "report.html").read_bytes()
    digest = ModelDocument.read(registered.model).weights_digest
    assert {f"{prefix}/training/{digest[:12]}/{p.name}" for p in registered.model.iterdir()} <= objects


def test_a_resumed_training_continues_its_run(client: mlflow.MlflowClient, manifest: RecordsManifest) -> None:
    key = secrets.token_hex(4)
    first = Tracker()
    run_id = begin(first, manifest, key, world_size=1)
    first.log_metrics({"loss": 3.0}, 1)
    first.finish("KILLED")
    assert client.get_run(run_id).info.status == "KILLED"
    second = Tracker()
    assert begin(second, manifest, key, world_size=2) == run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    second.log_history(
        [{"step": 2, "loss": 2.0}, {"step": 3, "loss": float("nan")}, {"step": 4, "loss": 1.0}]
    )
    second.finish("FINISHED")
    assert client.get_run(run_id).info.status == "FINISHED"
    assert points(client, run_id, "loss") == [(1, 3.0), (2, 2.0), (4, 1.0)]
    steps = [step for step, _ in points(client, run_id, "system/system_memory_usage_megabytes")]
    assert len(steps) >= 2
    assert steps == list(range(len(steps)))


def test_a_resumed_training_adds_what_a_killed_one_has_not_sent(
    client: mlflow.MlflowClient, manifest: RecordsManifest
) -> None:
    key, killed = secrets.token_hex(4), Tracker()
    history = [{"step": step, "loss": 4.0 - step} for step in (1, 2, 3)]
    run_id = begin(killed, manifest, key)
    killed.log_history(history[:1])  # sent at once; the next ones would be sent after some seconds
    history[1]["validation_dice"] = 0.5
    resumed = Tracker()
    assert begin(resumed, manifest, key, history=history) == run_id
    resumed.finish("FINISHED")
    killed.finish("KILLED")
    assert points(client, run_id, "loss") == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert points(client, run_id, "validation_dice") == [(2, 0.5)]


def test_other_parameters_or_data_create_another_run_even_with_the_same_key(
    manifest: RecordsManifest,
) -> None:
    key, ids = secrets.token_hex(4), []
    for data, seed in ((manifest, 0), (manifest, 1), (manifest.model_copy(update={"digest": "0" * 64}), 1)):
        tracker = Tracker()
        ids.append(begin(tracker, data, key, seed=seed))
        tracker.finish("FAILED")
    assert len(set(ids)) == 3


def test_a_parameter_that_an_older_run_lacks_has_the_value_of_the_preset(manifest: RecordsManifest) -> None:
    key, ids = secrets.token_hex(4), []
    for newer_options in ({}, {"max_rotation": 0.0}, {"max_rotation": 45.0}):
        tracker = Tracker()
        ids.append(begin(tracker, manifest, key, preset="fast", **newer_options))
        tracker.finish("FAILED")
    assert ids[0] == ids[1] != ids[2]


def test_a_refused_start_leaves_its_run_as_failed_and_not_as_running(
    client: mlflow.MlflowClient, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyunet.training.loop.provenance", lambda: {"no*name": "for a tag"})
    config = TrainConfig(image_size=64, steps=1, global_batch=8, precision="float32")
    training = TrainingRun(
        records=str(records), out=str(tmp_path / "model"), config=config, run_key="refused"
    )
    with pytest.raises(UserError, match="no\\*name"):
        train(training, World(), Tracker())
    runs = client.search_runs(
        [e.experiment_id for e in client.search_experiments()], "tags.`tinyunet.run_key` = 'refused'"
    )
    assert [run.info.status for run in runs] == ["FAILED"]


def test_the_run_of_the_environment_variable_is_used(
    client: mlflow.MlflowClient, manifest: RecordsManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    tracker = Tracker()
    assert begin(tracker, manifest, "any") == run_id
    tracker.finish("FINISHED")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(UserError, match="0" * 32):
        begin(Tracker(), manifest, "any")


def test_no_credential_is_stored(client: mlflow.MlflowClient, manifest: RecordsManifest) -> None:
    source = "https://user:hunter2@host/x.zip?X-Amz-Signature=hunter2"
    tracker = Tracker()
    run_id = tracker.start(
        "secret",
        params={"data": {"source": source}},
        tags={"source": source},
        dataset=manifest.model_copy(update={"source": source}),
        run_key=secrets.token_hex(4),
    )
    tracker.finish("FINISHED")
    stored = str(client.get_run(run_id).to_dictionary())
    assert "https://***@host/x.zip?X-Amz-Signature=***" in stored
    assert "hunter2" not in stored


def test_the_null_tracker_records_nothing(manifest: RecordsManifest) -> None:
    tracker = NullTracker()
    assert tracker.start("x", params={}, tags={}, dataset=manifest, run_key="x") == ""
    assert tracker.reference() is None


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of a port that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["refused", "silent", "unknown host", "no MLflow"])
def test_an_unusable_server_is_reported_within_15_s(
    kind: str, manifest: RecordsManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent_server() as silent:
        uri = {
            "refused": "http://user:secret@127.0.0.1:9",
            "silent": silent,
            "unknown host": "http://mlflow.invalid",
            "no MLflow": os.environ["S3_ENDPOINT_URL"],
        }[kind]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        start = time.monotonic()
        with pytest.raises(UserError) as caught:
            begin(Tracker(), manifest, "any")
    assert time.monotonic() - start < 15
    message = str(caught.value)
    assert message.startswith(f"MLFLOW_TRACKING_URI is {uri.replace('user:secret', '***')}: ")
    assert "\n" not in message
    assert "secret" not in message


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "./mlruns", "/tmp/mlruns", "ftp://host/x"])
def test_a_tracking_uri_that_mlflow_does_not_support_is_refused(
    uri: str, manifest: RecordsManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="unset it to use runs/mlflow"):
        begin(Tracker(), manifest, "any")


def test_without_a_server_runs_are_stored_in_the_working_folder(
    manifest: RecordsManifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracker = Tracker()
    run_id = begin(tracker, manifest, "local")
    tracker.finish("FINISHED")
    uri = f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert tracker.reference() == MlflowReference(tracking_uri=uri, run_id=run_id)
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"mlflow.db", "mlflow.lock"}


def test_an_outage_prints_one_warning_and_loses_no_metric(
    client: mlflow.MlflowClient,
    manifest: RecordsManifest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    proxy = Proxy(os.environ["MLFLOW_TRACKING_URI"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
    tracker = Tracker()
    run_id = begin(tracker, manifest, secrets.token_hex(4))
    proxy.stop()
    start = time.monotonic()
    for step in range(200):
        tracker.log_metrics({"loss": float(step)}, step)
    assert time.monotonic() - start < 15
    proxy.resume()
    tracker.finish("FINISHED")
    proxy.close()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("tinyunet: warning: MLFLOW_TRACKING_URI is")
    assert points(client, run_id, "loss") == [(step, float(step)) for step in range(200)]
    assert client.get_run(run_id).info.status == "FINISHED"
