"""Images as cameras write them: decoded, or refused in one line that says what they are."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinyunet.core.errors import UserError
from tinyunet.data.pixels import CAMERA_FORMATS, read_picture

GREY = np.arange(48 * 64, dtype=np.uint32).reshape(48, 64) % 256


def _file(kind: str, mode: str = "L", **how: Any) -> bytes:
    data = io.BytesIO()
    picture = Image.fromarray(GREY.astype(np.uint16 if mode == "I;16" else np.uint8))
    (picture if picture.mode == mode else picture.convert(mode)).save(data, kind, **how)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (_file("PNG"), 0),
        (_file("BMP"), 0),
        (_file("TIFF"), 0),
        (_file("TIFF", compression="tiff_lzw"), 0),
        (_file("JPEG", quality=95), 4),
    ],
)
def test_every_format_gives_its_grey_levels(data: bytes, error: int) -> None:
    grey = read_picture(data)
    assert (grey.shape, grey.dtype) == ((48, 64), np.uint8)
    assert np.abs(grey.astype(int) - GREY).max() <= error


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_a_picture_is_turned_as_its_file_says(kind: str) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    grey = read_picture(_file(kind, exif=turned, quality=95))
    assert np.abs(grey.astype(int) - np.rot90(GREY, -1)).max() <= 4


def test_a_pointer_to_nowhere_is_damage_like_any_other() -> None:
    data = bytearray(_file("TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    struct.pack_into("<I", data, directory + 2 + 12 * entries, directory + 4)  # where the next page is
    with pytest.raises(UserError, match="is truncated or damaged"):
        read_picture(bytes(data))


@pytest.mark.parametrize("kind", CAMERA_FORMATS)
def test_a_colour_picture_is_named_as_one(kind: str) -> None:
    with pytest.raises(UserError, match=r"is .*RGB, expected 8-bit grey"):
        read_picture(_file(kind, "RGB"))


@pytest.mark.parametrize("kind", CAMERA_FORMATS)
def test_half_a_file_is_damaged(kind: str) -> None:
    data = _file(kind)
    with pytest.raises(UserError, match="is truncated or damaged"):
        read_picture(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_file("TIFF", "I;16"), "is 16-bit grey"),
        (_file("BMP", "1"), "is 1-bit black and white"),
        (_file("TIFF", save_all=True, append_images=[Image.new("L", (64, 48))]), "holds 2 pages"),
        (_file("GIF"), "is none of PNG, BMP, TIFF, JPEG"),
        (_file("BMP")[:18] + bytes([0, 64, 0, 0] * 2) + _file("BMP")[26:], "claims .*8192×8192"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_grey_image_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_picture(data)
