"""Run an MPIJob: create it or adopt an existing one, print its log until it ends, and report a failure."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.retry import retry_while_unreachable
from tinyunet.core.stopping import raise_on_sigterm
from tinyunet.mpijob.client import Cluster
from tinyunet.mpijob.pods import condition
from tinyunet.mpijob.spec import DIGEST_ANNOTATION, Json, MPIJobSpec, build
from tinyunet.mpijob.status import JobFailed, Outcome
from tinyunet.mpijob.watch import Watcher, delete_and_wait

Log = Callable[[str], None]


def run_mpijob(spec: MPIJobSpec, *, log: Log = print) -> None:
    """Run the job until it succeeds.

    If a job of the same name and specification exists, this function follows it instead of starting a second
    one. If the cluster removes a pod, the job is started again, at most `spec.restarts` times. After SIGTERM
    or Ctrl-C, the job is deleted.

    Args:
        spec: The job.
        log: Function that receives each line of the launcher's log, and the messages of this function.

    Raises:
        UserError: if the cluster, the CRD or a permission is missing, or the job cannot start.
        JobFailed: if the job fails. It has the exit code of the launcher and the last lines of its log.
    """
    with raise_on_sigterm():
        run_manifest(
            Cluster(spec.namespace),
            build(spec),
            pending_seconds=spec.pending_seconds,
            restarts=spec.restarts,
            log=log,
        )


@contextmanager
def exit_with_job_code() -> Iterator[None]:
    """If the block raises JobFailed, print the error to stderr and exit with the exit code of the job."""
    try:
        yield
    except JobFailed as error:
        print(f"tinyunet: error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code or 1) from error


def run_manifest(
    cluster: Cluster, manifest: Json, *, pending_seconds: float, restarts: int = 0, log: Log = print
) -> None:
    """Run an MPIJob that is given as Kubernetes JSON; see `run_mpijob`."""
    name = manifest["metadata"]["name"]
    title = f"MPIJob {cluster.namespace}/{name}"
    for remaining_restarts in reversed(range(restarts + 1)):
        watcher = Watcher(cluster, name, pending_seconds=pending_seconds, log=log)
        try:
            log(f"{title} {_create_or_adopt(cluster, manifest)}")
            outcome = _follow_or_delete(cluster, name, watcher)
        except Unreachable as error:
            raise JobFailed(
                f"{title}: {error}; the job may still be running: a retry will follow it; without one, "
                "it saves a checkpoint and ends as soon as its lease has expired"
            ) from error
        except JobFailed as error:
            raise JobFailed(f"{title}: {error}", ended=error.ended) from error
        if not outcome.reason:
            log(f"{title} succeeded")
            return
        if outcome.lost:
            delete_and_wait(cluster, name)
        if not (outcome.lost and remaining_restarts):
            raise JobFailed(
                _describe_failure(title, outcome, watcher), exit_code=outcome.exit_code, ended=True
            )
        log(
            f"{title} {outcome.reason}; starting it again from its last checkpoint "
            f"(remaining restarts: {remaining_restarts})"
        )


def _follow_or_delete(cluster: Cluster, name: str, watcher: Watcher) -> Outcome:
    try:
        return watcher.follow()
    except (JobFailed, Unreachable):
        raise
    except BaseException:  # SIGTERM, Ctrl-C, or a job that cannot start: delete the job
        with suppress(UserError):
            cluster.delete(name, seconds=1)
        raise


def _create_or_adopt(cluster: Cluster, manifest: Json) -> str:
    """Create the job, or adopt an existing job of the same specification unless it failed.

    An existing job is deleted and created again if it failed, or if it has another specification and
    succeeded.

    Returns:
        The end of a line for the log: what was done.
    """
    name, owners = manifest["metadata"]["name"], _owner_references()
    owned = manifest | {"metadata": manifest["metadata"] | ({"ownerReferences": owners} if owners else {})}
    while retry_while_unreachable(lambda: cluster.create(owned)) is None:
        existing = retry_while_unreachable(lambda: cluster.job(name))
        if existing is None:
            continue
        same = _digest(existing) == _digest(manifest)
        failed = existing["metadata"].get("deletionTimestamp") or condition(existing, "Failed")
        if same and not failed:
            _adopt(cluster, existing, owners)
            return "already exists; following it"
        if not failed and not condition(existing, "Succeeded"):
            raise JobFailed(
                "a job of this name is running with another specification "
                f"({_difference(existing, manifest)}); to continue with the new one, stop the old one: "
                f"kubectl -n {cluster.namespace} delete mpijob {name} (its ranks save a checkpoint), and "
                "press Retry; or wait for its end, or use another run key"
            )
        delete_and_wait(cluster, name)
    return "created"


def _difference(existing: Json, manifest: Json) -> str:
    """Return in words what is different about the workers of two jobs."""
    (old, old_pod), (new, new_pod) = _workers(existing), _workers(manifest)
    if old_pod["image"] != new_pod["image"]:
        return f"the image {old_pod['image']}, not {new_pod['image']}"
    if old["replicas"] != new["replicas"]:
        return f"{old['replicas']} workers, not {new['replicas']}"
    return "the same image and number of workers, but another command or other settings of the pods"


def _workers(job: Json) -> tuple[Json, Json]:
    """Return the workers' part of a job, and their container."""
    workers: Json = job["spec"]["mpiReplicaSpecs"]["Worker"]
    return workers, workers["template"]["spec"]["containers"][0]


def _adopt(cluster: Cluster, job: Json, owners: list[Json]) -> None:
    """Add owners to an existing job, so that it exists as long as one of its owners."""
    present = job["metadata"].get("ownerReferences") or []
    uids = {owner.get("uid") for owner in present}
    if missing := [owner for owner in owners if owner["uid"] not in uids]:
        retry_while_unreachable(lambda: cluster.set_owners(job["metadata"]["name"], [*present, *missing]))


def _owner_references() -> list[Json]:
    """Return a reference to the pod of this pipeline task; empty outside a task of Kubeflow Pipelines."""
    name, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    return [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}] if name and uid else []


def _digest(job: Json) -> str | None:
    annotations: Json = job["metadata"].get("annotations") or {}
    return annotations.get(DIGEST_ANNOTATION)


def _describe_failure(title: str, outcome: Outcome, watcher: Watcher) -> str:
    lines = [line for line in watcher.log.tail if line.strip()]
    announcement = ", last lines of its log:" if lines else ""
    return "\n  | ".join([f"{title} {outcome.reason}{announcement}", *lines])
