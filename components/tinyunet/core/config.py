"""Define the typed configurations of the steps.

The classes of this module are the only source of default values. Tests check that the command line, the
components and the manifests have the same defaults. The training presets are in `presets`.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tinyunet.core.errors import UserError, require
from tinyunet.core.validation import explain

Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]


class Config(BaseModel):
    """Base class of all configurations: immutable, with checked values; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    if not TYPE_CHECKING:  # type checkers see the fields as keyword arguments

        def __init__(self, **values: Any) -> None:  # noqa: ANN401  any field's value
            """Check the values.

            Raises:
                UserError: if a key is unknown or a value is invalid.
            """
            _refuse_unknown(type(self), values)
            try:
                super().__init__(**values)
            except ValidationError as error:
                name = str(error.errors()[0]["loc"][0])
                key, message = explain(error, type(self).model_fields[name].metadata)
                raise UserError(f"{key} {message}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the values as types that JSON and MLflow accept."""
        return self.model_dump()

    def digest(self) -> str:
        """Return the first 12 hex digits of the SHA-256 of the values as JSON with sorted keys."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with some values changed; a string is converted to the type of its field.

        Raises:
            UserError: if a key is unknown or a value is invalid.
        """
        _refuse_unknown(type(self), changes)
        fields = type(self).model_fields
        values = {key: _parse(key, value, fields[key].annotation) for key, value in changes.items()}
        return type(self)(**(self.to_dict() | values))


class DataConfig(Config):
    """Configuration of the conversion to TFRecords and of the validation split.

    Attributes:
        class_id: DAGM2007 class, 1 to 10.
        validation_fraction: Fraction of Train that is held out for validation, separately for the defective
            and the defect-free images.
        fold: Number of the part of Train that is held out, 0 ≤ fold < ⌊1 / validation_fraction⌋.
        shards: Number of TFRecord files per split.
    """

    class_id: Annotated[int, Field(ge=1, le=10)] = 1
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    fold: NotNegative = 0
    shards: Positive = 4

    @model_validator(mode="after")
    def _check_fold(self) -> Self:
        last = int(1 / self.validation_fraction) - 1
        require(self.fold <= last, "fold", self.fold, f"0 to {last}")
        return self


# Options that a resumed training may change, because they do not change the computed weights.
CHANGEABLE_ON_RESUME = frozenset({"checkpoint_every", "validate_every", "accumulate"})


class TrainConfig(Config):
    """Configuration of a training. The defaults are the preset `fast`; `presets.PRESETS` has the others.

    Attributes:
        preset: Name of the preset that gives the values of all other options that are not set.
        image_size: Side length of the resized images in pixels (area average), a multiple of 16.
        steps: Number of optimizer steps; each step uses one global batch.
        global_batch: Number of images per step over all ranks; a multiple of the world size times
            `accumulate`.
        accumulate: Number of micro-batches into which each rank divides its part of a batch. The memory for
            activations is divided by this number. Each step needs one additional forward pass, and its result
            is the same up to rounding. A deterministic step processes single images; the number of images
            that it processes in parallel is at most the number of CPU threads of the rank, and at most the
            size of a micro-batch.
        compression: Compression of the gradients that the ranks exchange: `none`, or `fp16`, which halves the
            number of bytes.
        seed: Seed of the initial weights, of the order of the images and of the augmentation.
        precision: Keras dtype policy; `auto` selects the fastest one that the device supports in hardware.
        deterministic: Whether the same seed and machine give the same weights, bit for bit, at any world
            size. Every image is processed separately, each operation in one thread, and the results are
            summed in float64. This is slower.
        optimizer: `adam`, or `rmsprop_tf1`, the RMSProp of TensorFlow 1 (centered; the second moment starts
            at one; ε is inside the square root).
        learning_rate: Largest learning rate of the schedule.
        schedule: `cosine` (linear warm-up, then cosine decay to zero at the last step) or `staircase` (the
            rate is multiplied by `decay_rate` every `decay_steps` steps).
        warmup_steps: Number of warm-up steps of the cosine schedule.
        decay_rate: Factor of one decay of the staircase schedule.
        decay_steps: Number of steps between two decays of the staircase schedule.
        clip_norm: Largest global norm of the gradients; larger gradients are scaled down to it. 0 disables
            clipping.
        weight_decay: Factor of the L2 regularization: the loss includes this factor times ½‖v‖² of every
            kernel and bias.
        ema: Time constant of the exponential moving average of the weights, as a fraction of `steps`. The
            averaged weights are the result of the training. 0 disables averaging.
        loss: `image_dice_bce` (mean Dice loss of the defective images + BCE), `dice_bce` (Dice loss pooled
            over the batch + BCE), or `adaptive` (pooled Dice loss if it is below 0.3, otherwise BCE).
        normalization: `standardize` (subtract the mean of the training images and divide by their standard
            deviation) or `zero_centered` (x/127.5 - 1).
        clean_fraction: Fraction of every batch that is drawn from the defect-free images.
        poses: `dihedral` (all 8 combinations of flips and quarter turns) or `published` (horizontal flip,
            rotations by 0, 90 and 180 degrees).
        max_shift: Largest shift, as a fraction of the image side; the border is filled by reflection.
        max_rotation: Largest rotation about the centre in degrees, in both directions, in addition to the
            pose; the border is filled by reflection.
        max_zoom: Largest change of scale, as a natural logarithm: 0.15 is a factor of 0.86 to 1.16.
        photometric: Largest change of contrast (relative) and of brightness (in standard deviations of the
            grey levels).
        checkpoint_every: Number of steps between two checkpoints.
        validate_every: Number of steps between two evaluations of the validation split; with 0 it is
            evaluated only at the end.
    """

    preset: Literal["fast", "thorough", "nvidia"] = "fast"
    image_size: int = 512
    steps: Positive = 250
    global_batch: Positive = 16
    accumulate: Positive = 1
    compression: Literal["none", "fp16"] = "none"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    precision: Precision = "auto"
    deterministic: bool = False
    optimizer: Literal["adam", "rmsprop_tf1"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["cosine", "staircase"] = "cosine"
    warmup_steps: NotNegative = 20
    decay_rate: float = 0.8
    decay_steps: Positive = 500
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.1
    loss: Literal["image_dice_bce", "dice_bce", "adaptive"] = "image_dice_bce"
    normalization: Literal["standardize", "zero_centered"] = "standardize"
    clean_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.5
    poses: Literal["dihedral", "published"] = "dihedral"
    max_shift: Annotated[float, Field(ge=0, lt=0.5)] = 0.1875
    max_rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    max_zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    photometric: Annotated[float, Field(ge=0)] = 0.1
    checkpoint_every: Positive = 50
    validate_every: NotNegative = 50

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        size, batch = self.image_size, self.global_batch
        sides = "a multiple of 16, at least 32, because the network halves the image size four times"
        require(size >= 32 and size % 16 == 0, "image_size", size, sides)
        divisor = f"a divisor of the global batch {batch}"
        require(batch % self.accumulate == 0, "accumulate", self.accumulate, divisor)
        exact = self.compression == "none" or not self.deterministic
        expected = "none with deterministic=true, because rounding to fp16 depends on the world size"
        require(exact, "compression", self.compression, expected)
        return self

    @property
    def warped(self) -> bool:
        """Return whether images are rotated or zoomed in addition to the pose."""
        return self.max_rotation > 0 or self.max_zoom > 0

    def resume_identity(self) -> dict[str, Any]:
        """Return the options that a resumed training must not change."""
        return {key: value for key, value in self.to_dict().items() if key not in CHANGEABLE_ON_RESUME}


class EvalConfig(Config):
    """Configuration of an evaluation.

    Attributes:
        batch_size: Number of images per forward pass.
        test_time_poses: Number of poses in which every image is evaluated: 1, or all 8 dihedral poses, over
            which the logits are averaged.
        image_score: Score of an image: `max` (the largest logit), `top100` (the mean of the 100 largest
            logits) or `smoothed` (the largest mean of 5×5 neighbouring logits).
        overlays: Number of the best test images, and of the worst ones, for which overlays are drawn.
    """

    batch_size: Positive = 16
    test_time_poses: Literal[1, 8] = 1
    image_score: Literal["max", "top100", "smoothed"] = "max"
    overlays: NotNegative = 8


def _refuse_unknown(config: type[Config], values: Mapping[str, object]) -> None:
    for key in values:
        if key not in config.model_fields:
            known = ", ".join(sorted(config.model_fields))
            raise UserError(f"unknown {config.__name__} key {key!r}; known keys: {known}")


def _parse(name: str, value: Any, annotation: Any) -> Any:  # noqa: ANN401  any field's value
    """Convert a string to the type of a field; return other values as they are."""
    options = get_args(annotation)
    kind = type(options[0]) if options else annotation
    if kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, str) or kind is str:
        return value
    if kind is bool:
        require(value.lower() in ("true", "false"), name, value, "true or false")
        return value.lower() == "true"
    try:
        return kind(value)
    except ValueError as error:
        expected = "an int" if kind is int else f"a {kind.__name__}"
        raise UserError(f"{name} is {value!r}; expected {expected}") from error
