"""Download one file over HTTPS: an interrupted download continues, and the size is checked."""

import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path, require_space
from tinyunet.core.network import ca_file, connection_problem, is_loopback, proxy_for
from tinyunet.core.urls import redact, split_url
from tinyunet.storage.transfer import Transfer

TIMEOUT_S = (5.0, 30.0)  # for the connection, and between two packets
ATTEMPTS = 4
CHUNK = 1 << 16  # bytes; an interrupted connection loses less than one chunk


def download(url: str, dest: Path) -> Path:
    """Download a file.

    Args:
        url: An https URL. An http URL is accepted only for this machine, unless TINYUNET_ALLOW_HTTP is 1.
        dest: File to write.

    Returns:
        `dest`.

    Raises:
        UserError: if the server cannot be reached, refuses the request, or does not send the announced number
            of bytes. No incomplete file remains.
    """
    _require_secure(url)
    with atomic_path(dest) as part, requests.Session() as session:
        for scheme in ("http", "https"):
            session.mount(f"{scheme}://", _Adapter())
        _download_with_retries(session, url, part)
    return dest


def _download_with_retries(session: requests.Session, url: str, part: Path) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _download_rest(session, url, part)
        except requests.HTTPError as error:
            status = error.response.status_code
            if status < 500 and status not in (408, 416, 429):
                raise UserError(
                    f"{redact(url)} answers {status} {error.response.reason}; correct the URL"
                ) from error
            reason = f"{status} {error.response.reason}"
            if status == 416:
                part.unlink(missing_ok=True)
        except requests.RequestException as error:
            reason = connection_problem(error, url, "REQUESTS_CA_BUNDLE") or _cause(error)
            if isinstance(error, requests.exceptions.SSLError | requests.exceptions.InvalidURL):
                break
        if attempt < ATTEMPTS:
            time.sleep(0.5 * 2 ** (attempt - 1))
    raise UserError(f"{redact(url)} cannot be downloaded ({reason}); check the URL and the network")


def _download_rest(session: requests.Session, url: str, part: Path) -> None:
    """Download the bytes that `part` does not contain yet."""
    offset = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with session.get(
        url,
        headers=headers,
        stream=True,
        timeout=TIMEOUT_S,
        verify=ca_file() or True,
    ) as response:
        response.raise_for_status()
        if etag := response.headers.get("ETag"):
            session.headers["If-Range"] = etag  # the server sends the whole file if it has changed
        offset = offset if response.status_code == 206 else 0
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length else 0
        require_space(part, total - offset)
        with Transfer(f"download {url}", total) as transfer, part.open("ab" if offset else "wb") as file:
            transfer.advance(offset)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                transfer.advance(len(chunk))
    if length and part.stat().st_size != total:
        raise requests.ConnectionError(f"got {part.stat().st_size} of {total} bytes")


class _Adapter(requests.adapters.HTTPAdapter):
    """Refuses plain HTTP to other machines and selects the proxy, for every request and every redirect."""

    def send(
        self,
        request: requests.PreparedRequest,
        *args: Any,  # noqa: ANN401  arguments that are passed on to requests
        **kwargs: Any,  # noqa: ANN401
    ) -> requests.Response:
        """Check the URL of a request and send it."""
        url = request.url or ""
        _require_secure(url)
        kwargs["proxies"] = {urlsplit(url).scheme: proxy} if (proxy := proxy_for(url)) else {}
        return super().send(request, *args, **kwargs)


def _require_secure(url: str) -> None:
    parts = split_url("the source", url, "https://host/file")
    if parts.scheme == "https" or os.environ.get("TINYUNET_ALLOW_HTTP") == "1":
        return
    if not is_loopback(parts.hostname or ""):
        raise UserError(
            f"{redact(url)} is not https; use https, or set TINYUNET_ALLOW_HTTP=1 to trust the network"
        )


def _cause(error: BaseException) -> str:
    """Return the innermost reason of the nested exceptions of requests, in at most 160 characters."""
    text = str(getattr(error.args[0], "reason", error) if error.args else error)
    return redact(" ".join(text.rsplit(": ", 1)[-1].split()))[:160]
