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
from tinyunet.mpijob.pods import condition, created_at, disrupted_pods, event_time, launcher_pod, worker_uids
from tinyunet.mpijob.queueing import is_suspended
from tinyunet.mpijob.status import JobFailed, Obstacle, Outcome, Snapshot, obstacle, outcome

# Longest time between two snapshots, in seconds: after a change, and when nothing has changed for _SETTLED_S.
# A change of the MPIJob ends the wait: a start or an end of its pods, an admission. Only the reason why a pod
# does not start, or why a queue does not admit the job, is not in the MPIJob.
_POLL_S, _SETTLED_S, _SETTLED_POLL_S = 5, 30, 60


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
        self._problem: Obstacle | None = None
        self._changed = time.monotonic()  # time at which `_problem` changed
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
            version = snapshot.job["metadata"]["resourceVersion"]
            self._cluster.wait(self._name, version, seconds=self._seconds_to_wait())
            snapshot = retry_while_unreachable(self._snapshot, also_refusals=True)
        self._attach_log(snapshot)
        self.log.finish()
        self._lost |= disrupted_pods(snapshot.events, self._worker_uids.values())
        lost, complete = sorted(self._lost), self.log.complete
        return outcome(snapshot, tail=self.log.tail, complete=complete, lost=lost) or Outcome()

    def _snapshot(self) -> Snapshot:
        job = self._cluster.job(self._name)
        if job is None or job["metadata"].get("deletionTimestamp"):
            self.log.finish(1)
            text = "it was deleted while it ran; start it again to resume from the last checkpoint"
            raise JobFailed(text, ended=job is None)
        finished = condition(job, "Failed") or condition(job, "Succeeded")
        pods = self._cluster.pods(self._name, cached=not finished)
        if is_suspended(job) and not condition(job, "Failed"):
            return Snapshot(job, pods, workload=self._cluster.workload(str(job["metadata"].get("uid"))))
        if condition(job, "Running"):
            return Snapshot(job, pods)
        events = [event for event in self._cluster.events(self._name) if event_time(event) >= created_at(job)]
        return Snapshot(job, pods, events)

    def _update(self, snapshot: Snapshot) -> None:
        self._attach_log(snapshot)
        present = worker_uids(snapshot.pods)
        if is_suspended(snapshot.job):  # its pods are removed on purpose
            self._worker_uids, self._lost = {}, set()
        elif self._worker_uids and launcher_pod(snapshot.pods):
            self._lost |= {name for name, uid in self._worker_uids.items() if present.get(name) != uid}
        else:
            self._worker_uids = present
        self._check_obstacle(obstacle(snapshot))

    def _attach_log(self, snapshot: Snapshot) -> None:
        if pod := launcher_pod(snapshot.pods):
            self.log.attach(pod["metadata"]["name"])

    def _seconds_to_wait(self) -> int:
        settled = time.monotonic() - self._changed > _SETTLED_S
        return _SETTLED_POLL_S if settled else _POLL_S

    def _check_obstacle(self, problem: Obstacle | None) -> None:
        previous, self._problem = self._problem, problem
        if problem != previous:
            self._changed = time.monotonic()
        if _is_queued(previous) and not _is_queued(problem):
            self._print(f"MPIJob {self._name} was admitted by its queue")
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


def _is_queued(problem: Obstacle | None) -> bool:
    return problem is not None and not problem.counted


def delete_and_wait(cluster: Cluster, name: str) -> None:
    """Delete the job and wait until neither it nor its pods exist."""

    def remaining() -> list[dict[str, Any]]:
        job = cluster.job(name)
        return ([job] if job else []) + cluster.pods(name)

    while retry_while_unreachable(remaining):
        retry_while_unreachable(lambda: cluster.delete(name))
        time.sleep(RETRY_S / 2)
