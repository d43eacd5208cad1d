"""Downscaling by area average, exact in integer arithmetic."""

import math

import numpy as np
from numpy.typing import NDArray


def area_average(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a smaller square image: each pixel is the mean over its area in the source, rounded half up.

    The weight of a source pixel is the fraction of it that is inside the area.

    Args:
        image: uint8 [N, N].
        size: At most N.

    Returns:
        uint8 [size, size].

    The four pixels of every 2×2 block are averaged: (0 + 2 + 4 + 6) / 4 = 3, and (0 + 1 + 0 + 1) / 4 = 0.5 is
    rounded up to 1.

    >>> area_average(np.array([[0, 2, 8, 8], [4, 6, 8, 8], [1, 1, 0, 1], [1, 1, 0, 1]], np.uint8), 2).tolist()
    [[3, 8], [1, 1]]
    """
    if image.shape == (size, size):
        return image
    sums = _sum_rows(_sum_rows(image.astype(np.int64), size).T, size).T
    area = (image.shape[0] // math.gcd(image.shape[0], size)) ** 2
    means: NDArray[np.uint8] = ((2 * sums + area) // (2 * area)).astype(np.uint8)
    return means


def _sum_rows(image: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Sum the rows of `size` bands of equal height, [N, M] to [size, M]; a band may begin inside a row.

    All numbers are integers: with g = gcd(N, size), a row counts as size / g slices, and a band has N / g
    slices.
    """
    rows, divisor = len(image), math.gcd(len(image), size)
    slices_per_row = size // divisor
    borders = np.arange(size + 1) * (rows // divisor)  # of the bands, in slices from the top
    complete_rows, extra_slices = np.divmod(borders, slices_per_row)
    cumulative = np.concatenate([np.zeros_like(image[:1]), np.cumsum(image, axis=0)])
    divided_row = image[np.minimum(complete_rows, rows - 1)]
    above = cumulative[complete_rows] * slices_per_row + extra_slices[:, None] * divided_row
    sums: NDArray[np.int64] = np.diff(above, axis=0)
    return sums
