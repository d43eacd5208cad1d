"""Talk to a Kubeflow Pipelines API: who we are, whether it answers, and its errors in one line.

Credentials come from the environment only: KFP_TOKEN (bearer), KFP_COOKIES (a dex or oauth2-proxy session),
or, inside a pod, the projected service-account token. KFP_CA_CERT names a CA file.
"""

import argparse
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

from tinyunet.cli.options import Parser
from tinyunet.core.errors import UserError

POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
API_NAMESPACE = "kubeflow"
IN_CLUSTER = f"http://ml-pipeline.{API_NAMESPACE}:8888"


def parser(verb: str, description: str | None) -> Parser:
    """Give a parser with the options that every verb has."""
    options = Parser(prog=f"python -m pipeline.{verb}", description=description)
    endpoint = os.environ.get("KF_PIPELINES_ENDPOINT", "")
    options.add_argument("--host", default=endpoint, type=lambda url: url.rstrip("/"), help="URL of the API")
    options.add_argument("--namespace", default="", help="your profile, on multi-user Kubeflow")
    options.add_argument("--variant", default="cpu", help="cpu or gpu: which compiled pipeline")
    options.add_argument("--pipeline", default="tinyunet", help="or tinyunet-classes: several, and a table")
    options.add_argument("--name", default="", help="of the pipeline on the server (default: its own)")
    return options


def server_name(options: argparse.Namespace) -> str:
    """Give the name that the pipeline has on the server."""
    return str(options.name or options.pipeline)


def print_address(host: str, page: str) -> None:
    """Print where the dashboard shows something; of a cluster without a named host that is not known."""
    if host:
        print(f"{host}/#/{page}", flush=True)


def connect(host: str, namespace: str = "") -> kfp.Client:
    """Give a client of an API that answers.

    Args:
        host: URL; empty is the cluster that this pod or kubeconfig belongs to.
        namespace: Profile on multi-user Kubeflow, for what an error says.

    Raises:
        UserError: if there is no such API.
    """
    _trusted()
    token, cookies = os.environ.get("KFP_TOKEN"), os.environ.get("KFP_COOKIES")
    host = host or (IN_CLUSTER if os.environ.get("KUBERNETES_SERVICE_HOST") else "")
    if host and not host.startswith(("http://", "https://")):
        raise UserError(f"host is {host!r}; expected a URL, such as https://kubeflow.example.org/pipeline")
    if host:
        _check_answers(host, namespace)
    elif token:
        raise UserError("no host: KFP_TOKEN is set, but not for which; give HOST=https://…, or unset it")
    elif not _kubeconfig().is_file():
        raise UserError(
            f"no host: give HOST=https://…; none is known, there is no {_kubeconfig()} and this is no pod"
        )
    pod = ServiceAccountTokenVolumeCredentials() if POD_TOKEN.is_file() else None
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # a FutureWarning about backends before 2.0
        logging.disable(logging.CRITICAL)  # a traceback for each of its five tries
        try:
            return kfp.Client(
                host=host or None,
                namespace=API_NAMESPACE,
                existing_token=token,
                cookies=cookies,
                credentials=None if token or cookies else pod,
                ssl_ca_cert=os.environ.get("KFP_CA_CERT") or None,
            )
        except TimeoutError as error:
            place = host or f"the cluster of {_kubeconfig()} (service ml-pipeline, namespace {API_NAMESPACE})"
            raise UserError(f"no Kubeflow Pipelines API answers at {place}; give HOST=https://…") from error
        finally:
            logging.disable(logging.NOTSET)


@contextlib.contextmanager
def one_line_errors(host: str, namespace: str) -> Iterator[None]:
    """Turn the SDK's exceptions into a UserError, and keep its own prints to itself."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except kfp_server_api.ApiException as error:
        raise UserError(explain(error, host, namespace)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        remedy = "name its CA's file in KFP_CA_CERT" if "CERTIFICATE" in str(error) else "check HOST"
        raise UserError(f"{host or 'the cluster'} does not answer ({_short(error)}); {remedy}") from error


def explain(error: kfp_server_api.ApiException, host: str, namespace: str) -> str:
    """Say in one line what an HTTP error of the API means, and what to do."""
    place = host or "the cluster"
    if not error.status:
        return f"{place} does not answer ({_short(error)}); check HOST"
    remedy = {
        400: "check the parameters and the namespace (NAMESPACE=… on multi-user Kubeflow, none elsewhere)",
        401: "set KFP_TOKEN or KFP_COOKIES to a valid session",
        403: f"not allowed in namespace {namespace or '(none given)'}; give NAMESPACE=your-profile",
        404: "expected the Kubeflow Pipelines API there (behind Kubeflow's gateway it is HOST/pipeline)",
    }.get(error.status, "see the log of ml-pipeline")
    return f"{place} answered {error.status}: {message(error)}; {remedy}"


def message(error: kfp_server_api.ApiException) -> str:
    """Give the API's own words for an error, else the HTTP reason."""
    try:
        body = json.loads(error.body or "{}")
        text = body.get("error_message") or body.get("message") or body.get("error") or error.reason
    except (ValueError, AttributeError, TypeError):
        text = error.reason
    return " ".join(str(text).split())[:300]


def _check_answers(host: str, namespace: str) -> None:
    """Find a wrong address, a refusal or a login page before the SDK's slow retries do.

    No redirect is followed: credentials are for the host that was named.
    """
    url = f"{host}/apis/v2beta1/healthz"
    with one_line_errors(host, namespace), urllib3.PoolManager(ssl_context=_trusted()) as http:
        answer = http.request("GET", url, headers=_headers(), timeout=10, redirect=False, retries=False)
        if answer.status >= 400:
            raise kfp_server_api.ApiException(status=answer.status, reason=answer.reason)
    page = "a web page" if answer.headers.get("Content-Type", "").startswith("text/html") else ""
    if answer.status >= 300:
        to = urlsplit(urljoin(url, answer.headers.get("Location", "")))
        page = f"a redirect to {to.scheme}://{to.hostname}"  # its path and query may hold secrets
    if page:
        raise UserError(f"{host} answers with {page}, not the API; set KFP_TOKEN or KFP_COOKIES, check HOST")


def _trusted() -> ssl.SSLContext:
    """Give the certificates that the SDK trusts: KFP_CA_CERT's, else certifi's, never the system's."""
    path = os.environ.get("KFP_CA_CERT") or certifi.where()
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        reason = f"KFP_CA_CERT is {path!r} ({_short(error)})"
        raise UserError(f"{reason}; expected a file of PEM certificates: mend or unset it") from error


def _headers() -> dict[str, str]:
    token, cookies = os.environ.get("KFP_TOKEN"), os.environ.get("KFP_COOKIES")
    if not (token or cookies) and POD_TOKEN.is_file():
        token = POD_TOKEN.read_text().strip()
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    return bearer | ({"Cookie": cookies} if cookies else {})


def _kubeconfig() -> Path:
    return Path(os.environ.get("KUBECONFIG", "").split(":")[0] or Path.home() / ".kube" / "config")


def _short(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split())[:200]
