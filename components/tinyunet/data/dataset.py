"""Records in memory, resized, and the batches of a training run."""

import math
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.config import TrainConfig
from tinyunet.core.console import cores
from tinyunet.core.errors import UserError
from tinyunet.data.augment import draw, pose, shift_into
from tinyunet.data.prefetch import prefetch
from tinyunet.data.resize import area_average
from tinyunet.data.sampling import AUGMENT, CLEAN, DEFECTIVE, clean_slots, generator, order
from tinyunet.data.tfrecord import SPLITS, Record, check_shard, parse, read_manifest

Array = NDArray[np.uint8]

MASK_LEVEL = 128
"""Coverage (0 to 255) from which a pixel of a resized mask counts as defective: half of it."""


@dataclass(frozen=True)
class Split:
    """One split in memory.

    Attributes:
        name: `train`, `validation` or `test`.
        images: uint8 [N, S, S], grey levels.
        masks: uint8 [N, S, S], share of a pixel that is defect, times 255; `masks >= 128` is the hard label.
        defective: bool [N].
        names: N names, such as `0576`.
    """

    name: str
    images: Array
    masks: Array
    defective: NDArray[np.bool_]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """The images of one rank at one step.

    Attributes:
        images: uint8 [b, S, S]; the network sees `images * gain + bias`, in grey levels.
        masks: uint8 [b, S, S], coverage times 255.
        gain: float32 [b].
        bias: float32 [b], grey levels.
        warps: float32 [b, 8], the transforms (`augment.warps`) that images and masks are yet to undergo.
        names: b names of images.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    gain: NDArray[np.float32]
    bias: NDArray[np.float32]
    warps: NDArray[np.float32]
    names: tuple[str, ...]


def load_split(records: Path, split: str, image_size: int, *, verify: bool = False) -> Split:
    """Read a split and resize it by area average.

    Args:
        records: What `convert` made.
        split: `train`, `validation` or `test`.
        image_size: Side in pixels, at most that of the stored images.
        verify: Also compare every shard with its SHA-256.

    Raises:
        UserError: if a shard is missing, damaged or not the one of the manifest, or if the size does not fit.
    """
    manifest = read_manifest(records)
    if split not in SPLITS:
        raise UserError(f"split is {split!r}; expected one of: {', '.join(SPLITS)}")
    stored = manifest["image_shape"]
    if not 1 <= image_size <= min(stored):
        raise UserError(
            f"image_size is {image_size}, the records hold {stored[1]}×{stored[0]}; choose at most that"
        )
    shards = manifest["splits"][split]["shards"]
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
    """Give mean and standard deviation of all pixels of a split, in grey levels."""
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in split.images)
    levels, share = np.arange(256), counts / np.sum(counts)
    mean = float(share @ levels)
    return mean, math.sqrt(float(share @ (levels - mean) ** 2))


def batches(split: Split, config: TrainConfig, *, start: int, rank: int, world_size: int) -> Iterator[Batch]:
    """Give the batches of steps `start` to `config.steps`, for one rank.

    Defective and defect-free images are two endless streams, each with a fresh permutation per epoch. A
    global batch takes `clean_fraction` of its images from the second, spread evenly, and rank r takes the
    r-th of `world_size` contiguous slices. Close the iterator to end its thread early.

    Args:
        split: Images in memory.
        config: Seed, sizes and augmentation.
        start: First step, from 0.
        rank: 0 to world_size - 1.
        world_size: Divides `config.global_batch`.

    Raises:
        UserError: if the sizes do not divide, or the split lacks a kind of image that the batches need.
    """
    _check(split, config, world_size)
    make = _Maker(split, config, rank, world_size)
    return prefetch(make, range(start, config.steps))


class _Maker:
    """Makes the batch of a step for one rank."""

    def __init__(self, split: Split, config: TrainConfig, rank: int, world_size: int) -> None:
        self._split, self._config = split, config
        self._statistics = statistics(split)
        each = config.global_batch // world_size
        self._mine = slice(rank * each, (rank + 1) * each)
        self._clean = clean_slots(config.global_batch, config.clean_fraction)
        self._pools = np.flatnonzero(split.defective), np.flatnonzero(~split.defective)

    def __call__(self, step: int) -> Batch:
        split, mine = self._split, self._mine
        size = split.images.shape[1]
        drawn = draw(generator(self._config.seed, AUGMENT, step), self._config, size, *self._statistics)
        indices = self._indices(step)[mine]
        images = np.empty((len(indices), size, size), np.uint8)
        masks = np.zeros_like(images)  # and so they stay where there is no defect
        changes = zip(indices, drawn.flips[mine], drawn.turns[mine], drawn.shifts[mine], strict=True)
        for slot, (index, flip, turns, (down, right)) in enumerate(changes):
            shift_into(images[slot], pose(split.images[index], flip=flip, turns=turns), down, right)
            if split.defective[index]:
                shift_into(masks[slot], pose(split.masks[index], flip=flip, turns=turns), down, right)
        names = tuple(split.names[index] for index in indices)
        return Batch(images, masks, drawn.gain[mine], drawn.bias[mine], drawn.warps[mine], names)

    def _indices(self, step: int) -> NDArray[np.int64]:
        """Give the images of the global batch, int64 [B]."""
        indices = np.empty(len(self._clean), np.int64)
        for stream, slots in ((DEFECTIVE, ~self._clean), (CLEAN, self._clean)):
            count = int(slots.sum())
            indices[slots] = order(self._pools[stream], self._config.seed, stream, step * count, count)
        return indices


def _check(split: Split, config: TrainConfig, world_size: int) -> None:
    if config.global_batch % world_size:
        raise UserError(
            f"global_batch is {config.global_batch}, not a multiple of {world_size} ranks; choose one"
        )
    if not split.defective.any():
        raise UserError(f"split {split.name} holds no defective image; training needs at least one")
    if clean_slots(config.global_batch, config.clean_fraction).any() and split.defective.all():
        raise UserError(
            f"split {split.name} holds no defect-free image, but clean_fraction is {config.clean_fraction}; "
            "set clean_fraction=0 or bring such images"
        )


def _read_shard(records: Path, shard: dict[str, Any], size: int, pool: Executor) -> list[Record]:
    """Read one shard; TensorFlow is called from this thread alone, as its dispatch is not safe in several."""
    import tensorflow as tf

    path = records / shard["file"]
    dataset = tf.data.TFRecordDataset(str(path), buffer_size=1 << 20)
    try:
        items = list(pool.map(lambda item: _shrink(parse(item), size), dataset.as_numpy_iterator()))
    except (tf.errors.DataLossError, ValueError, tf.errors.InvalidArgumentError) as error:
        text = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is damaged ({text}); remove the folder and convert again") from error
    if len(items) != shard["images"]:
        raise UserError(
            f"{path} holds {len(items)} images, not {shard['images']}; remove the folder and convert again"
        )
    return items


def _shrink(record: Record, size: int) -> Record:
    image, mask = area_average(record.image, size), area_average(record.mask, size)
    return Record(record.name, image, mask, record.defective)
