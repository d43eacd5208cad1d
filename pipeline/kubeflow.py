"""Connect to a Kubeflow Pipelines API, and report its errors in one line.

Credentials come only from the environment: KFP_TOKEN (bearer token), KFP_COOKIES (session of dex or
oauth2-proxy) or, inside a pod, the projected service-account token. KFP_CA_CERT names a CA file. If it
is not set, the CA variables of `tinyunet.core.network` are used.
"""

import contextlib
import io
import json
import logging
import os
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import certifi
import kfp
import kfp_server_api
import urllib3
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

from tinyunet.core.errors import UserError
from tinyunet.core.network import ca_file, connection_problem, read_credential, tls_context

POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
API_NAMESPACE = "kubeflow"
IN_CLUSTER = f"http://ml-pipeline.{API_NAMESPACE}:8888"


def print_dashboard_url(host: str, page: str) -> None:
    """Print the URL of a page of the dashboard; print nothing without a host, because its URL is unknown."""
    if host:
        print(f"{host}/#/{page}", flush=True)


def connect(host: str, namespace: str = "") -> kfp.Client:
    """Return a client, after a check that the API answers.

    Args:
        host: URL of the API; an empty string selects the cluster of this pod or of the kubeconfig.
        namespace: Profile on multi-user Kubeflow; used in error messages only.

    Raises:
        UserError: if no API answers, or it refuses the credentials.
    """
    ca = ca_file("KFP_CA_CERT")  # an error in KFP_CA_CERT is reported first
    token, cookies = _credentials()
    host = host or (IN_CLUSTER if os.environ.get("KUBERNETES_SERVICE_HOST") else "")
    if host and not host.startswith(("http://", "https://")):
        raise UserError(f"host is {host!r}; expected a URL, such as https://kubeflow.example.org/pipeline")
    if host:
        _check_api(host, namespace)
    elif token:
        raise UserError("no host: KFP_TOKEN is set, but HOST is not; set HOST=https://…, or unset KFP_TOKEN")
    elif not _kubeconfig().is_file():
        raise UserError(f"no host: set HOST=https://…; this machine is not a pod and has no {_kubeconfig()}")
    pod = ServiceAccountTokenVolumeCredentials() if POD_TOKEN.is_file() else None
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the FutureWarning about backends before 2.0
        logging.disable(logging.CRITICAL)  # the SDK logs a traceback for each of its five attempts
        try:
            return kfp.Client(
                host=host or None,
                namespace=API_NAMESPACE,
                existing_token=token or None,
                cookies=cookies or None,
                credentials=None if token or cookies else pod,
                ssl_ca_cert=ca,
            )
        except TimeoutError as error:
            cluster = f"the cluster of {_kubeconfig()} (service ml-pipeline, namespace {API_NAMESPACE})"
            raise UserError(
                f"no Kubeflow Pipelines API answers at {host or cluster}; set HOST=https://…"
            ) from error
        finally:
            logging.disable(logging.NOTSET)


@contextlib.contextmanager
def one_line_errors(host: str, namespace: str) -> Iterator[None]:
    """Convert the SDK's exceptions to a UserError, and discard what the SDK prints."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except kfp_server_api.ApiException as error:
        raise UserError(describe_api_error(error, host, namespace)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        problem = connection_problem(error, host, "KFP_CA_CERT")
        reason = f": {problem}" if problem else f" does not answer ({_short(error)}); check HOST"
        raise UserError(f"{host or 'the cluster'}{reason}") from error


def describe_api_error(error: kfp_server_api.ApiException, host: str, namespace: str) -> str:
    """Return the meaning of an HTTP error of the API and what to do, in one line."""
    server = host or "the cluster"
    if not error.status:
        return f"{server} does not answer ({_short(error)}); check HOST"
    remedy = {
        400: "check the parameters and the namespace (NAMESPACE=… on multi-user Kubeflow, none elsewhere)",
        401: "set KFP_TOKEN or KFP_COOKIES to a valid session",
        403: f"not allowed in namespace {namespace or '(none given)'}; set NAMESPACE=your-profile",
        404: "expected the Kubeflow Pipelines API there (behind Kubeflow's gateway it is HOST/pipeline)",
    }.get(error.status, "see the log of ml-pipeline")
    return f"{server} answered {error.status}: {_server_message(error)}; {remedy}"


def _server_message(error: kfp_server_api.ApiException) -> str:
    """Return the API's message for an error, or the HTTP reason if there is none."""
    try:
        body = json.loads(error.body or "{}")
        text = body.get("error_message") or body.get("message") or body.get("error") or error.reason
    except (ValueError, AttributeError, TypeError):
        text = error.reason
    return " ".join(str(text).split())[:300]


def _check_api(host: str, namespace: str) -> None:
    """Detect a wrong address, missing rights or a login page at once; the SDK would retry for a long time.

    Redirects are not followed, because the credentials belong to this host only.
    """
    url = f"{host}/apis/v2beta1/healthz"
    with one_line_errors(host, namespace), urllib3.PoolManager(ssl_context=_tls_context()) as http:
        answer = http.request("GET", url, headers=_headers(), timeout=10, redirect=False, retries=False)
        if answer.status >= 400:
            raise kfp_server_api.ApiException(status=answer.status, reason=answer.reason)
    page = "a web page" if answer.headers.get("Content-Type", "").startswith("text/html") else ""
    if answer.status >= 300:
        target = urlsplit(urljoin(url, answer.headers.get("Location", "")))
        page = f"a redirect to {target.scheme}://{target.hostname}"  # path and query may contain secrets
    if page:
        raise UserError(f"{host} answers with {page}, not the API; set KFP_TOKEN or KFP_COOKIES, check HOST")


def _tls_context() -> ssl.SSLContext:
    """Return a TLS context that trusts the same CAs as the SDK: those of certifi, not of the system."""
    return tls_context(ca_file("KFP_CA_CERT") or certifi.where())


def _credentials() -> tuple[str, str]:
    """Return KFP_TOKEN and KFP_COOKIES; empty if they are not set."""
    return read_credential("KFP_TOKEN"), read_credential("KFP_COOKIES", spaces=True)


def _headers() -> dict[str, str]:
    token, cookies = _credentials()
    if not (token or cookies) and POD_TOKEN.is_file():
        token = POD_TOKEN.read_text().strip()
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    return bearer | ({"Cookie": cookies} if cookies else {})


def _kubeconfig() -> Path:
    return Path(os.environ.get("KUBECONFIG", "").split(":")[0] or Path.home() / ".kube" / "config")


def _short(error: BaseException) -> str:
    """Return the reason of an error in one line of at most 200 characters."""
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split())[:200]
