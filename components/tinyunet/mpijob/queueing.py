"""Interpretation of a job's wait in a queue of Kueue: pure functions of the Kubernetes JSON.

Kueue keeps its decisions in a Workload that it creates for each job. A job that waits, also one that was
preempted, is suspended. Source: API kueue.x-k8s.io/v1beta2, Kueue 0.17.
"""

import re

from tinyunet.mpijob.pods import condition, message
from tinyunet.mpijob.spec import QUEUE_LABEL, Json

_QUOTA = "QuotaReserved"  # condition of a Workload: its message says why the job is not admitted
_EVICTED = "Evicted"  # condition of a Workload whose job was suspended again: its message says why


def is_suspended(job: Json) -> bool:
    """Return whether the job must not run: its queue has not admitted it yet, or has preempted it."""
    return bool(job.get("spec", {}).get("runPolicy", {}).get("suspend"))


def queue_of(job: Json) -> str:
    """Return the name of the job's LocalQueue; empty if it has none."""
    return str(job["metadata"].get("labels", {}).get(QUEUE_LABEL, ""))


def reason_to_wait(job: Json, workload: Json | None) -> str:
    """Return why a suspended job waits, in the words of Kueue.

    Args:
        job: The MPIJob.
        workload: Its Workload: empty if Kueue has made none, None if it must not be read.
    """
    queue = queue_of(job)
    if not queue:
        return "it is suspended, but in no queue; set its spec.runPolicy.suspend to false"
    text = f"in queue {queue}"
    if workload is None:
        return text
    if not workload:
        return (
            f"{text}: Kueue does not know it; check that Kueue runs, and that its priority class exists: "
            "kubectl get workloadpriorityclasses"
        )
    conditions: list[Json] = workload.get("status", {}).get("conditions") or []
    refusal = next((one for one in conditions if (one["type"], one["status"]) == (_QUOTA, "False")), None)
    evicted = condition(workload, _EVICTED)
    if refusal and not (evicted and message(evicted) == message(refusal)):
        text += f": {message(refusal)}"
    if evicted:
        cause = re.sub(r" \(UID: [^)]*\)", "", message(evicted)).partition(";")[0]
        text += f"; it was stopped ({cause}) and will continue from its checkpoint"
    return text
