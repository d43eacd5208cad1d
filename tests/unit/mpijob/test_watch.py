"""Following an MPIJob look by look, on a cluster that shows what is written here."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tinyunet.core.errors import UserError
from tinyunet.mpijob.spec import MPIJobSpec, build
from tinyunet.mpijob.status import JobFailed, Outcome, Snapshot
from tinyunet.mpijob.watch import Watcher

LOOK_S = 5
BORN = "2026-01-01T00:00:10Z"
UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}


@dataclass
class Cluster:
    """Shows one snapshot after the other, every five seconds; the last one stays."""

    looks: list[Snapshot]
    clock: list[float] = field(default_factory=lambda: [0.0])

    def job(self, name: str) -> dict[str, Any]:
        return self.looks[0].job

    def pods(self, name: str) -> list[Any]:
        return list(self.looks[0].pods)

    def events(self, name: str) -> list[Any]:
        return list(self.looks[0].events)

    def wait(self, name: str, version: str, *, seconds: int) -> None:
        self.clock[0] += LOOK_S
        del self.looks[: len(self.looks) > 1]

    def log(self, pod: str, *, since_seconds: int | None = None) -> Iterator[tuple[str, str]]:
        yield "2026-01-01T00:00:20Z", "step 1/9"


def job(*conditions: str, finished: bool = False, **metadata: str) -> dict[str, Any]:
    made = build(MPIJobSpec(name="job", image="image", command=("true",)))
    made["metadata"] |= {"resourceVersion": "1", "creationTimestamp": BORN, **metadata}
    status: dict[str, Any] = {"conditions": [{"type": one, "status": "True"} for one in conditions]}
    return made | {"status": status | ({"completionTime": BORN} if finished else {})}


def pod(role: str, phase: str, *, uid: str = "1", **status: Any) -> dict[str, Any]:
    labels = {"training.kubeflow.org/job-role": role}
    metadata = {"name": f"job-{role}", "uid": uid, "labels": labels}
    return {"metadata": metadata, "status": {"phase": phase, **status}}


DONE = Snapshot(job("Succeeded", finished=True))
FREE = Snapshot(job("Created"), [pod("worker", "Running")])
BLOCKED = Snapshot(job("Created"), [pod("worker", "Pending", conditions=[UNSCHEDULED])])


def follow(monkeypatch: pytest.MonkeyPatch, *looks: Snapshot, said: list[str] | None = None) -> Outcome:
    cluster: Any = Cluster([*looks])
    monkeypatch.setattr(time, "monotonic", lambda: cluster.clock[0])
    lines = [] if said is None else said
    return Watcher(cluster, "job", pending_seconds=20, log=lines.append).follow()


def test_a_job_that_does_not_start_in_time_is_told_once_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    reason = r"job-worker cannot be scheduled \(Unschedulable\): no GPU"
    with pytest.raises(UserError, match=f"MPIJob job did not start within 20 s: {reason}"):
        follow(monkeypatch, BLOCKED, said=said)
    assert said == ["MPIJob job waits: job-worker cannot be scheduled (Unschedulable): no GPU"]


def test_the_wait_begins_anew_after_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert follow(monkeypatch, *[BLOCKED] * 4, FREE, *[BLOCKED] * 4, DONE) == Outcome()


def test_the_wait_for_a_queue_has_no_end_and_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    queued = Snapshot(job("Created", "Suspended"))
    assert follow(monkeypatch, *[queued] * 99, *[BLOCKED] * 4, DONE, said=said) == Outcome()
    assert said[0] == "MPIJob job waits: suspended; a queue has to admit the job"


@pytest.mark.parametrize(("at", "refused"), [("2026-01-01T00:00:09Z", False), (BORN, True)])
def test_events_of_an_earlier_job_of_the_name_do_not_count(
    at: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {"reason": "ValidationError", "message": "spec.x", "lastTimestamp": at, "metadata": {}}
    looks = Snapshot(job("Created"), events=[event]), DONE
    if refused:
        with pytest.raises(UserError, match=r"the MPI Operator refuses the job: spec\.x"):
            follow(monkeypatch, *looks)
    else:
        assert follow(monkeypatch, *looks) == Outcome()


@pytest.mark.parametrize("later", [[], [pod("worker", "Running", uid="2")]])
def test_a_worker_that_is_gone_or_another_while_the_launcher_runs_is_lost(
    later: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, worker = pod("launcher", "Running"), pod("worker", "Running")
    ended = pod("launcher", "Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 1}}}])
    said: list[str] = []
    end = follow(
        monkeypatch,
        Snapshot(job("Created"), [worker]),
        Snapshot(job("Created", "Running"), [launcher, worker]),
        Snapshot(job("Created", "Running"), [launcher, *later]),
        Snapshot(job("Failed", finished=True), [ended, *later]),
        said=said,
    )
    assert end == Outcome(reason="lost a pod (job-worker evicted or deleted)", exit_code=1, lost=True)
    assert said == ["step 1/9"]


def test_a_worker_that_is_replaced_before_there_is_a_launcher_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = pod("launcher", "Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 3}}}])
    first, second = pod("worker", "Running"), pod("worker", "Running", uid="2")
    looks = [Snapshot(job("Created"), [one]) for one in (first, second)]
    end = follow(monkeypatch, *looks, Snapshot(job("Failed", finished=True), [ended, second]))
    assert end == Outcome(reason="launcher exited 3", exit_code=3)


def test_a_job_that_somebody_deletes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobFailed, match="it was deleted while it ran; start it again to resume"):
        follow(monkeypatch, FREE, Snapshot(job("Created", deletionTimestamp=BORN)))
