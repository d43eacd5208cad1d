"""Following of the launcher pod's log: broken connections are renewed, and no line appears twice."""

import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from tinyunet.core.errors import UserError
from tinyunet.mpijob.client import Cluster


class LogFollower:
    """A thread that passes every line of one pod's log to a function, in order.

    Attributes:
        tail: The last 15 lines of the log.
        complete: Whether the log was read to its end after the pod had ended.
    """

    def __init__(self, cluster: Cluster, log: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=15)
        self.complete = False
        self._cluster, self._log = cluster, log
        self._pod = ""
        self._last_stamp = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def attach(self, pod: str) -> None:
        """Start to follow this pod's log; do nothing if it is followed already."""
        if pod == self._pod:
            return
        self._pod = pod
        self._thread = threading.Thread(target=self._follow, args=(pod,), name=f"log-{pod}", daemon=True)
        self._thread.start()

    def finish(self, seconds: float = 30) -> None:
        """Read the rest of the log after the pod has ended, then stop the thread.

        Args:
            seconds: Longest wait for the rest of the log.
        """
        self._ended.set()
        if self._thread:
            self._thread.join(seconds)

    def _follow(self, pod: str) -> None:
        while True:
            last_round = self._ended.is_set()
            try:
                self._read(pod)
            except UserError:  # the pod has no log yet, or the connection broke
                last_round = last_round and self._ended.wait(1)
            else:
                if last_round and pod == self._pod:
                    self.complete = True
            if last_round or pod != self._pod:
                return
            self._ended.wait(1)

    def _read(self, pod: str) -> None:
        for written, line in self._cluster.log(pod, since_seconds=self._since_seconds()):
            stamp = _sortable(written)
            if stamp > self._last_stamp:
                self._last_stamp = stamp
                self.tail.append(line)
                self._log(line)

    def _since_seconds(self) -> int | None:
        if not self._last_stamp:
            return None
        last = datetime.fromisoformat(self._last_stamp[:19]).replace(tzinfo=UTC)
        elapsed = (datetime.now(tz=UTC) - last).total_seconds()
        return int(elapsed) + 60  # clocks differ by less than a minute; `_read` drops repeated lines


def _sortable(stamp: str) -> str:
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"
