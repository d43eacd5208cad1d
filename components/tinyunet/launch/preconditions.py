"""What a training in the cluster needs, checked before the images are read and before its job is made."""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.retry import retry_while_unreachable
from tinyunet.launch.local_ranks import stop_with_parent

PROBE = "tinyunet-probe"  # name of an object that is written and deleted
RETRY_S = 60.0  # a server that restarts answers within this time


def uses_mpijob(launcher: str) -> bool:
    """Return whether this launcher trains as an MPIJob: `auto` does in a pod of Kubernetes."""
    return launcher == "mpijob" or (launcher == "auto" and bool(os.environ.get("KUBERNETES_SERVICE_HOST")))


def s3_uri(uri: str) -> str:
    """Return an artifact URI with the scheme s3:// if KFP wrote it with the scheme minio://."""
    return uri.replace("minio://", "s3://", 1) if uri.startswith("minio://") else uri


def check_cluster(launcher: str, artifact: str, *, deploy: bool = False) -> None:
    """Check MLflow, the object store and the permissions of a run whose training will be an MPIJob.

    Args:
        launcher: `auto`, `local` or `mpijob`; for a training on this machine none of these is checked.
        artifact: URI of an artifact of this run.
        deploy: Whether the last step replaces servers; then its permission is checked, too.

    Raises:
        UserError: naming what is missing, and what to do.
    """
    if uses_mpijob(launcher):
        from tinyunet.mpijob.permissions import require_mpijobs

        check_services(artifact)
        retry_while_unreachable(require_mpijobs, timeout_s=RETRY_S)
    if deploy:
        from tinyunet.mpijob.rollout import require_deployer

        require_deployer()


def check_services(artifact: str) -> None:
    """Check that MLflow answers and is new enough, and that the store can be written at the run's URI.

    Args:
        artifact: URI of an artifact of this run.

    Raises:
        UserError: naming the service, and what to do.
    """
    from tinyunet.tracking.server import require_server
    from tinyunet.tracking.uri import tracking_uri

    uri = tracking_uri()
    check = partial(require_server, uri)
    # The launcher lives as long as its job; the 120 MB of MLflow's client are freed with this process.
    with ProcessPoolExecutor(1, mp_context=get_context("fork"), initializer=stop_with_parent) as pool:
        pool.submit(retry_while_unreachable, check, server="MLflow", timeout_s=RETRY_S).result()
    _check_store(s3_uri(artifact))


def _check_store(artifact: str) -> None:
    """Write an object beside the artifact and delete it; KFP uploads only the artifact itself."""
    from tinyunet.storage import s3

    if not s3.is_remote(artifact):
        return
    probe = f"{artifact.rstrip('/').rpartition('/')[0]}/{PROBE}"
    try:
        retry_while_unreachable(
            lambda: s3.write_bytes(probe, b""), server="the object store", timeout_s=RETRY_S
        )
        s3.remove(probe)
    except Unreachable:
        raise
    except UserError as error:
        raise UserError(
            f"the ranks could not write their model: {error}; expected the object store of the pipeline root "
            "and its key (make connect NAMESPACE=… STORE=…)"
        ) from error
