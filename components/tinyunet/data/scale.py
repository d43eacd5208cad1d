"""Reduction of an image and its mask to the scale of the records."""

import numpy as np

from tinyunet.data.dataset import MASK_LEVEL
from tinyunet.data.records.reader import Mask
from tinyunet.data.resize import Pixels, area_average, input_shape


def at_scale(image: Pixels, mask: Mask, scale: float) -> tuple[Pixels, Mask]:
    """Return an image and its mask at a scale, by area average; at 1 both are returned as they are.

    Args:
        image: uint8 or uint16, [H, W] or [H, W, 3].
        mask: uint8 [H, W], 0 and 255. A pixel of the result is 255 if at least half of its area is.
        scale: Factor of both sides, above 0 and at most 1; see `input_shape`.
    """
    if scale == 1:
        return image, mask
    shape = input_shape(image.shape, scale)
    defective = area_average(mask, shape) >= MASK_LEVEL
    return area_average(image, shape), np.where(defective, np.uint8(255), np.uint8(0))
