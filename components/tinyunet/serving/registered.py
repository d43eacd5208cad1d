"""Models of MLflow: what a URI means now, and their files, by REST without the package mlflow if possible."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tinyunet.core.errors import UserError
from tinyunet.tracking import rest
from tinyunet.tracking.connection import is_server
from tinyunet.tracking.names import ENGINE_FOLDER
from tinyunet.tracking.uri import tracking_uri

MLFLOW_SCHEMES = ("models:/", "runs:/")
_LOGGED_MODEL = re.compile(r"models:/+(m-[^/@]+)/*")
_ALIAS = re.compile(r"models:/+([^/@]+)@([^/@]+)/*")
_VERSION = re.compile(r"models:/+([^/@]+)/([^/@]+)/*")
_RUN = re.compile(r"runs:/+([^/]+)(?:/.*)?")


@dataclass(frozen=True)
class RegisteredModel:
    """The model that a URI means.

    Attributes:
        model_id: Id of the logged model, which never changes.
        name: Registered model; empty if the model was not found by one.
        version: Number of its version; empty without a registered model.
        state: `database_state` when the URI was read; empty for a server.
    """

    model_id: str
    name: str = ""
    version: str = ""
    state: str = ""


def database_state() -> str:
    """Return a text that changes with every change of MLflow's database file; empty for a server.

    While the file is the same, so is the version behind an alias, and MLflow is not asked: the import of its
    package takes longer than a prediction.
    """
    uri = tracking_uri()
    if not uri.startswith("sqlite:///"):
        return ""
    # `database_path` parses all addresses, but it imports SQLAlchemy.
    path = urlsplit(uri).path.removeprefix("/")
    file = next((file for file in (Path(path), Path(unquote(path))) if file.is_file()), None)
    if file is None:
        return ""
    parts = [file, Path(f"{file}-wal"), Path(f"{file}-journal")]
    stats = [part.stat() for part in parts if part.is_file()]
    return " ".join(f"{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}" for stat in stats)


def split_alias(uri: str) -> tuple[str, str] | None:
    """Return NAME and ALIAS of models:/NAME@ALIAS; None for any other URI."""
    found = _ALIAS.fullmatch(uri)
    return (found[1], found[2]) if found else None


def resolve(uri: str) -> RegisteredModel:
    """Find the model of a URI.

    Args:
        uri: models:/NAME@ALIAS, models:/NAME/VERSION, models:/m-ID or runs:/RUN_ID.

    Raises:
        Unreachable: if the server does not answer.
        UserError: if there is no such model, or the package mlflow is needed to find it and is not installed.
    """
    state = database_state()
    if is_server(tracking_uri()):
        if found := _LOGGED_MODEL.fullmatch(uri):
            return RegisteredModel(found[1])
        if found := _RUN.fullmatch(uri):
            return RegisteredModel(rest.model_of_run(found[1]))
        if named := split_alias(uri):
            return _of_version(rest.version_of_alias(*named))
        if found := _VERSION.fullmatch(uri):
            return _of_version(rest.version_of_number(found[1], found[2]))
    if importlib.util.find_spec("mlflow") is None:
        raise UserError(
            f"the model is {uri!r} and mlflow is not installed; expected models:/NAME@champion and an MLflow "
            "server in MLFLOW_TRACKING_URI"
        )
    from tinyunet.tracking.download import find_model

    model = find_model(uri)
    return RegisteredModel(model.model_id, model.name, model.version, state)


def download_engine(model_id: str, folder: Path) -> bool:
    """Download the engine of a logged model into a folder; return whether the model has one.

    Raises:
        Unreachable: if the server does not answer.
        UserError: if MLflow refuses, or cannot be reached.
    """
    if not is_server(tracking_uri()):
        from tinyunet.tracking import download

        return download.download_engine(model_id, folder)
    files = rest.list_files(model_id, ENGINE_FOLDER)
    rest.download_files(model_id, files, folder.parent)  # the paths of the files begin with `engine`
    return bool(files)


def download_keras_model(model_id: str) -> Path:
    """Download a logged model into the cache folder, by the package mlflow; see `download_model`."""
    from tinyunet.tracking.download import download_model

    return download_model(f"models:/{model_id}")


def _of_version(version: rest.ModelVersion) -> RegisteredModel:
    return RegisteredModel(version.model_id, version.name, version.version)
