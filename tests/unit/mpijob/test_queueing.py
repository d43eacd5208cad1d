"""Jobs in a queue: the objects of `queue.json` were written by a real Kueue 0.17 and MPI Operator 0.8.2.

They are the states of one job of two workers on a quota of three GPUs, in order; a job of a higher priority
preempts it. The queue of the job `nowhere` does not exist. Unused fields, such as templates, are left out.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tinyunet.core.errors import UserError
from tinyunet.mpijob.queueing import reason_to_wait
from tinyunet.mpijob.status import Outcome, Snapshot
from tinyunet.mpijob.watch import Watcher

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("queue.json").read_text())
STOPPED = (
    "it was stopped (Preempted to accommodate a workload due to prioritization in the ClusterQueue) and will "
    "continue from its checkpoint"
)
QUOTA = (
    "couldn't assign flavors to pod set worker: insufficient unused quota for nvidia.com/gpu in flavor "
    "tinyunet, 1 more needed"
)


def snapshot(state: str, *pods: dict[str, Any]) -> Snapshot:
    recorded = RECORDED[state]
    return Snapshot(recorded["job"], pods, workload=recorded["workload"])


def pod(role: str, phase: str, uid: str, **status: Any) -> dict[str, Any]:
    labels = {"training.kubeflow.org/job-role": role}
    metadata = {"name": f"c-{role}", "uid": uid, "labels": labels, "creationTimestamp": uid}
    return {"metadata": metadata, "status": {"phase": phase, **status}}


class Cluster:
    """A cluster that returns the next snapshot after each wait of five seconds; the last one is final.

    Attributes:
        now: Time in seconds.
        waits: Longest time of each wait, as it was asked for.
    """

    def __init__(self, *snapshots: Snapshot) -> None:
        self._snapshots = list(snapshots)
        self.now, self.waits = 0.0, list[int]()

    def job(self, name: str) -> Any:
        return self._snapshots[0].job

    def pods(self, name: str, *, cached: bool) -> list[Any]:
        assert cached != ("completionTime" in self._snapshots[0].job["status"])
        return list(self._snapshots[0].pods)

    def events(self, name: str) -> list[Any]:
        return []

    def workload(self, uid: str) -> dict[str, Any] | None:
        assert uid == self._snapshots[0].job["metadata"]["uid"]
        return self._snapshots[0].workload

    def wait(self, name: str, version: str, *, seconds: int) -> None:
        self.waits.append(seconds)
        self.now += 5
        del self._snapshots[: len(self._snapshots) > 1]

    def log(self, pod: str, *, since_seconds: int | None = None) -> Iterator[tuple[str, str]]:
        return iter([])


def follow(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Outcome, list[str]]:
    lines: list[str] = []
    monkeypatch.setattr(time, "monotonic", lambda: cluster.now)
    return Watcher(cluster, "c", pending_seconds=20, log=lines.append).follow(), lines


def running(state: str, uid: str) -> Snapshot:
    return snapshot(state, pod("worker", "Running", uid), pod("launcher", "Running", uid))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("queued", "in queue tinyunet"),
        ("preempted", f"in queue tinyunet; {STOPPED}"),
        ("stopped", f"in queue tinyunet; {STOPPED}"),
        ("waiting", f"in queue tinyunet: {QUOTA}; {STOPPED}"),
        ("admitted", "in queue tinyunet"),
        ("nowhere", "in queue nowhere: LocalQueue nowhere doesn't exist"),
    ],
)
def test_the_reason_to_wait_is_that_of_kueue(state: str, reason: str) -> None:
    assert reason_to_wait(RECORDED[state]["job"], RECORDED[state]["workload"]) == reason


def test_where_workloads_must_not_be_read_only_the_queue_is_named() -> None:
    assert reason_to_wait(RECORDED["waiting"]["job"], None) == "in queue tinyunet"


def test_a_suspended_job_without_a_queue_says_how_to_resume_it() -> None:
    job = {"metadata": {"name": "c"}, "spec": {"runPolicy": {"suspend": True}}}
    assert "set its spec.runPolicy.suspend to false" in reason_to_wait(job, None)


def test_a_preempted_job_waits_and_continues_and_its_removed_workers_are_not_lost_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second launcher exits with 3: an error of the training, although the workers were replaced."""
    failed = RECORDED["succeeded"]["job"] | {"status": {"completionTime": "x", "conditions": [
        {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    ]}}  # fmt: skip
    exited = pod("launcher", "Failed", "2", containerStatuses=[{"state": {"terminated": {"exitCode": 3}}}])
    cluster = Cluster(
        snapshot("created"),
        snapshot("queued"),
        running("running", "1"),
        snapshot("preempted", pod("launcher", "Running", "1")),
        *[snapshot("waiting")] * 99,
        snapshot("resumed", pod("worker", "Pending", "2"), pod("launcher", "Running", "2")),
        running("running again", "2"),
        Snapshot(failed, [pod("worker", "Running", "2"), exited]),
    )
    outcome, lines = follow(cluster, monkeypatch)
    assert outcome == Outcome(reason="launcher exited 3", exit_code=3)
    assert lines == [
        "MPIJob c waits: in queue tinyunet",
        "MPIJob c was admitted by its queue",
        f"MPIJob c waits: in queue tinyunet; {STOPPED}",
        f"MPIJob c waits: in queue tinyunet: {QUOTA}; {STOPPED}",
        "MPIJob c was admitted by its queue",
    ]


def test_once_nothing_changes_only_a_change_of_the_job_or_a_minute_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(*[snapshot("waiting")] * 9, *[running("running", "1")] * 9, snapshot("succeeded"))
    assert follow(cluster, monkeypatch)[0] == Outcome()
    assert cluster.waits == [*[5] * 7, 60, 60, *[5] * 7, 60, 60]


def test_a_job_that_kueue_does_not_know_fails_after_the_time_for_pending_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(
        UserError, match=r"did not start within 20 s: in queue tinyunet: Kueue does not know it"
    ):
        follow(Cluster(snapshot("created")), monkeypatch)


def test_workers_that_cannot_be_scheduled_are_reported_although_the_launcher_already_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reason = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}
    blocked = snapshot(
        "resumed", pod("worker", "Pending", "2", conditions=[reason]), pod("launcher", "Running", "2")
    )
    with pytest.raises(UserError, match=r"did not start within 20 s: c-worker cannot be scheduled .* no GPU"):
        follow(Cluster(blocked), monkeypatch)
