"""Files that are mapped into memory, of which only a limited part stays there."""

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

RELEASE_BYTES = 1 << 28  # bytes of a group of files that are used before their pages are released


class MappedFiles:
    """A group of files whose content is read as arrays, without copying it.

    The processes of a host share the pages that the operating system caches. Pages that this process has used
    count as its memory until they are released, which happens whenever `RELEASE_BYTES` have been used. The
    operating system may keep them, so that reading them again is fast. Arrays that are in use remain valid.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._maps = [_map(path) for path in paths]
        self._used = 0

    def array(self, file: int, offset: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """Return a part of a file as a read-only array.

        Args:
            file: Number of the file.
            offset: First byte.
            shape: Shape of the array.
            dtype: Type of the array.
        """
        view: NDArray[np.generic] = np.ndarray(shape, dtype, self._maps[file], offset)
        self._used += view.nbytes
        if self._used > RELEASE_BYTES:
            self._used = 0
            self.release()
        return view

    def release(self) -> None:
        """Release the pages of all files."""
        for content in self._maps:
            if isinstance(content, mmap.mmap):
                content.madvise(mmap.MADV_DONTNEED)


def _map(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        empty = not path.stat().st_size  # an empty file cannot be mapped
        return b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
