"""How often every level occurs in images, and the statistics of the levels."""

import math

import numpy as np
from numpy.typing import NDArray

from tinyunet.data.resize import Pixels

_STRIP = 1 << 20  # pixels that are counted at a time, so that the memory does not depend on the image's size


def count_levels(image: Pixels) -> NDArray[np.int64]:
    """Return how often every level occurs in an image, int64 [256] or [65536]."""
    counts = np.zeros(1 << 8 * image.itemsize, np.int64)
    rows = max(1, _STRIP // max(1, math.prod(image.shape[1:])))
    for top in range(0, len(image), rows):
        counts += np.bincount(image[top : top + rows].ravel(), minlength=len(counts))
    return counts


def mean_and_deviation(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return the mean and the standard deviation of levels that occur `counts` times; 0 without any.

    The sums are exact, because those of floating-point numbers depend on the CPU.
    """
    exact, levels = counts.astype(object), np.arange(len(counts)).astype(object)
    number, total, squares = max(1, int(exact.sum())), int(exact @ levels), int(exact @ levels**2)
    return total / number, math.sqrt((number * squares - total**2) / number**2)
