"""Resized images of a split in a temporary file, which the processes of a host make once and share."""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.console import cores, track
from tinyunet.core.files import atomic_path, file_errors, require_space
from tinyunet.data.prefetch import prefetch
from tinyunet.data.records.reader import Mask, RecordReader
from tinyunet.data.resize import Pixels, area_average

IMAGES, MASKS = "images.bin", "masks.bin"
RETRY_S = 0.05


def resized(reader: RecordReader, key: str, split: str, size: int) -> tuple[Pixels, Mask]:
    """Return all images and masks of a split, resized to squares by averaging over areas.

    The first process on this host that needs them writes them to a folder in `tempfile.gettempdir()`; the
    other ones wait for it, and use the same files. The last process that releases them removes the folder.

    Args:
        reader: The stored images.
        key: Digest of the records.
        split: Name of the split.
        size: Side length in pixels.

    Returns:
        The images, uint8 or uint16 [N, size, size] or [N, size, size, 3], and the masks, uint8
        [N, size, size], both as read-only memory maps of the files.

    Raises:
        UserError: if the folder for temporary files has too little space.
    """
    identity = hashlib.sha256(f"{key} {split} {size}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"tinyunet-{os.getuid()}-{split}-{size}px-{identity}"
    with file_errors(folder):
        while True:
            lock = _open_lock(folder)
            opened = _open(folder, reader, size) or _try_to_make(lock, folder, reader, split, size)
            if opened:
                break
            lock.close()
            time.sleep(RETRY_S)
    weakref.finalize(opened[0], _release, lock, folder)
    return opened


def _open_lock(folder: Path) -> BinaryIO:
    """Take the shared lock of the folder, which is a file beside it; wait while another process makes it."""
    path = Path(f"{folder}.lock")
    while True:
        file = path.open("ab")
        fcntl.flock(file, fcntl.LOCK_SH)
        # The last user deletes the file: a lock on a deleted file does not count.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()


def _try_to_make(
    lock: BinaryIO, folder: Path, reader: RecordReader, split: str, size: int
) -> tuple[Pixels, Mask] | None:
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


def _open(folder: Path, reader: RecordReader, size: int) -> tuple[Pixels, Mask] | None:
    """Map the files into memory; return None if they do not exist or are not complete."""
    image_shape, mask_shape = _shapes(reader, size)
    opened: list[NDArray[np.uint8 | np.uint16]] = []
    for name, dtype, shape in ((IMAGES, reader.dtype, image_shape), (MASKS, np.dtype(np.uint8), mask_shape)):
        path, length = folder / name, int(np.prod(shape)) * dtype.itemsize
        if not path.is_file() or path.stat().st_size != length:
            return None
        # Indexing a plain array is faster than indexing np.memmap.
        opened.append(
            np.asarray(np.memmap(path, dtype, "r", shape=shape)) if length else np.empty(shape, dtype)
        )
    return opened[0], opened[1].view(np.uint8)


def _shapes(reader: RecordReader, size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    masks = (len(reader), size, size)
    return (masks if reader.channels == 1 else (*masks, reader.channels)), masks


def _make(folder: Path, reader: RecordReader, split: str, size: int) -> tuple[Pixels, Mask]:
    image_shape, mask_shape = _shapes(reader, size)
    length = int(np.prod(image_shape)) * reader.dtype.itemsize
    defective = int(reader.defective.sum())
    shutil.rmtree(folder, ignore_errors=True)
    require_space(folder, length + defective * size * size)

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
            masks.truncate(int(np.prod(mask_shape)))
    made = _open(folder, reader, size)
    assert made is not None
    return made
