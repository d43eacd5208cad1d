"""Read the mask of an image into the types of its defects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.data.pictures.mask_kinds import WORDS, MaskKind, value_text
from tinyunet.data.pictures.mask_values import mask_values, read_raw
from tinyunet.data.pictures.opening import turn
from tinyunet.data.pictures.pixels import size_text


def read_mask(data: bytes, kind: MaskKind, shape: Sequence[int], orientation: int = 1) -> NDArray[np.uint8]:
    """Read the mask of an image.

    Rotation: a mask with an EXIF orientation of its own is turned by that. Otherwise a mask of the size of
    the stored image, before its EXIF rotation, is turned as the image is; a mask that has only the size of
    the upright image was drawn on the upright image and is left as it is. For square images and half turns
    both sizes are equal: the mask is turned.

    Args:
        data: The mask file.
        kind: What the values mean, as from `decide`.
        shape: (height, width) of the upright image.
        orientation: EXIF orientation of the image file, 1 to 8 (`Picture.orientation`).

    Returns:
        uint8 [H, W]: the type of the defect of every pixel, 0 where there is none.

    Raises:
        UserError: if the file cannot be decoded, holds a value that `kind` does not know, or has another size
            than the image. The message has no subject.
    """
    raw = read_raw(data)
    if raw.reading == "colour" != kind.reading:
        mask_values(data)  # says why the colours cannot be read
    types = _interpret(raw.read_as(kind.reading), kind)
    height, width = shape[:2]
    stored = (width, height) if orientation >= 5 else (height, width)
    if not raw.oriented and types.shape == stored:
        types = turn(types, orientation)
    if types.shape != (height, width):
        raise UserError(f"is {size_text(types.shape)}, but its image is {size_text(shape)}")
    return types


def _interpret(values: NDArray[Any], kind: MaskKind) -> NDArray[np.uint8]:
    if kind.threshold:
        defective: NDArray[np.bool_] = (values >= kind.threshold) != kind.inverted
        return defective.astype(np.uint8)
    types = np.zeros(values.shape, np.uint8)
    known = 0
    for value, defect_type in kind.types.items():
        equal = values == value
        known += int(np.count_nonzero(equal))
        if defect_type:
            types[equal] = defect_type
    if known < values.size:
        other = int(values[~np.isin(values, list(kind.types))][0])
        raise UserError(
            f"holds the {WORDS[kind.reading]} {value_text(other, kind.reading)}, expected "
            f"{', '.join(value_text(value, kind.reading) for value in sorted(kind.types))}"
        )
    return types
