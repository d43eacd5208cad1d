"""Decoding of PNG files and of the other formats of cameras."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinyunet.core.errors import UserError
from tinyunet.data.pictures.pixels import CAMERA_FORMATS, read_grey, read_picture

GREY = np.arange(48 * 64, dtype=np.uint32).reshape(48, 64) % 256


def _file(kind: str, mode: str = "L", **options: Any) -> bytes:
    data = io.BytesIO()
    picture = Image.fromarray(GREY.astype(np.uint16 if mode == "I;16" else np.uint8))
    (picture if picture.mode == mode else picture.convert(mode)).save(data, kind, **options)
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (_file("PNG"), 0),
        (_file("BMP"), 0),
        (_file("TIFF"), 0),
        (_file("TIFF", compression="tiff_lzw"), 0),
        (_file("JPEG", quality=95), 4),
    ],
)
def test_every_format_is_decoded_to_its_grey_levels(data: bytes, tolerance: int) -> None:
    grey = read_picture(data)
    assert (grey.shape, grey.dtype) == ((48, 64), np.uint8)
    assert np.abs(grey.astype(int) - GREY).max() <= tolerance


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_the_exif_rotation_is_applied(kind: str) -> None:
    rotation = Image.Exif()
    rotation[0x0112] = 6  # 90 degrees clockwise
    grey = read_picture(_file(kind, exif=rotation, quality=95))
    assert np.abs(grey.astype(int) - np.rot90(GREY, -1)).max() <= 4


def test_an_invalid_offset_in_a_tiff_is_an_error() -> None:
    data = bytearray(_file("TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    struct.pack_into("<I", data, directory + 2 + 12 * entries, directory + 4)  # offset of the next page
    with pytest.raises(UserError, match="is truncated or damaged"):
        read_picture(bytes(data))


@pytest.mark.parametrize("kind", CAMERA_FORMATS)
def test_a_colour_image_is_an_error_that_names_its_mode(kind: str) -> None:
    with pytest.raises(UserError, match=r"is .*RGB, expected 8-bit grey"):
        read_picture(_file(kind, "RGB"))


@pytest.mark.parametrize("kind", CAMERA_FORMATS)
def test_a_truncated_file_is_an_error(kind: str) -> None:
    data = _file(kind)
    with pytest.raises(UserError, match="is truncated or damaged"):
        read_picture(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_file("TIFF", "I;16"), "is 16-bit grey"),
        (_file("BMP", "1"), "is 1-bit black and white"),
        (_file("TIFF", save_all=True, append_images=[Image.new("L", (64, 48))]), "holds 2 pages"),
        (_file("GIF"), "is none of these: PNG, BMP, TIFF, JPEG"),
        (
            _file("BMP")[:18] + bytes([0, 64, 0, 0] * 2) + _file("BMP")[26:],
            "has more than 8192×8192 pixels",
        ),
        (b"", "is empty"),
    ],
)
def test_a_file_that_is_not_one_grey_image_is_an_error(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_picture(data)


def test_grey_levels_of_a_png_are_decoded_unchanged() -> None:
    array = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = io.BytesIO()
    Image.fromarray(array).save(data, "PNG")
    np.testing.assert_array_equal(read_grey(data.getvalue()), array)
