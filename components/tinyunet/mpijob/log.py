"""Following the launcher pod's log through dropped connections, each line once."""

import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from tinyunet.core.errors import UserError
from tinyunet.mpijob.client import Cluster


class LogFollower:
    """A thread that hands every line of one pod's log to a function, in order.

    Attributes:
        tail: The last lines seen.
    """

    def __init__(self, cluster: Cluster, log: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=15)
        self._cluster, self._log = cluster, log
        self._pod = ""
        self._last = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def attach(self, pod: str) -> None:
        """Begin with this pod's log; again with the same pod does nothing."""
        if pod == self._pod:
            return
        self._pod = pod
        self._thread = threading.Thread(target=self._follow, args=(pod,), name=f"log-{pod}", daemon=True)
        self._thread.start()

    def finish(self, seconds: float = 30) -> None:
        """Read what is left after the pod has ended, then stop."""
        self._ended.set()
        if self._thread:
            self._thread.join(seconds)

    def _follow(self, pod: str) -> None:
        while True:
            last_round = self._ended.is_set()
            try:
                self._read(pod)
            except UserError:  # no log yet, or a broken connection
                last_round = last_round and self._ended.wait(1)
            if last_round or pod != self._pod:
                return
            self._ended.wait(1)

    def _read(self, pod: str) -> None:
        for stamp, line in self._cluster.log(pod, since_seconds=self._since()):
            if stamp > self._last:
                self._last = stamp
                self.tail.append(line)
                self._log(line)

    def _since(self) -> int | None:
        if not self._last:
            return None
        last = datetime.fromisoformat(self._last[:19]).replace(tzinfo=UTC)
        return int((datetime.now(tz=UTC) - last).total_seconds()) + 60  # clocks differ; repeats are dropped
