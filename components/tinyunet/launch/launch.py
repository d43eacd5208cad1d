"""Start a training on N ranks and follow it: in one process, by mpirun on this machine, or as an MPIJob."""

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError, require
from tinyunet.core.files import read_json
from tinyunet.core.presets import find_preset
from tinyunet.core.presets import training_config
from tinyunet.launch.local_checkpoints import checkpoint_folder
from tinyunet.launch.local_ranks import BAD_INPUT, TrainingFailed, mpirun, run
from tinyunet.training import model_folder

LAUNCHERS = ("auto", "local", "mpijob")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What to train and where.

    Attributes:
        records: Folder or s3:// prefix of TFRecords.
        out: Model folder to write; under an MPIJob the s3:// URI that rank 0 writes to.
        config: The recipe.
        class_id: DAGM2007 class, used for a source of images only.
        run_key: Identity of the run: a second launch of the same key goes on with the first.
        ranks: World size.
        checkpoints: Where checkpoints go; empty is beside `out`.
        keep: Leave the last checkpoint where it is.
    """

    records: str
    out: str
    config: TrainConfig
    run_key: str
    ranks: int = 1
    class_id: int = 1
    checkpoints: str = ""
    keep: bool = False

    def arguments(self) -> list[str]:
        """Give the arguments of `tinyunet` that every rank is started with."""
        base, values = find_preset(self.config.preset), self.config.to_dict()
        changed = {k: v for k, v in values.items() if v != getattr(base, k)}
        settings = [part for k, v in changed.items() for part in ("--set", f"{k}={v}")]
        kept = ["--checkpoints", self.checkpoints] if self.checkpoints else []
        kept += ["--keep-checkpoints"] if self.keep else []
        return [
            "train", self.records, "--out", self.out, "--class-id", str(self.class_id),
            "--run-key", self.run_key, "--preset", self.config.preset, *kept, *settings,
        ]  # fmt: skip


def launch(
    *,
    records: str,
    out: str,
    uri: str,
    run_id: str,
    class_id: int,
    preset: str,
    values: Mapping[str, Any],
    ranks: int,
    slots_per_worker: int,
    launcher: str,
    task_config: object | None,
) -> dict[str, Any]:
    """Train where this process runs, or as an MPIJob, as the pipeline's train step asks.

    Args:
        records: Folder or object-store URI of TFRecords.
        out: Local model folder; stays absent under an MPIJob.
        uri: Object-store URI of the same folder: there rank 0 of an MPIJob writes.
        run_id: Identity of the pipeline run; with the class it is the training's run key.
        class_id: DAGM2007 class of the records: a pipeline run may train several.
        preset: Name of the recipe.
        values: Changes to it; zero steps and empty strings leave the preset's value.
        ranks: World size.
        slots_per_worker: Ranks per MPIJob worker.
        launcher: `auto` is `mpijob` in a pod of Kubernetes and `local` elsewhere.
        task_config: What Kubernetes shall add to the workers (`dsl.TaskConfig`).

    Returns:
        Final figures for the step's metrics, and mlflow_run_id.

    Raises:
        UserError: for what the user can mend.
        TrainingFailed: if the ranks end without a model.
    """
    require(launcher in LAUNCHERS, "launcher", launcher, "one of " + ", ".join(LAUNCHERS))
    config = training_config(preset, values)
    what: dict[str, Any] = {
        "config": config, "run_key": f"class{class_id}-{run_id}", "ranks": ranks, "class_id": class_id
    }  # fmt: skip
    in_pod = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    if launcher == "local" or (launcher == "auto" and not in_pod):
        job = Launch(records=mounted_path(records), out=out, **what)
        if (
            not in_pod
        ):  # where this run's folder stays, the same run under a new key goes on with its training
            digest = str(read_json(Path(job.records) / "manifest.json")["digest"])
            job = replace(job, checkpoints=str(checkpoint_folder(config, digest)), keep=True)
        try:
            summary = launch_local(job)
        except TrainingFailed as failure:
            if failure.code == BAD_INPUT:
                raise UserError("training refused its input; the line above says why") from failure
            raise
    else:
        summary = _launch_mpijob(
            Launch(records=_s3(records), out=_s3(uri), **what),
            slots_per_worker,
            task_config,
        )
    return _figures(summary)


def check_shares(config: TrainConfig, ranks: int) -> None:
    """Refuse a world whose ranks, or whose micro-batches, would not be equal parts of the global batch."""
    batch = config.global_batch
    require(ranks >= 1 and batch % ranks == 0, "ranks", ranks, f"a divisor of the global batch {batch}")
    share = batch // ranks
    require(
        share % config.accumulate == 0,
        "accumulate",
        config.accumulate,
        f"a divisor of a rank's {share} images per step",
    )


def default_run_key(out: str) -> str:
    """Name the run of an output place: its last part and a digest of the whole, safe in file names."""
    location = out if "://" in out else str(Path(out).resolve())
    name = re.sub(r"[^a-z0-9]+", "-", Path(out).name.lower()).strip("-") or "run"
    return f"{name[:24]}-{hashlib.sha256(location.encode()).hexdigest()[:8]}"


def launch_local(job: Launch) -> dict[str, Any]:
    """Train on this machine: `ranks` processes under mpirun, or one.

    Returns:
        The content of model.json.

    Raises:
        UserError: if mpirun is missing.
        TrainingFailed: if a rank ends with another exit code than 0.
    """
    check_shares(job.config, job.ranks)
    command = [sys.executable, "-m", "tinyunet", *job.arguments()]
    if job.ranks > 1:
        command = [*mpirun(job.ranks), *command]
    run(command)
    summary = model_folder.finished_model(job.out)
    if summary is None:
        raise TrainingFailed(f"the ranks ended with exit code 0 but {job.out} holds no model.json")
    return summary


def _launch_mpijob(job: Launch, slots_per_worker: int, task_config: object | None) -> dict[str, Any]:
    from tinyunet.core.retry import retry_while_unreachable
    from tinyunet.mpijob.image import task_image
    from tinyunet.mpijob.run import run_mpijob
    from tinyunet.mpijob.spec import MPIJobSpec, WorkerPods, job_name
    from tinyunet.storage import s3
    from tinyunet.tracking.uri import tracking_uri

    check_shares(job.config, job.ranks)
    require(
        slots_per_worker >= 1 and job.ranks % slots_per_worker == 0,
        "slots_per_worker",
        slots_per_worker,
        f"a divisor of the world size {job.ranks}",
    )
    tracking_uri()  # what the ranks will need is missed here, in seconds
    if s3.is_remote(job.records) and not s3.exists(f"{job.records}/manifest.json"):
        raise UserError(
            f"S3_ENDPOINT_URL is {os.environ['S3_ENDPOINT_URL']}, which has no {job.records}/manifest.json; "
            "expected the object store of the pipeline root (make connect NAMESPACE=… STORE=…)"
        )
    run_mpijob(
        MPIJobSpec(
            name=job_name(job.run_key),
            image=task_image(),
            command=("python3", "-m", "tinyunet", *job.arguments()),
            run_key=job.run_key,
            workers=job.ranks // slots_per_worker,
            slots_per_worker=slots_per_worker,
            pods=WorkerPods.from_task_config(task_config),
            queue=os.environ.get("TINYUNET_QUEUE", ""),
        )
    )
    summary = retry_while_unreachable(
        partial(model_folder.finished_model, job.out), server="the object store"
    )
    if summary is None:
        raise TrainingFailed(f"the MPIJob succeeded but {job.out} holds no model.json")
    return summary


def mounted_path(uri: str) -> str:
    """Give the local path at which KFP shows a pod an input artifact; a path stays what it is."""
    scheme, found, rest = uri.partition("://")
    return f"/{scheme}/{rest}" if found else uri


def _s3(uri: str) -> str:
    """KFP names a MinIO bucket minio://; its objects are reached by S3 like any other."""
    return uri.replace("minio://", "s3://", 1) if uri.startswith("minio://") else uri


def _figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    figures = dict(summary["training"])
    figures["mlflow_run_id"] = (summary["mlflow"] or {}).get("run_id")
    return figures
