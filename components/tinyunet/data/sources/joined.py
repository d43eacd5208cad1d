"""Several sources as one: `s3://bucket/review+s3://bucket/part-7`."""

import re
from pathlib import Path

from tinyunet.core.urls import lower_scheme

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9.-]*://")


def split_sources(source: str) -> tuple[str, ...]:
    """Return the sources that are joined by `+`, or the only one, with the schemes of URLs in lower case.

    A `+` separates only where a source ends and another one begins: a URL, or a path that exists. So the `+`
    in the name of a folder or of an object is no separator. After a URL, a path begins with `/` or `.`.

    >>> split_sources("s3://line/review+s3://line/part-7")
    ('s3://line/review', 's3://line/part-7')
    >>> split_sources("s3://line/c++")
    ('s3://line/c++',)
    """
    source = lower_scheme(source)
    if "+" not in source or _exists(source):
        return (source,)
    for match in re.finditer(r"\+", source):
        first, rest = source[: match.start()], source[match.end() :]
        remote = bool(_SCHEME.match(first))
        if (remote or (_exists(first))) and _begins_source(rest, after_url=remote):
            return first, *split_sources(rest)
    return (source,)


def absolute(source: str) -> str:
    """Return a source whose local paths are absolute."""
    parts = split_sources(source)
    return "+".join(part if _SCHEME.match(part) else str(Path(part).absolute()) for part in parts)


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except OSError:  # the name is too long for one
        return False


def _begins_source(text: str, *, after_url: bool) -> bool:
    if _SCHEME.match(text):
        return True
    ends = [*(match.start() for match in re.finditer(r"\+", text)), len(text)]
    is_path = any(_exists(text[:end]) for end in ends)
    return is_path and (not after_url or text.startswith(("/", ".")))
