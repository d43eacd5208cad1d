"""What an MPIJob's status, pods and events mean: pure functions of the Kubernetes JSON.

An MPIJob's conditions alone do not tell: an invalid job gets none at all, an evicted one is `Failed`
while it runs, and the exit code stands only in the launcher pod. So the three are read together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tinyunet.mpijob.pods import (
    condition,
    exit_code_of,
    is_about,
    launcher_pod,
    message,
    name_of,
    phase,
    taken_away,
    terminated,
)
from tinyunet.mpijob.spec import Json

_LOST_LINES = ("lost communication with a remote daemon", "ORTE daemon has unexpectedly failed")
_KILLED = 128 + 9  # of a rank, by signal 9
_NEVER_STARTS = {"InvalidImageName", "ErrImageNeverPull"}
_STARTS_NOT = _NEVER_STARTS | {
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}


class JobFailed(Exception):  # noqa: N818  reads as the sentence it is
    """A job that ended badly.

    Attributes:
        exit_code: Of the launcher; 1 where it has none.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Snapshot:
    """One look at the cluster.

    Attributes:
        job: The MPIJob.
        pods: Pods of the job, launcher and workers.
        events: Events about the job, its pods and its launcher's Job.
    """

    job: Json
    pods: Sequence[Json] = ()
    events: Sequence[Json] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        reason: One sentence; empty after success.
        exit_code: Of the launcher; 1 where it has none.
        lost: The cluster took a pod away; the same job may succeed when it is started again.
    """

    reason: str = ""
    exit_code: int = 0
    lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """Why a job does not start.

    Attributes:
        text: What stands in the way, with Kubernetes' own words.
        final: Waiting cannot help.
        counted: Waiting is bounded by `pending_seconds` (a queue's wait is not).
    """

    text: str
    final: bool = False
    counted: bool = True


def outcome(seen: Snapshot, *, tail: Iterable[str] = (), lost: Sequence[str] = ()) -> Outcome | None:
    """Tell how the job ended, or None while it has not.

    Args:
        seen: The look.
        tail: Last lines of the launcher's log.
        lost: Workers that were seen to go away while the job ran.
    """
    status = seen.job.get("status") or {}
    finished = bool(status.get("completionTime"))
    if finished and condition(seen.job, "Succeeded"):
        return Outcome()
    failed = condition(seen.job, "Failed")
    if failed is None or (not finished and (failed.get("reason") != "MPIJobEvicted" or _launcher_runs(seen))):
        return None
    return _failure(seen, failed, "\n".join(tail), lost)


def obstacle(seen: Snapshot) -> Obstacle | None:
    """Tell what keeps the job from running, or None when nothing does."""
    if _launcher_runs(seen) or condition(seen.job, "Running"):
        return None
    invalid = [event for event in seen.events if event.get("reason") == "ValidationError"]
    if invalid:
        return Obstacle(text=f"the MPI Operator refuses the job: {message(invalid[-1])}", final=True)
    if condition(seen.job, "Suspended"):
        return Obstacle(text="suspended; a queue has to admit the job", counted=False)
    found = [problem for pod in seen.pods if (problem := _pod_obstacle(pod, seen.events))]
    if found:
        return min(found, key=lambda one: not one.final)
    if refused := _refused_pods(seen):
        return refused
    if condition(seen.job, "Created") is None:
        return Obstacle(text="the MPI Operator has not taken up the job; is it running? (v0.8.2, v2beta1)")
    return None


def _launcher_runs(seen: Snapshot) -> bool:
    pod = launcher_pod(seen.pods)
    return pod is not None and phase(pod) == "Running"


def _failure(seen: Snapshot, failed: Json, tail: str, lost: Sequence[str]) -> Outcome:
    reason, pod = str(failed.get("reason", "")), launcher_pod(seen.pods)
    code = exit_code_of(pod) if pod else None
    if "DeadlineExceeded" in reason:
        limit = seen.job.get("spec", {}).get("runPolicy", {}).get("activeDeadlineSeconds")
        return Outcome(reason=f"exceeded its deadline of {limit} s", exit_code=code or 1)
    for one in seen.pods:
        if terminated(one).get("reason") == "OOMKilled":
            return Outcome(reason=_out_of_memory(one), exit_code=code or 137)
    taken = sorted({*lost, *(name_of(one) for one in seen.pods if taken_away(one))})
    if taken or reason == "MPIJobEvicted":
        what = f"({', '.join(taken)} evicted or deleted)" if taken else f"({failed.get('message')})"
        return Outcome(reason=f"lost a pod {what}", exit_code=code or 1, lost=True)
    if pod is None or code is None:
        return Outcome(reason="lost its launcher pod", exit_code=1, lost=True)
    if any(line in tail for line in _LOST_LINES):
        return Outcome(reason=f"lost a worker pod (launcher exited {code})", exit_code=code, lost=True)
    if code == _KILLED:
        text = f"launcher exited {code}: a rank was killed (signal 9), most likely OOMKilled: {_limit(seen)}"
        return Outcome(reason=text, exit_code=code)
    return Outcome(reason=f"launcher exited {code}", exit_code=code)


def _out_of_memory(pod: Json) -> str:
    limit = pod["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("memory", "none")
    return f"{name_of(pod)} was OOMKilled at its memory limit of {limit}; raise it or lower the global batch"


def _limit(seen: Snapshot) -> str:
    worker = seen.job.get("spec", {}).get("mpiReplicaSpecs", {}).get("Worker", {})
    containers = worker.get("template", {}).get("spec", {}).get("containers") or [{}]
    limit = containers[0].get("resources", {}).get("limits", {}).get("memory", "none")
    return f"raise the workers' memory limit of {limit} or lower the global batch"


def _pod_obstacle(pod: Json, events: Iterable[Json]) -> Obstacle | None:
    if phase(pod) == "Failed":
        code = exit_code_of(pod)
        return Obstacle(text=f"{name_of(pod)} failed before training began (exit code {code})", final=True)
    if phase(pod) != "Pending":
        return None
    status = pod.get("status", {})
    for one in status.get("conditions") or []:
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            return Obstacle(text=f"{name_of(pod)} cannot be scheduled ({one.get('reason')}): {message(one)}")
    for one in status.get("containerStatuses") or []:
        waiting = (one.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        if reason in _STARTS_NOT:
            text = f"{name_of(pod)} cannot start ({reason}): {message(waiting) or one.get('image')}"
            return Obstacle(text=text, final=reason in _NEVER_STARTS)
    *_, last = ({}, *(event for event in events if is_about(event, pod)))
    warned = last.get("type") == "Warning"  # and no progress since
    return Obstacle(text=f"{name_of(pod)} cannot start: {message(last)}") if warned else None


def _refused_pods(seen: Snapshot) -> Obstacle | None:
    wanted = seen.job["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"]
    if len(seen.pods) > wanted:
        return None
    refused = [
        event
        for event in seen.events
        if event.get("type") == "Warning" and "created failed" in message(event)
    ]
    refused += [event for event in seen.events if event.get("reason") == "FailedCreate"]
    return Obstacle(text=f"the cluster refuses a pod: {message(refused[-1])}") if refused else None
