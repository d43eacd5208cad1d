"""Functions that read single values from the Kubernetes JSON of pods, events and conditions."""

from collections.abc import Iterable
from typing import NamedTuple

from tinyunet.mpijob.spec import Json

ROLE_LABEL = "training.kubeflow.org/job-role"
_DISRUPTION_REASONS = {
    "Evicted",
    "Preempting",
    "Preempted",
    "NodeLost",
    "NodeShutdown",
    "Shutdown",
    "Terminated",
    "NodeAffinity",
}
_DISRUPTION_EVENTS = {"Evicted", "Preempted", "TaintManagerEviction", "NodeNotReady"}


class PodImage(NamedTuple):
    """The image of a pod, and the names of the Secrets with which the node pulled it."""

    name: str
    pull_secrets: tuple[str, ...] = ()


def image_of(pod: Json) -> PodImage:
    """Return the image of a pod's `main` container, or of its first container."""
    containers = pod["spec"]["containers"]
    main = next((one for one in containers if one["name"] == "main"), containers[0])
    secrets = pod["spec"].get("imagePullSecrets") or ()
    return PodImage(str(main["image"]), tuple(str(one["name"]) for one in secrets))


def condition(job: Json, kind: str) -> Json | None:
    """Return the job's condition of this type if its status is True, or else None."""
    conditions: list[Json] = (job.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind and one.get("status") == "True"), None)


def launcher_pod(pods: Iterable[Json]) -> Json | None:
    """Return the newest launcher pod, or None if there is none."""
    launchers = [pod for pod in pods if _role(pod) == "launcher"]
    return max(launchers, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


def worker_uids(pods: Iterable[Json]) -> dict[str, str]:
    """Return the uids of the worker pods that are not being deleted, by pod name."""
    return {
        name_of(pod): str(pod["metadata"].get("uid"))
        for pod in pods
        if _role(pod) == "worker" and not pod["metadata"].get("deletionTimestamp")
    }


def disrupted_pods(events: Iterable[Json], uids: Iterable[str]) -> set[str]:
    """Return the names of the pods that the cluster evicted or preempted, according to the events.

    Args:
        events: Events of the namespace.
        uids: Uids of the pods that are considered.
    """
    objects = [one["involvedObject"] for one in events if one.get("reason") in _DISRUPTION_EVENTS]
    considered = set(uids)
    return {str(one["name"]) for one in objects if one.get("uid") in considered}


def is_disrupted(pod: Json) -> bool:
    """Return whether this pod was ended by the cluster, and not by its own program."""
    if phase(pod) != "Failed":
        return False
    conditions = pod.get("status", {}).get("conditions") or []
    disruption_target = any(
        one.get("type") == "DisruptionTarget" and one.get("status") == "True" for one in conditions
    )
    return disruption_target or pod["status"].get("reason") in _DISRUPTION_REASONS


def is_about(event: Json, pod: Json) -> bool:
    """Return whether an event is about this pod, not about an earlier pod of the same name."""
    return bool(event["involvedObject"].get("uid") == pod["metadata"].get("uid"))


def belongs_to(event: Json, job: str) -> bool:
    """Return whether an event is about the job of this name, its pods or its launcher's Job."""
    name = str(event["involvedObject"].get("name", ""))
    return name == job or name.startswith((f"{job}-launcher", f"{job}-worker-"))


def event_time(event: Json) -> str:
    """Return the time at which an event last occurred, in whole seconds, as a sortable string."""
    times = (event.get("lastTimestamp"), event.get("eventTime"), event["metadata"].get("creationTimestamp"))
    return str(next(filter(None, times), ""))[:19]


def created_at(job: Json) -> str:
    """Return the time of creation, in the format of `event_time`."""
    return str(job["metadata"].get("creationTimestamp", ""))[:19]


def terminated_state(pod: Json) -> Json:
    """Return the state in which a pod's container ended, or an empty dictionary if it has not ended."""
    for one in pod.get("status", {}).get("containerStatuses") or []:
        ended = (one.get("state") or {}).get("terminated") or (one.get("lastState") or {}).get("terminated")
        if ended:
            return dict(ended)
    return {}


def exit_code_of(pod: Json) -> int | None:
    """Return the exit code of a pod's container, or None if the container has not ended."""
    code = terminated_state(pod).get("exitCode")
    return None if code is None else int(code)


def message(source: Json) -> str:
    """Return the message of an event or a condition as one line, or its reason if it has no message."""
    return " ".join(str(source.get("message") or source.get("reason") or "").split())


def image_digests(pods: Iterable[Json]) -> set[str]:
    """Return the digests (`sha256:…`) of the images that the containers of pods run or ran."""
    statuses = [one for pod in pods for one in pod.get("status", {}).get("containerStatuses") or []]
    found = {str(one.get("imageID") or "").rpartition("@")[2] for one in statuses}
    return {digest for digest in found if digest.startswith("sha256:")}


def name_of(pod: Json) -> str:
    """Return a pod's name."""
    return str(pod["metadata"]["name"])


def phase(pod: Json) -> str:
    """Return a pod's phase."""
    return str(pod.get("status", {}).get("phase", ""))


def _role(pod: Json) -> str:
    return str(pod["metadata"].get("labels", {}).get(ROLE_LABEL, ""))
