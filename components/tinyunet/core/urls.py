"""Check the addresses of servers before a client uses them."""

import re
from urllib.parse import SplitResult, urlsplit

from tinyunet.core.errors import UserError
from tinyunet.core.redaction import redact

_LABEL = re.compile(r"[^\s/?#@]{1,63}")  # a part of a host name; letters of other alphabets are permitted


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
