"""Load a split of the records into memory, and prepare the training batches of one rank."""

import math
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.config import TrainConfig
from tinyunet.core.console import cores
from tinyunet.core.documents.records import RecordsManifest, Shard
from tinyunet.core.errors import UserError
from tinyunet.data.augment import draw_augmentation, pose, shift_into
from tinyunet.data.prefetch import prefetch
from tinyunet.data.resize import area_average
from tinyunet.data.sampling import AUGMENT, CLEAN, DEFECTIVE, clean_slots, generator, read_stream
from tinyunet.data.tfrecord import SPLITS, Record, check_shard, parse

Array = NDArray[np.uint8]

MASK_LEVEL = 128
"""Value of a resized mask (0 to 255) from which a pixel is defective: at least half of its area is."""


@dataclass(frozen=True)
class Split:
    """One split in memory.

    Attributes:
        name: `train`, `validation` or `test`.
        images: uint8 [N, S, S], grey levels.
        masks: uint8 [N, S, S], 255 times the defective fraction of a pixel; the binary label is
            `masks >= MASK_LEVEL`.
        defective: bool [N], whether the image shows a defect.
        names: Names of the N images, such as `0576`.
    """

    name: str
    images: Array
    masks: Array
    defective: NDArray[np.bool_]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """The images of one rank in one training step; b is their number.

    Attributes:
        images: uint8 [b, S, S], grey levels; the input of the network is `images * gain + bias`.
        masks: uint8 [b, S, S], 255 times the defective fraction of a pixel.
        gain: float32 [b], factor of the grey levels of each image.
        bias: float32 [b], grey levels that are added to each image.
        warps: float32 [b, 8], transforms (`augment.warps`) that the training step applies to images and
            masks.
        names: Names of the images.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    gain: NDArray[np.float32]
    bias: NDArray[np.float32]
    warps: NDArray[np.float32]
    names: tuple[str, ...]


def load_split(records: Path, split: str, image_size: int, *, verify: bool = False) -> Split:
    """Read a split and resize its images by averaging over areas.

    Args:
        records: Folder that `convert` wrote.
        split: `train`, `validation` or `test`.
        image_size: Side length in pixels, at most that of the stored images.
        verify: Whether the SHA-256 of every shard is also checked.

    Raises:
        UserError: if a shard is missing, damaged or different from the manifest, or if `image_size` is larger
            than the stored images.
    """
    manifest = RecordsManifest.read(records)
    if split not in SPLITS:
        raise UserError(f"split is {split!r}; expected one of: {', '.join(SPLITS)}")
    height, width = manifest.image_shape
    if not 1 <= image_size <= min(height, width):
        raise UserError(
            f"image_size is {image_size}, but the records hold {width}×{height} pixels; "
            f"choose 1 to {min(height, width)}"
        )
    shards = manifest.splits[split].shards
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda shard: check_shard(records, shard, verify=verify), shards))
        items = [record for shard in shards for record in _read_shard(records, shard, image_size, pool)]
    return Split(
        split,
        np.stack([item.image for item in items]),
        np.stack([item.mask for item in items]),
        np.array([item.defective for item in items]),
        tuple(item.name for item in items),
    )


def statistics(split: Split) -> tuple[float, float]:
    """Return the mean and the standard deviation of the grey levels of all pixels of a split."""
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in split.images)
    levels, fractions = np.arange(256), counts / np.sum(counts)
    mean = float(fractions @ levels)
    return mean, math.sqrt(float(fractions @ (levels - mean) ** 2))


def batches(split: Split, config: TrainConfig, *, start: int, rank: int, world_size: int) -> Iterator[Batch]:
    """Yield the batches of one rank, from step `start` to the last step.

    The defective and the defect-free images are two endless sequences with a new permutation in every epoch.
    The fraction `clean_fraction` of a global batch comes from the sequence of defect-free images, at evenly
    distributed positions. A global batch is divided into `world_size` contiguous slices, and rank r receives
    slice r. A background thread prepares the batches; it ends when the iterator is exhausted or closed.

    Args:
        split: The images.
        config: The training configuration; seed, sizes and augmentation are used.
        start: First step, counted from 0.
        rank: This rank, 0 to world_size - 1.
        world_size: Number of ranks; a divisor of `config.global_batch`.

    Raises:
        UserError: if `world_size` does not divide the global batch, or the split has no defective or no
            defect-free images although the batches need them.
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
        self._clean_slots = clean_slots(config.global_batch, config.clean_fraction)
        self._pools = np.flatnonzero(split.defective), np.flatnonzero(~split.defective)

    def __call__(self, step: int) -> Batch:
        split, rank_slice = self._split, self._slice
        size = split.images.shape[1]
        rng = generator(self._config.seed, AUGMENT, step)
        augmentation = draw_augmentation(rng, self._config, size, *self._statistics)
        changes = zip(
            augmentation.flips[rank_slice],
            augmentation.turns[rank_slice],
            augmentation.shifts[rank_slice],
            strict=True,
        )
        indices = self._choose_images(step)[rank_slice]
        images = np.empty((len(indices), size, size), np.uint8)
        masks = np.zeros_like(images)  # the mask of a defect-free image remains zero
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
    if clean_slots(config.global_batch, config.clean_fraction).any() and split.defective.all():
        raise UserError(
            f"split {split.name} holds no defect-free image, but clean_fraction is {config.clean_fraction}; "
            "set clean_fraction=0, or add defect-free images"
        )


def _read_shard(records: Path, shard: Shard, size: int, pool: Executor) -> list[Record]:
    """Read one shard. Only one thread calls TensorFlow, because its eager dispatch is not thread-safe."""
    import tensorflow as tf

    path = records / shard.file
    dataset = tf.data.TFRecordDataset(str(path), buffer_size=1 << 20)
    try:
        items = list(pool.map(lambda item: _resize(parse(item), size), dataset.as_numpy_iterator()))
    except (tf.errors.DataLossError, ValueError, tf.errors.InvalidArgumentError) as error:
        text = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is damaged ({text}); remove the folder and convert again") from error
    if len(items) != shard.images:
        raise UserError(
            f"{path} holds {len(items)} images, not {shard.images}; remove the folder and convert again"
        )
    return items


def _resize(record: Record, size: int) -> Record:
    image, mask = area_average(record.image, size), area_average(record.mask, size)
    return Record(record.name, image, mask, record.defective)
