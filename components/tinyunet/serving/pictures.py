"""Image files as the input of a served model: decoded, in the model's channels, a few at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.core.files import why_unreadable
from tinyunet.data.pictures.decode import read_picture, to_channels
from tinyunet.data.pictures.opening import opened
from tinyunet.model import tiles
from tinyunet.serving.native import is_native

BATCH_SIZE = 8
BATCH_PIXELS = 2**22  # of all images of a batch; a larger image is a batch by itself

NamedFile = tuple[str, Path]


def decode(file: Path, serving: keras.Model) -> NDArray[Any] | UserError:
    """Decode an image file for a served model.

    Returns:
        uint8 or uint16 [H, W, C], or an error whose message is a sentence without a subject, the file.
    """
    channels, bits = serving.input_shape[-1], np.dtype(serving.inputs[0].dtype).itemsize * 8
    try:
        if reason := why_unreadable(file):
            return UserError(f"{reason}, expected an image")
        picture = read_picture(file.read_bytes())
        if picture.pixels.dtype.itemsize * 8 != bits:
            return UserError(f"is {picture.kind}, but the model was trained on images of {bits} bits")
        pixels = to_channels(picture.pixels, channels)
        return pixels if channels == 3 else pixels[..., None]
    except UserError as error:
        return error
    except OSError as error:
        return UserError(f"cannot be read ({error.strerror})")


def chunks(files: Iterable[NamedFile], serving: keras.Model) -> Iterator[list[NamedFile]]:
    """Group consecutive files so that the pixels of a group are limited, by the size in their headers."""
    limit = tiles.BATCH_PIXELS if is_native(serving) else BATCH_PIXELS
    chunk: list[NamedFile] = []
    pixels = 0
    for name, file in files:
        size = _count_pixels(file)
        if chunk and (len(chunk) == BATCH_SIZE or pixels + size > limit):
            yield chunk
            chunk, pixels = [], 0
        chunk.append((name, file))
        pixels += size
    if chunk:
        yield chunk


def _count_pixels(file: Path) -> int:
    """Return the number of pixels in the header of an image; 0 for a file that cannot be read."""
    try:
        if why_unreadable(file):
            return 0
        with opened(file.read_bytes()) as picture:
            return int(picture.width * picture.height)
    except (UserError, OSError):
        return 0
