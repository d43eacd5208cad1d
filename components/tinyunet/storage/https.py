"""Download of one file by https, with resume, retries and a check of its size."""

import ipaddress
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path, require_space
from tinyunet.core.redaction import redact
from tinyunet.storage.transfer import Transfer

TIMEOUT_S = (5.0, 30.0)  # connect, silence while reading
ATTEMPTS = 4
CHUNK = 1 << 16  # what a broken connection loses at most


def download(url: str, dest: Path) -> Path:
    """Download a file.

    Args:
        url: https URL; http is taken from this machine only, or with TINYUNET_ALLOW_HTTP=1.
        dest: File to write.

    Returns:
        `dest`.

    Raises:
        UserError: if it cannot be reached or is not what the server announced; nothing half-written stays.
    """
    _require_secure(url)
    with atomic_path(dest) as part, requests.Session() as session:
        session.mount("http://", _Http())
        _attempts(session, url, part)
    return dest


def _attempts(session: requests.Session, url: str, part: Path) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _transfer(session, url, part)
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
            reason = _cause(error)
            if isinstance(error, requests.exceptions.SSLError | requests.exceptions.InvalidURL):
                break
        if attempt < ATTEMPTS:
            time.sleep(0.5 * 2 ** (attempt - 1))
    raise UserError(f"{redact(url)} cannot be downloaded ({reason}); check the URL and the network")


def _transfer(session: requests.Session, url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        if etag := response.headers.get("ETag"):
            session.headers["If-Range"] = etag  # a file that has changed comes whole
        have = have if response.status_code == 206 else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0
        require_space(part, total - have)
        with Transfer(f"download {url}", total) as transfer, part.open("ab" if have else "wb") as file:
            transfer.advance(have)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                transfer.advance(len(chunk))
    if length and part.stat().st_size != total:
        raise requests.ConnectionError(f"got {part.stat().st_size} of {total} bytes")


class _Http(requests.adapters.HTTPAdapter):
    """Refuses http to other machines, also where a redirect leads there."""

    def send(  # requests' own many arguments, passed on
        self,
        request: requests.PreparedRequest,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> requests.Response:
        """Send a request that `_require_secure` lets pass."""
        _require_secure(request.url or "")
        return super().send(request, *args, **kwargs)


def _require_secure(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or os.environ.get("TINYUNET_ALLOW_HTTP") == "1":
        return
    if not _is_loopback(parts.hostname or ""):
        raise UserError(
            f"{redact(url)} is not https; use https, or set TINYUNET_ALLOW_HTTP=1 to trust the network"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cause(error: BaseException) -> str:
    """Name what lies at the bottom of requests' nested exceptions, in a few words."""
    text = str(getattr(error.args[0], "reason", error) if error.args else error)
    return redact(" ".join(text.rsplit(": ", 1)[-1].split()))[:160]
