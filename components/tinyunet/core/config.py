"""Typed configuration of every step, and the training presets.

These dataclasses are the only place with defaults; CLI, components and manifests are tested against them.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

import yaml

from tinyunet.core.errors import UserError, require


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all configurations: checked values, stable digest, strict construction."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), hints[field.name])

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, as JSON and MLflow want them."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """Give the SHA-256 of the canonical JSON, 12 hex digits."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Give a copy with some values changed; strings are read as the field's type.

        Raises:
            UserError: for a key that does not exist or a value that does not fit.
        """
        hints = get_type_hints(type(self))
        for key in changes:
            if key not in hints:
                known = ", ".join(sorted(hints))
                raise UserError(f"unknown {type(self).__name__} key {key!r}; known keys: {known}")
        values = {key: _parse(key, value, hints[key]) for key, value in changes.items()}
        return dataclasses.replace(self, **values)


def load_yaml(text: str) -> dict[str, Any]:
    """Read a flat YAML mapping (as KFP passes structured parameters).

    Raises:
        UserError: if the text is not a mapping.
    """
    try:
        value = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"not YAML: {' '.join(str(error).split())}; expected key: value") from error
    if not isinstance(value, dict):
        raise UserError(f"expected a YAML mapping (key: value), got {text.strip()[:80]!r}")
    return value


def _check(name: str, value: Any, hint: Any) -> None:  # noqa: ANN401  any field's value
    if get_origin(hint) is Literal:
        options = get_args(hint)
        require(value in options, name, value, "one of " + ", ".join(map(str, options)))
    else:
        require(type(value) is hint, name, value, _a(hint))


def _parse(name: str, value: Any, hint: Any) -> Any:  # noqa: ANN401  any field's value
    options = get_args(hint)
    kind = type(options[0]) if options else hint
    if kind is bool and isinstance(value, str):
        require(value.lower() in ("true", "false"), name, value, "true or false")
        return value.lower() == "true"
    if isinstance(value, str) or (kind is float and isinstance(value, int)):
        try:
            return kind(value)
        except ValueError as error:
            raise UserError(f"{name} is {value!r}; expected {_a(kind)}") from error
    return value


def _a(kind: type) -> str:
    return f"an {kind.__name__}" if kind is int else f"a {kind.__name__}"


Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]


@dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """How the images of a class become records, and which of them validate.

    Attributes:
        class_id: DAGM2007 class, 1 to 10.
        validation_fraction: Part of Train that is held out, per stratum (defective, clean).
        fold: Which held-out part, 0 ≤ fold < ⌊1 / validation_fraction⌋.
        shards: TFRecord files per split.
    """

    class_id: int = 1
    validation_fraction: float = 0.15
    fold: int = 0
    shards: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.class_id <= 10, "class_id", self.class_id, "1 to 10")
        require(
            0 < self.validation_fraction < 0.5,
            "validation_fraction",
            self.validation_fraction,
            "more than 0 and less than 0.5",
        )
        require(
            0 <= self.fold < int(1 / self.validation_fraction),
            "fold",
            self.fold,
            f"0 to {int(1 / self.validation_fraction) - 1}",
        )
        require(self.shards >= 1, "shards", self.shards, "at least 1")


# What may differ between a run and its resumption without changing what it computes.
FREE_KEYS = frozenset({"checkpoint_every", "validate_every", "accumulate"})


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """One training run. The defaults are the `fast` preset; `PRESETS` holds the others.

    Attributes:
        preset: Name of the recipe that the other values started from.
        image_size: Side in pixels that images are resized to (area average), a multiple of 16.
        steps: Optimizer steps, each on one global batch.
        global_batch: Images per step over all ranks; world size times `accumulate` must divide it.
        accumulate: Micro-batches that a rank's share of a batch is cut into: so much less memory for
            activations, one more forward pass, the same step. A deterministic step goes image by image,
            as many at once as there are threads and as are left in a micro-batch.
        compression: What gradients travel as between ranks: `none`, or `fp16`, half the bytes.
        seed: Of the initial weights, the order of images and the augmentation.
        precision: Keras dtype policy; `auto` is the fastest safe one on this device.
        deterministic: Same seed and machine give the same weights, bit for bit, at any world size: images
            are taken one by one, each operation in one thread, and added up in float64. Slower.
        optimizer: `adam`, or `rmsprop_tf1` (centered, second moment starting at one, ε in the root).
        learning_rate: Peak learning rate.
        schedule: `cosine` (after `warmup_steps`, to zero at `steps`) or `staircase`.
        warmup_steps: Linear warm-up of the cosine schedule.
        decay_rate: Staircase factor.
        decay_steps: Steps between two stairs.
        clip_norm: Global gradient norm limit; 0 is none.
        weight_decay: Coupled L2: this times ½‖v‖² of every kernel and bias is part of the loss.
        ema: Memory of the averaged weights that are kept at the end, as a part of the steps; 0 is none.
        loss: `image_dice_bce` (mean Dice loss of defective images + BCE), `dice_bce` (Dice loss pooled over
            the batch + BCE), or `adaptive` (pooled Dice loss where below 0.3, else BCE).
        normalization: `standardize` (training mean and deviation) or `zero_centered` (x/127.5 - 1).
        clean_fraction: Part of every batch drawn from defect-free images.
        poses: `dihedral` (all 8) or `published` (horizontal flip, rotations by 0, 90, 180 degrees).
        max_shift: Largest reflected shift, as a part of the image side.
        max_rotation: Largest turn about the centre in degrees, either way and on top of the pose; what comes
            into the image is its reflection.
        max_zoom: Largest change of scale, as a natural logarithm: 0.15 is a factor of 0.86 to 1.16.
        photometric: Largest relative change of contrast, and of brightness in deviations.
        checkpoint_every: Steps between checkpoints.
        validate_every: Steps between passes over the validation split; 0 is only at the end.
    """

    preset: Literal["fast", "thorough", "nvidia"] = "fast"
    image_size: int = 512
    steps: int = 250
    global_batch: int = 16
    accumulate: int = 1
    compression: Literal["none", "fp16"] = "none"
    seed: int = 0
    precision: Precision = "auto"
    deterministic: bool = False
    optimizer: Literal["adam", "rmsprop_tf1"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "staircase"] = "cosine"
    warmup_steps: int = 20
    decay_rate: float = 0.8
    decay_steps: int = 500
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    ema: float = 0.1
    loss: Literal["image_dice_bce", "dice_bce", "adaptive"] = "image_dice_bce"
    normalization: Literal["standardize", "zero_centered"] = "standardize"
    clean_fraction: float = 0.5
    poses: Literal["dihedral", "published"] = "dihedral"
    max_shift: float = 0.1875
    max_rotation: float = 0.0
    max_zoom: float = 0.0
    photometric: float = 0.1
    checkpoint_every: int = 50
    validate_every: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.image_size >= 32 and self.image_size % 16 == 0,
            "image_size",
            self.image_size,
            "a multiple of 16, at least 32 (four 2×2 poolings)",
        )
        for name in ("steps", "global_batch", "accumulate", "checkpoint_every", "decay_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(
            self.global_batch % self.accumulate == 0,
            "accumulate",
            self.accumulate,
            f"a divisor of the global batch {self.global_batch}",
        )
        require(
            not (self.deterministic and self.compression != "none"),
            "compression",
            self.compression,
            "none where deterministic is true: its rounding differs between world sizes",
        )
        for name in ("validate_every", "warmup_steps", "clip_norm", "weight_decay", "photometric"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        require(0 < self.learning_rate < float("inf"), "learning_rate", self.learning_rate, "more than 0")
        require(0 <= self.ema < 1, "ema", self.ema, "0 to less than 1")
        require(0 <= self.clean_fraction < 1, "clean_fraction", self.clean_fraction, "0 to less than 1")
        require(0 <= self.max_shift < 0.5, "max_shift", self.max_shift, "0 to less than 0.5")
        require(0 <= self.max_rotation <= 180, "max_rotation", self.max_rotation, "0 to 180")
        require(0 <= self.max_zoom <= 0.5, "max_zoom", self.max_zoom, "0 to 0.5")

    @property
    def warped(self) -> bool:
        """Whether images are rotated or zoomed."""
        return self.max_rotation > 0 or self.max_zoom > 0

    def resume_identity(self) -> dict[str, Any]:
        """Give what a resumption must share with the run that it goes on with."""
        return {key: value for key, value in self.to_dict().items() if key not in FREE_KEYS}


@dataclass(frozen=True, kw_only=True)
class EvalConfig(Config):
    """How a model is judged.

    Attributes:
        batch_size: Images per forward pass.
        test_time_poses: 1, or 8: average the logits over all dihedral poses.
        image_score: Image-level score: `max` logit, `top100`, the mean of the 100 largest logits, or
            `smoothed`, the largest mean of 5×5 neighbouring logits.
        overlays: Best and worst test images drawn, of each.
    """

    batch_size: int = 16
    test_time_poses: Literal[1, 8] = 1
    image_score: Literal["max", "top100", "smoothed"] = "max"
    overlays: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.overlays >= 0, "overlays", self.overlays, "at least 0")
