"""Interpretation of an MPIJob's status, pods and events: pure functions of the Kubernetes JSON.

The conditions of an MPIJob are not sufficient. An invalid job has no condition at all, an evicted job is
`Failed` while it still runs, and only the launcher pod has the exit code. The functions of this module
therefore read all three.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tinyunet.core.errors import CommandError
from tinyunet.core.stopping import ABANDONED, STOPPED_BY_SIGNAL
from tinyunet.mpijob.pods import (
    condition,
    exit_code_of,
    is_about,
    is_disrupted,
    launcher_pod,
    message,
    name_of,
    phase,
    terminated_state,
)
from tinyunet.mpijob.queueing import is_suspended, reason_to_wait
from tinyunet.mpijob.spec import Json

# The last one is of a worker that answered by ssh and could not be reached a moment later, as without DNS.
_LOST_HOST_LINES = (
    "lost communication with a remote daemon",
    "ORTE daemon has unexpectedly failed",
    "an inability to create a connection back to mpirun",
)
_KILLED = 128 + 9  # exit code of a rank or a container that signal 9 ended
_FAILED_RANK_LINES = ("mpirun noticed that", "mpirun detected that")  # mpirun's report of a rank's end
_STOPPED = {  # exit codes of ranks that saved a checkpoint before they ended
    ABANDONED: "its lease was not renewed",
    STOPPED_BY_SIGNAL: "the cluster ended one of its pods",
}
_FINAL_START_ERRORS = {"InvalidImageName", "ErrImageNeverPull"}
_START_ERRORS = _FINAL_START_ERRORS | {
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}


class JobFailed(CommandError):  # noqa: N818
    """A job that failed or was deleted.

    Attributes:
        exit_code: Exit code of the launcher; 1 if it has none.
        ended: Whether it is known that no rank of the job runs any more.
    """

    def __init__(self, message: str, *, exit_code: int = 1, ended: bool = False) -> None:
        super().__init__(message)
        self.exit_code, self.ended = exit_code, ended


@dataclass(frozen=True)
class Snapshot:
    """The Kubernetes objects of one job at one time.

    Attributes:
        job: The MPIJob.
        pods: Pods of the job: launcher and workers.
        events: Events about the job, its pods and its launcher's Job.
        workload: Kueue's Workload of a suspended job: empty if absent, None if it is not known.
    """

    job: Json
    pods: Sequence[Json] = ()
    events: Sequence[Json] = ()
    workload: Json | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a job that has ended.

    Attributes:
        reason: One clause without a subject, such as "launcher exited 3"; empty after success.
        exit_code: Exit code of the launcher; 1 if it failed and has none.
        lost: Whether the cluster removed a pod or killed the launcher; the same job may succeed when it is
            started again.
    """

    reason: str = ""
    exit_code: int = 0
    lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """A reason why a job does not start.

    Attributes:
        text: The reason, with the message of Kubernetes.
        final: Whether the job can never start, however long it waits.
        counted: Whether the wait counts towards `pending_seconds` (the wait in a queue does not).
    """

    text: str
    final: bool = False
    counted: bool = True


def outcome(
    snapshot: Snapshot, *, tail: Iterable[str] = (), complete: bool = False, lost: Sequence[str] = ()
) -> Outcome | None:
    """Return how the job ended, or None if it has not ended.

    Args:
        snapshot: The job's objects.
        tail: Last lines of the launcher's log.
        complete: Whether the log was read to its end, so that a report of mpirun would be in `tail`.
        lost: Names of the worker pods that disappeared while the job ran.
    """
    status = snapshot.job.get("status") or {}
    finished = bool(status.get("completionTime"))
    if finished and condition(snapshot.job, "Succeeded"):
        return Outcome()
    failed = condition(snapshot.job, "Failed")
    if failed is None:
        return None
    evicted = failed.get("reason") == "MPIJobEvicted" and not _launcher_runs(snapshot)
    if not finished and not evicted:
        return None
    return _failure(snapshot, failed, "\n".join(tail), complete=complete, lost=lost)


def obstacle(snapshot: Snapshot) -> Obstacle | None:
    """Return what prevents the job from running, or None if nothing does."""
    if condition(snapshot.job, "Running"):
        return None
    invalid = [event for event in snapshot.events if event.get("reason") == "ValidationError"]
    if invalid:
        return Obstacle(text=f"the MPI Operator refuses the job: {message(invalid[-1])}", final=True)
    if is_suspended(snapshot.job):
        known = snapshot.workload != {}
        return Obstacle(text=reason_to_wait(snapshot.job, snapshot.workload), counted=not known)
    started = _launcher_runs(snapshot)  # in a queue, the launcher does not wait for the start of the workers
    pods = [pod for pod in snapshot.pods if phase(pod) == "Pending" or not started]
    problems = [found for pod in pods if (found := _pod_obstacle(pod, snapshot.events))]
    if problems:
        return min(problems, key=lambda one: not one.final)
    if started:
        return None
    if refused := _refused_pods(snapshot):
        return refused
    if condition(snapshot.job, "Created") is None:
        text = "the MPI Operator has not processed the job; check that it runs (v0.8.2, v2beta1)"
        return Obstacle(text=text)
    return None


def _launcher_runs(snapshot: Snapshot) -> bool:
    pod = launcher_pod(snapshot.pods)
    return pod is not None and phase(pod) == "Running"


def _failure(snapshot: Snapshot, failed: Json, tail: str, *, complete: bool, lost: Sequence[str]) -> Outcome:
    reason, pod = str(failed.get("reason", "")), launcher_pod(snapshot.pods)
    code = exit_code_of(pod) if pod else None
    if "DeadlineExceeded" in reason:
        limit = snapshot.job.get("spec", {}).get("runPolicy", {}).get("activeDeadlineSeconds")
        return Outcome(reason=f"failed: it ran longer than its limit of {limit} s", exit_code=code or 1)
    for one in snapshot.pods:
        if terminated_state(one).get("reason") == "OOMKilled":
            return Outcome(reason=_out_of_memory(one), exit_code=code or 137)
    removed = sorted({*lost, *(name_of(one) for one in snapshot.pods if is_disrupted(one))})
    if removed or reason == "MPIJobEvicted":
        which = ", ".join(removed) or failed.get("message")
        return Outcome(
            reason=f"failed: a pod was evicted or deleted ({which})", exit_code=code or 1, lost=True
        )
    if pod is None or code is None:
        return Outcome(reason="failed: its launcher pod no longer exists", exit_code=1, lost=True)
    if any(line in tail for line in _LOST_HOST_LINES):
        text = f"failed: the launcher lost the connection to a worker pod (launcher exited {code})"
        return Outcome(reason=text, exit_code=code, lost=True)
    if code in _STOPPED:
        return Outcome(reason=f"stopped with a checkpoint: {_STOPPED[code]}", exit_code=code, lost=True)
    if code == _KILLED and complete and not any(line in tail for line in _FAILED_RANK_LINES):
        return Outcome(reason="failed: its launcher was killed (signal 9)", exit_code=code, lost=True)
    if code == _KILLED:
        cause = "a rank was killed (signal 9), most likely OOMKilled"
        return Outcome(reason=f"launcher exited {code}: {cause}: {_memory_advice(snapshot)}", exit_code=code)
    return Outcome(reason=f"launcher exited {code}", exit_code=code)


def _out_of_memory(pod: Json) -> str:
    limit = _memory_limit(pod["spec"]["containers"][0])
    return f"{name_of(pod)} was OOMKilled at its memory limit of {limit}; raise it or lower the global batch"


def _memory_advice(snapshot: Snapshot) -> str:
    worker = snapshot.job.get("spec", {}).get("mpiReplicaSpecs", {}).get("Worker", {})
    containers = worker.get("template", {}).get("spec", {}).get("containers") or [{}]
    limit = _memory_limit(containers[0])
    return f"raise the workers' memory limit of {limit} or lower the global batch"


def _memory_limit(container: Json) -> str:
    return str(container.get("resources", {}).get("limits", {}).get("memory", "none"))


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
        if reason in _START_ERRORS:
            text = f"{name_of(pod)} cannot start ({reason}): {message(waiting) or one.get('image')}"
            return Obstacle(text=text, final=reason in _FINAL_START_ERRORS)
    *_, last = ({}, *(event for event in events if is_about(event, pod)))
    if last.get("type") != "Warning":  # the pod has made progress since its last warning
        return None
    return Obstacle(text=f"{name_of(pod)} cannot start: {message(last)}")


def _refused_pods(snapshot: Snapshot) -> Obstacle | None:
    workers = snapshot.job["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"]
    if len(snapshot.pods) > workers:  # all pods exist: the workers and the launcher
        return None
    refused = [
        event
        for event in snapshot.events
        if event.get("type") == "Warning" and "created failed" in message(event)
    ]
    refused += [event for event in snapshot.events if event.get("reason") == "FailedCreate"]
    return Obstacle(text=f"the cluster refuses a pod: {message(refused[-1])}") if refused else None
