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

BATCH_SIZE = 8
BATCH_PIXELS = 2**22  # of all images of a batch, for models that resize them

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


def chunks(files: Iterable[NamedFile], limit: int) -> Iterator[list[NamedFile]]:
    """Group consecutive files; the images of a group have at most `limit` pixels, by their headers.

    A larger image is a group by itself. One file after the end of a group is opened before it is used.
    """
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
