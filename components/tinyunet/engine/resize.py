"""Bilinear interpolation of a probability map to the size of its image, a few rows at a time."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_STRIP = 1 << 20  # pixels of a strip


def interpolate(values: NDArray[np.float32], height: int, width: int) -> Iterator[NDArray[np.float32]]:
    """Interpolate between the centres of the pixels; beyond the outermost centres, values are constant.

    Args:
        values: float32 [S, T].
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Yields:
        Strips of the result from top to bottom, float32 [rows, width]. For [S, T] pixels they are `values`.
    """
    left, right, fraction = _neighbours(values.shape[1], width)
    above, below, share = _neighbours(values.shape[0], height)
    rows, one = max(1, _STRIP // width), np.float32(1)
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        weight = share[part, None]
        strip = values[above[part]] * (one - weight) + values[below[part]] * weight
        yield strip[:, left] * (one - fraction) + strip[:, right] * fraction


def _neighbours(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the two source pixels of every target pixel, and the weight of the second one."""
    position = ((np.arange(target) + 0.5) * source / target - 0.5).clip(0, source - 1)
    first = np.floor(position).astype(np.intp)
    return first, np.minimum(first + 1, source - 1), (position - first).astype(np.float32)
