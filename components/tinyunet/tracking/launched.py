"""What the launcher of an MPIJob does with the MLflow run of its ranks, which it does not share."""

import os

from tinyunet.core.console import say
from tinyunet.core.errors import UserError
from tinyunet.tracking.client import experiment_id, find_run, mlflow_errors, open_client

RUNNING, FAILED = "RUNNING", "FAILED"
PARENT = "mlflow.parentRunId"
IMAGE_DIGEST = "image_digest"
IN_IMAGE = "in_image"  # whether rank 0 ran in an image, `True` or `False`; older runs do not have it


def end_run(run_key: str) -> None:
    """Give the run of a training whose rank 0 was killed the status FAILED; a resumed training continues it.

    A run that has an end is not changed. If MLflow does not answer, a warning is printed, and the run has no
    end until the training is resumed.

    Args:
        run_key: Identity of the training.
    """
    try:
        with mlflow_errors(short_timeout=True):
            client = open_client()
            run_id = find_run(client, experiment_id(client), run_key)
            if run_id and client.get_run(run_id).info.status == RUNNING:
                client.set_terminated(run_id, FAILED)
    except UserError as error:
        say(f"tinyunet: warning: {error}; the run of this training stays {RUNNING} until it is resumed")


def record_image(run_key: str, digest: str) -> None:
    """Record the digest of the image that trained a model as a tag of its run, which `trace` shows.

    Args:
        run_key: Identity of the training.
        digest: `sha256:…`; nothing is recorded if it is empty.
    """
    if not digest:
        return
    try:
        with mlflow_errors(short_timeout=True):
            client = open_client()
            if run_id := find_run(client, experiment_id(client), run_key):
                client.set_tag(run_id, IMAGE_DIGEST, digest)
    except UserError as error:
        say(f"tinyunet: warning: {error}; the run of this training does not record its image {digest}")


def nest_run(run_key: str) -> None:
    """Make the run of a training a child of the run that Kubeflow's MLflow plugin made for this task.

    With its setting `injectUserEnvVars`, the plugin passes the id of that run as MLFLOW_RUN_ID to the pod of
    the task. Without it, or if the plugin uses another MLflow server, nothing is changed.

    Args:
        run_key: Identity of the training.
    """
    parent = os.environ.get("MLFLOW_RUN_ID")
    if not parent:
        return
    try:
        with mlflow_errors(short_timeout=True):
            client = open_client()
            client.get_run(parent)
            if run_id := find_run(client, experiment_id(client), run_key):
                client.set_tag(run_id, PARENT, parent)
    except UserError as error:
        say(f"tinyunet: warning: {error}; the run of this training is not shown below the run of its task")
