"""Open one image file with Pillow, within limits, and describe its faults in one line."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tinyunet.core.errors import UserError

FORMATS = "PNG, JPEG, TIFF, BMP, WebP or GIF"
MAX_SIDE = 32_768
MAX_PIXELS = 2**28  # 16,384×16,384
_BAND_PIXELS = 2**20
_DAMAGED = "is truncated or damaged"
# Pillow raises any of these for a damaged file.
_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    OverflowError,
    EOFError,
    LookupError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_OTHER_STARTS = {
    b"\0\0\0\x0cjP": "a JPEG 2000",
    b"\0\0\0\x0cJXL": "a JPEG XL",
    b"\xff\x0a": "a JPEG XL",
    b"%PDF": "a PDF",
    b"PK\3\4": "a zip archive",
    b"8BPS": "a Photoshop file",
    b"<": "an XML, SVG or HTML file",
    b"{": "a JSON file",
    b"version https://git-lfs": "a Git LFS pointer (git lfs pull fetches the image)",
}


class _Tiff(TiffImageFile):
    """A TIFF whose size was checked by `opened`, and is not compared with Pillow's own lower limit."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size, None).im
        super().load_prepare()


_STARTS: dict[bytes, Callable[[io.BytesIO], ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"II*\0": _Tiff,
    b"MM\0*": _Tiff,
    b"II+\0": _Tiff,
    b"MM\0+": _Tiff,
    b"BM": BmpImageFile,
    b"GIF8": GifImageFile,
    b"RIFF": WebPImageFile,
}


@contextmanager
def opened(data: bytes) -> Iterator[ImageFile]:
    """Open an image file of one of FORMATS; an error of Pillow in the `with` block is described too.

    The classes of Pillow are called directly: `Image.open` compares every image with the global limit
    `Image.MAX_IMAGE_PIXELS`, which is below MAX_PIXELS and belongs to other code.

    Args:
        data: The file.

    Raises:
        UserError: if it is empty, of another format, truncated or damaged, larger than MAX_SIDE or
            MAX_PIXELS, or holds several pages. The message has no subject: the caller puts the file name
            before it.
    """
    opener = _opener(data)
    try:
        with opener(io.BytesIO(data)) as picture:
            _check_size(*picture.size)
            if (pages := getattr(picture, "n_frames", 1)) > 1:
                raise UserError(f"holds {pages} pages, expected one")
            yield picture
    except Image.DecompressionBombError as error:  # of WebP, from Pillow 13 on
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(f"has more than {limit} pixels, the limit for this format; save it as PNG") from error
    except _FAULTS as error:
        reason = " ".join(str(error).split())
        if reason == "unknown pixel mode":
            raise UserError(f"holds samples of a type that cannot be read; {expected_kinds()}") from error
        raise UserError(f"{_DAMAGED} ({reason})" if reason else _DAMAGED) from error


def expected_kinds() -> str:
    """Return which pixels an image file may have, for messages."""
    return "expected 8-bit or 16-bit grey, or 8-bit RGB"


def stored_orientation(picture: ImageFile) -> int:
    """Return the EXIF orientation, 1 to 8, or 0 if there is none; call it before the pixels are loaded."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except _FAULTS:  # damaged EXIF data beside an intact image
        return 0
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 0


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror stored pixels [H, W, …] as EXIF orientation 1 to 8 says, so that they are upright.

    Source: EXIF 2.32, tag 274. Orientations 5 to 8 exchange height and width.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def to_array(picture: Image.Image, *modes: str) -> NDArray[Any]:
    """Return the pixels [H, W, …], converted from mode to mode in bands of rows to save memory."""
    picture.load()
    width, height = picture.size
    array: NDArray[Any] | None = None
    for rows in bands((height, width)):
        band = picture.crop((0, rows.start, width, rows.stop))
        for mode in modes:
            band = band.convert(mode)
        values = np.asarray(band)
        if array is None:
            array = np.empty((height, *values.shape[1:]), values.dtype.newbyteorder("="))
        array[rows] = values
    assert array is not None  # an image has at least one row
    return array


def bands(shape: Sequence[int]) -> Iterator[slice]:
    """Return slices of the rows of an image [H, W, …], each of about a million pixels."""
    height, rows = shape[0], max(1, _BAND_PIXELS // shape[1])
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def _opener(data: bytes) -> Callable[[io.BytesIO], ImageFile]:
    if not data:
        raise UserError(f"is empty, expected a {FORMATS} file")
    for start, opener in _STARTS.items():
        if data.startswith(start) and (start != b"RIFF" or data[8:12] == b"WEBP"):
            return opener
    if data[4:8] == b"ftyp":
        other = "a HEIC or AVIF"
    else:
        other = next((name for start, name in _OTHER_STARTS.items() if data.startswith(start)), "")
    raise UserError(f"is {other + ', ' if other else ''}not a {FORMATS} file")


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise UserError(
            f"has {width}×{height} pixels, expected at most {MAX_SIDE} a side and {MAX_PIXELS} in all "
            "(16384×16384)"
        )
