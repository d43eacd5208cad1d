"""A lease: an object on S3 that the launcher of a job renews, and without which the ranks of the job end.

A launcher may disappear without a chance to end its job: its container is killed, its pod is deleted by
force, or its node is lost. The lease lies beside the checkpoints, which the ranks can reach anyway. No clocks
are compared. The ranks measure how long the content of the object has not changed while the store answered.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tinyunet.core.console import say
from tinyunet.core.errors import UserError
from tinyunet.storage import s3

PARTS = 10  # renewals, and looks at the lease, during the time after which it ends


@contextmanager
def renewed_lease(uri: str, seconds: float) -> Iterator[None]:
    """Write a lease, and renew it in a thread until the end of the block.

    A renewal that fails is repeated. The lease is not deleted, because the job may outlive this process.

    Args:
        uri: The object, s3://bucket/key.
        seconds: Time after which the ranks end without a renewal.

    Raises:
        UserError: if the first lease cannot be written.
    """
    s3.write_bytes(uri, _content())
    with _repeated(lambda: s3.write_bytes(uri, _content()), seconds / PARTS, name="lease-renewal"):
        yield


class LeaseWatch:
    """Looks at a lease in a thread, during a `with` block.

    A store that does not answer says nothing about the launcher. The time starts again when it answers
    again, so that the launcher can renew the lease first.

    Args:
        uri: The object, s3://bucket/key.
        seconds: Time without a renewal after which the lease has expired.
    """

    def __init__(self, uri: str, seconds: float) -> None:
        self._uri, self._seconds = uri, seconds
        self._content: bytes | None = None
        self._since: float | None = None  # time of the look that first found this content
        self._expired = False

    @property
    def expired(self) -> bool:
        """Whether nobody renewed the lease for its time."""
        return self._expired

    def __enter__(self) -> Self:
        """Start to look at the lease."""
        self._looks = _repeated(self._look, self._seconds / PARTS, name="lease-watch")
        self._looks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to look at the lease."""
        self._looks.__exit__(kind, error, trace)

    def _look(self) -> None:
        asked = time.monotonic()  # the answer may come, and be read, much later
        try:
            content = s3.read_bytes(self._uri) if s3.exists(self._uri) else b""
        except UserError:
            self._since = None
            raise
        if self._since is None or content != self._content:
            self._content, self._since = content, time.monotonic()
        self._expired = self._expired or asked - self._since > self._seconds


def remove_lease(uri: str) -> None:
    """Delete the lease of a job that has ended; print a warning if the store refuses."""
    try:
        s3.remove(uri)
    except UserError as error:
        say(f"tinyunet: warning: the lease was not deleted: {error}")


@contextmanager
def _repeated(call: Callable[[], None], interval: float, *, name: str) -> Iterator[None]:
    """Call a function in a thread, at once and then at every interval.

    The first of several consecutive errors is printed. The thread does not keep the process alive.
    """
    ended = threading.Event()

    def run() -> None:
        failing = False
        while not ended.is_set():
            try:
                call()
                failing = False
            except UserError as error:
                if not failing:
                    say(f"tinyunet: warning: {name}: {error}; trying again")
                failing = True
            ended.wait(interval)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1)


def _content() -> bytes:
    """Return a content that differs from all earlier ones, and says who renewed the lease when."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"{stamp} {socket.gethostname()} process {os.getpid()} {secrets.token_hex(4)}\n".encode()
