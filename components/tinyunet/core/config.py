"""Define the typed configurations of the steps.

The classes of this module are the only source of default values. Tests check that the command line, the
components and the manifests have the same defaults. The training presets are in `presets`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tinyunet.core.config_base import Config, NotNegative, Positive, digest
from tinyunet.core.errors import require
from tinyunet.core.goals import check_goal

Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]


def _lower_case(value: object) -> object:
    """Return `true` for True, which YAML makes of it; every other value as it is."""
    return str(value).lower() if isinstance(value, bool) else value


class DataConfig(Config):
    """Configuration of the conversion to TFRecords and of the validation split.

    Attributes:
        validation_fraction: Fraction of Train that is held out for validation, separately for the defective
            and the defect-free images.
        fold: Number of the part of Train that is held out, 0 ≤ fold < ⌊1 / validation_fraction⌋.
        shards: Number of TFRecord files per split.
        scale: Factor of the sides of every stored image, above 0 and at most 1, by area average; a side keeps
            at least 16 pixels. A model of such records reduces its images in the same way, and answers at
            their own size. It is trained on patches.
    """

    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    fold: NotNegative = 0
    shards: Positive = 4
    scale: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _check_fold(self) -> Self:
        last = int(1 / self.validation_fraction) - 1
        require(self.fold <= last, "fold", self.fold, f"0 to {last}")
        return self


# Options that a resumed training may change, because they do not change the computed weights.
CHANGEABLE_ON_RESUME = frozenset({"checkpoint_every", "validate_every", "accumulate", "jit"})


class TrainConfig(Config):
    """Configuration of a training. The defaults are the preset `fast`; `presets.PRESETS` has the others.

    Attributes:
        preset: Name of the preset that gives the values of all other options that are not set.
        image_size: Side length of the resized images in pixels (area average), a multiple of 16. It is not
            used if `patch` is set.
        patch: Side length in pixels of the square parts of the images that the training uses, a multiple of
            16. The images are then not resized: validation, evaluation and predictions use whole images of
            any size. 0 trains on whole images of the size `image_size`.
        defect_patches: Fraction of the patches of every batch that contain a random defective pixel of a
            random defective image.
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
        jit: Whether XLA compiles the forward and the backward pass of a rank: `true`, `false`, or `auto`,
            which compiles on GPUs; on CPUs the code that is not compiled is faster. The result is the same up
            to rounding. A deterministic training is not compiled.
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
        clean_fraction: Fraction of every batch that is drawn from the defect-free images. With patches it is
            a fraction of those that `defect_patches` leaves; the others are anywhere in defective images.
            Without defect-free images it counts as 0.
        poses: `dihedral` (all 8 combinations of flips and quarter turns) or `published` (horizontal flip,
            rotations by 0, 90 and 180 degrees).
        max_shift: Largest shift, as a fraction of the image side; the border is filled by reflection.
            Patches are not shifted, because their positions are random.
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
    patch: NotNegative = 128
    defect_patches: Annotated[float, Field(ge=0, le=1)] = 0.5
    steps: Positive = 400
    global_batch: Positive = 16
    accumulate: Positive = 1
    compression: Literal["none", "fp16"] = "none"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    precision: Precision = "auto"
    jit: Annotated[Literal["auto", "true", "false"], BeforeValidator(_lower_case)] = "auto"
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
    validate_every: NotNegative = 100

    @model_validator(mode="before")
    @classmethod
    def _select_whole_images(cls, values: Any) -> Any:  # noqa: ANN401  the arguments, or another model
        whole_images = isinstance(values, dict) and "image_size" in values and "patch" not in values
        return values | {"patch": 0} if whole_images else values

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        size, batch = self.image_size, self.global_batch
        sides = "a multiple of 16, at least 32, because the network halves the image size four times"
        require(size >= 32 and size % 16 == 0, "image_size", size, sides)
        patch_fits = self.patch == 0 or (self.patch >= 32 and self.patch % 16 == 0)
        require(patch_fits, "patch", self.patch, f"0, which trains on whole images, or {sides}")
        divisor = f"a divisor of the global batch {batch}"
        require(batch % self.accumulate == 0, "accumulate", self.accumulate, divisor)
        exact = self.compression == "none" or not self.deterministic
        expected = "none with deterministic=true, because rounding to fp16 depends on the world size"
        require(exact, "compression", self.compression, expected)
        interpreted = self.jit != "true" or not self.deterministic
        expected = "auto or false with deterministic=true, because a compiler may change the order of sums"
        require(interpreted, "jit", self.jit, expected)
        return self

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with some values changed; `image_size` without `patch` selects whole images.

        Raises:
            UserError: if a key is unknown or a value is invalid.
        """
        whole_images = {"patch": 0} if "image_size" in changes else {}
        return super().replace(whole_images | dict(changes))

    @property
    def input_size(self) -> int:
        """Side of the square images that the network takes; 0 if it takes whole images of any size."""
        return 0 if self.patch else self.image_size

    @property
    def size_text(self) -> str:
        """The size of the images in words, such as `512×512` or `128×128 patches`."""
        return f"{self.patch}×{self.patch} patches" if self.patch else f"{self.image_size}×{self.image_size}"

    @property
    def size_tag(self) -> str:
        """The size of the images as a part of names, such as `512px` or `patch128`."""
        return f"patch{self.patch}" if self.patch else f"{self.image_size}px"

    @property
    def warped(self) -> bool:
        """Return whether images are rotated or zoomed in addition to the pose."""
        return self.max_rotation > 0 or self.max_zoom > 0

    def digest(self) -> str:
        """Return the digest of all options but `jit`, which is newer than the digests in names of folders."""
        return digest({key: value for key, value in self.to_dict().items() if key != "jit"})

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
            logits), `smoothed` (the largest mean of 5×5 neighbouring logits), or `auto`: the one of these
            that separates the validation images best, and `max` for DAGM2007, as published.
        overlays: Number of the best test images, and of the worst ones, for which overlays are drawn; of
            every defect type at least the worst image.
        target: Rate that the image threshold reaches on validation: with `tnr=0.999` as many defective images
            as possible are flagged while at least this fraction of the clean ones passes; `tpr=1` is the
            reverse.
        cost: Costs of both errors, such as `miss=10,stop=1`: the image threshold has the smallest cost on
            validation. Without target and cost it has the best balanced accuracy.
    """

    batch_size: Positive = 16
    test_time_poses: Literal[1, 8] = 1
    image_score: Literal["auto", "max", "top100", "smoothed"] = "auto"
    overlays: NotNegative = 8
    target: str = ""
    cost: str = ""

    @model_validator(mode="after")
    def _check_goal(self) -> Self:
        check_goal(self.target, self.cost)
        return self
