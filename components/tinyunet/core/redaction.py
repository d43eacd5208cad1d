"""Remove credentials from text."""

import re

_USERINFO = re.compile(r"(\w+://)[^/\s\"']+@")
_SECRET_QUERY = re.compile(
    r"([?&][^=&\s]*(?:signature|token|credential|password|secret|sig|key)[^=&\s]*=)[^&\s\"']+", re.I
)


def redact(text: str) -> str:
    """Replace user names, passwords, tokens and signatures in URIs by ***."""
    return _SECRET_QUERY.sub(r"\1***", _USERINFO.sub(r"\1***@", text))
