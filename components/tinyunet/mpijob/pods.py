"""What pods, events and conditions say by themselves: small readers of the Kubernetes JSON."""

from collections.abc import Iterable

from tinyunet.mpijob.spec import Json

ROLE_LABEL = "training.kubeflow.org/job-role"
_LOST_REASONS = {
    "Evicted",
    "Preempting",
    "Preempted",
    "NodeLost",
    "NodeShutdown",
    "Shutdown",
    "Terminated",
    "NodeAffinity",
}
_LOST_EVENTS = {"Evicted", "Preempted", "TaintManagerEviction", "NodeNotReady"}


def condition(job: Json, kind: str) -> Json | None:
    """Give the job's condition of that type if its status is True."""
    conditions: list[Json] = (job.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind and one.get("status") == "True"), None)


def launcher_pod(pods: Iterable[Json]) -> Json | None:
    """Give the newest launcher pod."""
    found = [pod for pod in pods if pod["metadata"].get("labels", {}).get(ROLE_LABEL) == "launcher"]
    return max(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


def workers(pods: Iterable[Json]) -> dict[str, str]:
    """Give the uid of every worker pod that is not on its way out, by name."""
    return {
        name_of(pod): str(pod["metadata"].get("uid"))
        for pod in pods
        if pod["metadata"].get("labels", {}).get(ROLE_LABEL) == "worker"
        and not pod["metadata"].get("deletionTimestamp")
    }


def evicted(events: Iterable[Json], uids: Iterable[str]) -> set[str]:
    """Give the names of those pods that events tell the cluster has taken away."""
    abouts = [one["involvedObject"] for one in events if one.get("reason") in _LOST_EVENTS]
    return {str(one["name"]) for one in abouts if one.get("uid") in set(uids)}


def taken_away(pod: Json) -> bool:
    """Whether the cluster, not the program, ended this pod."""
    if phase(pod) != "Failed":
        return False
    conditions = pod.get("status", {}).get("conditions") or []
    disrupted = any(
        one.get("type") == "DisruptionTarget" and one.get("status") == "True" for one in conditions
    )
    return disrupted or pod["status"].get("reason") in _LOST_REASONS


def is_about(event: Json, pod: Json) -> bool:
    """Whether an event is about this pod, not one before it that had its name."""
    return bool(event["involvedObject"].get("uid") == pod["metadata"].get("uid"))


def happened(event: Json) -> str:
    """Give the time of an event, the last one of those that it stands for; to the second, sortable."""
    times = (event.get("lastTimestamp"), event.get("eventTime"), event["metadata"].get("creationTimestamp"))
    return str(next(filter(None, times), ""))[:19]


def born(job: Json) -> str:
    """Give the time of creation, as `happened` does."""
    return str(job["metadata"].get("creationTimestamp", ""))[:19]


def terminated(pod: Json) -> Json:
    """Give the state that a pod's container ended in; empty while it runs."""
    for one in pod.get("status", {}).get("containerStatuses") or []:
        ended = (one.get("state") or {}).get("terminated") or (one.get("lastState") or {}).get("terminated")
        if ended:
            return dict(ended)
    return {}


def exit_code_of(pod: Json) -> int | None:
    """Give a pod's exit code, or None."""
    code = terminated(pod).get("exitCode")
    return None if code is None else int(code)


def message(about: Json) -> str:
    """Give the message of an event or condition, on one line."""
    return " ".join(str(about.get("message") or about.get("reason") or "").split())


def name_of(pod: Json) -> str:
    """Give a pod's name."""
    return str(pod["metadata"]["name"])


def phase(pod: Json) -> str:
    """Give a pod's phase."""
    return str(pod.get("status", {}).get("phase", ""))
