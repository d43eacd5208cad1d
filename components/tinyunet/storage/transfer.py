"""What every transfer needs: progress, safe names, redacted URIs, a cache."""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self, TypeVar

from tinyunet.core.errors import UserError
from tinyunet.core.redaction import redact

THREADS = 8
QUIET_S = 5.0  # a transfer shorter than this prints nothing; a longer one prints a line this often
Item = TypeVar("Item")


class Transfer:
    """Prints the progress of a transfer on stderr, from its fifth second on: a line, redrawn on a terminal.

    Args:
        title: What is transferred, e.g. "download s3://bucket/key".
        total: Bytes in all; 0 where unknown.
    """

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = redact(title), total, 0
        self._start = self._shown = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, size: int) -> None:
        """Count `size` more bytes as done."""
        with self._lock:
            self._done += size
            now, tty = time.monotonic(), sys.stderr.isatty()
            if now - self._shown >= (0.5 if tty and self._shown != self._start else QUIET_S):
                self._shown = now
                print(self._line(now), end="\r" if tty else "\n", file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        rate = max(self._done / (now - self._start), 1.0)
        left = f", ETA {max(self._total - self._done, 0) / rate:.0f} s" if self._total else ""
        of = f"/{self._total / 1e6:.1f}" if self._total else ""
        return f"{self._title}: {self._done / 1e6:.1f}{of} MB, {rate / 1e6:.1f} MB/s{left}"

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the redrawn line, if one was drawn."""
        if self._shown != self._start and sys.stderr.isatty():
            print(file=sys.stderr)


def run_concurrently(function: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Call `function` on every item in eight threads; the first failure ends it all."""
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def safe_target(folder: Path, name: str) -> Path:
    """Give the path of `name` inside `folder`.

    Raises:
        UserError: if the name would lead elsewhere ('..', absolute, backslash, NUL).
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        raise UserError(
            f"{name!r} is not a safe file name; expected a relative path without '..'; rename the object"
        )
    return folder.joinpath(*parts)


def split_uri(uri: str) -> tuple[str, str]:
    """Give bucket and key of s3://bucket/key; the key may be empty.

    Raises:
        UserError: if it is no such URI, or has '.' or '..' in its key.
    """
    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,62})(?:/(.*))?", uri, re.DOTALL)
    if not match:
        raise UserError(
            f"{redact(uri)!r} is not an S3 location; expected s3://bucket/key or s3://bucket/prefix"
        )
    key = match[2] or ""
    if any(part in ("..", ".") for part in key.split("/")):
        raise UserError(f"{redact(uri)!r} has '.' or '..' in its name; expected a plain object name")
    return match[1], key
