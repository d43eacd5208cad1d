"""Requests to an MLflow server, without the package mlflow.

The address, credentials, proxies and CA file are those of MLflow's client: MLFLOW_TRACKING_URI,
MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME and _PASSWORD, MLFLOW_WORKSPACE, and the variables of
`core.network`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.network import ca_file, connection_problem, hide_credentials, proxy_for, read_credential
from tinyunet.core.urls import redact
from tinyunet.tracking.uri import tracking_uri

TIMEOUT_S = (6.0, 30.0)  # for the connection, and between two packets
CHUNK = 1 << 18  # bytes
_API = "/api/2.0/mlflow"
_TRANSIENT = (408, 425, 429)  # and all codes from 500


class NotFound(UserError):  # noqa: N818  describes the answer of a server
    """What was asked for does not exist in this MLflow."""


def is_server(uri: str) -> bool:
    """Return whether a tracking URI is that of a server, which this module can read."""
    return uri.startswith(("http://", "https://"))


def server_address() -> str:
    """Return MLFLOW_TRACKING_URI; raise a UserError if it is not the address of a server."""
    uri = tracking_uri().rstrip("/")
    if not is_server(uri):
        raise UserError(f"MLFLOW_TRACKING_URI is {redact(uri)!r}; expected an MLflow server, http(s)://host")
    return uri


def get_json(path: str, **query: str) -> dict[str, Any]:
    """Return the answer of the API to a GET request.

    Raises:
        Unreachable: if the server does not answer.
        NotFound: if the server does not have what is asked for.
        UserError: if the server refuses the request or answers no JSON.
    """
    with _response(f"{server_address()}{_API}{path}", query) as response:
        try:
            document = response.json()
        except ValueError:
            document = None
    if not isinstance(document, dict):
        raise UserError(
            f"MLFLOW_TRACKING_URI is {redact(server_address())}, which answers no JSON; correct the address"
        )
    return document


def download(url: str, query: dict[str, str], target: Path, size: int) -> None:
    """Write the answer to a GET request into a file; `size` is its size in bytes, or 0 if unknown.

    The errors are those of `get_json`; `Unreachable` also for a download that ends early.
    """
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
    start = f"MLFLOW_TRACKING_URI is {redact(server_address())}"
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
    """Set proxy, CA file, credentials and workspace of a session; files such as ~/.netrc are not read."""
    session.trust_env = False
    session.verify = ca_file() or True
    if proxy := proxy_for(url):
        session.proxies = {urlsplit(url).scheme: proxy}
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "").strip()
    if user:  # MLflow's client prefers it to the token
        session.auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "").strip())
    elif token := read_credential("MLFLOW_TRACKING_TOKEN"):
        session.headers["Authorization"] = f"Bearer {token}"
    if workspace := read_credential("MLFLOW_WORKSPACE"):
        session.headers["X-MLFLOW-WORKSPACE"] = workspace


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
        expected = "expected a registered model of this MLflow (its web page shows them)"
        raise NotFound(f"{start}: {message}; {expected}")
    raise UserError(f"{start}: {message}")
