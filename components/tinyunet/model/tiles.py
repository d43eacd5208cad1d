"""Inference on whole images of any size by overlapping tiles; the memory that it needs is limited.

A logit depends on at most REACH pixels in each direction: the sum over all convolutions of their reach times
their stride, plus the alignment of the pooling layers. A tile therefore overlaps its neighbours by HALO
pixels on every side, and only the logits further inside are used. They equal those of the untiled image up to
rounding.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tinyunet.model.metrics import SMOOTHING_SIDE, TOP_PIXELS, Floats

Image = NDArray[Any]  # [H, W] or [H, W, 3], uint8 or uint16
Logits = NDArray[np.float32]
Network = Callable[[Image], Logits]
"""From [b, H, W] or [b, H, W, 3] to float32 [b, H, W]; H and W are multiples of STRIDE."""

STRIDE = 16  # the sides of the network's input are multiples of it
REACH = 110  # pixels after the end of a block of STRIDE pixels; 94 before its start
HALO = 112  # the next multiple of STRIDE
TILE = 768  # side of a tile in pixels; a forward pass in float32 needs about 0.7 GiB
BATCH_PIXELS = TILE * TILE  # of all images of a forward pass, so that it needs no more than one tile


class Part(NamedTuple):
    """The part of one axis that a tile covers, and the part of it whose logits are used, in pixels."""

    start: int
    stop: int
    core_start: int
    core_stop: int


def pad_to_stride(image: Image) -> Image:
    """Return an image whose sides are multiples of STRIDE, continued by reflection below and to the right."""
    missing = [(0, -side % STRIDE) for side in image.shape[:2]]
    if missing == [(0, 0), (0, 0)]:
        return image
    return np.pad(image, [*missing, *[(0, 0)] * (image.ndim - 2)], mode="reflect")


def split_axis(length: int, tile: int | None = None) -> list[Part]:
    """Divide one axis of an image into tiles of equal length.

    Args:
        length: Length of the axis, a multiple of STRIDE.
        tile: Largest length of a tile, a multiple of STRIDE above 2 · HALO; None selects TILE.

    Returns:
        One part if the axis is not longer than a tile; otherwise parts of `tile` pixels, of which neighbours
        overlap by at least 2 · HALO. Their cores cover the axis without overlap.
    """
    tile = tile or TILE
    if length <= tile:
        return [Part(0, length, 0, length)]
    step = tile - 2 * HALO
    starts = [*range(0, length - tile, step), length - tile]
    borders = [0, *(start + HALO for start in starts[1:]), length]
    return [Part(start, start + tile, borders[i], borders[i + 1]) for i, start in enumerate(starts)]


def count_tiles(shape: tuple[int, ...], tile: int | None = None) -> int:
    """Return the number of tiles of an image of [H, W, …] pixels."""
    rows, columns = (len(split_axis(side + -side % STRIDE, tile)) for side in shape[:2])
    return rows * columns


def bands(
    network: Network, image: Image, *, tile: int | None = None, on_tile: Callable[[], None] = lambda: None
) -> Iterator[Logits]:
    """Yield the logits of an image from top to bottom, in bands of its whole width.

    Args:
        network: Computes the logits of a batch of one tile.
        image: The image, of any size.
        tile: Largest side of a tile in pixels, see `split_axis`.
        on_tile: Called after every tile, to show the progress.

    Yields:
        float32 [rows, W]; only pixels of the image, without those that were added to it.
    """
    height, width = image.shape[:2]
    rows, columns = (split_axis(side + -side % STRIDE, tile) for side in (height, width))
    for row in rows:
        band = np.empty((min(row.core_stop, height) - row.core_start, width), np.float32)
        for column in columns:
            part = pad_to_stride(image[row.start : row.stop, column.start : column.stop])
            logits = network(part[None])[0]
            top, left = row.core_start - row.start, column.core_start - column.start
            core = band[:, column.core_start : column.core_stop]
            core[:] = logits[top : top + core.shape[0], left : left + core.shape[1]]
            on_tile()
        yield band


def predict_images(
    network: Network,
    images: Iterable[Image],
    *,
    batch_size: int,
    progress: Callable[[Image], Callable[[], None]] = lambda image: lambda: None,
) -> Iterator[Iterator[Logits]]:
    """Yield the bands of every image; the bands of an image must be used before the next image.

    Consecutive small images of equal size are predicted in batches.

    Args:
        network: Computes the logits of a batch.
        images: Images of any sizes.
        batch_size: Largest number of images of a forward pass.
        progress: Called with every image of several tiles; what it returns is called after every tile.
    """
    for batch in _batches(images, batch_size):
        if count_tiles(batch[0].shape) > 1:
            yield bands(network, batch[0], on_tile=progress(batch[0]))
            continue
        height, width = batch[0].shape[:2]
        logits = network(np.stack([pad_to_stride(image) for image in batch]))
        yield from (iter([each[:height, :width]]) for each in logits)


class RunningScore:
    """The score of an image (`metrics.image_score`) from its bands; see `EvalConfig.image_score`."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._best = np.array([], np.float64)
        self._rows: Floats | None = None  # the last rows of the bands so far, for means across bands

    def add(self, band: Logits) -> None:
        """Take the next band, float32 [rows, W]."""
        if self._kind == "smoothed":
            self._add_means(band.astype(np.float64))
            return
        candidates, count = band.ravel(), TOP_PIXELS if self._kind == "top100" else 1
        if candidates.size > count:
            candidates = np.partition(candidates, -count)[-count:]
        self._best = np.sort(np.concatenate([self._best, candidates]))[-count:]

    def value(self) -> float:
        """Return the score of the bands so far."""
        return float(self._best.mean())

    def _add_means(self, band: Floats) -> None:
        rows = band if self._rows is None else np.concatenate([self._rows, band])
        self._rows = rows[-(SMOOTHING_SIDE - 1) :]
        means = rows
        for axis in (0, 1):
            side = min(SMOOTHING_SIDE, rows.shape[axis])
            means = sliding_window_view(means, side, axis=axis).mean(axis=-1)
        self._best = np.array([max([*self._best, means.max()])])


def _batches(images: Iterable[Image], batch_size: int) -> Iterator[list[Image]]:
    """Group consecutive images of equal size; an image of several tiles is a batch by itself."""
    batch: list[Image] = []
    for image in images:
        limit = min(batch_size, BATCH_PIXELS // max(1, image.shape[0] * image.shape[1]))
        if batch and (len(batch) >= limit or batch[0].shape != image.shape):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch
