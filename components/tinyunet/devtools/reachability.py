"""Checks of `tinyunet doctor` that contact servers: do MLflow and S3 answer with the current settings?"""

import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.network import connection_problem, read_credential
from tinyunet.core.redaction import redact
from tinyunet.tracking.client import silence_mlflow

PROBE_TIMEOUT_S = 8.0


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: What was checked.
        status: `ok`; `warn` if only some commands are affected; `fail` if all commands are affected.
        detail: What the check found.
        remedy: What the user can do; empty for `ok`.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def tracking() -> Check:
    """Check that the MLflow server answers, and compare versions; a local database needs no server."""
    from tinyunet.tracking.uri import tracking_uri

    try:
        uri = tracking_uri()
    except UserError as error:
        return Check("MLflow", "fail", str(error), "name a server, or a database: sqlite:///runs/mlflow.db")
    client = version("mlflow")
    if not uri.startswith(("http://", "https://")):
        return Check("MLflow", "ok", f"{client}, runs are stored in {redact(uri)}")
    return _server(uri, client)


def _server(uri: str, client: str) -> Check:
    shown = redact(uri)
    start = f"MLFLOW_TRACKING_URI is {shown}, which"
    try:
        response = _get(uri, "/version")
    except Unreachable as error:
        detail = f"{start} does not answer ({error})"
        return Check("MLflow", "fail", detail, "start it (make services), or unset MLFLOW_TRACKING_URI")
    except UserError as error:
        return Check("MLflow", "fail", f"MLFLOW_TRACKING_URI is {shown}: {error}", "correct these settings")
    if response.status_code == 403 and "Host" in response.text:
        detail = f"{start} refuses this host name (403, its protection against DNS rebinding)"
        return Check("MLflow", "fail", detail, "start the server with --allowed-hosts NAME,NAME:*")
    if not response.ok or len(response.text) > 30:
        detail = f"{start} answers {response.status_code} to /version: no MLflow server, or access is denied"
        return Check("MLflow", "fail", detail, "correct MLFLOW_TRACKING_URI or MLFLOW_TRACKING_USERNAME")
    versions = f"{response.text} at {shown}, client {client}"
    if response.text.split(".")[0] != client.split(".")[0]:
        return Check("MLflow", "warn", versions, "use the same major version on both sides")
    return Check("MLflow", "ok", versions)


def _get(uri: str, path: str) -> Any:  # noqa: ANN401  requests.Response
    """Request a path of an MLflow server once, with the credentials and TLS settings of MLflow's client.

    Raises:
        UserError: if a certificate or a proxy prevents a connection, or a setting is not valid.
        Unreachable: if there is no answer; the message names the kind of failure.
    """
    silence_mlflow()
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        access = get_default_host_creds(uri)
        return http_request(
            access, path, "GET", timeout=PROBE_TIMEOUT_S, max_retries=0, raise_on_status=False
        )
    except MlflowException as error:
        if problem := connection_problem(error, uri, "REQUESTS_CA_BUNDLE"):
            raise UserError(problem) from error
        raise Unreachable(type(error.__context__ or error).__name__) from error


def credentials() -> Check:
    """Check that both or none of the S3 credentials are set; the result does not contain their values."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    try:
        missing = [name for name in names if not read_credential(name)]
    except UserError as error:
        return Check("S3 credentials", "fail", str(error), "set it again")
    if not missing:
        return Check("S3 credentials", "ok", "set")
    remedy = f"set {' and '.join(missing)}"
    if len(missing) == 1:
        return Check("S3 credentials", "fail", f"half set: {missing[0]} is missing", remedy)
    if os.environ.get("S3_ENDPOINT_URL"):
        return Check("S3 credentials", "fail", "not set, but S3_ENDPOINT_URL is", remedy)
    return Check("S3 credentials", "ok", "not set, and no S3_ENDPOINT_URL: local files only")


def store() -> Check:
    """Check that the S3 endpoint answers, by listing its buckets."""
    from tinyunet.storage import s3

    endpoint = os.environ.get("S3_ENDPOINT_URL", "").strip()
    if not endpoint:
        return Check("S3", "ok", "S3_ENDPOINT_URL is not set: local files only")
    try:
        buckets = s3.list_buckets()
    except UserError as error:
        return Check("S3", "fail", str(error), "correct S3_ENDPOINT_URL or the credentials")
    names = ", ".join(buckets[:8]) or "none"
    return Check("S3", "ok", f"{redact(endpoint)} has {len(buckets)} buckets: {names}")
