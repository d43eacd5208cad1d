"""Checks of `tinyunet doctor` that contact servers: do MLflow and S3 answer with the current settings?"""

import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from tinyunet.core.errors import UserError
from tinyunet.core.network import read_credential
from tinyunet.core.urls import redact
from tinyunet.tracking.server import ServerProblem, server_version


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
    try:
        found = server_version(uri)
    except ServerProblem as problem:
        return Check("MLflow", "fail", problem.detail, problem.remedy)
    versions = f"{found} at {redact(uri)}, client {client}"
    if found.split(".")[0] != client.split(".")[0]:
        return Check("MLflow", "warn", versions, "use the same major version on both sides")
    return Check("MLflow", "ok", versions)


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
