"""Masks that are drawn from annotations."""

import io
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.data.pictures.opening import opened

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

MAX_TYPES = 255
_NO_DEFECT = {"background", "bg", "ignore", "ignored", "void", "unlabeled", "unlabelled"}
# Colours of the values 0 … 5 for viewers; all further values are white.
_PALETTE = (0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0, 0, 255, 255)

_FAR = 2**20  # pixels; a corner may be outside the image, but not as far as this
_CORNERS = 32  # of the polygon that takes the place of a turned ellipse

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shape:
    """A region of one type: a polygon, an ellipse, a bitmap or runs of pixels.

    Attributes:
        type_name: Type of the defect.
        kind: `polygon`, `ellipse`, `bitmap` or `runs`.
        points: Coordinates x, y of the corners of a polygon, or of two opposite corners around an ellipse, in
            pixels; for a bitmap, its upper left corner. Empty for runs.
        bitmap: Encoded pixels of a bitmap, see `pack`; for runs, text of numbers: the first pixel of a run
            and its length, of all runs. Pixels are counted from 1, column by column.
        relative: Whether points are fractions of width and height.
        holes: Corners of the holes of a polygon.
    """

    type_name: str
    kind: str
    points: Points = ()
    bitmap: bytes = field(default=b"", repr=False)
    relative: bool = False
    holes: tuple[Points, ...] = ()


def is_background(label: str) -> bool:
    """Return whether a label names regions that are no defects, such as `_background_`."""
    return label.strip("_ ").lower() in _NO_DEFECT


def turned_ellipse(centre: tuple[float, float], radii: tuple[float, float], angle: float) -> Points:
    """Return the corners of a polygon in the place of an ellipse.

    Args:
        centre: Its centre x, y in pixels.
        radii: Its radii across and down before it is turned, in pixels.
        angle: By how much it is turned around its centre, clockwise, in radians.
    """
    (x, y), (across, down), cos, sin = centre, radii, math.cos(angle), math.sin(angle)
    angles = [2 * math.pi * corner / _CORNERS for corner in range(_CORNERS)]
    around = [(across * math.cos(angle), down * math.sin(angle)) for angle in angles]
    return tuple((x + a * cos - b * sin, y + a * sin + b * cos) for a, b in around)


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
    from PIL import Image

    mask = Image.new("P", size())
    mask.putpalette((*_PALETTE, *[255] * (768 - len(_PALETTE))))
    for shape in shapes:
        _paint(mask, shape, values[shape.type_name])
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def _paint(mask: "Image", shape: Shape, value: int) -> None:
    """Give the pixels of a shape their value.

    Raises:
        UserError: if the shape is outside the image, or a corner is no number or so far outside that
            Pillow's numbers overflow.
    """
    from PIL import Image, ImageDraw

    size = mask.size if shape.relative else (1, 1)
    for x, y in (*shape.points, *itertools.chain(*shape.holes)):
        if not (abs(x * size[0]) <= _FAR and abs(y * size[1]) <= _FAR):
            raise UserError(
                f"has a shape of the label {shape.type_name!r} with a corner at ({x:.6g}, {y:.6g}), far "
                f"outside the image of {mask.width}×{mask.height} pixels; correct the annotation"
            )
    if shape.kind == "runs":
        mask.paste(value, (0, 0), Image.fromarray(_unpack_runs(shape.bitmap, *mask.size)))
        return
    if shape.kind == "bitmap":
        with opened(shape.bitmap) as bitmap:
            left, top = round(shape.points[0][0]), round(shape.points[0][1])
            box = (left, top, left + bitmap.width, top + bitmap.height)
            _require_inside(mask, shape, [(left, top), (box[2] - 1, box[3] - 1)])
            mask.paste(value, box, bitmap.convert("1"))
        return
    _require_inside(mask, shape, _scaled(shape.points, *size))
    if shape.holes:
        outline = Image.new("1", mask.size)
        _fill(ImageDraw.Draw(outline), shape.kind, _scaled(shape.points, *size), 1)
        for hole in shape.holes:
            ImageDraw.Draw(outline).polygon(_scaled(hole, *size), fill=0)
        mask.paste(value, (0, 0), outline)
    else:
        _fill(ImageDraw.Draw(mask), shape.kind, _scaled(shape.points, *size), value)


def _scaled(points: Points, width: int, height: int) -> list[tuple[float, float]]:
    """Return points in pixels, rounded to hundredths: Pillow fills one pixel more for 9.9999 than for 10."""
    if (width, height) == (1, 1):
        return list(points)
    return [(round(x * width, 2), round(y * height, 2)) for x, y in points]


def _require_inside(mask: "Image", shape: Shape, points: Sequence[tuple[float, float]]) -> None:
    """Check that not all points are beyond one side of the image, as if drawn on a larger one.

    A line at the right or lower side is permitted: programs that cut images leave such lines of shapes.

    Raises:
        UserError: if they are.
    """
    low, high = map(min, zip(*points, strict=True)), map(max, zip(*points, strict=True))
    if any(a >= side < b or b < 0 for a, b, side in zip(low, high, mask.size, strict=True)):
        raise UserError(
            f"has a shape of the label {shape.type_name!r} outside the image of {mask.width}×{mask.height} "
            "pixels; correct the annotation"
        )


def _fill(pen: "ImageDraw", kind: str, points: list[tuple[float, float]], value: int) -> None:
    if kind == "polygon":
        pen.polygon(points, fill=value, outline=value)
        return
    (left, top), (right, bottom) = points
    box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
    pen.ellipse(box, fill=value, outline=value)


def _unpack_runs(text: bytes, width: int, height: int) -> NDArray[np.bool_]:
    """Return the pixels of runs, bool [H, W].

    Raises:
        UserError: if the text is not pairs of numbers inside the image.
    """
    try:
        numbers = np.array(text.split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise UserError("holds runs that are no numbers; expected first pixel and length of each") from error
    if len(numbers) % 2:
        raise UserError(f"holds {len(numbers)} numbers of runs; expected first pixel and length of each")
    first, lengths = numbers[::2] - 1, numbers[1::2]
    if len(numbers) and (min(first.min(), lengths.min()) < 0 or (first + lengths).max() > width * height):
        raise UserError(f"holds runs outside {width}×{height} pixels; expected pixels counted from 1")
    changes = np.zeros(width * height + 1, np.int32)
    np.add.at(changes, first, 1)
    np.add.at(changes, first + lengths, -1)
    return np.ascontiguousarray((np.cumsum(changes[:-1]) > 0).reshape(width, height).T)


def picture_size(read: Callable[[], bytes]) -> tuple[int, int]:
    """Return (width, height) of a picture after its EXIF rotation, from its header.

    Raises:
        OSError, UserError: if it cannot be read, or is not a picture.
    """
    with opened(read()) as picture:
        turned = picture.getexif().get(0x0112, 1) >= 5  # the tag Orientation; from 5 on, by a quarter
        width, height = picture.size
    return (height, width) if turned else (width, height)
