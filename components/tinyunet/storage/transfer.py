"""Functions for all transfers: progress, threads, safe file names and S3 URIs."""

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
from tinyunet.core.urls import redact

THREADS = 8
# A transfer that takes less time prints nothing. Without a terminal, it is also the time between two lines.
FIRST_LINE_S = 5.0
REDRAW_S = 0.5  # time between two updates of the line on a terminal
Item = TypeVar("Item")


class Cancelled(Exception):  # noqa: N818  not an error: nobody needs the transfer any more
    """A transfer was cancelled."""


class Transfer:
    """Prints the progress of a transfer on stderr.

    On a terminal, one line is updated. Elsewhere, a new line is printed for each update.

    Args:
        title: What is transferred, such as "download s3://bucket/key".
        total: Total number of bytes, or 0 if it is unknown.
        cancelled: An event that cancels the transfer.
    """

    def __init__(self, title: str, total: int, cancelled: threading.Event | None = None) -> None:
        self._title, self._total, self._done = redact(title), total, 0
        self._cancelled = cancelled
        self._start = self._last_line = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, size: int) -> None:
        """Add `size` bytes to the transferred bytes, and print the progress if the interval has passed.

        Raises:
            Cancelled: if the transfer was cancelled.
        """
        if self._cancelled and self._cancelled.is_set():
            raise Cancelled
        with self._lock:
            self._done += size
            now, is_terminal = time.monotonic(), sys.stderr.isatty()
            interval = REDRAW_S if is_terminal and self._last_line != self._start else FIRST_LINE_S
            if now - self._last_line >= interval:
                self._last_line = now
                print(self._line(now), end="\r" if is_terminal else "\n", file=sys.stderr, flush=True)

    def set_meta(self, object_name: str, total_length: int) -> None:
        """Do nothing; minio calls this before the first `update` of an object."""

    def update(self, length: int) -> None:
        """Call `advance`; minio calls this after every part of an object."""
        self.advance(length)

    def _line(self, now: float) -> str:
        rate = max(self._done / (now - self._start), 1.0)
        eta = f", ETA {max(self._total - self._done, 0) / rate:.0f} s" if self._total else ""
        total = f"/{self._total / 1e6:.1f}" if self._total else ""
        return f"{self._title}: {self._done / 1e6:.1f}{total} MB, {rate / 1e6:.1f} MB/s{eta}"

    def __enter__(self) -> Self:
        """Return the transfer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the updated line of a terminal, if one was printed."""
        if self._last_line != self._start and sys.stderr.isatty():
            print(file=sys.stderr)


def run_concurrently(function: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Call `function` on every item in eight threads.

    Raises:
        Exception: the first exception of `function`; items that have not been started are cancelled.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def safe_target(folder: Path, name: str) -> Path:
    """Return the path of `name` inside `folder`.

    Raises:
        UserError: if the path would be outside the folder ('..', an absolute path, a backslash, NUL).
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        raise UserError(
            f"{name!r} is not a safe file name; expected a relative path without '..'; rename the object"
        )
    return folder.joinpath(*parts)


def split_uri(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of s3://bucket/key; the key may be empty.

    Raises:
        UserError: if the text is not a URI of this form, or its key contains '.' or '..' as a component.
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
