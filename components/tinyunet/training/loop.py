"""The training run: `train` is the one seam that CLI, components, MPIJobs and tests call."""

import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tinyunet.core.errors import UserError
from tinyunet.core.locks import exclusive_lock
from tinyunet.data.dataset import batches, load_split
from tinyunet.data.tfrecord import read_manifest
from tinyunet.model.precision import is_emulated, resolve_precision
from tinyunet.model.unet import build_unet, forward_function
from tinyunet.storage import s3
from tinyunet.tracking.tracker import NullTracker, Tracker
from tinyunet.training import model_folder
from tinyunet.training.checkpoint import Checkpoint, Checkpoints, checkpoint_precision
from tinyunet.training.inputs import normalization
from tinyunet.training.optimizer import averaged_weights, build_optimizer, take_averages
from tinyunet.training.progress import ProgressMeter
from tinyunet.training.provenance import provenance
from tinyunet.training.run import Job
from tinyunet.training.step import StepResult, TrainStep, validate
from tinyunet.training.stopping import Stopped, StopRequest

FLUSH_EVERY = 10  # steps between two reads of the losses from the device, and two batches to MLflow

Row = dict[str, float]


def train(job: Job, tracker: Tracker | NullTracker) -> dict[str, Any]:
    """Train a model, or go on with a training that was interrupted.

    Resume is the default: a finished model of the same identity is returned at once, a checkpoint is
    continued, and one of another configuration or data is refused.

    Args:
        job: What to train, from what, on which ranks.
        tracker: MLflow on rank 0, `NullTracker` on the others.

    Returns:
        The content of the model folder's model.json.

    Raises:
        UserError: for data, configuration or checkpoints that do not fit.
        Stopped: after SIGINT or SIGTERM, with the state saved.
    """
    is_local = not s3.is_remote(job.checkpoints)  # on S3 the name of the MPIJob keeps a second one away
    with exclusive_lock(Path(job.checkpoints)) if job.world.is_chief and is_local else nullcontext():
        finished = job.world.broadcast_object(
            model_folder.finished_model(job.out) if job.world.is_chief else None
        )
        if not isinstance(finished, dict):
            return _Run(job, tracker).execute()
        job.refuse_other(finished["identity"], job.out)
        if job.world.is_chief:
            print(
                f"{job.out} already holds this model ({finished['steps']} steps); nothing to do", flush=True
            )
        return finished


class _Run:
    """The state of one training between its first and its last step."""

    def __init__(self, job: Job, tracker: Tracker | NullTracker) -> None:
        config = job.config
        self.job, self.tracker, self.world, self.config = job, tracker, job.world, config
        self.identity = job.identity()  # once: the records may be gone before the end
        self.precision = self.world.broadcast_object(self._precision())
        self.training = load_split(job.records, "train", config.image_size, verify=True)
        self.validation = load_split(job.records, "validation", config.image_size, verify=True)
        self.scale, self.offset = normalization(config, self.training)
        keras.utils.set_random_seed(config.seed)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.model = build_unet(
            config.image_size,
            seed=config.seed,
            precision=self.precision,
            scale=self.scale,
            offset=self.offset,
        )
        self.optimizer = build_optimizer(config, self.precision)
        self.step = TrainStep(self.model, self.optimizer, config, self.world)
        self.forward = forward_function(self.model)
        self.checkpoints = Checkpoints(job.checkpoints, self.model, self.optimizer)
        self.history: list[Row] = []
        self.run_key = job.run_key

    def execute(self) -> dict[str, Any]:
        start = self._restore()
        manifest = read_manifest(self.job.records)
        if self.world.is_chief:
            self._announce(start, manifest)
        try:
            self.tracker.start(
                f"class{manifest['class_id']}-{self.config.preset}-{self.config.image_size}px-seed{self.config.seed}",
                params=self.config.to_dict() | {"world_size": self.world.size, "precision": self.precision},
                tags={"preset": self.config.preset, "class_id": str(manifest["class_id"]), **provenance()},
                dataset=manifest,
                run_key=self.run_key,
            )
            self._steps(start)
            result = self._finish(manifest)
        except BaseException as error:
            self.tracker.finish("KILLED" if isinstance(error, Stopped | KeyboardInterrupt) else "FAILED")
            raise
        self.tracker.tag({"weights_digest": result["weights_digest"], "world_size": str(self.world.size)})
        self.tracker.finish("FINISHED")
        return result

    def _precision(self) -> str:
        """Give rank 0's: where that is `auto`, the one that the training began with."""
        precision = self.config.precision
        kept = (
            checkpoint_precision(self.job.checkpoints) if self.world.is_chief and precision == "auto" else ""
        )
        return kept or resolve_precision(precision)

    def _restore(self) -> int:
        found = self.checkpoints.restore(self._accept) if self.world.is_chief else None
        found = self.world.broadcast_object(found)
        if found:
            self.history, self.run_key = found.history, found.run_key
        variables = [*self.model.variables, *self.optimizer.variables]
        self.world.broadcast([v.value for v in variables])
        return found.step if found else 0

    def _accept(self, checkpoint: Checkpoint) -> None:
        self.job.refuse_other(checkpoint.identity, self.job.checkpoints)

    def _announce(self, start: int, manifest: dict[str, Any]) -> None:
        c, size = self.config, self.world.size
        slow = " (this CPU emulates it: slower than float32)" if is_emulated(self.precision) else ""
        print(
            f"training class {manifest['class_id']}: {c.preset}, {c.image_size}×{c.image_size}, "
            f"steps {start} to {c.steps}, global batch {c.global_batch} = "
            f"{size} rank(s) × {c.global_batch // size}, "
            f"{self.precision}{slow}, {int(self.training.defective.sum())} defective + "
            f"{int((~self.training.defective).sum())} clean images",
            flush=True,
        )

    def _steps(self, start: int) -> None:
        c = self.config
        pending: list[tuple[int, StepResult]] = []
        source = batches(self.training, c, start=start, rank=self.world.rank, world_size=self.world.size)
        meter = ProgressMeter(c.steps, start=start, global_batch=c.global_batch, show=self.world.is_chief)
        previous: StepResult | None = None
        with StopRequest() as stop, meter:
            for step, batch in zip(range(start + 1, c.steps + 1), source, strict=False):
                result = self.step(batch, stop=bool(stop.number))
                pending.append((step, result))
                # One step late, so that the device never waits; the sum is the same on all ranks.
                ending = previous is not None and float(previous.stopping) > 0
                previous, last = result, step == c.steps
                keep = step % c.checkpoint_every == 0 or last or ending
                look = bool(c.validate_every) and step % c.validate_every == 0 and not last
                if step % FLUSH_EVERY == 0 or keep or look or step == start + 1:
                    self._flush(pending, meter)
                if look:
                    self._validate(step)
                if keep:
                    self._save(step, must=ending and not last)
                if ending and not last:
                    raise Stopped(step, stop.number or signal.SIGTERM)

    def _flush(self, pending: list[tuple[int, StepResult]], meter: ProgressMeter) -> None:
        """Read the losses of the steps since the last flush; this waits for the device."""
        rows = [self._row(step, result) for step, result in pending]
        rate = meter.update(int(rows[-1]["step"]), rows[-1]["loss"])
        for row in rows:
            row["images_per_s"] = rate
        self.history += rows
        self.tracker.log_history(rows)
        pending.clear()

    def _row(self, step: int, result: StepResult) -> Row:
        values = {name: float(value) for name, value in result._asdict().items() if name != "stopping"}
        if not np.isfinite(values["loss"]):
            raise UserError(
                f"loss is {values['loss']} at step {step}; expected a finite number: lower learning_rate or "
                "use precision=float32"
            )
        return {"step": step, **values}

    def _validate(self, step: int) -> None:
        with averaged_weights(self.model, self.optimizer):
            scores = validate(self.forward, self.validation, self.world)
        row = {f"validation_{name}": value for name, value in scores._asdict().items()}
        self.history[-1].update(row)
        self.tracker.log_history([{"step": step, **row}])

    def _save(self, step: int, *, must: bool) -> None:
        if self.world.is_chief:
            state = Checkpoint(step, self.history, self.identity, self.run_key, self.precision)
            self.checkpoints.save(state, must=must)

    def _finish(self, manifest: dict[str, Any]) -> dict[str, Any]:
        take_averages(self.model, self.optimizer)
        digest = model_folder.weights_digest(self.model)
        if self.world.broadcast_object(digest) != digest:
            raise RuntimeError(f"rank {self.world.rank} ended with other weights than rank 0; this is a bug")
        self._validate(self.config.steps)
        summary = model_folder.describe(
            self.identity,
            self.config,
            manifest,
            world_size=self.world.size,
            precision=self.precision,
            normalization=(self.scale, self.offset),
            history=self.history,
            weights_digest=digest,
            mlflow=self.tracker.reference(),
        )
        if self.world.is_chief:
            model_folder.write(self.job.out, self.model, summary, self.history)
            if not self.job.keep:
                self.checkpoints.clear()
            last, reference = self.history[-1], summary["mlflow"]
            run = f"; MLflow run {reference['run_id']}" if reference else ""
            print(
                f"{self.job.out}: validation Dice of defective images at a probability of 0.5: "
                f"{last['validation_dice']:.3f}" + run,
                flush=True,
            )
        return summary
