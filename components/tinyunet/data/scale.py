"""Reduction of an image and its mask to the scale of the records."""

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.data.dataset import MASK_LEVEL
from tinyunet.data.records.reader import Mask
from tinyunet.data.resize import Pixels, area_average, input_shape


def at_scale(image: Pixels, mask: Mask, scale: float) -> tuple[Pixels, Mask, bool]:
    """Return an image and its mask at a scale, by area average, and whether the defect is a faint one.

    A defect is faint if it covers less than half of every pixel of the result. The pixels that it covers most
    are then 255, so that the image keeps a label. At scale 1 image and mask are returned as they are.

    Args:
        image: uint8 or uint16, [H, W] or [H, W, 3].
        mask: uint8 [H, W], 0 and 255. A pixel of the result is 255 if at least half of its area is.
        scale: Factor of both sides, above 0 and at most 1; see `input_shape`.

    Raises:
        UserError: if a defect is too small at this scale to find the pixels that it covers most.
    """
    if scale == 1:
        return image, mask, False
    shape = input_shape(image.shape, scale)
    defective = area_average(mask, shape) >= MASK_LEVEL
    faint = bool(mask.any() and not defective.any())
    if faint:
        defective = _most_covered(mask, shape, scale)
    return area_average(image, shape), np.where(defective, np.uint8(255), np.uint8(0)), faint


def _most_covered(mask: Mask, shape: tuple[int, int], scale: float) -> NDArray[np.bool_]:
    """Return where the largest part of a pixel is defective, bool [h, w]."""
    parts = area_average(mask.astype(np.uint16) * np.uint16(257), shape)  # 16 bits resolve small parts
    if not parts.any():
        raise UserError(f"scale is {scale:g}: a defect is lost at it; use a larger scale")
    largest: NDArray[np.bool_] = parts == parts.max()
    return largest
