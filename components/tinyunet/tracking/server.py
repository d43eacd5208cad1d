"""The check that an MLflow server answers and is new enough; it sends what MLflow's own client would send."""

import os
from importlib.metadata import version
from typing import Any

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.network import connection_problem
from tinyunet.core.urls import redact
from tinyunet.tracking.client import silence_mlflow

PROBE_TIMEOUT_S = 8.0
OLDEST_MAJOR = 3  # the first version with logged models, which the registered versions refer to


class ServerProblem(UserError):  # noqa: N818  named after what it describes
    """An MLflow server that cannot be used.

    Attributes:
        detail: What the check found.
        remedy: What the user can do.
    """

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(f"{detail}; {remedy}")
        self.detail, self.remedy = detail, remedy

    def __reduce__(self) -> tuple[type["ServerProblem"], tuple[str, str]]:
        """Return what another process needs to raise the same error."""
        return type(self), (self.detail, self.remedy)


class ServerUnreachable(ServerProblem, Unreachable):
    """An MLflow server that does not answer at the moment."""


def server_version(uri: str) -> str:
    """Return the version of the MLflow server at an http(s) URI.

    Raises:
        ServerUnreachable: if it does not answer.
        ServerProblem: if it refuses the request or is no MLflow server.
    """
    shown = redact(uri)
    start = f"MLFLOW_TRACKING_URI is {shown}, which"
    try:
        response = _get(uri, "/version")
    except Unreachable as error:
        raise ServerUnreachable(f"{start} does not answer ({error})", _remedy_if_down()) from error
    except UserError as error:
        raise ServerProblem(f"MLFLOW_TRACKING_URI is {shown}: {error}", "correct these settings") from error
    if response.status_code == 403 and "Host" in response.text:
        detail = f"{start} refuses this host name (403, its protection against DNS rebinding)"
        raise ServerProblem(detail, "start the server with --allowed-hosts NAME,NAME:*")
    if not response.ok or len(response.text) > 30:
        detail = f"{start} answers {response.status_code} to /version: no MLflow server, or access is denied"
        raise ServerProblem(detail, "correct MLFLOW_TRACKING_URI or MLFLOW_TRACKING_USERNAME")
    return str(response.text)


def require_server(uri: str) -> None:
    """Check that an MLflow server answers and is new enough; a database needs no check.

    Raises:
        ServerUnreachable: if it does not answer.
        ServerProblem: if it cannot be used, or is older than MLflow 3.
    """
    if not uri.startswith(("http://", "https://")):
        return
    found = server_version(uri)
    major = found.partition(".")[0]
    if major.isdecimal() and int(major) < OLDEST_MAJOR:
        raise ServerProblem(
            f"MLflow at {redact(uri)} is {found}; expected {OLDEST_MAJOR}.0 or newer",
            f"update the server, the client here is {version('mlflow')}",
        )


def _remedy_if_down() -> str:
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "expected the address of make deploy's MLflow: make connect NAMESPACE=this-namespace sets it"
    return "start it (make services), or unset MLFLOW_TRACKING_URI"


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
