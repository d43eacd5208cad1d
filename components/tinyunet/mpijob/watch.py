"""Following one MPIJob to its end: what is decided by looking, a watch only says when to look again.

So a dropped connection, an expired watch (410 Gone) or a restarted API server costs a look, never an event.
"""

import time
from collections.abc import Callable
from typing import Any

from tinyunet.core.errors import UserError
from tinyunet.core.retry import RETRY_S, retry_while_unreachable
from tinyunet.mpijob.client import Cluster
from tinyunet.mpijob.log import LogFollower
from tinyunet.mpijob.pods import born, evicted, happened, launcher_pod, workers
from tinyunet.mpijob.status import JobFailed, Obstacle, Outcome, Snapshot, obstacle, outcome

_GLANCE = 5  # seconds between two looks while nothing happens


class Watcher:
    """Follows one job by name.

    Attributes:
        log: The launcher's log; its tail tells why a job failed.
    """

    def __init__(
        self, cluster: Cluster, name: str, *, pending_seconds: float, log: Callable[[str], None]
    ) -> None:
        self.log = LogFollower(cluster, log)
        self._cluster, self._name, self._say = cluster, name, log
        self._pending_seconds = pending_seconds
        self._stuck: tuple[str, float] | None = None
        self._known: dict[str, str] = {}
        self._lost: set[str] = set()

    def follow(self) -> Outcome:
        """Give how the job ended.

        Raises:
            UserError: the job cannot start (in time).
            JobFailed: somebody deleted the job.
            Unreachable: the API server is away for minutes.
        """
        seen = self._look()
        while not outcome(seen):
            self._note(seen)
            self._cluster.wait(self._name, seen.job["metadata"]["resourceVersion"], seconds=_GLANCE)
            seen = retry_while_unreachable(self._look, forgiving=True)
        self._attach(seen)
        self.log.finish()
        self._lost |= evicted(seen.events, self._known.values())
        return outcome(seen, tail=self.log.tail, lost=sorted(self._lost)) or Outcome()

    def _look(self) -> Snapshot:
        job = self._cluster.job(self._name)
        if job is None or job["metadata"].get("deletionTimestamp"):
            self.log.finish(1)
            raise JobFailed("it was deleted while it ran; start it again to resume from the last checkpoint")
        events = [one for one in self._cluster.events(self._name) if happened(one) >= born(job)]
        return Snapshot(job, self._cluster.pods(self._name), events)

    def _note(self, seen: Snapshot) -> None:
        self._attach(seen)
        here = workers(seen.pods)
        if self._known and launcher_pod(seen.pods):
            self._lost |= {name for name, uid in self._known.items() if here.get(name) != uid}
        else:
            self._known = here
        self._wait_or_give_up(obstacle(seen))

    def _attach(self, seen: Snapshot) -> None:
        if pod := launcher_pod(seen.pods):
            self.log.attach(pod["metadata"]["name"])

    def _wait_or_give_up(self, problem: Obstacle | None) -> None:
        if problem is None:
            self._stuck = None
            return
        if problem.final:
            raise UserError(f"MPIJob {self._name}: {problem.text}")
        said, since = self._stuck or ("", time.monotonic())
        waited = time.monotonic() - since
        if problem.text != said and (waited > _GLANCE or not problem.counted):
            self._say(f"MPIJob {self._name} waits: {problem.text}")
            said = problem.text
        self._stuck = (said, since if problem.counted else time.monotonic())
        if waited > self._pending_seconds:
            limit = f"{self._pending_seconds:.0f} s"
            raise UserError(f"MPIJob {self._name} did not start within {limit}: {problem.text}")


def gone(cluster: Cluster, name: str) -> None:
    """Delete the job and wait until it and its pods are gone."""

    def left() -> list[dict[str, Any]]:
        job = cluster.job(name)
        return ([job] if job else []) + cluster.pods(name)

    while retry_while_unreachable(left):
        retry_while_unreachable(lambda: cluster.delete(name))
        time.sleep(RETRY_S / 2)
