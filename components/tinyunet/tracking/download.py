"""Served models in MLflow: logged with signature and example, found by any name, kept in the cache."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.core.errors import UserError
from tinyunet.core.files import cache_folder
from tinyunet.tracking.client import mlflow_errors, open_client
from tinyunet.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


WEIGHTS_DIGEST = "weights_digest"  # tag of a version, of a logged model and of a training run
MODEL_FILES = ("model.json", "history.csv", "model.keras")  # a model folder


def training_artifact_path(digest: str) -> str:
    """Give the folder of a run's artifacts that keeps the model folder of these weights."""
    return f"training/{digest[:12]}".rstrip("/")


def download_model(uri: str) -> Path:
    """Download a registered model, once: a version never changes, so it is kept in the cache folder.

    Args:
        uri: models:/NAME@champion, models:/NAME/VERSION, models:/m-ID or runs:/RUN_ID.

    Returns:
        Folder in MLflow's model format: MLmodel, and data/model.keras.

    Raises:
        UserError: if there is no such model.
    """
    with mlflow_errors(short_timeout=True):
        client = open_client(existing=True)
        model_id = _model_id(client, uri)
    folder = cache_folder() / "models" / model_id
    if not folder.is_dir():
        _keep(folder, lambda part: _download(model_id, part))
    return folder


def download_model_folder(uri: str) -> Path:
    """Download the folder that the training of a registered model wrote, once per run and weights.

    Args:
        uri: As for `download_model`.

    Returns:
        A model folder, as `tinyunet train` writes it.

    Raises:
        UserError: if there is no such model, or its run does not keep the folder of its weights.
    """
    with mlflow_errors(short_timeout=True):
        client = open_client(existing=True)
        run_id, digest = _training(client, uri)
        place = training_artifact_path(digest)
        names = {Path(file.path).name for file in client.list_artifacts(run_id, place)}
    if missing := sorted(set(MODEL_FILES) - names):
        raise UserError(
            f"{uri}: its run {run_id} keeps no {place}/{missing[0]}; expected a model folder that was "
            "registered: register it again, or give the folder itself"
        )
    folder = cache_folder() / "trainings" / f"{run_id}-{digest[:12]}"
    if not folder.is_dir():
        _keep(folder, lambda part: client.download_artifacts(run_id, place, part))
    return folder


def _training(client: "MlflowClient", uri: str) -> tuple[str, str]:
    """Resolve a model URI to the run of its training, and the digest of its weights, empty if not known."""
    scheme, _, rest = uri.partition(":/")
    name = rest.strip("/")
    if scheme == "runs":
        run_id = name.split("/")[0]
        return run_id, str(client.get_run(run_id).data.tags.get(WEIGHTS_DIGEST, ""))
    if scheme == "models" and name.startswith("m-"):
        logged = client.get_logged_model(name)
        return str(logged.source_run_id), str(logged.tags.get(WEIGHTS_DIGEST, ""))
    version = _version(client, uri)
    return str(version.run_id), str(version.tags.get(WEIGHTS_DIGEST, ""))


def _model_id(client: "MlflowClient", uri: str) -> str:
    """Resolve a model URI to the id of a logged model."""
    scheme, _, rest = uri.partition(":/")
    rest = rest.strip("/")
    if scheme == "runs":
        outputs = client.get_run(rest.split("/")[0]).outputs.model_outputs
        if not outputs:
            raise UserError(f"{uri}: this run has no model; register one, or name another run")
        return str(outputs[-1].model_id)
    if scheme == "models" and rest.startswith("m-"):
        return rest
    found = _version(client, uri)
    return str(found.model_id or found.source.rsplit("/", 1)[-1])


def _version(client: "MlflowClient", uri: str) -> "ModelVersion":
    """Look up models:/NAME@ALIAS or models:/NAME/VERSION."""
    scheme, _, rest = uri.partition(":/")
    rest = rest.strip("/")
    if scheme != "models" or not rest:
        raise UserError(
            f"{uri!r} is not a model; expected models:/NAME@champion, models:/NAME/2 or runs:/RUN_ID"
        )
    name, mark, which = rest.partition("@") if "@" in rest else rest.partition("/")
    if mark == "@":
        return client.get_model_version_by_alias(name, which)
    return client.get_model_version(name, which)


def _download(model_id: str, folder: str) -> str:
    import mlflow

    return str(
        mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{model_id}", dst_path=folder, tracking_uri=tracking_uri()
        )
    )


def _keep(folder: Path, fetch: Callable[[str], str]) -> None:
    """Fetch into a scratch folder, then put it in its place, if no other process was faster."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with mlflow_errors(), tempfile.TemporaryDirectory(dir=folder.parent) as part:
        found = Path(fetch(part))
        try:
            found.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
