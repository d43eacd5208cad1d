"""Reading of single images and masks of a split from its shards, by memory map."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.console import cores
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.data.records.index import check_shard, load_index
from tinyunet.data.records.mapped import MappedFiles
from tinyunet.data.resize import Pixels

Mask = NDArray[np.uint8]
ALL_ROWS = slice(None)


class RecordReader:
    """The images of one split in the shards of a records folder.

    The shards are mapped into memory: only the parts of the files that are used are read, and the ranks of a
    host share the pages that the operating system caches.

    Attributes:
        names: Names of the N images.
        types: Defect type of every image; empty if it has none.
        defective: bool [N], whether an image shows a defect.
        shapes: int64 [N, 2], height and width of every image in pixels.
        channels: 1 for grey, 3 for colour.
        dtype: uint8, or uint16 for images of 16 bits.

    Args:
        records: Folder that `convert` wrote.
        split: A split of the manifest.
        manifest: The manifest of the folder.
        verify: Whether the SHA-256 of every shard is checked.

    Raises:
        UserError: if a shard is missing, damaged or different from the manifest.
    """

    def __init__(self, records: Path, split: str, manifest: RecordsManifest, *, verify: bool = False) -> None:
        shards = manifest.splits[split].shards
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(lambda shard: check_shard(records, shard, verify=verify), shards))
        indexes = [load_index(records, shard, manifest) for shard in shards]
        self._files = MappedFiles([records / shard.file for shard in shards])
        self._shards = np.repeat(np.arange(len(shards)), [shard.images for shard in shards])
        self._images = _join([index.images for index in indexes])
        self._masks = _join([index.masks for index in indexes])
        heights, widths = _join([i.heights for i in indexes]), _join([i.widths for i in indexes])
        self.shapes = np.stack([heights, widths], 1)
        self.defective = _join([index.defective for index in indexes]).astype(bool)
        self.names = tuple(itertools.chain.from_iterable(index.names for index in indexes))
        self.types = tuple(itertools.chain.from_iterable(index.types for index in indexes))
        self.channels = manifest.channels
        self.dtype = np.dtype("<u2" if manifest.bits == 16 else np.uint8)

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int, rows: slice = ALL_ROWS) -> Pixels:
        """Return some rows of an image as a read-only view of the file; nothing is copied.

        Returns:
            uint8 or uint16, [rows, width] or [rows, width, 3].
        """
        height, width = self.shapes[index].tolist()
        shape = (height, width) if self.channels == 1 else (height, width, self.channels)
        view = self._files.array(int(self._shards[index]), int(self._images[index]), shape, self.dtype)
        return cast(Pixels, view)[rows]

    def mask(self, index: int, rows: slice = ALL_ROWS) -> Mask:
        """Return some rows of a mask: uint8 [rows, width], 0 and 255."""
        height, width = self.shapes[index].tolist()
        top, bottom, _ = rows.indices(height)
        bottom = max(top, bottom)
        first, last = top * width, bottom * width  # bits of the mask; a row may begin inside a byte
        start, length = int(self._masks[index]) + first // 8, -(-last // 8) - first // 8
        packed = cast(Mask, self._files.array(int(self._shards[index]), start, (length,), np.uint8))
        bits = np.unpackbits(packed, count=first % 8 + last - first)[first % 8 :]
        return np.negative(bits, out=bits).reshape(bottom - top, width)  # -1 is 255


def _join(columns: list[tuple[int, ...]]) -> NDArray[np.int64]:
    return np.array(list(itertools.chain.from_iterable(columns)), np.int64)
