"""Resized images of a split in a temporary file, which the processes of a host make once and share."""

import fcntl
import hashlib
import math
import os
import shutil
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from tinyunet.core.console import cores, track
from tinyunet.core.files import atomic_path, file_errors, require_space
from tinyunet.data.prefetch import prefetch
from tinyunet.data.records.mapped import MappedFiles
from tinyunet.data.records.reader import ALL_ROWS, Mask, RecordReader
from tinyunet.data.resize import Pixels, area_average

IMAGES, MASKS = "images.bin", "masks.bin"
RETRY_S = 0.05


class ResizedImages:
    """The images and masks of a split, resized to squares, in two files.

    Attributes:
        channels: 1 for grey, 3 for colour.
        dtype: uint8, or uint16 for images of 16 bits.

    Args:
        folder: Folder of the files, which are complete.
        reader: The stored images.
        size: Side length in pixels.
    """

    def __init__(self, folder: Path, reader: RecordReader, size: int) -> None:
        self.channels, self.dtype = reader.channels, reader.dtype
        self._mask_shape = (size, size)
        self._image_shape = (size, size) if self.channels == 1 else (size, size, self.channels)
        self._files = MappedFiles([folder / IMAGES, folder / MASKS])

    def image(self, index: int, rows: slice = ALL_ROWS) -> Pixels:
        """Return some rows of an image: uint8 or uint16, [rows, size] or [rows, size, 3]."""
        offset = index * math.prod(self._image_shape) * self.dtype.itemsize
        return cast(Pixels, self._files.array(0, offset, self._image_shape, self.dtype))[rows]

    def mask(self, index: int, rows: slice = ALL_ROWS) -> Mask:
        """Return some rows of a mask: uint8 [rows, size], 255 times the defective fraction of a pixel."""
        offset = index * math.prod(self._mask_shape)
        return cast(Mask, self._files.array(1, offset, self._mask_shape, np.uint8))[rows]


def resized(reader: RecordReader, key: str, split: str, size: int) -> ResizedImages:
    """Return all images and masks of a split, resized to squares by averaging over areas.

    The first process on this host that needs them writes them to a folder in `tempfile.gettempdir()`; the
    other ones wait for it, and use the same files. The last process that releases them removes the folder.

    Args:
        reader: The stored images.
        key: Digest of the records.
        split: Name of the split.
        size: Side length in pixels.

    Raises:
        UserError: if the folder for temporary files has too little space.
    """
    identity = hashlib.sha256(f"{key} {split} {size}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"tinyunet-{os.getuid()}-{split}-{size}px-{identity}"
    with file_errors(folder):
        while True:
            lock = _open_lock(folder)
            images = _open(folder, reader, size) or _try_to_make(lock, folder, reader, split, size)
            if images:
                break
            lock.close()
            time.sleep(RETRY_S)
    weakref.finalize(images, _release, lock, folder)
    return images


def _open_lock(folder: Path) -> BinaryIO:
    """Take the shared lock of the folder, which is a file beside it; wait while another process makes it."""
    path = Path(f"{folder}.lock")
    while True:
        file = path.open("ab")
        fcntl.flock(file, fcntl.LOCK_SH)
        # The last user deletes the file: a lock on a deleted file does not count.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _try_to_make(
    lock: BinaryIO, folder: Path, reader: RecordReader, split: str, size: int
) -> ResizedImages | None:
    """Make the files; return None if another process has the lock to look for them or to make them."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    try:
        # The files may have been made before this process had the lock.
        return _open(folder, reader, size) or _make(folder, reader, split, size)
    except BaseException:
        _release(lock, folder)
        raise
    finally:
        if not lock.closed:
            fcntl.flock(lock, fcntl.LOCK_SH)


def _release(lock: BinaryIO, folder: Path) -> None:
    """Give up the shared lock; if no other process has it, remove the folder."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        Path(lock.name).unlink(missing_ok=True)
    except BlockingIOError:  # another process uses the folder, and will remove it
        pass
    finally:
        lock.close()


def _open(folder: Path, reader: RecordReader, size: int) -> ResizedImages | None:
    """Open the files; return None if they do not exist or are not complete."""
    for name, length in zip((IMAGES, MASKS), _lengths(reader, size), strict=True):
        if not (folder / name).is_file() or (folder / name).stat().st_size != length:
            return None
    return ResizedImages(folder, reader, size)


def _lengths(reader: RecordReader, size: int) -> tuple[int, int]:
    """Return the sizes of the two files in bytes."""
    pixels = len(reader) * size * size
    return pixels * reader.channels * reader.dtype.itemsize, pixels


def _make(folder: Path, reader: RecordReader, split: str, size: int) -> ResizedImages:
    shutil.rmtree(folder, ignore_errors=True)
    image_bytes, mask_bytes = _lengths(reader, size)
    require_space(folder, image_bytes + int(reader.defective.sum()) * size * size)

    def resize(index: int) -> tuple[Pixels, Pixels | None]:
        mask = area_average(reader.mask(index), size) if reader.defective[index] else None
        return area_average(reader.image(index), size), mask

    with atomic_path(folder) as part:
        part.mkdir()
        with (part / IMAGES).open("wb") as images, (part / MASKS).open("wb") as masks:
            pairs = prefetch(resize, range(len(reader)), threads=cores())
            for index, (image, mask) in enumerate(track(pairs, f"resizing {split}", total=len(reader))):
                images.write(image.tobytes())
                if mask is not None:  # the mask of a defect-free image is a hole in the file
                    masks.seek(index * size * size)
                    masks.write(mask.tobytes())
            masks.truncate(mask_bytes)
    return ResizedImages(folder, reader, size)
