"""Image files of every kind become the right pixels, or one line that says what is wrong."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tinyunet.core.errors import UserError
from tinyunet.data.pictures import opening
from tinyunet.data.pictures.decode import encode_png, has_colour, read_picture, to_channels
from tinyunet.data.pictures.opening import turn

GREY = (np.arange(48 * 64, dtype=np.uint32).reshape(48, 64) % 256).astype(np.uint8)
DEEP = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
RGB = np.stack([GREY, GREY[::-1], np.full_like(GREY, 90)], axis=2)
ALPHA = np.full_like(GREY, 128)
LEVELS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 100, "subsampling": 0},
}
PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 262, 274, 339


def save(pixels: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(data, kind, **options)
    return data.getvalue()


def png(depth: int, colour: int, rows: NDArray[Any], width: int, *, extra: bytes = b"") -> bytes:
    """Return a PNG file made by hand; `rows` are the packed bytes of the rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
    return start + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def tiff(
    order: str, bits: int, samples: NDArray[Any], *, photometric: int = 1, channels: int = 1, form: int = 1
) -> bytes:
    """Return an uncompressed TIFF of one strip, made by hand; `order` is `<` or `>`."""
    body = samples.astype(f"{order}{samples.dtype.kind}{samples.itemsize}").tobytes()
    height, width = samples.shape[:2]
    offset = 8 + 2 + 12 * 9 + 4
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, bits), (259, 3, 1, 1)]
    entries += [(PHOTOMETRIC, 3, 1, photometric), (273, 4, 1, offset + 8), (277, 3, 1, channels)]
    entries += [(279, 4, 1, len(body)), (SAMPLE_FORMAT, 3, 1, form)]
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    data += struct.pack(order + "H", len(entries))
    for tag, type_, count, value in entries:
        short = type_ == 3 and count == 1
        value = offset if count > 1 else value  # the values of the channels follow the directory
        data += struct.pack(order + ("HHIHxx" if short else "HHII"), tag, type_, count, value)
    return data + struct.pack(order + "I", 0) + struct.pack(order + "4H", *[bits] * 4) + body


def palette_image(colours: list[int], **options: Any) -> bytes:
    picture = Image.fromarray(GREY // 64)
    picture.putpalette(colours)
    return save(picture, "PNG", **options)


def rotated(pixels: NDArray[Any], kind: str, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return save(pixels, kind, exif=exif, **options)


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        *[(save(GREY, kind, **LEVELS[kind]), "8-bit grey", GREY) for kind in ("PNG", "BMP", "TIFF")],
        (save(GREY, "TIFF", compression="tiff_lzw"), "8-bit grey", GREY),
        (save(GREY, "TIFF", compression="tiff_adobe_deflate"), "8-bit grey", GREY),
        (save(GREY, "TIFF", big_tiff=True), "8-bit grey", GREY),
        (tiff("<", 8, GREY), "8-bit grey", GREY),
        (tiff(">", 8, GREY, photometric=0), "8-bit grey", 255 - GREY),
        (save(DEEP, "PNG"), "16-bit grey", DEEP),
        (save(DEEP, "TIFF"), "16-bit grey", DEEP),
        (save(DEEP, "TIFF", compression="tiff_lzw"), "16-bit grey", DEEP),
        (tiff("<", 16, DEEP), "16-bit grey", DEEP),
        (tiff(">", 16, DEEP), "16-bit grey", DEEP),
        (tiff("<", 16, DEEP, photometric=0), "16-bit grey", 65535 - DEEP),
        (tiff(">", 16, (DEEP // 2).astype(np.int16), form=2), "16-bit grey", DEEP // 2),
        (tiff("<", 32, DEEP.astype(np.uint32)), "32-bit grey", DEEP),
        *[(save(RGB, kind, **LEVELS[kind]), "8-bit RGB", RGB) for kind in ("PNG", "BMP", "TIFF", "WEBP")],
        (save(RGB, "PNG", interlace=1), "8-bit RGB", RGB),
        (save(GREY, "WEBP", lossless=True), "8-bit RGB", np.stack([GREY] * 3, axis=2)),
        (save(GREY > 99, "PNG"), "1-bit grey", np.where(GREY > 99, 255, 0)),
        (save(GREY > 99, "TIFF", compression="group4"), "1-bit grey", np.where(GREY > 99, 255, 0)),
        (png(2, 0, np.array([[0b00011011]], np.uint8), 4), "2-bit grey", np.array([[0, 85, 170, 255]])),
        (png(4, 0, np.array([[0x0F]], np.uint8), 2), "4-bit grey", np.array([[0, 255]])),
        (save(GREY > 99, "BMP"), "1-bit grey", np.where(GREY > 99, 255, 0)),
    ],
)  # fmt: skip
def test_a_lossless_file_keeps_its_levels(data: bytes, kind: str, expected: NDArray[Any]) -> None:
    picture = read_picture(data)
    assert (picture.kind, picture.orientation, picture.notes) == (kind, 1, ())
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.pixels.dtype == (np.uint16 if kind[:2] in ("16", "32") else np.uint8)


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (save(GREY, "JPEG", quality=95), "8-bit grey", GREY),
        (save(RGB, "JPEG", **LEVELS["JPEG"]), "8-bit RGB", RGB),
        (save(Image.fromarray(RGB).convert("CMYK"), "JPEG", **LEVELS["JPEG"]), "8-bit CMYK", RGB),
        (save(RGB, "JPEG", progressive=True, quality=95, subsampling=0), "8-bit RGB", RGB),
    ],
)  # fmt: skip
def test_a_jpeg_keeps_its_levels_nearly(data: bytes, kind: str, expected: NDArray[Any]) -> None:
    picture = read_picture(data)
    assert picture.kind == kind
    assert np.abs(picture.pixels.astype(int) - expected).mean() < 3


@pytest.mark.parametrize(
    ("data", "kind", "expected", "note"),
    [
        (save(np.dstack([GREY, ALPHA]), "PNG"), "8-bit grey with alpha", GREY, "alpha is dropped"),
        (save(np.dstack([GREY, ALPHA]), "TIFF"), "8-bit grey with alpha", GREY, "alpha is dropped"),
        (save(np.dstack([RGB, ALPHA]), "PNG"), "8-bit RGB with alpha", RGB, "alpha is dropped"),
        (save(np.dstack([RGB, ALPHA]), "TIFF"), "8-bit RGB with alpha", RGB, "alpha is dropped"),
        (
            save(np.dstack([RGB, ALPHA]), "WEBP", lossless=True, exact=True),
            "8-bit RGB with alpha", RGB, "alpha is dropped",
        ),
        (save(GREY, "PNG", transparency=7), "8-bit grey", GREY, "alpha is dropped"),
        (save(RGB, "PNG", transparency=(1, 2, 3)), "8-bit RGB", RGB, "alpha is dropped"),
        (save(Image.fromarray(RGB).convert("CMYK"), "TIFF"), "8-bit CMYK", RGB, "CMYK is converted to RGB"),
    ],
)  # fmt: skip
def test_what_is_left_out_or_converted_is_noted(
    data: bytes, kind: str, expected: NDArray[Any], note: str
) -> None:
    picture = read_picture(data)
    assert (picture.kind, picture.notes) == (kind, (note,))
    np.testing.assert_array_equal(picture.pixels, expected)


def test_a_palette_becomes_its_colours_and_a_grey_palette_grey() -> None:
    colours = [0, 0, 0, 250, 0, 0, 0, 0, 250, 9, 9, 9]
    picture = read_picture(palette_image(colours))
    assert (picture.kind, picture.notes) == ("8-bit RGB palette", ())
    np.testing.assert_array_equal(picture.pixels, np.array(colours).reshape(4, 3)[GREY // 64])

    grey = read_picture(palette_image([5, 5, 5, 60, 60, 60, 70, 70, 70, 8, 8, 8, 1, 2, 3]))
    assert grey.kind == "8-bit grey palette"  # the colour at its end is not used
    np.testing.assert_array_equal(grey.pixels, np.array([5, 60, 70, 8])[GREY // 64])


def test_transparent_colours_of_a_palette_are_noted() -> None:
    data = palette_image([0, 0, 0, 250, 0, 0, 0, 0, 250, 9, 9, 9], transparency=b"\0\xff\x80\xff")
    assert read_picture(data).notes == ("alpha is dropped",)


METHODS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 95}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_the_exif_rotation_is_applied_and_told(kind: str, options: dict[str, Any], orientation: int) -> None:
    method = METHODS[orientation]
    expected = GREY if method is None else np.asarray(Image.fromarray(GREY).transpose(method))
    picture = read_picture(rotated(GREY, kind, orientation, **options))
    pixels = to_channels(picture.pixels, 1)
    assert picture.orientation == orientation
    assert ("the EXIF rotation is applied" in picture.notes) is (orientation > 1)
    assert np.abs(pixels.astype(int) - expected).max() <= (4 if kind == "JPEG" else 0)
    np.testing.assert_array_equal(turn(GREY, orientation), expected)


@pytest.mark.parametrize("orientation", [6, 7])
def test_a_16_bit_image_is_turned(orientation: int) -> None:
    for kind in ("PNG", "TIFF"):
        pixels = read_picture(rotated(DEEP, kind, orientation)).pixels
        np.testing.assert_array_equal(pixels, turn(DEEP, orientation))
        assert pixels.dtype == np.uint16


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x05\0"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_does_not_refuse_an_image(exif: bytes) -> None:
    assert read_picture(save(GREY, "JPEG", exif=b"Exif\0\0" + exif)).orientation == 1


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    picture = read_picture(rotated(GREY, "PNG", orientation))
    assert (picture.orientation, picture.pixels.shape) == (1, GREY.shape)


FLOATS = np.full((3, 4), 0.5, np.float32)
OTHER = Image.fromarray(255 - GREY)
CHANNELS = np.full((3, 4, 3), 4000, np.uint16)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty, expected a PNG, JPEG, TIFF, BMP, WebP or GIF file"),
        (save(GREY, "GIF", save_all=True, append_images=[OTHER]), "holds 2 pages, expected one"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "is a HEIC or AVIF, not a PNG"),
        (b"%PDF-1.7", "is a PDF, not"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"is a Git LFS pointer \(git lfs pull fetches"),
        (b'{"shapes": []}', "is a JSON file, not"),
        (b"RIFF\0\0\0\0WAVEfmt ", "is not a PNG, JPEG, TIFF, BMP, WebP or GIF file"),
        (b"hello", "is not a PNG, JPEG, TIFF, BMP, WebP or GIF file"),
        (save(FLOATS, "TIFF"), "is floating point, expected 8-bit or 16-bit grey, or 8-bit RGB"),
        (tiff("<", 64, FLOATS.astype(np.float64), form=3), "holds samples of a type that cannot be read"),
        (tiff("<", 8, GREY.astype(np.int8), form=2), "is signed integers"),
        (tiff("<", 16, DEEP.astype(np.int16) - 9, form=2), "holds 16-bit integers from -"),
        (tiff("<", 32, DEEP.astype(np.uint32) * 99), "holds 32-bit integers from 0 to 6384609, exp"),
        (png(16, 2, CHANNELS.reshape(3, -1), 4), "is 16-bit RGB, expected"),
        (png(16, 4, CHANNELS[..., :2].reshape(3, -1), 4), "is 16-bit .* with alpha, expected"),
        (png(16, 6, CHANNELS[..., [0, 1, 2, 0]].reshape(3, -1), 4), "is 16-bit RGB with alpha, expected"),
        (tiff("<", 16, CHANNELS, photometric=2, channels=3), "is 16-bit RGB, expected"),
        (tiff(">", 16, CHANNELS, photometric=2, channels=3), "is 16-bit RGB, expected"),
        (save(Image.fromarray(RGB).convert("LAB"), "TIFF"), "is 8-bit CIELAB, expected"),
        (save(GREY, "TIFF", save_all=True, append_images=[OTHER, OTHER]), "holds 3 pages, expected one"),
        (save(GREY, "PNG", save_all=True, append_images=[OTHER]), "holds 2 pages, expected one"),
        (save(RGB, "WEBP", save_all=True, append_images=[OTHER]), "holds 2 pages, expected one"),
        (save(GREY, "PNG").replace(b"\0\0\0\x40", b"\0\0\x90\0"), "is truncated or damaged"),  # no CRC
        (png(8, 0, np.zeros((1, 1), np.uint8), 40000), "has 40000×1 pixels, expected at most 32768 a side"),
        (
            save(GREY, "BMP")[:18] + struct.pack("<ii", 20000, 20000) + save(GREY, "BMP")[26:],
            r"has 20000×20000 pixels, expected at most 32768 a side and 268435456 in all \(16384×16384\)",
        ),
        (tiff("<", 8, np.zeros((1, 40000), np.uint8)), "has 40000×1 pixels"),
        (save(GREY, "JPEG")[:3] + bytes(50), "is truncated or damaged"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_supported_image_is_one_line(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_picture(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_a_truncated_file_is_an_error(kind: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    data = save(noise, kind, **LEVELS[kind])
    with pytest.raises(UserError, match="is truncated or damaged"):
        read_picture(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about damaged directories
def test_random_damage_is_an_image_or_an_error_in_one_line(kind: str) -> None:
    rng = np.random.default_rng(2)
    data = rotated(RGB, kind, 6, **LEVELS[kind]) if kind != "BMP" else save(RGB, kind)
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 400), 4):
            damaged[place] = rng.integers(256)
        try:
            assert read_picture(bytes(damaged)).pixels.ndim in (2, 3)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017  an image is right too


def test_the_global_limit_of_pillow_neither_applies_nor_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # the images have 3072 pixels
    monkeypatch.setattr(opening, "_BAND_PIXELS", 500)
    for kind in ("PNG", "JPEG", "BMP", "TIFF"):
        assert read_picture(save(GREY, kind)).pixels.shape == (48, 64)
    assert read_picture(save(GREY, "TIFF", compression="tiff_lzw")).pixels.shape == (48, 64)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_limit_of_pillow_that_cannot_be_avoided_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(opening, "_BAND_PIXELS", 640)
    with pytest.raises(
        UserError, match="has more than 200 pixels, the limit for this format; save it as PNG"
    ):
        read_picture(save(GREY, "WEBP"))


def test_a_large_image_is_converted_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_BAND_PIXELS", 64 * 5)
    np.testing.assert_array_equal(read_picture(save(np.dstack([RGB, ALPHA]), "PNG")).pixels, RGB)
    np.testing.assert_array_equal(to_channels(RGB, 1), np.asarray(Image.fromarray(RGB).convert("L")))
    assert has_colour(RGB)


@pytest.mark.parametrize("pixels", [GREY, RGB, DEEP, GREY[::2, ::-3], RGB[:, ::2], DEEP.astype(">u2")])
def test_the_canonical_png_keeps_every_level(pixels: NDArray[Any]) -> None:
    picture = read_picture(encode_png(pixels))
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.pixels.dtype == pixels.dtype.newbyteorder("=")
    assert (
        picture.kind
        == {(2, 1): "8-bit grey", (3, 1): "8-bit RGB", (2, 2): "16-bit grey"}[pixels.ndim, pixels.itemsize]
    )


def test_grey_content_in_rgb_has_no_colour() -> None:
    tinted = np.stack([GREY] * 3, axis=2)
    assert not has_colour(GREY)
    assert not has_colour(tinted)
    noise = np.random.default_rng(3).integers(-8, 9, tinted.shape)
    assert not has_colour(np.clip(tinted + noise, 0, 255).astype(np.uint8))
    tinted[10, 20] = 200, 30, 30
    assert has_colour(tinted)  # 1 pixel in 3072 is more than 1 in 10,000
    assert not has_colour(tinted[:, :20])
    warm = np.stack([GREY // 2 + 40, GREY // 2 + 25, GREY // 2], axis=2)
    assert has_colour(warm)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixels", [GREY, RGB, DEEP])
def test_channels_are_converted_as_pillow_does(pixels: NDArray[Any], channels: int) -> None:
    converted = to_channels(pixels, channels)
    assert converted.shape == ((48, 64) if channels == 1 else (48, 64, 3))
    assert converted.dtype == pixels.dtype
    expected = pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))
    if channels == 1:
        np.testing.assert_array_equal(converted, expected)
    else:
        np.testing.assert_array_equal(converted, pixels if pixels.ndim == 3 else np.dstack([pixels] * 3))


def test_a_gif_of_one_page_is_a_palette_image() -> None:
    picture = read_picture(save(GREY, "GIF"))
    assert np.array_equal(picture.pixels, GREY)
    assert picture.kind in ("8-bit grey", "8-bit grey palette")
