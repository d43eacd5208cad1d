"""A lease: an object on S3 that the launcher of a job renews, and without which the ranks of the job end.

A launcher may disappear without a chance to end its job: its container is killed, its pod is deleted by
force, or its node is lost. The lease lies beside the checkpoints, which the ranks can reach anyway. No clocks
are compared: a rank counts how often in succession it found the same content.
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
ANSWERS = 3  # of these looks, the last ones, which follow the question
ANSWER_S = 10.0  # a renewal waits no longer for an answer of the store, but tries again


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

    def renew() -> None:
        s3.write_bytes(uri, _content("renewed"), read_s=ANSWER_S)

    renew()
    with _repeated(renew, seconds / PARTS, name="lease-renewal"):
        yield


class LeaseWatch:
    """Looks at a lease in a thread, during a `with` block.

    The time is counted in looks, so that a process that was suspended does not end before the launcher, which
    may have been suspended too, can renew the lease. A store that does not answer says nothing about the
    launcher: the count starts again. Before the last looks, a question is written into the lease, which the
    launcher overwrites. Without it, a store that can be read but not written would end the training.

    Args:
        uri: The object, s3://bucket/key.
        seconds: Time without a renewal after which the lease has expired.
    """

    def __init__(self, uri: str, seconds: float) -> None:
        self._uri, self._seconds = uri, seconds
        self._content: bytes | None = None
        self._unchanged = 0  # looks that found this content again
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
        try:
            content = s3.read_bytes(self._uri) if s3.exists(self._uri) else b""
            self._unchanged = self._unchanged + 1 if content == self._content else 0
            if self._unchanged == PARTS - ANSWERS:
                content = _content("question of rank 0: who renews this lease?")
                s3.write_bytes(self._uri, content, read_s=ANSWER_S)
            self._content = content
        except Exception:
            self._content = None  # the next look counts as the first one
            raise
        self._expired = self._expired or self._unchanged >= PARTS


def remove_lease(uri: str) -> None:
    """Delete the lease of a job that has ended; print a warning if the store refuses."""
    try:
        s3.remove(uri)
    except UserError as error:
        say(f"tinyunet: warning: the lease was not deleted: {error}")


@contextmanager
def _repeated(call: Callable[[], None], interval: float, *, name: str) -> Iterator[None]:
    """Call a function in a thread, at once and then at every interval.

    The first of several consecutive errors is printed; none ends the thread, because the end of a healthy job
    would follow. The thread does not keep the process alive.
    """
    ended = threading.Event()

    def run() -> None:
        failing = False
        while not ended.is_set():
            try:
                call()
                failing = False
            except Exception as error:
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


def _content(event: str) -> bytes:
    """Return a content that differs from all earlier ones, and says what happened, when and where."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    where = f"{socket.gethostname()} process {os.getpid()}"
    return f"{event} {stamp} {where} {secrets.token_hex(4)}\n".encode()
