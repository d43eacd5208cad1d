"""Read models from an MLflow server by its REST API, without the package mlflow.

The image for serving does not contain mlflow.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from tinyunet.core.errors import UserError
from tinyunet.core.files import require_space
from tinyunet.tracking.connection import NotFound, download, get_json, server_address
from tinyunet.tracking.missing import LISTED, Known, missing_version

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model.

    Attributes:
        name: Registered model.
        version: Number of the version.
        model_id: Logged model that contains its files.
        run_id: Run that the version belongs to; empty if unknown.
        tags: Tags of the version.
    """

    name: str
    version: str
    model_id: str
    run_id: str
    tags: dict[str, str]


@dataclass(frozen=True)
class ModelFile:
    """A file of a logged model: its path in the model with `/`, and its size in bytes (0 if unknown)."""

    path: str
    size: int


def version_of_alias(name: str, alias: str) -> ModelVersion:
    """Return the version of a registered model that has an alias.

    Raises:
        Unreachable: if the server does not answer.
        UserError: if there is no such model or alias, or the server refuses the request.
    """
    return _find(f"alias {alias}", "/registered-models/alias", name=name, alias=alias)


def version_of_number(name: str, version: str) -> ModelVersion:
    """Return a version of a registered model; the errors are those of `version_of_alias`."""
    return _find(f"version {version}", "/model-versions/get", name=name, version=version)


def model_of_run(run_id: str) -> str:
    """Return the id of the model that a run logged last; the errors are those of `version_of_alias`.

    Raises:
        UserError: also if the run has no model.
    """
    outputs = get_json("/runs/get", run_id=run_id)["run"].get("outputs", {}).get("model_outputs", [])
    if not outputs:
        raise UserError(f"runs:/{run_id}: this run has no model; register one, or name another run")
    return _checked_id(str(outputs[-1]["model_id"]))


def list_files(model_id: str, folder: str = "") -> list[ModelFile]:
    """Return the files in a folder of a logged model and in its subfolders; empty if there is no such folder.

    The errors are those of `version_of_alias`.
    """
    files: list[ModelFile] = []
    for item in _list_folder(model_id, folder).get("files", []):
        path = str(item["path"])
        if item.get("is_dir"):
            files += list_files(model_id, path)
        else:
            files.append(ModelFile(path, int(item.get("file_size", 0))))
    return files


def download_files(model_id: str, files: list[ModelFile], out: Path) -> None:
    """Download files of a logged model into a folder, at the same paths.

    The content is not verified; callers compare it with the digests that they know.

    Raises:
        Unreachable: if the server does not answer, or a download ends early.
        UserError: if the server refuses a request, or a path leads out of the folder.
    """
    root = str(_list_folder(model_id, "").get("root_uri", ""))
    for file in files:
        parts = PurePosixPath(file.path).parts
        if not parts or PurePosixPath(file.path).is_absolute() or ".." in parts:
            raise UserError(
                f"the model {model_id} has a file {file.path!r}; expected a path inside the model"
            )
        target = out.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        require_space(target, file.size)
        download(*_location(model_id, root, file.path), target, file.size)


def _find(wanted: str, path: str, *, name: str, **query: str) -> ModelVersion:
    try:
        return _version(get_json(path, name=name, **query)["model_version"])
    except NotFound as error:
        raise missing_version(name, wanted, _known(name)) from error


def _known(name: str) -> Known:
    """Return which aliases and versions this MLflow has of a model, or which models it has."""
    try:
        model = get_json("/registered-models/get", name=name)["registered_model"]
    except NotFound:
        models = get_json("/registered-models/search", max_results=str(LISTED + 1))
        return Known(models=[str(one["name"]) for one in models.get("registered_models", [])])
    aliases = {str(one["alias"]): str(one["version"]) for one in model.get("aliases", [])}
    return Known(aliases, [str(one["version"]) for one in model.get("latest_versions", [])])


def _version(fields: dict[str, Any]) -> ModelVersion:
    source = str(fields.get("source", ""))  # models:/m-…; versions of early releases have no model_id
    return ModelVersion(
        name=str(fields["name"]),
        version=str(fields["version"]),
        model_id=_checked_id(str(fields.get("model_id") or source.rsplit("/", 1)[-1])),
        run_id=str(fields.get("run_id", "")),
        tags={str(tag["key"]): str(tag.get("value", "")) for tag in fields.get("tags", [])},
    )


def _checked_id(model_id: str) -> str:
    """Return an id; raise a UserError for one that could not be the name of a folder of the cache."""
    if not re.fullmatch(r"[\w-]{1,128}", model_id, re.ASCII):
        raise UserError(
            f"the MLflow server names the model {model_id!r:.80}; expected letters, digits, - and _"
        )
    return model_id


def _list_folder(model_id: str, folder: str) -> dict[str, Any]:
    """Return the server's list of one folder: `root_uri`, and `files` with `path`, `is_dir`, `file_size`."""
    path = f"/logged-models/{quote(model_id, safe='')}/artifacts/directories"
    return get_json(path, **({"artifact_directory_path": folder} if folder else {}))


def _location(model_id: str, root: str, path: str) -> tuple[str, dict[str, str]]:
    """Return the URL and the query of a file.

    A server that serves the artifacts itself (`--serve-artifacts`, the default) has a public API for that.
    From other stores, such as a folder of the server's machine, the server reads files for its web page.
    """
    server, parts = urlsplit(server_address()), urlsplit(root)
    if parts.scheme == "mlflow-artifacts":
        host = f"{server.scheme}://{parts.netloc}{server.path}" if parts.netloc else server.geturl()
        return f"{host}{_ARTIFACTS}/{quote(parts.path.strip('/'))}/{quote(path)}", {}
    page = f"/ajax-api/2.0/mlflow/logged-models/{quote(model_id, safe='')}/artifacts/files"
    return f"{server.geturl()}{page}", {"artifact_file_path": path}
