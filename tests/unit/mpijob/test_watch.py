"""Following an MPIJob on a fake cluster, which returns the snapshots that a test gives."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.mpijob.spec import MPIJobSpec, build
from tinyunet.mpijob.status import JobFailed, Outcome, Snapshot
from tinyunet.mpijob.watch import Watcher

POLL_S = 5
CREATED = "2026-01-01T00:00:10Z"
UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}


@dataclass
class Cluster:
    """A cluster that returns the next snapshot every five seconds; the last one is final."""

    snapshots: list[Snapshot]
    clock: list[float] = field(default_factory=lambda: [0.0])
    reachable: bool = True  # whether the end of the log can be read

    def job(self, name: str) -> dict[str, Any]:
        return self.snapshots[0].job

    def pods(self, name: str, *, cached: bool) -> list[Any]:
        return list(self.snapshots[0].pods)

    def events(self, name: str) -> list[Any]:
        return list(self.snapshots[0].events)

    def wait(self, name: str, version: str, *, seconds: int) -> None:
        self.clock[0] += POLL_S
        del self.snapshots[: len(self.snapshots) > 1]

    def log(self, pod: str, *, since_seconds: int | None = None) -> Iterator[tuple[str, str]]:
        yield "2026-01-01T00:00:20Z", "step 1/9"
        if not self.reachable:
            raise Unreachable("the connection broke")


def job(*conditions: str, finished: bool = False, **metadata: str) -> dict[str, Any]:
    manifest = build(MPIJobSpec(name="job", image="image", command=("true",)))
    manifest["metadata"] |= {"resourceVersion": "1", "creationTimestamp": CREATED, **metadata}
    status: dict[str, Any] = {"conditions": [{"type": one, "status": "True"} for one in conditions]}
    return manifest | {"status": status | ({"completionTime": CREATED} if finished else {})}


def pod(role: str, phase: str, *, uid: str = "1", **status: Any) -> dict[str, Any]:
    labels = {"training.kubeflow.org/job-role": role}
    metadata = {"name": f"job-{role}", "uid": uid, "labels": labels}
    return {"metadata": metadata, "status": {"phase": phase, **status}}


DONE = Snapshot(job("Succeeded", finished=True))
STARTED = Snapshot(job("Created"), [pod("worker", "Running")])
BLOCKED = Snapshot(job("Created"), [pod("worker", "Pending", conditions=[UNSCHEDULED])])


def follow(
    monkeypatch: pytest.MonkeyPatch,
    *snapshots: Snapshot,
    logged: list[str] | None = None,
    reachable: bool = True,
) -> Outcome:
    cluster: Any = Cluster([*snapshots], reachable=reachable)
    monkeypatch.setattr(time, "monotonic", lambda: cluster.clock[0])
    lines = [] if logged is None else logged
    return Watcher(cluster, "job", pending_seconds=20, log=lines.append).follow()


def test_a_job_that_does_not_start_in_time_is_reported_once_and_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged: list[str] = []
    reason = r"job-worker cannot be scheduled \(Unschedulable\): no GPU"
    with pytest.raises(UserError, match=f"MPIJob job did not start within 20 s: {reason}"):
        follow(monkeypatch, BLOCKED, logged=logged)
    assert logged == ["MPIJob job waits: job-worker cannot be scheduled (Unschedulable): no GPU"]


def test_the_wait_starts_again_after_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert follow(monkeypatch, *[BLOCKED] * 4, STARTED, *[BLOCKED] * 4, DONE) == Outcome()


@pytest.mark.parametrize(("at", "refused"), [("2026-01-01T00:00:09Z", False), (CREATED, True)])
def test_events_of_an_earlier_job_of_the_same_name_are_ignored(
    at: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {"reason": "ValidationError", "message": "spec.x", "lastTimestamp": at, "metadata": {}}
    snapshots = Snapshot(job("Created"), events=[event]), DONE
    if refused:
        with pytest.raises(UserError, match=r"the MPI Operator refuses the job: spec\.x"):
            follow(monkeypatch, *snapshots)
    else:
        assert follow(monkeypatch, *snapshots) == Outcome()


@pytest.mark.parametrize("later", [[], [pod("worker", "Running", uid="2")]])
def test_a_worker_that_disappears_or_is_replaced_while_the_launcher_runs_is_lost(
    later: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, worker = pod("launcher", "Running"), pod("worker", "Running")
    ended = pod("launcher", "Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 1}}}])
    logged: list[str] = []
    end = follow(
        monkeypatch,
        Snapshot(job("Created"), [worker]),
        Snapshot(job("Created", "Running"), [launcher, worker]),
        Snapshot(job("Created", "Running"), [launcher, *later]),
        Snapshot(job("Failed", finished=True), [ended, *later]),
        logged=logged,
    )
    assert end == Outcome(reason="failed: a pod was evicted or deleted (job-worker)", exit_code=1, lost=True)
    assert logged == ["step 1/9"]


def test_a_worker_that_is_replaced_before_the_launcher_exists_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = pod("launcher", "Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 3}}}])
    first, second = pod("worker", "Running"), pod("worker", "Running", uid="2")
    snapshots = [Snapshot(job("Created"), [one]) for one in (first, second)]
    end = follow(monkeypatch, *snapshots, Snapshot(job("Failed", finished=True), [ended, second]))
    assert end == Outcome(reason="launcher exited 3", exit_code=3)


@pytest.mark.parametrize("complete", [True, False])
def test_a_launcher_counts_as_killed_only_if_its_whole_log_was_read(
    complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = pod("launcher", "Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 137}}}])
    end = follow(monkeypatch, Snapshot(job("Failed", finished=True), [ended]), reachable=complete)
    assert end.lost == complete


def test_the_deletion_of_a_running_job_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobFailed, match="it was deleted while it ran; start it again to resume"):
        follow(monkeypatch, STARTED, Snapshot(job("Created", deletionTimestamp=CREATED)))
