"""Decoding and checking of the image and the mask of one sample."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.data.dagm import Problem, Sample

MAX_SIDE = 8192
GENERATED = ("Software", "TinyUNet synthetic")  # text chunk in every PNG of a generated image
CAMERA_FORMATS = ("PNG", "BMP", "TIFF", "JPEG")
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
_MODES = {"1": "1-bit black and white", "P": "palette", "I;16": "16-bit grey", "F": "grey in floating point"}


@dataclass(frozen=True)
class Checked:
    """The result of decoding the files of one sample.

    Attributes:
        sample: The sample.
        shape: (height, width) of the image; None if it cannot be decoded.
        image_sha256: SHA-256 of the image file.
        mask_sha256: SHA-256 of the mask file; None without a mask.
        pixels_sha256: SHA-256 of the decoded image, to find copies.
        mask_pixels: Number of pixels of the mask that are 255.
        synthetic: Whether the image file is marked as generated.
        problems: Faults of the two files.
    """

    sample: Sample
    shape: tuple[int, int] | None
    image_sha256: str
    mask_sha256: str | None
    pixels_sha256: str
    mask_pixels: int
    synthetic: bool
    problems: tuple[Problem, ...]


def check_sample(sample: Sample, folder: Path) -> Checked:
    """Decode and check the files of one sample."""
    data, image, problems = _load(sample.image_path, folder)
    mask_sha256, mask_pixels = None, 0
    if sample.mask_path:
        mask_data, mask, wrong = _load(sample.mask_path, folder)
        mask_sha256 = hashlib.sha256(mask_data).hexdigest()
        mask_pixels = int(np.count_nonzero(mask == 255)) if mask is not None else 0
        problems += wrong + _mask_problems(sample.mask_path.relative_to(folder), mask, image)
    pixels = hashlib.sha256(b"" if image is None else image.tobytes()).hexdigest()
    shape = None if image is None else (image.shape[0], image.shape[1])
    sha256 = hashlib.sha256(data).hexdigest()
    synthetic = "\0".join(GENERATED).encode() in data
    return Checked(sample, shape, sha256, mask_sha256, pixels, mask_pixels, synthetic, tuple(problems))


def read_grey(data: bytes) -> NDArray[np.uint8]:
    """Decode an 8-bit grey PNG, the format of the dataset.

    Returns:
        uint8 [height, width].

    Raises:
        UserError: for any other kind of file. The message continues a sentence that begins with its name.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 33:
        raise UserError("is no PNG" if data else "is empty, expected a PNG")
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
        raise UserError(f"is none of {', '.join(formats)}") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"claims more pixels than {MAX_SIDE}×{MAX_SIDE}") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        OverflowError,
    ) as error:  # raised by Pillow for damaged files
        raise UserError(f"is truncated or damaged ({' '.join(str(error).split())})") from error


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise UserError(f"claims {width}×{height} pixels, expected at most {MAX_SIDE}×{MAX_SIDE}")


def _load(path: Path, folder: Path) -> tuple[bytes, NDArray[np.uint8] | None, list[Problem]]:
    data = path.read_bytes()
    try:
        return data, read_grey(data), []
    except UserError as error:
        return data, None, [Problem(str(path.relative_to(folder)), str(error))]


def _mask_problems(
    file: Path, mask: NDArray[np.uint8] | None, image: NDArray[np.uint8] | None
) -> list[Problem]:
    if mask is None:
        return []
    found = []
    if image is not None and mask.shape != image.shape:
        found.append(f"is {size_text(mask.shape)}, its image {size_text(image.shape)}")
    other = sorted({int(value) for value in np.unique(mask)} - {0, 255})
    if other:
        found.append(f"holds the value {other[0]}, expected only 0 and 255")
    elif not mask.any():
        found.append("is all 0, but its image is listed as defective")
    return [Problem(str(file), message) for message in found]


def size_text(shape: Sequence[int]) -> str:
    """Return (height, width) as text, in the usual order width×height."""
    return f"{shape[1]}×{shape[0]}"
