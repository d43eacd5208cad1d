"""Download models and model folders from MLflow into the cache folder."""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.core.errors import UserError
from tinyunet.core.files import cache_folder, make_cache_folder, mark_used
from tinyunet.tracking.client import mlflow_errors, open_client
from tinyunet.tracking.missing import LISTED, Known, missing_version
from tinyunet.tracking.names import ENGINE_FOLDER
from tinyunet.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


WEIGHTS_DIGEST = "weights_digest"  # a tag of versions, logged models and training runs
LOGGED_MODEL = re.compile(r"m-[^/@]+")  # an id; a registered model may have a name that begins alike
MODEL_FILES = ("model.json", "history.csv", "model.keras")  # of a model folder


@dataclass(frozen=True)
class FoundModel:
    """A logged model of MLflow.

    Attributes:
        model_id: Its id.
        name: Registered model; empty if the model was not found by one.
        version: Number of its version; empty without a registered model.
    """

    model_id: str
    name: str = ""
    version: str = ""


def training_artifact_path(digest: str) -> str:
    """Return the artifact path, in a training run, of the model folder with these weights."""
    return f"training/{digest[:12]}".rstrip("/")


def download_model(uri: str) -> Path:
    """Download a registered model into the cache folder, unless it is there: a version never changes.

    Args:
        uri: models:/NAME@champion, models:/NAME/VERSION, models:/m-ID or runs:/RUN_ID.

    Returns:
        A folder in MLflow's model format, with the files MLmodel and data/model.keras.

    Raises:
        UserError: if there is no such model.
    """
    model_id = find_model(uri).model_id
    folder = cache_folder() / "models" / model_id
    if not folder.is_dir():
        _fill(folder, lambda part: _download_logged_model(model_id, part))
    return mark_used(folder)


def find_model(uri: str) -> FoundModel:
    """Find the logged model of a model URI, by the package mlflow.

    Args:
        uri: As for `download_model`.

    Raises:
        UserError: if there is no such model, or MLflow cannot be reached.
    """
    scheme, _, rest = uri.partition(":/")
    rest = rest.strip("/")
    with mlflow_errors(short_timeout=True):
        client = open_client(existing=True)
        if scheme == "runs":
            outputs = client.get_run(rest.split("/")[0]).outputs.model_outputs
            if not outputs:
                raise UserError(f"{uri}: this run has no model; register one, or name another run")
            return FoundModel(str(outputs[-1].model_id))
        if scheme == "models" and LOGGED_MODEL.fullmatch(rest):
            return FoundModel(rest)
        version = _find_version(client, uri)
    model_id = str(version.model_id or version.source.rsplit("/", 1)[-1])
    return FoundModel(model_id, str(version.name), str(version.version))


def download_engine(model_id: str, folder: Path) -> bool:
    """Download the folder `engine` of a logged model into a folder; return whether the model has one.

    Raises:
        UserError: if there is no such model, or MLflow cannot be reached.
    """
    with mlflow_errors():
        client = open_client(existing=True)
        if not client.list_logged_model_artifacts(model_id, ENGINE_FOLDER):
            return False
        with tempfile.TemporaryDirectory(dir=folder.parent) as part:
            # MLflow reads models:/ID/engine as the stage `engine` of a registered model.
            location = str(client.get_logged_model(model_id).artifact_location).rstrip("/")
            for file in Path(_download_artifacts(f"{location}/{ENGINE_FOLDER}", part)).iterdir():
                file.rename(folder / file.name)
    return True


def download_model_folder(uri: str) -> Path:
    """Download the model folder of a registered model into the cache folder, unless it is there.

    Args:
        uri: As for `download_model`.

    Returns:
        A model folder as `tinyunet train` writes it.

    Raises:
        UserError: if there is no such model, or its run has no model folder with the weights of the model.
    """
    with mlflow_errors(short_timeout=True):
        client = open_client(existing=True)
        run_id, digest = _find_training(client, uri)
        path = training_artifact_path(digest)
        names = {Path(file.path).name for file in client.list_artifacts(run_id, path)}
    if missing := sorted(set(MODEL_FILES) - names):
        raise UserError(
            f"{uri}: its run {run_id} has no {path}/{missing[0]}; expected a model folder that was "
            "registered: register it again, or give the folder itself"
        )
    folder = cache_folder() / "trainings" / f"{run_id}-{digest[:12]}"
    if not folder.is_dir():
        _fill(folder, lambda part: client.download_artifacts(run_id, path, part))
    return mark_used(folder)


def _find_training(client: "MlflowClient", uri: str) -> tuple[str, str]:
    """Return the training run of a model URI, and the digest of the model's weights, empty if unknown."""
    scheme, _, rest = uri.partition(":/")
    name = rest.strip("/")
    if scheme == "runs":
        run_id = name.split("/")[0]
        return run_id, str(client.get_run(run_id).data.tags.get(WEIGHTS_DIGEST, ""))
    if scheme == "models" and LOGGED_MODEL.fullmatch(name):
        logged = client.get_logged_model(name)
        return str(logged.source_run_id), str(logged.tags.get(WEIGHTS_DIGEST, ""))
    version = _find_version(client, uri)
    return str(version.run_id), str(version.tags.get(WEIGHTS_DIGEST, ""))


def _find_version(client: "MlflowClient", uri: str) -> "ModelVersion":
    """Return the version of models:/NAME@ALIAS or models:/NAME/VERSION."""
    from mlflow.exceptions import MlflowException

    scheme, _, rest = uri.partition(":/")
    rest = rest.strip("/")
    if scheme != "models" or not rest:
        raise UserError(
            f"{uri!r} is not a model; expected models:/NAME@champion, models:/NAME/2 or runs:/RUN_ID"
        )
    by_alias = "@" in rest
    name, _, wanted = rest.partition("@" if by_alias else "/")
    read = client.get_model_version_by_alias if by_alias else client.get_model_version
    try:
        return read(name, wanted)
    except MlflowException as error:
        if "not found" not in str(error):
            raise
        kind = "alias" if by_alias else "version"
        raise missing_version(name, f"{kind} {wanted}", _known(client, name)) from error


def _known(client: "MlflowClient", name: str) -> Known:
    """Return which aliases and versions MLflow has of a model, or which models it has."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException:
        return Known(
            models=[str(one.name) for one in client.search_registered_models(max_results=LISTED + 1)]
        )
    aliases = {str(alias): str(version) for alias, version in model.aliases.items()}
    return Known(aliases, [str(one.version) for one in model.latest_versions])


def _download_logged_model(model_id: str, folder: str) -> str:
    """Download a logged model; return the local path."""
    return _download_artifacts(f"models:/{model_id}", folder)


def _download_artifacts(uri: str, folder: str) -> str:
    import mlflow

    return str(
        mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=tracking_uri())
    )


def _fill(folder: Path, download: Callable[[str], str]) -> None:
    """Download into a temporary folder and rename the result to `folder`.

    If another process has created `folder` in the meantime, its result is used.
    """
    make_cache_folder(folder.parent)
    with mlflow_errors(), tempfile.TemporaryDirectory(dir=folder.parent) as part:
        downloaded = Path(download(part))
        try:
            downloaded.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
