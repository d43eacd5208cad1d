"""Whether MLflow and S3 answer with the present settings: the half of `tinyunet doctor` that asks others."""

import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.redaction import redact
from tinyunet.tracking.client import silence_mlflow

PROBE_S = 8.0


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        status: `ok`; `warn` where only some uses are hindered; `fail` where none will work.
        detail: What was found.
        remedy: What to do about it; empty for `ok`.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def tracking() -> Check:
    """Ask the MLflow server for its version; a local database needs no asking."""
    from tinyunet.tracking.uri import tracking_uri

    try:
        uri = tracking_uri()
    except UserError as error:
        return Check("MLflow", "fail", str(error), "name a server, or a database: sqlite:///runs/mlflow.db")
    client = version("mlflow")
    if not uri.startswith(("http://", "https://")):
        return Check("MLflow", "ok", f"{client}, runs are kept in {redact(uri)}")
    return _server(uri, client)


def _server(uri: str, client: str) -> Check:
    shown = redact(uri)
    which = f"MLFLOW_TRACKING_URI is {shown}, which"
    try:
        answer = _ask(uri, "/version")
    except Unreachable as error:
        detail = f"{which} does not answer ({error})"
        return Check("MLflow", "fail", detail, "start it (make services), or unset MLFLOW_TRACKING_URI")
    if answer.status_code == 403 and "Host" in answer.text:
        detail = f"{which} refuses this host name (403, its guard against DNS rebinding)"
        return Check("MLflow", "fail", detail, "start the server with --allowed-hosts NAME,NAME:*")
    if not answer.ok or len(answer.text) > 30:
        detail = f"{which} answers {answer.status_code} to /version: no MLflow server, or access is denied"
        return Check("MLflow", "fail", detail, "correct MLFLOW_TRACKING_URI or MLFLOW_TRACKING_USERNAME")
    both = f"{answer.text} at {shown}, client {client}"
    if answer.text.split(".")[0] != client.split(".")[0]:
        return Check("MLflow", "warn", both, "use the same major version on both sides")
    return Check("MLflow", "ok", both)


def _ask(uri: str, path: str) -> Any:  # noqa: ANN401  requests.Response
    """Get a path of an MLflow server once, with the credentials and TLS settings that its client would use.

    Raises:
        Unreachable: naming the failure, if there is no answer.
    """
    silence_mlflow()
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        access = get_default_host_creds(uri)
        return http_request(access, path, "GET", timeout=PROBE_S, max_retries=0, raise_on_status=False)
    except MlflowException as error:
        raise Unreachable(type(error.__context__ or error).__name__) from error


def credentials() -> Check:
    """Look whether the S3 credentials are set, or half set; their values are not shown."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    missing = [name for name in names if not os.environ.get(name)]
    if not missing:
        return Check("S3 credentials", "ok", "set")
    remedy = f"set {' and '.join(missing)}"
    if len(missing) == 1:
        return Check("S3 credentials", "fail", f"half set: {missing[0]} is missing", remedy)
    if os.environ.get("S3_ENDPOINT_URL"):
        return Check("S3 credentials", "fail", "not set, but S3_ENDPOINT_URL is", remedy)
    return Check("S3 credentials", "ok", "not set, and no S3_ENDPOINT_URL: local files only")


def store() -> Check:
    """List the buckets of the S3 endpoint."""
    from tinyunet.storage import s3

    endpoint = os.environ.get("S3_ENDPOINT_URL")
    if not endpoint:
        return Check("S3", "ok", "S3_ENDPOINT_URL is not set: local files only")
    try:
        buckets = s3.list_buckets()
    except UserError as error:
        return Check("S3", "fail", str(error), "correct S3_ENDPOINT_URL or the credentials")
    names = ", ".join(buckets[:8]) or "none"
    return Check("S3", "ok", f"{redact(endpoint)} has {len(buckets)} buckets: {names}")
