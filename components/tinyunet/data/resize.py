"""Downscaling by area average, exact in integer arithmetic."""

import math

import numpy as np
from numpy.typing import NDArray


def area_average(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a smaller square image: each pixel is the mean over its area in the source, rounded half up.

    A source pixel that is covered in part has the weight of that part.

    Args:
        image: uint8 [N, N].
        size: At most N.

    Returns:
        uint8 [size, size].

    The four pixels of every 2×2 block are averaged; 0.5 is rounded up:

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
    """Sum [N, M] to [size, M] in integer units: a row has size / gcd of them, a sum has N / gcd."""
    divisor = math.gcd(len(image), size)
    whole, part = np.divmod(np.arange(size + 1) * (len(image) // divisor), size // divisor)
    below = np.concatenate([np.zeros_like(image[:1]), np.cumsum(image, axis=0)])
    cut = image[np.minimum(whole, len(image) - 1)]
    sums: NDArray[np.int64] = np.diff(below[whole] * (size // divisor) + part[:, None] * cut, axis=0)
    return sums
