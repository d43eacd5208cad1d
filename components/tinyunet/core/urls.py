"""Remove credentials from addresses and headers, and check the addresses of servers."""

import re
from urllib.parse import SplitResult, urlsplit

from tinyunet.core.errors import UserError

_USERINFO = re.compile(r"(\w+://)[^/\s\"']+@")
_DATABASE = re.compile(r"((?:postgres(?:ql)?|mysql|mssql)(?:\+\w+)?://)[^\s\"']+@")  # passwords may have /
_SECRET_QUERY = re.compile(
    r"([?&][^=&\s]*(?:signature|token|credential|password|secret|sig|key)[^=&\s]*=)[^&\s\"']+", re.I
)
_SECRET_HEADER = re.compile(r"(?<![\w?&-])(Credential=|Signature=|Bearer +)[^\s,;\"']+")
_LABEL = re.compile(r"[^\s/?#@]{1,63}")  # a part of a host name; letters of other alphabets are permitted


def redact(text: str) -> str:
    """Replace user names, passwords, tokens and signatures in URIs and in HTTP headers by ***."""
    text = _USERINFO.sub(r"\1***@", _DATABASE.sub(r"\1***@", text))
    text = _SECRET_QUERY.sub(r"\1***", text)
    return _SECRET_HEADER.sub(r"\1***", text)


def lower_scheme(location: str) -> str:
    """Return a location whose scheme, if it has one, is in lower case; others mean the same (RFC 3986).

    >>> lower_scheme("S3://line/Part-7"), lower_scheme("Part-7")
    ('s3://line/Part-7', 'Part-7')
    """
    # Without +, which joins a folder and a URL.
    return re.sub(r"^[A-Za-z][A-Za-z0-9.-]*://", lambda match: match[0].lower(), location)


def split_url(name: str, url: str, expected: str) -> SplitResult:
    """Return the parts of a URL, of which no client can read a damaged host or port.

    Args:
        name: What the URL is, for the message: a variable, or `the source`.
        url: The URL; it may contain credentials, which the message does not.
        expected: What was expected, for the message.

    Raises:
        UserError: if the host or the port is invalid.
    """
    try:
        parts = urlsplit(url)
        host, valid = parts.hostname or "", parts.port != 0
    except ValueError:  # brackets that are not closed, or a port that is no number up to 65535
        host, valid = "", False
    labels = [] if ":" in host else host.removesuffix(".").split(".")
    if not (valid and all(map(_LABEL.fullmatch, labels)) and len(host) <= 253):
        start, at, rest = url.rpartition("@")  # a password may contain any characters
        shown = f"{start.partition('://')[0]}://***@{rest}" if at else url
        raise UserError(f"{name} is {redact(shown)!r}; expected {expected}")
    return parts
