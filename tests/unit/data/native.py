"""Splits of images at their own size, for tests."""

import numpy as np
from numpy.typing import NDArray

from tinyunet.data.dataset import Split
from tinyunet.data.records.stored import StoredImages


def native_split(images: list[NDArray], masks: list[NDArray[np.uint8]]) -> Split:
    """Return a split of images in memory; an image is defective if its mask is not empty."""
    indices = np.arange(len(images))
    return Split(
        "train",
        StoredImages(lambda i, rows: images[i][rows], indices, shape=None, dtype=images[0].dtype),
        StoredImages(lambda i, rows: masks[i][rows], indices, shape=None, dtype=np.uint8),
        np.array([mask.any() for mask in masks]),
        tuple(f"{i:04}" for i in range(len(images))),
    )
