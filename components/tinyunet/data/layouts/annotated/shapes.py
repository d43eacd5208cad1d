"""Masks that are drawn from annotations."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError

MAX_TYPES = 255
_NO_DEFECT = {"background", "bg", "ignore", "ignored", "void", "unlabeled", "unlabelled"}
# Colours of the values 0 … 5 for viewers; all further values are white.
_PALETTE = (0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0, 0, 255, 255)


@dataclass(frozen=True)
class Shape:
    """A region of one type: a polygon, an ellipse or a bitmap.

    Attributes:
        type_name: Type of the defect.
        kind: `polygon`, `ellipse` or `bitmap`.
        points: Coordinates x, y of the corners of a polygon, or of two opposite corners around an ellipse, in
            pixels; for a bitmap, its upper left corner.
        bitmap: Encoded pixels of a bitmap, see `pack`.
    """

    type_name: str
    kind: str
    points: tuple[tuple[float, float], ...]
    bitmap: bytes = field(default=b"", repr=False)


def is_background(label: str) -> bool:
    """Return whether a label names regions that are no defects, such as `_background_`."""
    return label.strip("_ ").lower() in _NO_DEFECT


def type_values(names: Iterable[str]) -> dict[str, int]:
    """Return the value of each type in a mask: 1, 2, … in the order of the names.

    Raises:
        UserError: if there are more types than values of 8 bits.
    """
    types = sorted(set(names))
    if len(types) > MAX_TYPES:
        raise UserError(
            f"the annotations have {len(types)} labels; expected at most {MAX_TYPES}: join some of them"
        )
    return {name: value for value, name in enumerate(types, start=1)}


def pack(pixels: NDArray[np.bool_]) -> bytes:
    """Return a bitmap, bool [H, W], as PNG with 1 bit per pixel."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def draw(shapes: Sequence[Shape], values: dict[str, int], size: Callable[[], tuple[int, int]]) -> bytes:
    """Return the mask of an image as indexed 8-bit PNG: 0 is the background, later shapes cover earlier ones.

    Args:
        shapes: The regions.
        values: Value of each type in the mask.
        size: Return (width, height) of the image.

    Raises:
        OSError, UserError: if the size cannot be read.
    """
    from PIL import Image, ImageDraw

    mask = Image.new("P", size())
    mask.putpalette((*_PALETTE, *[255] * (768 - len(_PALETTE))))
    pen = ImageDraw.Draw(mask)
    for shape in shapes:
        value = values[shape.type_name]
        if shape.kind == "polygon":
            pen.polygon(shape.points, fill=value, outline=value)
        elif shape.kind == "ellipse":
            (left, top), (right, bottom) = shape.points
            box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
            pen.ellipse(box, fill=value, outline=value)
        else:
            with Image.open(io.BytesIO(shape.bitmap)) as bitmap:
                corner = (round(shape.points[0][0]), round(shape.points[0][1]))
                mask.paste(
                    value, (*corner, corner[0] + bitmap.width, corner[1] + bitmap.height), bitmap.convert("1")
                )
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def picture_size(read: Callable[[], bytes]) -> tuple[int, int]:
    """Return (width, height) of a picture after its EXIF rotation, from its header.

    Raises:
        OSError: if it is not a picture.
    """
    from PIL import Image

    with Image.open(io.BytesIO(read())) as picture:
        turned = picture.getexif().get(0x0112, 1) >= 5  # the tag Orientation; from 5 on, by a quarter
        width, height = picture.size
    return (height, width) if turned else (width, height)
