"""Read proxies, CA certificates and credentials from the environment, for every HTTP client.

The variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in upper or lower case, configure the proxies.
The first variable of CA_VARIABLES that is set names the file of CA certificates. This file replaces the
certificates that a client trusts by default. If no variable is set and CA_MOUNT exists, its certificates are
added to those that a client trusts by default.
"""

import hashlib
import ipaddress
import os
import re
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy

from tinyunet.core.errors import UserError
from tinyunet.core.urls import redact

DIRECT_HOSTS = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", ".svc", ".cluster.local")
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CA_BUNDLE")
CA_CONFIG_MAP = "tinyunet-ca"  # an optional ConfigMap, which every pod mounts
CA_MOUNT = Path("/etc/tinyunet-ca/ca.crt")
_SYSTEM_CAS = Path("/etc/ssl/certs/ca-certificates.crt")  # of Debian and Ubuntu
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "KFP_TOKEN", "KFP_COOKIES",
)  # fmt: skip
_CREDENTIAL_LENGTH = 12
_EXPIRED, _NOT_YET_VALID, _WRONG_HOST, _WRONG_ADDRESS = 10, 9, 62, 64  # verification codes of OpenSSL


def read_credential(name: str, *, spaces: bool = False) -> str:
    """Return the value of an environment variable without white space at its ends; empty if it is not set.

    Args:
        name: Name of the variable; its value becomes a part of an HTTP header.
        spaces: Whether spaces inside the value are permitted.

    Raises:
        UserError: if the value contains a line break or another character that a header cannot contain. The
            message does not contain the value.
    """
    value = os.environ.get(name, "").strip()
    if re.search(r"[^\x20-\x7e]" if spaces else r"[^\x21-\x7e]", value):
        raise UserError(
            f"{name} contains a line break, a space or a character that is not ASCII inside its value; "
            "correct it (the value is not shown)"
        )
    return value


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is that of this machine, which no other machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hide_credentials(text: str) -> str:
    """Replace the values of all environment variables with credentials by ***.

    Values of fewer than 12 characters are not replaced, because they may be a part of an ordinary word.
    """
    values = [os.environ.get(name, "").strip() for name in _CREDENTIALS]
    for value in filter(lambda value: len(value) >= _CREDENTIAL_LENGTH, values):
        text = text.replace(value, "***")
    return redact(text)


def prepare_mlflow_client(defaults: Mapping[str, str]) -> None:
    """Set environment variables of this process so that MLflow's client has the settings of this module.

    Args:
        defaults: Variables of MLflow that are set unless they have a value.

    Raises:
        UserError: if a token cannot be a part of a header, or the file of CA certificates cannot be used.
    """
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        if name in os.environ:
            os.environ[name] = os.environ[name].strip()
    if "MLFLOW_TRACKING_TOKEN" in os.environ:
        os.environ["MLFLOW_TRACKING_TOKEN"] = read_credential("MLFLOW_TRACKING_TOKEN")
    if set(getproxies()) - {"no"}:
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = no_proxy()
    if path := ca_file():
        os.environ["REQUESTS_CA_BUNDLE"] = path


def no_proxy() -> str:
    """Return NO_PROXY with the names of this machine and of a Kubernetes cluster added to it."""
    given = re.split(r"[,\s]+", os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "")
    names = [name.removeprefix("*") if name.startswith("*.") else name for name in given if name]
    return "*" if "*" in names else ",".join(dict.fromkeys([*names, *DIRECT_HOSTS]))


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy for a URL, or None if the server is reached directly.

    Raises:
        UserError: if the proxy is not an HTTP proxy.
    """
    proxy = str(select_proxy(url, get_environ_proxies(url, no_proxy=no_proxy())) or "").strip()
    if not proxy:
        return None
    address = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise UserError(
            f"the proxy for {redact(url)} is {redact(address)!r}; expected http://host:port: correct "
            "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or add the server to NO_PROXY"
        )
    return address


def ca_file(first: str = "") -> str | None:
    """Return the file, or the folder, of the CA certificates that a client trusts, or None for its default.

    Args:
        first: A variable that takes precedence over the order of CA_VARIABLES.

    Raises:
        UserError: if the file cannot be read or contains no certificate.
    """
    for name in (first, *CA_VARIABLES):
        if name and (path := os.environ.get(name, "").strip()):
            _require_certificates(name, path)
            return path
    return _with_public_cas(CA_MOUNT) if CA_MOUNT.is_file() else None


def _with_public_cas(file: Path) -> str:
    """Return a file with the certificates of `file` and the public ones, written once for all processes."""
    _require_certificates(f"ca.crt of the ConfigMap {CA_CONFIG_MAP}", str(file))
    sources = [path for path in (file, Path(DEFAULT_CA_BUNDLE_PATH), _SYSTEM_CAS) if path.is_file()]
    content = b"\n".join(path.read_bytes() for path in sources)
    digest = hashlib.sha256(content).hexdigest()[:16]
    merged = Path(tempfile.gettempdir(), f"tinyunet-ca-{os.getuid()}-{digest}.pem")
    if not merged.is_file() or merged.read_bytes() != content:
        descriptor, part = tempfile.mkstemp(dir=merged.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(part).replace(merged)  # other processes of the pod get the old or the new file
    return str(merged)


def tls_context(path: str | None) -> ssl.SSLContext:
    """Return a TLS context that trusts the CAs in a file or folder, or the system's CAs for None."""
    if path and Path(path).is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def _require_certificates(name: str, path: str) -> None:
    try:
        tls_context(path)
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{name} is {path!r} ({reason}); expected a file of PEM certificates: correct or unset it"
        ) from error


def open_pool(url: str, context: ssl.SSLContext, **options: object) -> urllib3.PoolManager:
    """Return a connection pool of urllib3 for the server of a URL, through a proxy if one is configured."""
    proxy = proxy_for(url)
    if proxy is None:
        return urllib3.PoolManager(ssl_context=context, **options)  # type: ignore[arg-type]
    parts = urlsplit(proxy)
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else None
    return urllib3.ProxyManager(
        parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        proxy_headers=urllib3.make_headers(proxy_basic_auth=user),
        ssl_context=context,
        **options,  # type: ignore[arg-type]
    )


def connection_problem(error: BaseException, url: str, ca_variable: str) -> str:
    """Return why a connection failed and what to do, if the reason is a certificate, a proxy or missing TLS.

    The text is empty if the reason is another one.

    Args:
        error: The exception of an HTTP client.
        url: The URL of the request.
        ca_variable: The variable that the text recommends for the file of a private CA.
    """
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            return _certificate_problem(one, ca_variable)
    for one in chain:
        if isinstance(one, urllib3.exceptions.ProxyError):
            cause = " ".join(str(one.original_error).rsplit(": ", 1)[-1].split())[:120]
            return (
                f"the proxy {redact(proxy_for(url) or '')} does not connect to it ({redact(cause)}); correct "
                "HTTP_PROXY or HTTPS_PROXY, or add the server to NO_PROXY"
            )
        if isinstance(one, ssl.SSLError) and one.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return "the server does not use TLS at this port; write http:// or correct the port"
    return ""


def _certificate_problem(error: ssl.SSLCertVerificationError, ca_variable: str) -> str:
    start = f"the certificate of the server is not accepted ({error.verify_message.rstrip('.')}); "
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        return start + "renew it, or set the clock of this machine"
    if error.verify_code in (_WRONG_HOST, _WRONG_ADDRESS):
        return start + "use the name of the server that the certificate contains"
    name = next((name for name in (ca_variable, *CA_VARIABLES) if os.environ.get(name, "").strip()), "")
    if not name and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return f"{start}put the CA of the server into the ConfigMap {CA_CONFIG_MAP} of this namespace"
    present = f" ({name} is now {os.environ[name].strip()!r})" if name else ""
    return f"{start}set {ca_variable} to a file with the CA of the server{present}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all exceptions that it contains or that led to it."""
    pending, seen = [error], set()
    while pending:
        one = pending.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (getattr(one, "reason", None), *one.args, one.__cause__, one.__context__)
        pending += [item for item in inner if isinstance(item, BaseException)]
