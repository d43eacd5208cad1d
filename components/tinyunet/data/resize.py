"""Resizing by area average, exact in integer arithmetic."""

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8 | np.uint16]
LEAST_SIDE = 16  # pixels; a scale reduces no side further
_STRIP = 1 << 20  # pixels that are summed at a time, so that the memory does not depend on the image's size


def input_shape(shape: tuple[int, ...], scale: float, image_size: int = 0) -> tuple[int, int]:
    """Return the height and the width that a network takes an image at.

    Args:
        shape: Shape of the image, [H, W, …].
        scale: Factor of both sides, which are rounded; a side keeps LEAST_SIDE pixels, if it has so many.
        image_size: Side in pixels to which all images are resized; 0 if they are not.

    >>> input_shape((301, 20, 3), 0.5)
    (151, 16)
    """
    if image_size:
        return image_size, image_size
    height, width = (min(side, max(LEAST_SIDE, int(side * scale + 0.5))) for side in shape[:2])
    return height, width


def area_average(image: Pixels, size: int | tuple[int, int]) -> Pixels:
    """Return a resized image: each pixel is the mean over its area in the source, rounded half up.

    The weight of a source pixel is the fraction of the area that it covers. Height and width are resized
    separately, so that a rectangle may become a square. A larger image than the source has pixels whose area
    is a part of a pixel.

    Args:
        image: uint8 or uint16, [H, W] or [H, W, 3].
        size: Side length of the result in pixels, at least 1; or its height and width.

    Returns:
        [h, w] or [h, w, 3], with the type of `image`.

    The four pixels of every 2×2 block are averaged: (0 + 2 + 4 + 6) / 4 = 3, and (0 + 1 + 0 + 1) / 4 = 0.5 is
    rounded up to 1.

    >>> area_average(np.array([[0, 2, 8, 8], [4, 6, 8, 8], [1, 1, 0, 1], [1, 1, 0, 1]], np.uint8), 2).tolist()
    [[3, 8], [1, 1]]
    """
    height, width = image.shape[:2]
    rows, columns = (size, size) if isinstance(size, int) else size
    if (height, width) == (rows, columns):
        return image
    largest = np.iinfo(image.dtype).max * (height // math.gcd(height, rows))
    of_rows = np.empty((rows, *image.shape[1:]), np.min_scalar_type(largest))
    step = max(1, _STRIP // height)
    for left in range(0, width, step):
        of_rows[:, left : left + step] = _sum_rows(image[:, left : left + step], rows)
    step = max(1, _STRIP // width)
    area = (height // math.gcd(height, rows)) * (width // math.gcd(width, columns))
    means = np.empty((rows, columns, *image.shape[2:]), image.dtype)
    for top in range(0, rows, step):
        sums = _sum_rows(of_rows[top : top + step].swapaxes(0, 1), columns).swapaxes(0, 1)
        means[top : top + step] = (2 * sums + area) // (2 * area)
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
