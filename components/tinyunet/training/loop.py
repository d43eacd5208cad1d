"""Run the training loop. The command line, the components, MPIJobs and tests all call `train`."""

from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tinyunet.core.documents.checkpoint import CheckpointState
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.errors import UserError
from tinyunet.core.locks import exclusive_lock
from tinyunet.core.stopping import STOPPED_BY_SIGNAL
from tinyunet.data.dataset import batches, check_image_size
from tinyunet.data.patches import patch_batches
from tinyunet.model.precision import resolve_precision
from tinyunet.model.unet import build_unet, forward_function
from tinyunet.storage import s3
from tinyunet.tracking.tracker import NullTracker
from tinyunet.training import model_folder
from tinyunet.training.checkpoint import Checkpoints, checkpoint_precision
from tinyunet.training.distributed import World
from tinyunet.training.inputs import LocalRecords, local_records, normalization
from tinyunet.training.keras_file import weights_digest
from tinyunet.training.optimizer import assign_averaged_weights, averaged_weights, build_optimizer
from tinyunet.training.progress import ProgressMeter, print_summary
from tinyunet.training.provenance import image_tag, provenance
from tinyunet.training.run import TrainingRun
from tinyunet.training.step import StepResult, TrainStep
from tinyunet.training.stopping import INTERRUPTIONS, StopRequest, lease_watch, stopped
from tinyunet.training.validation import validate

FLUSH_EVERY = 10  # steps between two transfers of the results from the device, and two calls of the tracker


def train(
    run: TrainingRun, world: World, tracker: NullTracker, records: LocalRecords | None = None
) -> ModelDocument:
    """Train a model, or resume an interrupted training.

    If the model folder contains the finished model of this training, its description is returned. If there is
    a checkpoint of this training, the training continues from it. A model or a checkpoint of another
    configuration or of other data is an error.

    Args:
        run: The training.
        world: The ranks.
        tracker: `Tracker` on rank 0, `NullTracker` on the other ranks.
        records: The records of the training; by default, those that `local_records` prepares.

    Returns:
        The content of model.json.

    Raises:
        UserError: if data, configuration or checkpoint are invalid or of another run, or the download fails.
        Stopped: after SIGINT or SIGTERM, or when nobody renews the lease any more; a checkpoint is written.
    """
    # S3 needs no lock: MPIJobs with the same run key have the same name, so only one of them can exist.
    needs_lock = world.is_chief and not s3.is_remote(run.checkpoint_location)
    lock = exclusive_lock(Path(run.checkpoint_location)) if needs_lock else nullcontext()
    with lock, nullcontext(records) if records else local_records(run, world) as opened:
        finished: ModelDocument | None = world.broadcast_object(
            model_folder.finished_model(run.out) if world.is_chief else None
        )
        if finished is None:
            return _Training(run, world, tracker, opened).execute()
        run.require_same(finished.identity, opened.manifest.digest, run.out)
        if world.is_chief:
            print(f"{run.out} already holds this model ({finished.steps} steps); nothing to do", flush=True)
        return finished


class _Training:
    """The state of one training between its first and its last step.

    It is built and traced while the images are on their way, unless the normalization needs them.
    """

    def __init__(self, run: TrainingRun, world: World, tracker: NullTracker, records: LocalRecords) -> None:
        self.run, self.world, self.tracker, self.config = run, world, tracker, (config := run.config)
        self.records, self.manifest = records, records.manifest
        check_image_size(self.manifest, config.input_size)
        self.precision: str = world.broadcast_object(self._resolve_precision())
        self.normalization = normalization(
            config, self.manifest.bits, lambda: records.statistics(config.input_size)
        )
        keras.utils.set_random_seed(config.seed)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.model = build_unet(
            config.input_size or None,
            channels=self.manifest.channels,
            seed=config.seed,
            precision=self.precision,
            scale=self.normalization.scale,
            offset=self.normalization.offset,
        )
        self.optimizer = build_optimizer(config, self.precision)
        self.step = TrainStep(self.model, self.optimizer, config, world)
        self.step.trace(self.manifest)
        self.forward = forward_function(self.model)
        self.checkpoints = Checkpoints(run.checkpoint_location, self.model, self.optimizer)
        self.history, self.run_key = list[model_folder.Row](), run.run_key

    def _resolve_precision(self) -> str:
        """Return the precision; for `auto`, a resumed training keeps the precision of its checkpoint."""
        precision, location = self.config.precision, self.run.checkpoint_location
        recorded = checkpoint_precision(location) if self.world.is_chief and precision == "auto" else ""
        return recorded or resolve_precision(precision)

    def execute(self) -> ModelDocument:
        start, config = self._restore(), self.config
        self.train_split = self.records.split("train", config.input_size)
        try:
            # A signal must not interrupt the creation of the run, which would then never have an end.
            with StopRequest(lease_watch(self.run) if self.world.is_chief else None) as request:
                if self.world.is_chief:
                    print_summary(
                        self.manifest, config, start=start, ranks=self.world.size, precision=self.precision,
                        defective=self.train_split.defective,
                    )  # fmt: skip
                self.tracker.start(
                    f"{self.manifest.full_name}-{config.preset}-{config.size_tag}-seed{config.seed}",
                    params=config.to_dict() | {"world_size": self.world.size, "precision": self.precision},
                    tags={"preset": config.preset, "dataset": self.manifest.full_name}
                    | provenance() | image_tag(),
                    dataset=self.manifest, run_key=self.run_key, history=self.history,
                )  # fmt: skip
                self._take_steps(start, request)
            document = self._finish()
        except BaseException as error:
            self.tracker.finish("KILLED" if isinstance(error, INTERRUPTIONS) else "FAILED")
            raise
        self.tracker.tag({"weights_digest": document.weights_digest, "world_size": str(self.world.size)})
        self.tracker.finish("FINISHED")
        return document

    def _restore(self) -> int:
        """Load the newest checkpoint on rank 0 and copy all variables to the other ranks; return its step."""
        state: CheckpointState | None = self.world.broadcast_object(
            self.checkpoints.restore(self._check) if self.world.is_chief else None
        )
        if state:
            self.history, self.run_key = list(state.history), state.run_key
        self.world.broadcast([v.value for v in (*self.model.variables, *self.optimizer.variables)])
        return state.step if state else 0

    def _check(self, state: CheckpointState) -> None:
        self.run.require_same(state.identity, self.manifest.digest, self.run.checkpoint_location)

    def _take_steps(self, start: int, request: StopRequest) -> None:
        config, world = self.config, self.world
        pending: list[tuple[int, StepResult]] = []  # steps whose results are still on the device
        make_batches = patch_batches if config.patch else batches
        source = make_batches(self.train_split, config, start=start, rank=world.rank, world_size=world.size)
        meter = ProgressMeter(
            config.steps, start=start, global_batch=config.global_batch, show=world.is_chief
        )
        previous: StepResult | None = None
        with meter:
            for step, batch in zip(range(start + 1, config.steps + 1), source, strict=False):
                self.records.check()
                result = self.step(batch, stop=bool(request.exit_code))
                pending.append((step, result))
                # The result of the previous step is used, because reading the current one would wait for the
                # device. All ranks have the same value and therefore stop after the same step.
                stop = step < config.steps and previous is not None and float(previous.stopping) > 0
                previous, is_last = result, step == config.steps
                save = step % config.checkpoint_every == 0 or is_last or stop
                score = bool(config.validate_every) and step % config.validate_every == 0 and not is_last
                if step % FLUSH_EVERY == 0 or save or score or step == start + 1:
                    self._flush(pending, meter)
                if score:
                    if not self.records.is_open("validation"):
                        self._save(step, required=False)  # the wait for it may be longer than a grace period
                    self._validate(step)
                if save:
                    self._save(step, required=stop)
                if stop:
                    exit_code = world.broadcast_object(request.exit_code) or STOPPED_BY_SIGNAL
                    raise stopped(step, exit_code, self.run)

    def _flush(self, pending: list[tuple[int, StepResult]], meter: ProgressMeter) -> None:
        """Read the results of all pending steps from the device, which waits for them, and log them."""
        rows = [self._row(step, result) for step, result in pending]
        rate = meter.update(int(rows[-1]["step"]), rows[-1]["loss"])
        for row in rows:
            row["images_per_s"] = rate
        self.history += rows
        self.tracker.log_history(rows)
        pending.clear()

    def _row(self, step: int, result: StepResult) -> model_folder.Row:
        values = {name: float(value) for name, value in result._asdict().items() if name != "stopping"}
        if not np.isfinite(values["loss"]):
            raise UserError(
                f"loss is {values['loss']} at step {step}; expected a finite number: lower learning_rate or "
                "use precision=float32"
            )
        return {"step": step, **values}

    def _validate(self, step: int) -> None:
        split = self.records.split("validation", self.config.input_size)
        with averaged_weights(self.model, self.optimizer):
            scores = validate(self.forward, split, self.world)
        row = {f"validation_{name}": value for name, value in scores._asdict().items()}
        self.history[-1].update(row)
        self.tracker.log_history([{"step": step, **row}])

    def _save(self, step: int, *, required: bool) -> None:
        if self.world.is_chief:
            state = CheckpointState(
                step=step,
                history=tuple(self.history),
                identity=self.run.identity(self.manifest.digest),
                run_key=self.run_key,
                precision=self.precision,
            )
            self.checkpoints.save(state, required=required)

    def _finish(self) -> ModelDocument:
        assign_averaged_weights(self.model, self.optimizer)
        digest = weights_digest(self.model)
        if self.world.broadcast_object(digest) != digest:
            raise RuntimeError(
                f"the final weights of rank {self.world.rank} differ from those of rank 0; this is a bug"
            )
        self._validate(self.config.steps)
        document = model_folder.describe_model(
            self.run,
            self.manifest,
            self.history,
            normalization=self.normalization,
            precision=self.precision,
            world_size=self.world.size,
            weights_digest=digest,
            mlflow=self.tracker.reference(),
        )
        if self.world.is_chief:
            model_folder.write_model(self.run.out, self.model, document, self.history)
            if not self.run.keep_checkpoints:
                self.checkpoints.clear()
            mlflow_run = f"; MLflow run {document.mlflow.run_id}" if document.mlflow else ""
            print(
                f"{self.run.out}: validation Dice of defective images at a probability of 0.5: "
                f"{document.training.validation_dice:.3f}{mlflow_run}",
                flush=True,
            )
        return document
