"""Load a split of the records, and prepare the training batches of one rank."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.data.augment import draw_augmentation, pose, shift_into
from tinyunet.data.prefetch import prefetch
from tinyunet.data.records.levels import count_levels, mean_and_deviation
from tinyunet.data.records.reader import RecordReader
from tinyunet.data.records.scratch import resized
from tinyunet.data.records.stored import ImageSequence, StoredImages
from tinyunet.data.resize import Pixels
from tinyunet.data.sampling import AUGMENT, CLEAN, DEFECTIVE, clean_slots, generator, read_stream
from tinyunet.data.splits import SPLITS

MASK_LEVEL = 128
"""Value of a resized mask (0 to 255) from which a pixel is defective: at least half of its area is."""


@dataclass(frozen=True)
class Split:
    """One split, whose N images are in memory or are read when they are needed.

    Attributes:
        name: `train`, `validation` or `test`.
        images: uint8 or uint16, [N, S, S] grey levels or [N, S, S, 3] colours: an array, or a sequence that
            is indexed as one. Images at their own size are a sequence of N arrays.
        masks: uint8 [N, S, S], 255 times the defective fraction of a pixel; the binary label is
            `masks >= MASK_LEVEL`.
        defective: bool [N], whether the image shows a defect.
        names: Names of the N images, such as `0576`.
        types: Type of the defect of every image, empty if it has none; or an empty tuple without types.
        known_statistics: What `statistics` returns, if it is known without reading the images.
    """

    name: str
    images: ImageSequence
    masks: ImageSequence
    defective: NDArray[np.bool_]
    names: tuple[str, ...]
    types: tuple[str, ...] = ()
    known_statistics: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.types:
            object.__setattr__(self, "types", ("",) * len(self.names))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def native(self) -> bool:
        """Whether every image has its own size, so that `images` and `masks` are no arrays."""
        return len(self.images.shape) == 1

    @cached_property
    def _statistics(self) -> tuple[float, float]:
        if self.known_statistics:
            return self.known_statistics
        counts = np.zeros(1 << 8 * self.images.dtype.itemsize, np.int64)
        for image in self.images:
            counts += count_levels(image)
        return mean_and_deviation(counts)


@dataclass(frozen=True)
class Batch:
    """The images of one rank in one training step; b is their number.

    Attributes:
        images: uint8 or uint16, [b, S, S] grey levels or [b, S, S, 3] colours; the input of the network is
            `images * gain + bias`.
        masks: uint8 [b, S, S], 255 times the defective fraction of a pixel.
        gain: float32 [b], factor of the levels of each image.
        bias: float32 [b], levels that are added to each image.
        warps: float32 [b, 8], transforms (`augment.warps`) that the training step applies to images and
            masks.
        names: Names of the images.
    """

    images: Pixels
    masks: NDArray[np.uint8]
    gain: NDArray[np.float32]
    bias: NDArray[np.float32]
    warps: NDArray[np.float32]
    names: tuple[str, ...]


def load_split(records: Path, split: str, image_size: int, *, verify: bool = True) -> Split:
    """Open a split; its memory does not depend on the number of images.

    Images of the requested size are read from the shards when they are needed. Other images are resized by
    averaging over areas, once for all processes of this host, to a temporary file that they share; see
    `records.scratch`.

    Args:
        records: Folder that `convert` wrote.
        split: `train`, `validation` or `test`.
        image_size: Side length in pixels to which the images are resized, at most the largest side of the
            stored images; 0 keeps every image at its own size.
        verify: Whether the SHA-256 of every shard is checked, as one process of a host should do.

    Raises:
        UserError: if a shard is missing, damaged or different from the manifest, or if `image_size` is larger
            than the stored images.
    """
    manifest = RecordsManifest.read(records)
    if split not in SPLITS:
        raise UserError(f"split is {split!r}; expected one of: {', '.join(SPLITS)}")
    check_image_size(manifest, image_size)
    reader = RecordReader(records, split, manifest, verify=verify)
    stored = image_size == 0 or bool((reader.shapes == image_size).all())
    source = reader if stored else resized(reader, manifest.digest, split, image_size)
    indices, side = np.arange(len(reader)), (image_size, image_size)
    image_shape = side if reader.channels == 1 else (*side, reader.channels)
    known = manifest.statistics if stored and split == "train" else None
    return Split(
        split,
        StoredImages(source.image, indices, shape=image_shape if image_size else None, dtype=reader.dtype),
        StoredImages(source.mask, indices, shape=side if image_size else None, dtype=np.uint8),
        reader.defective,
        reader.names,
        reader.types,
        None if known is None else (known.mean, known.deviation),
    )


def check_image_size(manifest: RecordsManifest, image_size: int) -> None:
    """Raise a UserError if images of this size cannot be made from these records; see `load_split`."""
    if image_size and manifest.scale != 1:
        raise UserError(
            f"image_size is {image_size}, but the records hold images at scale {manifest.scale:g}; train on "
            "patches, or convert with scale=1"
        )
    height, width = manifest.image_shape
    if not 0 <= image_size <= max(height, width):
        raise UserError(
            f"image_size is {image_size}, but the records hold {width}×{height} pixels; "
            f"choose 1 to {max(height, width)}, or 0 for the images' own size"
        )


def statistics(split: Split) -> tuple[float, float]:
    """Return the mean and the standard deviation of the levels of all pixels of a split."""
    return split._statistics


def batches(split: Split, config: TrainConfig, *, start: int, rank: int, world_size: int) -> Iterator[Batch]:
    """Yield the batches of one rank, from step `start` to the last step.

    The defective and the defect-free images are two endless sequences with a new permutation in every epoch.
    The fraction `clean_fraction` of a global batch comes from the sequence of defect-free images, at evenly
    distributed positions; without defect-free images it is 0. A global batch is divided into `world_size`
    contiguous slices, and rank r receives slice r. A background thread prepares the batches; it ends when the
    iterator is exhausted or closed.

    Args:
        split: The images.
        config: The training configuration; seed, sizes and augmentation are used.
        start: First step, counted from 0.
        rank: This rank, 0 to world_size - 1.
        world_size: Number of ranks; a divisor of `config.global_batch`.

    Raises:
        UserError: if `world_size` does not divide the global batch, or the split has no defective image.
    """
    _check_batches(split, config, world_size)
    make_batch = _BatchMaker(split, config, rank, world_size)
    return prefetch(make_batch, range(start, config.steps))


class _BatchMaker:
    """Creates the batch of a step for one rank."""

    def __init__(self, split: Split, config: TrainConfig, rank: int, world_size: int) -> None:
        self._split, self._config = split, config
        self._statistics = statistics(split)
        images_per_rank = config.global_batch // world_size
        self._slice = slice(rank * images_per_rank, (rank + 1) * images_per_rank)
        self._pools = np.flatnonzero(split.defective), np.flatnonzero(~split.defective)
        fraction = config.clean_fraction if len(self._pools[CLEAN]) else 0.0
        self._clean_slots = clean_slots(config.global_batch, fraction)

    def __call__(self, step: int) -> Batch:
        split, rank_slice = self._split, self._slice
        _, size, *_ = shape = split.images.shape
        rng = generator(self._config.seed, AUGMENT, step)
        augmentation = draw_augmentation(rng, self._config, size, *self._statistics)
        changes = zip(
            augmentation.flips[rank_slice],
            augmentation.turns[rank_slice],
            augmentation.shifts[rank_slice],
            strict=True,
        )
        indices = self._choose_images(step)[rank_slice]
        images = np.empty((len(indices), *shape[1:]), split.images.dtype)
        masks = np.zeros(images.shape[:3], np.uint8)  # the mask of a defect-free image remains zero
        for slot, (index, (flip, turns, (down, right))) in enumerate(zip(indices, changes, strict=True)):
            shift_into(images[slot], pose(split.images[index], flip=flip, turns=turns), down, right)
            if split.defective[index]:
                shift_into(masks[slot], pose(split.masks[index], flip=flip, turns=turns), down, right)
        names = tuple(split.names[index] for index in indices)
        gain, bias, warps = (
            augmentation.gain[rank_slice],
            augmentation.bias[rank_slice],
            augmentation.warps[rank_slice],
        )
        return Batch(images, masks, gain, bias, warps, names)

    def _choose_images(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the images in the global batch, int64 [B]."""
        indices = np.empty(len(self._clean_slots), np.int64)
        for stream, slots in ((DEFECTIVE, ~self._clean_slots), (CLEAN, self._clean_slots)):
            count = int(slots.sum())
            indices[slots] = read_stream(self._pools[stream], self._config.seed, stream, step * count, count)
        return indices


def _check_batches(split: Split, config: TrainConfig, world_size: int) -> None:
    if config.global_batch % world_size:
        raise UserError(
            f"global_batch is {config.global_batch}; expected a multiple of the number of ranks, {world_size}"
        )
    if not split.defective.any():
        raise UserError(f"split {split.name} holds no defective image; training needs at least one")
