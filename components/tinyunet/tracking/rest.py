"""Read models from an MLflow server by its REST API, without the package mlflow.

The image for serving does not contain mlflow. The address, credentials, proxies and CA file are those of
MLflow's client: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME and _PASSWORD, and the
variables of `core.network`.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.files import require_space
from tinyunet.core.network import ca_file, connection_problem, hide_credentials, proxy_for, read_credential
from tinyunet.core.redaction import redact
from tinyunet.tracking.uri import tracking_uri

TIMEOUT_S = (6.0, 30.0)  # for the connection, and between two packets
CHUNK = 1 << 18  # bytes
_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_TRANSIENT = (408, 425, 429)  # and all codes from 500


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


def is_server(uri: str) -> bool:
    """Return whether a tracking URI is that of a server, which this module can read."""
    return uri.startswith(("http://", "https://"))


def version_of_alias(name: str, alias: str) -> ModelVersion:
    """Return the version of a registered model that has an alias.

    Raises:
        Unreachable: if the server does not answer.
        UserError: if there is no such model or alias, or the server refuses the request.
    """
    return _version(_get_json("/registered-models/alias", name=name, alias=alias)["model_version"])


def version_of_number(name: str, version: str) -> ModelVersion:
    """Return a version of a registered model; the errors are those of `version_of_alias`."""
    return _version(_get_json("/model-versions/get", name=name, version=version)["model_version"])


def model_of_run(run_id: str) -> str:
    """Return the id of the model that a run logged last; the errors are those of `version_of_alias`.

    Raises:
        UserError: also if the run has no model.
    """
    outputs = _get_json("/runs/get", run_id=run_id)["run"].get("outputs", {}).get("model_outputs", [])
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
        _download(*_location(model_id, root, file.path), target, file.size)


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
    return _get_json(path, **({"artifact_directory_path": folder} if folder else {}))


def _location(model_id: str, root: str, path: str) -> tuple[str, dict[str, str]]:
    """Return the URL and the query of a file.

    A server that serves the artifacts itself (`--serve-artifacts`, the default) has a public API for that.
    From other stores, such as a folder of the server's machine, the server reads files for its web page.
    """
    server, parts = urlsplit(_server()), urlsplit(root)
    if parts.scheme == "mlflow-artifacts":
        host = f"{server.scheme}://{parts.netloc}{server.path}" if parts.netloc else server.geturl()
        return f"{host}{_ARTIFACTS}/{quote(parts.path.strip('/'))}/{quote(path)}", {}
    page = f"/ajax-api/2.0/mlflow/logged-models/{quote(model_id, safe='')}/artifacts/files"
    return f"{server.geturl()}{page}", {"artifact_file_path": path}


def _server() -> str:
    uri = tracking_uri().rstrip("/")
    if not is_server(uri):
        raise UserError(f"MLFLOW_TRACKING_URI is {redact(uri)!r}; expected an MLflow server, http(s)://host")
    return uri


def _get_json(path: str, **query: str) -> dict[str, Any]:
    with _response(f"{_server()}{_API}{path}", query) as response:
        try:
            document = response.json()
        except ValueError:
            document = None
    if not isinstance(document, dict):
        raise UserError(
            f"MLFLOW_TRACKING_URI is {redact(_server())}, which answers no JSON; correct the address"
        )
    return document


def _download(url: str, query: dict[str, str], target: Path, size: int) -> None:
    with _response(url, query) as response, target.open("wb") as file:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
    if size and target.stat().st_size != size:
        raise Unreachable(f"{redact(url)}: got {target.stat().st_size} of {size} bytes; try again")


@contextmanager
def _response(url: str, query: dict[str, str]) -> Iterator[requests.Response]:
    """Yield the answer to a GET request, whose body is not read yet.

    Raises:
        Unreachable: if there is no answer, or one that a later request may not get.
        UserError: if the server refuses the request, or a certificate or a proxy prevents a connection.
    """
    start = f"MLFLOW_TRACKING_URI is {redact(_server())}"
    with requests.Session() as session:
        _prepare(session, url)
        try:
            with session.get(url, params=query, stream=True, timeout=TIMEOUT_S) as response:
                if not response.ok:
                    _refuse(start, response)
                yield response
        except requests.RequestException as error:
            if problem := connection_problem(error, url, "REQUESTS_CA_BUNDLE"):
                raise UserError(f"{start}: {problem}") from error
            raise Unreachable(f"{start}, which does not answer ({type(error).__name__})") from error


def _prepare(session: requests.Session, url: str) -> None:
    """Set proxy, CA file and credentials of a session; nothing comes from files such as ~/.netrc."""
    session.trust_env = False
    session.verify = ca_file() or True
    if proxy := proxy_for(url):
        session.proxies = {urlsplit(url).scheme: proxy}
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "").strip()
    if user:  # MLflow's client prefers it to the token
        session.auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "").strip())
    elif token := read_credential("MLFLOW_TRACKING_TOKEN"):
        session.headers["Authorization"] = f"Bearer {token}"


def _refuse(start: str, response: requests.Response) -> None:
    """Raise the error that an answer with an error code means."""
    code = response.status_code
    try:
        message = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = response.text[:200]
    message = hide_credentials(" ".join(message.split()))[:300]
    if code >= 500 or code in _TRANSIENT:
        raise Unreachable(f"{start}, which answers {code}: {message}")
    if "Invalid Host header" in message:
        message = "the server refuses this host name; start it with --allowed-hosts NAME,NAME:*"
    elif code == 401:
        message = "not authorized; set MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
    elif "not found" in message:
        message += "; expected a registered model of this MLflow (its web page shows them)"
    raise UserError(f"{start}: {message}")
