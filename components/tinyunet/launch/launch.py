"""Start a training: on this machine (one process, or several under mpirun), or as an MPIJob on Kubernetes."""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.core.categories import class_category, unique_slug
from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError, require
from tinyunet.launch.following import following, with_lease
from tinyunet.launch.local_checkpoints import checkpoint_folder, kept_run_key
from tinyunet.launch.local_ranks import BAD_INPUT, TrainingFailed, mpirun, run_ranks
from tinyunet.launch.preconditions import check_services, s3_uri, uses_mpijob
from tinyunet.training.model_folder import finished_model
from tinyunet.training.run import TrainingRun, check_shares

if TYPE_CHECKING:
    from tinyunet.mpijob.spec import WorkerPods

LAUNCHERS = ("auto", "local", "mpijob")


def pipeline_run(
    records: str, out: str, config: TrainConfig, run_id: str, category: str, ranks: int
) -> TrainingRun:
    """Return the training that a train task of the pipeline describes.

    Args:
        records: URI of the TFRecords.
        out: URI of the model folder.
        config: The training configuration.
        run_id: Id of the pipeline run.
        category: Category of the records. It is a part of the run key, because one pipeline run may
            train several classes.
        ranks: World size.
    """
    run_key = f"{unique_slug(class_category(category))}-{run_id}" if category else run_id
    return TrainingRun(
        records=records, out=out, config=config, run_key=run_key, ranks=ranks, category=category
    )


def launch(
    run: TrainingRun, *, slots_per_worker: int, launcher: str, task_config: object | None
) -> ModelDocument:
    """Train on this machine or as an MPIJob.

    In an MPIJob, rank 0 writes the model folder directly to its URI; no local folder is created.

    Args:
        run: The training; `records` and `out` are artifact URIs of KFP.
        slots_per_worker: Ranks in each worker pod of an MPIJob.
        launcher: `local`, `mpijob`, or `auto`: `mpijob` in a pod of Kubernetes and `local` elsewhere.
        task_config: Settings of the MPIJob's worker pods (`dsl.TaskConfig`).

    Returns:
        The content of model.json.

    Raises:
        UserError: if the input or a setting of the environment is wrong.
        TrainingFailed: if the ranks end without a model.
        JobFailed: if the MPIJob fails.
    """
    require(launcher in LAUNCHERS, "launcher", launcher, "one of " + ", ".join(LAUNCHERS))
    in_pod = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    if uses_mpijob(launcher):
        run = with_lease(replace(run, records=s3_uri(run.records), out=s3_uri(run.out)))
        return _launch_mpijob(run, slots_per_worker, task_config)
    run = replace(run, records=mounted_path(run.records), out=mounted_path(run.out))
    if not in_pod:  # the checkpoints remain on this machine, and the next pipeline run resumes from them
        digest = RecordsManifest.read(Path(run.records)).digest
        folder = checkpoint_folder(run.config, digest)
        run_key = kept_run_key(folder, run.run_key)
        run = replace(run, checkpoints=str(folder), keep_checkpoints=True, run_key=run_key)
    try:
        return launch_local(run)
    except TrainingFailed as failure:
        if failure.exit_code == BAD_INPUT:
            raise UserError(
                "the training ended because of wrong input; the line above gives the reason"
            ) from failure
        raise


def launch_local(run: TrainingRun) -> ModelDocument:
    """Train on this machine: in one process, or in several processes under mpirun.

    Returns:
        The content of model.json.

    Raises:
        UserError: if mpirun is not installed, or if the ranks do not divide the global batch.
        TrainingFailed: if the ranks end with an exit code other than 0.
    """
    check_shares(run.config, run.ranks)
    command = [sys.executable, "-m", "tinyunet", *run.arguments()]
    run_ranks([*mpirun(run.ranks), *command] if run.ranks > 1 else command)
    document = finished_model(run.out)
    if document is None:
        raise TrainingFailed(f"the ranks ended with exit code 0 but {run.out} holds no model.json")
    return document


def _launch_mpijob(run: TrainingRun, slots_per_worker: int, task_config: object | None) -> ModelDocument:
    from tinyunet.core.retry import retry_while_unreachable
    from tinyunet.mpijob.image import job_image_digest, task_image
    from tinyunet.mpijob.permissions import require_queue
    from tinyunet.mpijob.run import run_mpijob
    from tinyunet.mpijob.spec import MPIJobSpec, job_name
    from tinyunet.storage import s3
    from tinyunet.tracking.launched import record_image

    check_shares(run.config, run.ranks)
    require(
        slots_per_worker >= 1 and run.ranks % slots_per_worker == 0,
        "slots_per_worker",
        slots_per_worker,
        f"a divisor of the world size {run.ranks}",
    )
    pods = _worker_pods(run.ranks // slots_per_worker, slots_per_worker, task_config)
    check_services(run.out)
    if s3.is_remote(run.records) and not s3.exists(f"{run.records}/manifest.json"):
        raise UserError(
            f"S3_ENDPOINT_URL is {os.environ['S3_ENDPOINT_URL']}, which has no {run.records}/manifest.json; "
            "expected the object store of the pipeline root (make connect NAMESPACE=… STORE=…)"
        )
    queue, priority = os.environ.get("TINYUNET_QUEUE", ""), os.environ.get("TINYUNET_PRIORITY", "")
    require(not priority or bool(queue), "TINYUNET_PRIORITY", priority, "no value without TINYUNET_QUEUE")
    retry_while_unreachable(partial(require_queue, queue))
    image = retry_while_unreachable(task_image)
    job = MPIJobSpec(
        name=job_name(run.run_key),
        image=image.name,
        pull_secrets=image.pull_secrets,
        command=("python3", "-m", "tinyunet", *run.arguments()),
        run_key=run.run_key,
        workers=run.ranks // slots_per_worker,
        slots_per_worker=slots_per_worker,
        pods=pods,
        queue=queue,
        priority=priority,
    )
    with following(run):
        run_mpijob(job)
    record_image(run.run_key, job_image_digest(job.name))
    document = retry_while_unreachable(partial(finished_model, run.out), server="the object store")
    if document is None:
        raise TrainingFailed(f"the MPIJob succeeded but {run.out} holds no model.json")
    return document


def _worker_pods(workers: int, slots_per_worker: int, task_config: object | None) -> "WorkerPods":
    """Return the settings of the workers; check their GPUs, and print how they fit the cluster's nodes."""
    from tinyunet.core.retry import retry_while_unreachable
    from tinyunet.mpijob.permissions import nodes
    from tinyunet.mpijob.resources import check_worker_gpus, describe_nodes, worker_gpus
    from tinyunet.mpijob.spec import WorkerPods

    pods = WorkerPods.from_task_config(task_config)
    check_worker_gpus(slots_per_worker, pods.resources)
    if worker_gpus(pods.resources):
        print(describe_nodes(workers, pods.resources, retry_while_unreachable(nodes)), flush=True)
    return pods


def mounted_path(uri: str) -> str:
    """Return the path at which KFP mounts an artifact in a pipeline task; a local path is not changed."""
    scheme, separator, rest = uri.partition("://")
    return f"/{'gcs' if scheme == 'gs' else scheme}/{rest}" if separator else uri
