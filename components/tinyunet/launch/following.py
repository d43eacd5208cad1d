"""What the launcher of an MPIJob does while it follows the job: renew its lease, and end its MLflow run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from tinyunet.core.errors import require
from tinyunet.training.run import TrainingRun

LEASE_S = 300
# A lease is renewed ten times in its length. One slow answer of the store ends a training with a shorter one.
SHORTEST_LEASE_S = 60


def with_lease(run: TrainingRun) -> TrainingRun:
    """Return the training with the lease of TINYUNET_LEASE_SECONDS; without S3 there is no lease.

    Raises:
        UserError: if the variable is not a number of seconds, or a shorter time than SHORTEST_LEASE_S.
    """
    name = "TINYUNET_LEASE_SECONDS"
    value = os.environ.get(name) or str(LEASE_S)
    valid = value.isdecimal() and (int(value) == 0 or int(value) >= SHORTEST_LEASE_S)
    require(valid, name, value, f"at least {SHORTEST_LEASE_S} seconds, such as {LEASE_S}, or 0 for none")
    return replace(run, lease=int(value)) if run.checkpoint_location.startswith("s3://") else run


@contextmanager
def following(run: TrainingRun) -> Iterator[None]:
    """Renew the lease of a job while the block follows it.

    If the job fails, its MLflow run gets an end. If it succeeds, the run becomes a child of that of the task,
    where Kubeflow's MLflow plugin made one, and the lease is deleted.

    Args:
        run: The training of the job.
    """
    from tinyunet.mpijob.status import JobFailed
    from tinyunet.storage.lease import remove_lease, renewed_lease
    from tinyunet.tracking.launched import end_run, nest_run

    with renewed_lease(run.lease_location, run.lease) if run.lease else nullcontext():
        try:
            yield
        except JobFailed as error:
            if error.ended:
                end_run(run.run_key)
            raise
    nest_run(run.run_key)
    if run.lease:
        remove_lease(run.lease_location)
