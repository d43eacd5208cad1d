"""Run an MPIJob to its end: create or find it, follow it, stream its log, say why it failed, clean up."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.retry import retry_while_unreachable
from tinyunet.mpijob.client import Cluster
from tinyunet.mpijob.pods import condition
from tinyunet.mpijob.spec import DIGEST_ANNOTATION, Json, MPIJobSpec, build
from tinyunet.mpijob.status import JobFailed, Outcome
from tinyunet.mpijob.watch import Watcher, gone

Log = Callable[[str], None]
_TERMINATED = 128 + signal.SIGTERM


def run_mpijob(spec: MPIJobSpec, *, log: Log = print) -> None:
    """Run the job to success; a running job of the same name and work is followed, not started twice.

    The launcher's log goes to `log`. A job that loses a pod to the cluster is started again, `spec.restarts`
    times; SIGTERM deletes the job.

    Raises:
        UserError: no cluster, no CRD, no permission, or a job that cannot start.
        JobFailed: with the launcher's exit code and its last lines.
    """
    with _sigterm_raises():
        run_manifest(
            Cluster(spec.namespace),
            build(spec),
            pending_seconds=spec.pending_seconds,
            restarts=spec.restarts,
            log=log,
        )


@contextmanager
def exit_with_job_code() -> Iterator[None]:
    """End this process with the exit code of a job that failed in the block, its message on stderr."""
    try:
        yield
    except JobFailed as error:
        print(f"tinyunet: error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code or 1) from error


def run_manifest(
    cluster: Cluster, manifest: Json, *, pending_seconds: float, restarts: int = 0, log: Log = print
) -> None:
    """Run an MPIJob that is given as JSON; see `run_mpijob`."""
    name = manifest["metadata"]["name"]
    title = f"MPIJob {cluster.namespace}/{name}"
    for left in reversed(range(restarts + 1)):
        watcher = Watcher(cluster, name, pending_seconds=pending_seconds, log=log)
        try:
            log(f"{title} {_ensure(cluster, manifest)}")
            end = _follow_or_delete(cluster, name, watcher)
        except Unreachable as error:
            raise JobFailed(f"{title}: {error}; the job may still run, and a retry follows it") from error
        except JobFailed as error:
            raise JobFailed(f"{title}: {error}") from error
        if not end.reason:
            log(f"{title} succeeded")
            return
        if end.lost:
            gone(cluster, name)
        if not (end.lost and left):
            raise JobFailed(_report(title, end, watcher), exit_code=end.exit_code)
        log(f"{title} {end.reason}; starting it again, from its last checkpoint ({left} restarts left)")


def _follow_or_delete(cluster: Cluster, name: str, watcher: Watcher) -> Outcome:
    try:
        return watcher.follow()
    except (JobFailed, Unreachable):
        raise
    except BaseException:  # SIGTERM, Ctrl-C, or a job that cannot start: nothing stays behind
        with suppress(UserError):
            cluster.delete(name, seconds=1)
        raise


def _ensure(cluster: Cluster, manifest: Json) -> str:
    """Create the job, or find it: the same work, and not a failed try. Returns what was done."""
    name, owners = manifest["metadata"]["name"], _owners()
    owned = manifest | {"metadata": manifest["metadata"] | ({"ownerReferences": owners} if owners else {})}
    while retry_while_unreachable(lambda: cluster.create(owned)) is None:
        found = retry_while_unreachable(lambda: cluster.job(name))
        if found is None:
            continue
        same = _digest(found) == _digest(manifest)
        finished = found["metadata"].get("deletionTimestamp") or condition(found, "Failed")
        if same and not finished:
            _adopt(cluster, found, owners)
            return "is there already: following it"
        if not finished and not condition(found, "Succeeded"):
            raise JobFailed(
                "a job of this name runs with another specification; wait for it, use another run key, or "
                f"delete it: kubectl -n {cluster.namespace} delete mpijob {name}"
            )
        gone(cluster, name)
    return "created"


def _adopt(cluster: Cluster, found: Json, owners: list[Json]) -> None:
    present = found["metadata"].get("ownerReferences") or []
    known = {one.get("uid") for one in present}
    if missing := [one for one in owners if one["uid"] not in known]:
        retry_while_unreachable(lambda: cluster.own(found["metadata"]["name"], [*present, *missing]))


def _owners() -> list[Json]:
    """Give the pod that runs this task, as Kubeflow Pipelines names it."""
    name, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    return [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}] if name and uid else []


def _digest(job: Json) -> str | None:
    annotations: Json = job["metadata"].get("annotations") or {}
    return annotations.get(DIGEST_ANNOTATION)


def _report(title: str, end: Outcome, watcher: Watcher) -> str:
    lines = [line for line in watcher.log.tail if line.strip()]
    return "\n  | ".join([f"{title} {end.reason}" + (", last lines of its log:" if lines else ""), *lines])


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Make SIGTERM an exception; only the main thread may, elsewhere nothing changes."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
