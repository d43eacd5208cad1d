"""Remove credentials from text."""

import re

_USERINFO = re.compile(r"(\w+://)[^/\s\"']+@")
_DATABASE = re.compile(r"((?:postgresql|mysql|mssql)(?:\+\w+)?://)[^\s\"']+@")  # any character is permitted
_SECRET_QUERY = re.compile(
    r"([?&][^=&\s]*(?:signature|token|credential|password|secret|sig|key)[^=&\s]*=)[^&\s\"']+", re.I
)
_SECRET_HEADER = re.compile(r"(?<![\w?&-])(Credential=|Signature=|Bearer +)[^\s,;\"']+")


def redact(text: str) -> str:
    """Replace user names, passwords, tokens and signatures in URIs and in HTTP headers by ***."""
    text = _USERINFO.sub(r"\1***@", _DATABASE.sub(r"\1***@", text))
    text = _SECRET_QUERY.sub(r"\1***", text)
    return _SECRET_HEADER.sub(r"\1***", text)
