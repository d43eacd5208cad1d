"""The defects of a mask as a list."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyunet.model.region_stream import EIGHT_NEIGHBOURS


@dataclass(frozen=True)
class Region:
    """Defective pixels that are connected by sides or corners, in pixels of the image.

    Attributes:
        top: First row of the bounding box.
        left: First column of the bounding box.
        height: Height of the bounding box.
        width: Width of the bounding box.
        area: Number of defective pixels.
    """

    top: int
    left: int
    height: int
    width: int
    area: int


def find_regions(mask: NDArray[np.bool_], limit: int) -> tuple[list[Region], int]:
    """Return the `limit` largest regions of a mask [H, W], the largest first, and the number of all regions.

    >>> find_regions(np.array([[0, 0, 0, 1], [1, 1, 0, 0], [0, 1, 0, 0]], bool), limit=1)
    ([Region(top=1, left=0, height=2, width=2, area=3)], 2)
    """
    if not mask.any():
        return [], 0
    from scipy import ndimage

    numbers, count = ndimage.label(mask, EIGHT_NEIGHBOURS)
    areas = np.bincount(numbers.ravel())[1:]
    largest = np.argsort(-areas, kind="stable")[:limit]
    # The boxes of millions of regions would take gigabytes: only the largest keep a number.
    ranks = np.zeros(count + 1, np.int32)
    ranks[largest + 1] = np.arange(1, len(largest) + 1)
    boxes = ndimage.find_objects(ranks[numbers])
    regions = [
        Region(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start, int(area))
        for (rows, columns), area in zip(boxes, areas[largest], strict=True)
    ]
    return regions, count
