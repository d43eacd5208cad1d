"""Training batches of square patches of images at their own resolution."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.data import sampling
from tinyunet.data.augment import draw_augmentation, pose
from tinyunet.data.dataset import MASK_LEVEL, Batch, Split, statistics
from tinyunet.data.prefetch import prefetch
from tinyunet.data.records.stored import StoredImages
from tinyunet.data.sampling import AUGMENT, POSITION, clean_slots, generator, read_stream
from tinyunet.model.tiles import STRIDE

AROUND_DEFECT, ANYWHERE, IN_CLEAN = 0, 1, 2  # kinds of patches
STREAMS = {AROUND_DEFECT: sampling.DEFECTIVE, ANYWHERE: sampling.ANYWHERE, IN_CLEAN: sampling.CLEAN}
KNOWN_PIXELS = 256  # defective pixels of an image that are remembered, so that memory remains small

Image = NDArray[Any]  # [H, W] or [H, W, 3]


def patch_batches(
    split: Split, config: TrainConfig, *, start: int, rank: int, world_size: int
) -> Iterator[Batch]:
    """Yield the batches of one rank, from step `start` to the last step; see `dataset.batches`.

    Every global batch holds the same number of patches of each kind (`patch_kinds`), at the same positions.
    Each kind takes its images from an endless sequence with a new permutation in every epoch. A patch is a
    function of seed, step and position in the global batch.

    Args:
        split: The images, each of its own size.
        config: The training configuration; seed, sizes and augmentation are used.
        start: First step, counted from 0.
        rank: This rank, 0 to world_size - 1.
        world_size: Number of ranks; a divisor of `config.global_batch`.

    Raises:
        UserError: if `world_size` does not divide the global batch, or the split has no defective image.
    """
    if config.global_batch % world_size:
        raise UserError(
            f"global_batch is {config.global_batch}; expected a multiple of the number of ranks, {world_size}"
        )
    if not split.defective.any():
        raise UserError(f"split {split.name} holds no defective image; training needs at least one")
    return prefetch(_PatchMaker(split, config, rank, world_size), range(start, config.steps))


def patch_kinds(config: TrainConfig, *, any_clean: bool) -> NDArray[np.int64]:
    """Return the kind of each patch of a global batch; the kinds are evenly distributed.

    Args:
        config: `global_batch`, `defect_patches` and `clean_fraction` are used.
        any_clean: Whether there are images without a defect; without them, their patches are taken anywhere
            in defective images.

    Returns:
        int64 [B], AROUND_DEFECT, ANYWHERE or IN_CLEAN.
    """
    count = config.global_batch
    around = round(config.defect_patches * count)
    kinds = np.full(count, ANYWHERE)
    kinds[np.diff((np.arange(count + 1) * around) // count) > 0] = AROUND_DEFECT
    others = np.flatnonzero(kinds == ANYWHERE)
    if any_clean and len(others):
        kinds[others[clean_slots(len(others), config.clean_fraction)]] = IN_CLEAN
    return kinds


class _PatchMaker:
    """Creates the batch of a step for one rank."""

    def __init__(self, split: Split, config: TrainConfig, rank: int, world_size: int) -> None:
        assert isinstance(split.masks, StoredImages)  # images at their own size are always stored ones
        self._split, self._masks = split, split.masks
        self._config = config.replace({"max_shift": 0.0})
        self._statistics = statistics(split)
        share = config.global_batch // world_size
        self._slots = range(rank * share, (rank + 1) * share)
        defective, clean = np.flatnonzero(split.defective), np.flatnonzero(~split.defective)
        self._kinds = patch_kinds(config, any_clean=bool(len(clean)))
        self._pools = {AROUND_DEFECT: defective, ANYWHERE: defective, IN_CLEAN: clean}
        self._defective_pixels: dict[int, NDArray[np.uint32]] = {}

    def __call__(self, step: int) -> Batch:
        seed = self._config.seed
        augmentation = draw_augmentation(
            generator(seed, AUGMENT, step), self._config, self._config.patch, *self._statistics
        )
        places = generator(seed, POSITION, step).random((self._config.global_batch, 3))
        indices = self._choose_images(step)
        images, masks = [], []
        for slot in self._slots:
            image, mask = self._cut(int(indices[slot]), int(self._kinds[slot]), places[slot])
            flip, turns = bool(augmentation.flips[slot]), int(augmentation.turns[slot])
            images.append(pose(image, flip=flip, turns=turns))
            masks.append(pose(mask, flip=flip, turns=turns))
        own = slice(self._slots.start, self._slots.stop)
        return Batch(
            np.stack(images),
            np.stack(masks),
            augmentation.gain[own],
            augmentation.bias[own],
            augmentation.warps[own],
            tuple(self._split.names[index] for index in indices[own]),
        )

    def _choose_images(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the images of the global batch, int64 [B]."""
        indices = np.empty(len(self._kinds), np.int64)
        for kind, pool in self._pools.items():
            slots = self._kinds == kind
            count = int(slots.sum())
            indices[slots] = read_stream(pool, self._config.seed, STREAMS[kind], step * count, count)
        return indices

    def _cut(self, index: int, kind: int, place: NDArray[np.float64]) -> tuple[Image, NDArray[np.uint8]]:
        """Return a patch and its mask; `place` are three numbers from 0 to 1 that select the position."""
        size, image = self._config.patch, self._split.images[index]
        pixel = self._defective_pixel(index, image.shape[1], place[0]) if kind == AROUND_DEFECT else None
        top, left = _corner(image.shape, size, pixel or _any_pixel(image.shape, place[0]), place[1:])
        patch = crop(image, top, left, size)
        if kind == IN_CLEAN:
            return patch, np.zeros((size, size), np.uint8)
        return patch, crop(self._masks.rows(index, slice(top, top + size)), 0, left, size)

    def _defective_pixel(self, index: int, width: int, place: float) -> tuple[int, int] | None:
        """Return (row, column) of a random defective pixel of an image; None if its mask has none."""
        known = self._defective_pixels.get(index)
        if known is None:
            known = np.flatnonzero(self._masks[index] >= MASK_LEVEL).astype(np.uint32)
            if len(known) > KNOWN_PIXELS:
                known = generator(self._config.seed, sampling.KNOWN_PIXELS, index).choice(
                    known, KNOWN_PIXELS, replace=False
                )
            self._defective_pixels[index] = known
        if not len(known):
            return None
        return divmod(int(known[int(place * len(known))]), width)


def crop(image: Image, top: int, left: int, size: int) -> Image:
    """Return a square part of an image, which is continued by reflection below and to the right of it.

    Args:
        image: [H, W] or [H, W, 3], any dtype.
        top: First row.
        left: First column.
        size: Side of the part in pixels.

    Returns:
        [size, size] or [size, size, 3]; a view where possible.
    """
    part = image[top : top + size, left : left + size]
    missing = [(0, size - part.shape[axis]) for axis in (0, 1)]
    if missing == [(0, 0), (0, 0)]:
        return part
    return np.pad(part, [*missing, *[(0, 0)] * (image.ndim - 2)], mode="reflect")


def _any_pixel(shape: tuple[int, ...], place: float) -> tuple[int, int]:
    """Return (row, column) of the pixel that a number from 0 to 1 selects."""
    return divmod(int(place * shape[0] * shape[1]), shape[1])


def _corner(
    shape: tuple[int, ...], size: int, pixel: tuple[int, int], place: NDArray[np.float64]
) -> tuple[int, int]:
    """Return the first pixel of a patch that contains `pixel` at the place that `place` selects.

    A patch that would extend beyond the image is moved to its border. The borders are therefore seen as often
    as the other parts, and with the continuation that whole images have in a prediction (`pad_to_stride`).
    """
    sides = (side + -side % STRIDE for side in shape[:2])
    top, left = (
        min(max(0, position - int(fraction * size)), max(0, side - size))
        for side, position, fraction in zip(sides, pixel, place, strict=True)
    )
    return top, left
