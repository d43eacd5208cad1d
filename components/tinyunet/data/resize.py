"""Resizing by area average, exact in integer arithmetic."""

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8 | np.uint16]
_STRIP = 1 << 20  # pixels that are summed at a time, so that the memory does not depend on the image's size


def area_average(image: Pixels, size: int) -> Pixels:
    """Return a square image: each pixel is the mean over its area in the source, rounded half up.

    The weight of a source pixel is the fraction of the area that it covers. Height and width are resized
    separately, so the result of a rectangle is a square. A larger image than the source has pixels whose area
    is a part of a pixel.

    Args:
        image: uint8 or uint16, [H, W] or [H, W, 3].
        size: Side length of the result in pixels, at least 1.

    Returns:
        [size, size] or [size, size, 3], with the type of `image`.

    The four pixels of every 2×2 block are averaged: (0 + 2 + 4 + 6) / 4 = 3, and (0 + 1 + 0 + 1) / 4 = 0.5 is
    rounded up to 1.

    >>> area_average(np.array([[0, 2, 8, 8], [4, 6, 8, 8], [1, 1, 0, 1], [1, 1, 0, 1]], np.uint8), 2).tolist()
    [[3, 8], [1, 1]]
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    columns = max(1, _STRIP // height)
    strips = [_sum_rows(image[:, left : left + columns], size) for left in range(0, width, columns)]
    sums = _sum_rows(np.concatenate(strips, axis=1).swapaxes(0, 1), size).swapaxes(0, 1)
    area = (height // math.gcd(height, size)) * (width // math.gcd(width, size))
    means: Pixels = ((2 * sums + area) // (2 * area)).astype(image.dtype)
    return means


def _sum_rows(image: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Sum the rows of `size` bands of equal height, [N, …] to int64 [size, …]; a band may begin inside a row.

    All numbers are integers: with g = gcd(N, size), a row counts as size / g slices, and a band has N / g
    slices.
    """
    rows, divisor = len(image), math.gcd(len(image), size)
    if divisor == size:  # every band has complete rows
        bands = image.reshape(size, rows // size, *image.shape[1:])
        whole: NDArray[np.int64] = bands.sum(axis=1, dtype=np.int64)
        return whole
    slices_per_row = size // divisor
    borders = np.arange(size + 1) * (rows // divisor)  # of the bands, in slices from the top
    complete_rows, extra_slices = np.divmod(borders, slices_per_row)
    values = image.astype(np.int64)
    cumulative = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    divided_row = values[np.minimum(complete_rows, rows - 1)]
    extra_slices = extra_slices.reshape(-1, *[1] * (image.ndim - 1))
    above = cumulative[complete_rows] * slices_per_row + extra_slices * divided_row
    sums: NDArray[np.int64] = np.diff(above, axis=0)
    return sums
