"""Follow an MPIJob until it ends.

Every decision is made from a complete snapshot of the job's objects. A Kubernetes watch only determines when
the next snapshot is taken. Therefore no change is missed after a broken connection, an expired watch (410
Gone) or a restart of the API server.
"""

import time
from collections.abc import Callable
from typing import Any

from tinyunet.core.errors import UserError
from tinyunet.core.retry import RETRY_S, retry_while_unreachable
from tinyunet.mpijob.client import Cluster
from tinyunet.mpijob.log import LogFollower
from tinyunet.mpijob.pods import created_at, disrupted_pods, event_time, launcher_pod, worker_uids
from tinyunet.mpijob.status import JobFailed, Obstacle, Outcome, Snapshot, obstacle, outcome

_POLL_S = 5  # longest time between two snapshots, in seconds


class Watcher:
    """Follows the job of a given name.

    Attributes:
        log: Follower of the launcher's log. The message about a failure quotes the last lines of the log.
    """

    def __init__(
        self, cluster: Cluster, name: str, *, pending_seconds: float, log: Callable[[str], None]
    ) -> None:
        self.log = LogFollower(cluster, log)
        self._cluster, self._name, self._print = cluster, name, log
        self._pending_seconds = pending_seconds
        self._waiting: tuple[str, float] | None = None  # the obstacle in the log, and the start of the wait
        self._worker_uids: dict[str, str] = {}
        self._lost: set[str] = set()

    def follow(self) -> Outcome:
        """Follow the job until it ends, and return its outcome.

        Raises:
            UserError: if the job cannot start, or does not start within `pending_seconds`.
            JobFailed: if the job was deleted.
            Unreachable: if the API server does not answer for five minutes.
        """
        snapshot = retry_while_unreachable(self._snapshot)
        while not outcome(snapshot):
            self._update(snapshot)
            self._cluster.wait(self._name, snapshot.job["metadata"]["resourceVersion"], seconds=_POLL_S)
            snapshot = retry_while_unreachable(self._snapshot, also_refusals=True)
        self._attach_log(snapshot)
        self.log.finish()
        self._lost |= disrupted_pods(snapshot.events, self._worker_uids.values())
        return outcome(snapshot, tail=self.log.tail, lost=sorted(self._lost)) or Outcome()

    def _snapshot(self) -> Snapshot:
        job = self._cluster.job(self._name)
        if job is None or job["metadata"].get("deletionTimestamp"):
            self.log.finish(1)
            text = "it was deleted while it ran; start it again to resume from the last checkpoint"
            raise JobFailed(text, ended=job is None)
        events = [event for event in self._cluster.events(self._name) if event_time(event) >= created_at(job)]
        return Snapshot(job, self._cluster.pods(self._name), events)

    def _update(self, snapshot: Snapshot) -> None:
        self._attach_log(snapshot)
        present = worker_uids(snapshot.pods)
        if self._worker_uids and launcher_pod(snapshot.pods):
            self._lost |= {name for name, uid in self._worker_uids.items() if present.get(name) != uid}
        else:
            self._worker_uids = present
        self._check_obstacle(obstacle(snapshot))

    def _attach_log(self, snapshot: Snapshot) -> None:
        if pod := launcher_pod(snapshot.pods):
            self.log.attach(pod["metadata"]["name"])

    def _check_obstacle(self, problem: Obstacle | None) -> None:
        if problem is None:
            self._waiting = None
            return
        if problem.final:
            raise UserError(f"MPIJob {self._name}: {problem.text}")
        logged, since = self._waiting or ("", time.monotonic())
        waited = time.monotonic() - since
        if problem.text != logged and (waited > _POLL_S or not problem.counted):
            self._print(f"MPIJob {self._name} waits: {problem.text}")
            logged = problem.text
        self._waiting = (logged, since if problem.counted else time.monotonic())
        if waited > self._pending_seconds:
            limit = f"{self._pending_seconds:.0f} s"
            raise UserError(f"MPIJob {self._name} did not start within {limit}: {problem.text}")


def delete_and_wait(cluster: Cluster, name: str) -> None:
    """Delete the job and wait until neither it nor its pods exist."""

    def remaining() -> list[dict[str, Any]]:
        job = cluster.job(name)
        return ([job] if job else []) + cluster.pods(name)

    while retry_while_unreachable(remaining):
        retry_while_unreachable(lambda: cluster.delete(name))
        time.sleep(RETRY_S / 2)
