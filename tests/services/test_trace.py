"""The origin of a registered model, from a real MLflow: every hash is verified, and a change is found."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from tests.conftest import Registered
from tinyunet.cli.main import main
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.documents.trace import Trace
from tinyunet.core.errors import UserError
from tinyunet.registry.versions import find_logged_model
from tinyunet.studies.trace import trace
from tinyunet.tracking.download import download_engine

HASHES = {
    "SHA-256 of model.keras",
    "digest of the weights",
    "key of the evaluated model",
    "digest of the records",
    "digest of the images",
    "SHA-256 of network.onnx",
}


@pytest.fixture
def client() -> mlflow.MlflowClient:
    uri = os.environ["MLFLOW_TRACKING_URI"]
    return mlflow.MlflowClient(uri, registry_uri=uri)


def test_every_hash_of_a_version_is_verified_and_every_image_is_listed(
    registered: Registered, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", registered.result.uri, "--out", str(tmp_path)]) == 0
    result = Trace.read(tmp_path)
    assert result.wrong() == []
    status = {fact.name: fact.status for fact in result.facts}
    assert {name for name in status if status[name] == "verified"} >= HASHES
    (image,) = (fact for fact in result.facts if fact.name == "image digest")
    assert (image.value, image.status) == ("not run in an image of this project", "recorded")
    assert {image.image_sha256 for image in result.images} == {
        file.image_sha256 for file in RawManifest.read(raw).files
    }
    page = (tmp_path / "trace.html").read_text()
    assert all(image.image_sha256 in page for image in result.images)
    assert "All values fit" in page
    assert f"{len(result.images)} images" in capsys.readouterr().out.splitlines()[-1]


def change_json(path: Path, change: Callable[[dict], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def one_image(document: dict) -> None:
    document["files"][0]["image_sha256"] = "0" * 64


def one_shard(document: dict) -> None:
    document["splits"]["test"]["shards"][0]["sha256"] = "0" * 64


def the_threshold(document: dict) -> None:
    document["threshold"] = 0.123


def the_revision(document: dict) -> None:
    document["git_revision"] = "0123456789ab"


@pytest.mark.parametrize(
    ("file", "change", "names"),
    [
        ("sources.json", one_image, {"digest of the images"}),
        ("records.json", one_shard, {"digest of the records"}),
        ("metrics.json", the_threshold, {"key of the evaluated model", "threshold"}),
        ("model.json", the_revision, {"git revision"}),
    ],
)
def test_a_changed_document_is_found(
    file: str,
    change: Callable[[dict], None],
    names: set[str],
    registered: Registered,
    client: mlflow.MlflowClient,
    tmp_path: Path,
) -> None:
    version = registered.result
    digest = client.get_model_version(version.name, version.version).tags["weights_digest"]
    folder = f"training/{digest[:12]}" if file == "model.json" else version.evaluation
    original = Path(client.download_artifacts(version.run_id, f"{folder}/{file}", str(tmp_path)))
    before = original.read_bytes()
    try:
        change_json(original, change)
        client.log_artifact(version.run_id, str(original), folder)
        result = trace(version.uri, tmp_path / "out")
        assert names <= {fact.name for fact in result.wrong()}
        assert "do not fit" in (tmp_path / "out" / "trace.html").read_text()
    finally:
        original.write_bytes(before)
        client.log_artifact(version.run_id, str(original), folder)
    assert trace(version.uri, tmp_path / "out").wrong() == []


def test_a_changed_network_is_found_and_the_command_fails(
    registered: Registered, client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    version = registered.result
    model_id = find_logged_model(client, version.name, version.version)
    (tmp_path / "original").mkdir()
    download_engine(model_id, tmp_path / "original")
    (tmp_path / "network.onnx").write_bytes(b"another network")
    try:
        client.log_model_artifact(model_id, str(tmp_path / "network.onnx"), "engine")
        assert main(["trace", version.uri, "--out", str(tmp_path / "out")]) == 1
    finally:
        client.log_model_artifact(model_id, str(tmp_path / "original" / "network.onnx"), "engine")
    (wrong,) = Trace.read(tmp_path / "out").wrong()
    assert wrong.name == "SHA-256 of network.onnx"
    assert wrong.note.startswith("the file of the logged model gives ")


def test_a_damaged_document_is_named(
    registered: Registered, client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    version = registered.result
    path = f"{version.evaluation}/sources.json"
    original = Path(client.download_artifacts(version.run_id, path, str(tmp_path)))
    before = original.read_bytes()
    try:
        original.write_text("{")
        client.log_artifact(version.run_id, str(original), version.evaluation)
        (wrong,) = trace(version.uri, tmp_path / "out").wrong()
    finally:
        original.write_bytes(before)
        client.log_artifact(version.run_id, str(original), version.evaluation)
    assert (wrong.name, "is not JSON" in wrong.note) == ("sources.json", True)


@pytest.mark.parametrize("uri", ["runs:/0123", "models:/no-such-model/1", "model"])
def test_what_is_no_version_is_refused_in_one_line(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        trace(uri, tmp_path)
    assert not any(tmp_path.iterdir())
