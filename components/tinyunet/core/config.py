"""Typed configuration of every step.

These models are the only source of default values; tests hold the command line, the components and the
manifests equal to them. The training presets stand in `presets`.
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
    """Base class of all configurations: frozen, with checked values; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    if not TYPE_CHECKING:  # type checkers see the fields as keyword arguments

        def __init__(self, **values: Any) -> None:  # noqa: ANN401  any field's value
            """Check the values.

            Raises:
                UserError: if one does not fit.
            """
            _refuse_unknown(type(self), values)
            try:
                super().__init__(**values)
            except ValidationError as error:
                name = str(error.errors()[0]["loc"][0])
                key, message = explain(error, type(self).model_fields[name].metadata)
                raise UserError(f"{key} {message}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON and MLflow take them."""
        return self.model_dump()

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, 12 hex digits."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with some values changed; a string is read as the type of its field.

        Raises:
            UserError: for a key that does not exist or a value that does not fit.
        """
        _refuse_unknown(type(self), changes)
        fields = type(self).model_fields
        values = {key: _parse(key, value, fields[key].annotation) for key, value in changes.items()}
        return type(self)(**(self.to_dict() | values))


class DataConfig(Config):
    """How the images of a class become records, and which of them form the validation split.

    Attributes:
        class_id: DAGM2007 class, 1 to 10.
        validation_fraction: Part of Train that is held out for validation, per stratum (defective, clean).
        fold: Which held-out part, 0 ≤ fold < ⌊1 / validation_fraction⌋.
        shards: TFRecord files per split.
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


# What may differ between a training and its resumption without changing what it computes.
FREE_KEYS = frozenset({"checkpoint_every", "validate_every", "accumulate"})


class TrainConfig(Config):
    """One training. The defaults are the preset `fast`; `presets.PRESETS` holds the others.

    Attributes:
        preset: Name of the preset that the other values started from.
        image_size: Side in pixels that images are resized to (area average), a multiple of 16.
        steps: Optimizer steps, each on one global batch.
        global_batch: Images per step over all ranks; world size times `accumulate` must divide it.
        accumulate: Number of micro-batches that a rank's share of a batch is cut into. Each needs that much
            less memory for activations; a step costs one more forward pass and computes the same. A
            deterministic step processes single images, in parallel up to the number of threads and to the
            size of a micro-batch.
        compression: Number format of gradients between ranks: `none`, or `fp16`, half the bytes.
        seed: Seed of the initial weights, the order of images and the augmentation.
        precision: Keras dtype policy; `auto` is the fastest safe one on this device.
        deterministic: The same seed and machine give the same weights, bit for bit, at any world size: images
            are processed one by one, each operation in one thread, and summed in float64. Slower.
        optimizer: `adam`, or `rmsprop_tf1` (centered, second moment starting at one, ε in the root).
        learning_rate: Peak learning rate.
        schedule: `cosine` (after `warmup_steps`, to zero at `steps`) or `staircase`.
        warmup_steps: Linear warm-up of the cosine schedule.
        decay_rate: Factor of the staircase schedule.
        decay_steps: Steps between two decays of the staircase schedule.
        clip_norm: Limit of the global gradient norm; 0 is none.
        weight_decay: Coupled L2: this times ½‖v‖² of every kernel and bias is part of the loss.
        ema: The horizon of the exponential moving average of the weights, as a fraction of the run; the
            averaged weights are the result. 0 is no averaging.
        loss: `image_dice_bce` (mean Dice loss of defective images + BCE), `dice_bce` (Dice loss pooled over
            the batch + BCE), or `adaptive` (pooled Dice loss where below 0.3, else BCE).
        normalization: `standardize` (mean and deviation of the training images) or `zero_centered`
            (x/127.5 - 1).
        clean_fraction: Part of every batch drawn from defect-free images.
        poses: `dihedral` (all 8) or `published` (horizontal flip, rotations by 0, 90, 180 degrees).
        max_shift: Largest shift, as a fraction of the image side; the border is filled by reflection.
        max_rotation: Largest rotation about the centre in degrees, in both directions and on top of the pose;
            the border is filled by reflection.
        max_zoom: Largest change of scale, as a natural logarithm: 0.15 is a factor of 0.86 to 1.16.
        photometric: Largest relative change of contrast, and of brightness in standard deviations.
        checkpoint_every: Steps between checkpoints.
        validate_every: Steps between passes over the validation split; 0 is only at the end.
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
        sides = "a multiple of 16, at least 32 (four 2×2 poolings)"
        require(size >= 32 and size % 16 == 0, "image_size", size, sides)
        divisor = f"a divisor of the global batch {batch}"
        require(batch % self.accumulate == 0, "accumulate", self.accumulate, divisor)
        exact = self.compression == "none" or not self.deterministic
        rounding = "none where deterministic is true: its rounding differs between world sizes"
        require(exact, "compression", self.compression, rounding)
        return self

    @property
    def warped(self) -> bool:
        """Whether images are rotated or zoomed."""
        return self.max_rotation > 0 or self.max_zoom > 0

    def resume_identity(self) -> dict[str, Any]:
        """Return the values that a resumption must share with the training that it continues."""
        return {key: value for key, value in self.to_dict().items() if key not in FREE_KEYS}


class EvalConfig(Config):
    """How a model is evaluated.

    Attributes:
        batch_size: Images per forward pass.
        test_time_poses: 1, or 8: average the logits over all dihedral poses.
        image_score: Image-level score: `max` logit, `top100`, the mean of the 100 largest logits, or
            `smoothed`, the largest mean of 5×5 neighbouring logits.
        overlays: Number of best and of worst test images that are drawn.
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
