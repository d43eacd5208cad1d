"""Decoding of image files of all supported kinds into arrays, and encoding of the canonical form."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from tinyunet.core.errors import UserError
from tinyunet.data.pictures.opening import bands, expected_kinds, opened, stored_orientation, to_array, turn

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

COLOUR_SPREAD = 16
COLOUR_SHARE = 1e-4
_ALPHA = "alpha is dropped"
# Mode of Pillow: the modes to convert it to, one after the other, its name, and a note.
_MODES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "1": (("L",), "1-bit grey", ""),
    "LA": (("L",), "8-bit grey with alpha", _ALPHA),
    "La": (("LA", "L"), "8-bit grey with alpha", _ALPHA),
    "PA": (("RGBA", "RGB"), "8-bit RGB palette with alpha", _ALPHA),
    "RGB": ((), "8-bit RGB", ""),
    "RGBA": (("RGB",), "8-bit RGB with alpha", _ALPHA),
    "CMYK": (("RGB",), "8-bit CMYK", "CMYK is converted to RGB"),
    "YCbCr": (("RGB",), "8-bit YCbCr", "YCbCr is converted to RGB"),
}
_REFUSED = {"F": "floating point", "LAB": "8-bit CIELAB"}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image file.

    Attributes:
        pixels: uint8 or uint16 [H, W] (grey), or uint8 [H, W, 3] (RGB); upright.
        kind: What the file holds, such as `8-bit grey`, `16-bit grey` or `8-bit RGB palette`.
        orientation: EXIF orientation of the file, 1 to 8; it has been applied to the pixels.
        notes: What decoding changed or left out, such as `alpha is dropped`.
    """

    pixels: Pixels
    kind: str
    orientation: int = 1
    notes: tuple[str, ...] = ()


def read_picture(data: bytes) -> Picture:
    """Decode a PNG, JPEG, TIFF, BMP, WebP or GIF file and apply its EXIF rotation.

    1-bit, 2-bit and 4-bit grey become 0 to 255. 16-bit grey keeps its levels. A palette becomes RGB, or grey
    if all colours in use are grey. Images with 16 bits per channel of colour are refused, because Pillow
    keeps only the upper 8 bits: an image of a 12-bit camera would become almost black.

    Raises:
        UserError: for any other file; see `opening.opened`. The message has no subject: the caller puts the
            file name before it.
    """
    with opened(data) as picture:
        orientation = stored_orientation(picture)
        pixels, kind, notes = decode(picture, data)
    # Pillow applies the orientation of a TIFF when it loads the pixels.
    if picture.format != "TIFF" and orientation > 1:
        pixels = turn(pixels, orientation)
    turned = ("the EXIF rotation is applied",) if (orientation or 1) > 1 else ()
    return Picture(pixels, kind, orientation or 1, (*notes, *turned))


def decode(picture: ImageFile, data: bytes) -> tuple[Pixels, str, tuple[str, ...]]:
    """Return pixels, kind and notes of an open file `data`, as in `Picture`; the pixels are not turned.

    Raises:
        UserError: if pixels of this kind are not supported.
    """
    bits, signed = _samples(picture, data)
    transparent = (_ALPHA,) if "transparency" in picture.info else ()
    if signed or (bits > 8 and picture.mode in _MODES):
        kind = "signed integers" if signed else f"{bits}-bit {_MODES[picture.mode][1].removeprefix('8-bit ')}"
        raise UserError(f"is {kind}, {expected_kinds()}; convert it")
    if picture.mode == "L":
        return to_array(picture), f"{bits}-bit grey", transparent
    if picture.mode == "P":
        return *_decode_palette(picture), transparent
    if picture.mode.startswith("I"):
        return _decode_integers(picture, bits), f"{bits}-bit grey", transparent
    if picture.mode not in _MODES:
        raise UserError(f"is {_REFUSED.get(picture.mode, picture.mode)}, {expected_kinds()}; convert it")
    modes, kind, note = _MODES[picture.mode]
    picture.info.pop("transparency", None)  # Pillow would convert it too
    return to_array(picture, *modes), kind, transparent or ((note,) if note else ())


def palette_colours(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the RGB colours of a palette image, uint8 [256, 3]; black beyond the end of its palette."""
    colours = np.zeros((256, 3), np.uint8)
    stored = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
    colours[: len(stored)] = stored
    return colours


def has_colour(pixels: NDArray[Any]) -> bool:
    """Return whether an image [H, W] or [H, W, 3] shows colour.

    An RGB image counts as grey if its largest and smallest channel differ by more than COLOUR_SPREAD levels
    in at most COLOUR_SHARE of the pixels. Measured: in all 380 RGB JPEG files of NEU-SEG (grey content) no
    pixel differs at all; in the 24 files of BSData (steel in warm light) 96.1 to 96.9 % of the pixels differ
    by more than 16 levels. The tolerance is for the noise of cameras and of JPEG; a coloured spot of 12×12
    pixels in an image of 1024×1024 counts as colour.
    """
    if pixels.ndim == 2:
        return False
    coloured = sum(
        int(np.count_nonzero(np.ptp(pixels[rows], axis=2) > COLOUR_SPREAD)) for rows in bands(pixels.shape)
    )
    height, width = pixels.shape[:2]
    return bool(coloured > COLOUR_SHARE * height * width)


def to_channels(pixels: NDArray[Any], channels: int) -> NDArray[Any]:
    """Convert an image between grey and RGB.

    RGB becomes grey by its luminance, ITU-R BT.601 with the rounding of Pillow's mode `L`; grey is repeated.

    Args:
        pixels: uint8 or uint16 [H, W], or uint8 [H, W, 3].
        channels: 1 or 3.

    Returns:
        The same dtype, [H, W] for 1 channel and [H, W, 3] for 3.
    """
    if channels == 3:
        return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim == 2:
        return pixels
    grey = np.empty(pixels.shape[:2], np.uint8)
    for rows in bands(pixels.shape):
        grey[rows] = np.asarray(Image.fromarray(pixels[rows]).convert("L"))
    return grey


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Encode uint8 [H, W], uint8 [H, W, 3] or uint16 [H, W] as PNG, without loss."""
    data = io.BytesIO()
    # Level 1 takes a fifth of the time of the default level.
    Image.fromarray(np.ascontiguousarray(pixels)).save(data, "PNG", compress_level=1)
    return data.getvalue()


def _samples(picture: ImageFile, data: bytes) -> tuple[int, bool]:
    """Return the bits of a sample, and whether samples are signed integers of 8 bits."""
    if picture.format == "PNG":
        return data[24], False
    tags = getattr(picture, "tag_v2", {})
    bits = int(max(tags.get(_BITS_PER_SAMPLE, (8,))))
    return bits, bits == 8 and 2 in tags.get(_SAMPLE_FORMAT, ())


def _decode_palette(picture: ImageFile) -> tuple[Pixels, str]:
    indices, colours = to_array(picture), palette_colours(picture)
    used = colours[np.array(picture.histogram()[:256]) > 0]
    if (used == used[:, :1]).all():
        return colours[:, 0][indices], "8-bit grey palette"
    return colours[indices], "8-bit RGB palette"


def _decode_integers(picture: ImageFile, bits: int) -> Pixels:
    white_is_zero = getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    values = to_array(picture)
    if values.dtype != np.uint16:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise UserError(
                f"holds {bits}-bit integers from {low} to {high}, expected 0 to 65535; convert it"
            )
        values = values.astype(np.uint16)
    return ~values if white_is_zero else values  # Pillow inverts 8-bit levels, not 16-bit levels
