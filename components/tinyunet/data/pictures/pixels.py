"""Decoding of the 8-bit grey images of DAGM2007, and the check of their masks."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError

MAX_SIDE = 8192
GENERATED = ("Software", "TinyUNet synthetic")  # text chunk in every PNG of a generated image
CAMERA_FORMATS = ("PNG", "BMP", "TIFF", "JPEG")
_STARTS = {b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"GIF8": "GIF"}
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
_MODES = {"1": "1-bit black and white", "P": "palette", "I;16": "16-bit grey", "F": "grey in floating point"}


def read_grey(data: bytes) -> NDArray[np.uint8]:
    """Decode an 8-bit grey PNG, the format of the dataset.

    Returns:
        uint8 [height, width].

    Raises:
        UserError: for any other file. The message has no subject: the caller puts the file name before it.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 33:
        kind = next((name for start, name in _STARTS.items() if data.startswith(start)), "")
        raise UserError(f"is not a PNG{kind and f' but {kind}'}" if data else "is empty, expected a PNG")
    depth, colour = data[24], data[25]
    if (depth, colour) != (8, 0):
        raise UserError(f"is {depth}-bit {_COLOURS.get(colour, 'unknown')}, expected 8-bit grey")
    _check_size(int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))
    return _decode(data, "PNG")


def read_picture(data: bytes) -> NDArray[np.uint8]:
    """Decode an 8-bit grey image in one of CAMERA_FORMATS and apply its EXIF rotation; see `read_grey`."""
    if not data or data[:4] == b"\x89PNG":
        return read_grey(data)
    return _decode(data, *CAMERA_FORMATS)


def _decode(data: bytes, *formats: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=formats) as picture:
            if picture.mode != "L":
                raise UserError(f"is {_MODES.get(picture.mode, picture.mode)}, expected 8-bit grey")
            _check_size(*picture.size)
            if (pages := getattr(picture, "n_frames", 1)) > 1:
                raise UserError(f"holds {pages} pages, expected one")
            return np.asarray(ImageOps.exif_transpose(picture), dtype=np.uint8)
    except UnidentifiedImageError as error:
        raise UserError(f"is none of these: {', '.join(formats)}") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"has more than {MAX_SIDE}×{MAX_SIDE} pixels") from error
    # Pillow raises any of these for a damaged file.
    except (OSError, SyntaxError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"is truncated or damaged ({' '.join(str(error).split())})") from error


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise UserError(f"has {width}×{height} pixels, expected at most {MAX_SIDE}×{MAX_SIDE}")


def check_mask(mask: NDArray[np.uint8], image: NDArray[np.generic]) -> None:
    """Check a mask of DAGM2007.

    Args:
        mask: uint8 [H, W].
        image: Pixels of its image.

    Raises:
        UserError: if the sizes differ, a value is neither 0 nor 255, or all values are 0. The message has no
            subject.
    """
    messages = []
    if mask.shape != image.shape[:2]:
        messages.append(f"is {size_text(mask.shape)}, but its image is {size_text(image.shape)}")
    other_values = sorted({int(value) for value in np.unique(mask)} - {0, 255})
    if other_values:
        messages.append(f"holds the value {other_values[0]}, expected only 0 and 255")
    elif not mask.any():
        messages.append("is all 0, but its image is listed as defective")
    if messages:
        raise UserError(", and ".join(messages))


def size_text(shape: Sequence[int]) -> str:
    """Return (height, width) as text, in the usual order width×height."""
    return f"{shape[1]}×{shape[0]}"
