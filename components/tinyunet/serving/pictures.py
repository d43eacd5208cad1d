"""Image files as the input of the engine, a few at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import UserError
from tinyunet.core.files import why_unreadable
from tinyunet.data.pictures.opening import opened
from tinyunet.engine import pictures
from tinyunet.engine.engine import BATCH_SIZE

BATCH_PIXELS = 2**22  # of all images of a batch

NamedFile = tuple[str, Path]


def decode(file: Path, document: ServedModel) -> NDArray[Any] | UserError:
    """Decode an image file for a served model.

    Returns:
        uint8 or uint16 [H, W, C], or an error whose message is a sentence without a subject, the file.
    """
    try:
        if reason := why_unreadable(file):
            return UserError(f"{reason}, expected an image")
        return pictures.decode(file.read_bytes(), document)
    except UserError as error:
        return error
    except OSError as error:
        return UserError(f"cannot be read ({error.strerror})")


def chunks(files: Iterable[NamedFile], limit: int = BATCH_PIXELS) -> Iterator[list[NamedFile]]:
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
