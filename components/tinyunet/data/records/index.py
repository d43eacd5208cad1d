"""The index of a shard: where its images and masks are; written by `convert`, or found by a scan."""

import mmap
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tinyunet.core.documents.records import RecordsManifest, Shard, ShardIndex
from tinyunet.core.errors import UserError
from tinyunet.core.files import file_sha256
from tinyunet.data.records.wire import Bytes, Place, find_features

HEADER, FOOTER = 12, 4  # bytes of a TFRecord before (length, checksum) and after (checksum) its data


@dataclass(frozen=True)
class Entry:
    """One record of a shard; positions are bytes from the beginning of the buffer that holds it.

    Attributes:
        name: Name of the image.
        image: Begin of the pixels.
        mask: Begin of the packed bits of the mask.
        height: Height in pixels.
        width: Width in pixels.
        defective: Whether the image shows a defect.
        defect_type: Type of the defect; empty if it has none.
        channels: 1 for grey, 3 for colour.
        bits: Bits per channel, 8 or 16.
    """

    name: str
    image: int
    mask: int
    height: int
    width: int
    defective: bool
    defect_type: str
    channels: int
    bits: int

    def moved(self, distance: int) -> "Entry":
        """Return the entry in a buffer in which the record begins `distance` bytes later."""
        return replace(self, image=self.image + distance, mask=self.mask + distance)


def read_entry(data: Bytes, start: int, end: int) -> Entry:
    """Return the entry of the tf.train.Example between two positions of a buffer.

    Raises:
        ValueError: if a feature is missing, or its length does not match the height and the width.
    """
    features = find_features(data, start, end)

    def number(key: str, default: int | None = None) -> int:
        value = features.get(key, default)
        if not isinstance(value, int):
            raise ValueError(f"the integer {key} is missing or empty")
        return value

    def place(key: str) -> Place:
        value = features.get(key)
        if not isinstance(value, Place):
            raise ValueError(f"the bytes {key} are missing or empty")
        return value

    def text(key: str) -> str:
        found = place(key)
        return bytes(data[found.start : found.end]).decode()

    height, width, channels, bits = (
        number("height"),
        number("width"),
        number("channels", 1),
        number("bits", 8),
    )
    for key, size in (("image", height * width * channels * bits // 8), ("mask", -(-height * width // 8))):
        found = place(key)
        if found.end - found.start != size:
            raise ValueError(f"{key} has {found.end - found.start} bytes, expected {size}")
    return Entry(
        name=text("name"),
        image=place("image").start,
        mask=place("mask").start,
        height=height,
        width=width,
        defective=bool(number("defective")),
        defect_type=text("type") if "type" in features else "",
        channels=channels,
        bits=bits,
    )


def build_index(entries: list[Entry], sha256: str) -> ShardIndex:
    """Return the index of a shard from the entries of its records."""
    return ShardIndex(
        sha256=sha256,
        names=tuple(entry.name for entry in entries),
        images=tuple(entry.image for entry in entries),
        masks=tuple(entry.mask for entry in entries),
        heights=tuple(entry.height for entry in entries),
        widths=tuple(entry.width for entry in entries),
        defective=tuple(entry.defective for entry in entries),
        types=tuple(entry.defect_type for entry in entries),
    )


def index_path(shard: Path) -> Path:
    """Return the path of the index of a shard."""
    return shard.with_name(f"{shard.name}.index.json")


def load_index(records: Path, shard: Shard, manifest: RecordsManifest) -> ShardIndex:
    """Read the index of a shard, or scan the shard if it has none, or one that does not fit.

    Args:
        records: Folder that `convert` wrote.
        shard: The shard, whose size has been checked.
        manifest: The manifest that lists the shard.

    Raises:
        UserError: if the shard is damaged, or holds another number of images than the manifest records.
    """
    path = records / shard.file
    index = _read_fitting_index(path, shard, manifest) or _scan_shard(path, shard, manifest)
    if len(index.names) != shard.images:
        raise UserError(
            f"{path} holds {len(index.names)} images, not {shard.images}; remove the folder and convert again"
        )
    return index


def _read_fitting_index(path: Path, shard: Shard, manifest: RecordsManifest) -> ShardIndex | None:
    """Return the stored index; None if it is missing, damaged or the index of another shard."""
    try:
        index = ShardIndex.parse(index_path(path).read_bytes(), str(index_path(path)))
    except (OSError, UserError):
        return None
    columns = [
        getattr(index, name) for name in ShardIndex.model_fields if name not in ("schema_version", "sha256")
    ]
    if index.sha256 != shard.sha256 or {len(column) for column in columns} != {len(index.names)}:
        return None
    pixel_bytes = manifest.channels * manifest.bits // 8
    sizes = [height * width for height, width in zip(index.heights, index.widths, strict=True)]
    ends = [start + size * pixel_bytes for start, size in zip(index.images, sizes, strict=True)]
    ends += [start + -(-size // 8) for start, size in zip(index.masks, sizes, strict=True)]
    inside = min((*index.images, *index.masks), default=0) >= 0 and max(ends, default=0) <= shard.bytes
    return index if inside else None


def _scan_shard(path: Path, shard: Shard, manifest: RecordsManifest) -> ShardIndex:
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer,
            memoryview(buffer) as data,
        ):
            entries = list(_scan(data))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove the folder and convert again") from error
    for entry in entries:
        if (entry.channels, entry.bits) != (manifest.channels, manifest.bits):
            raise UserError(
                f"{path}: image {entry.name} has {entry.channels} channels of {entry.bits} bits, not "
                f"{manifest.channels} of {manifest.bits}; remove the folder and convert again"
            )
    return build_index(entries, shard.sha256)


def _scan(data: memoryview) -> Iterator[Entry]:
    position = 0
    while position < len(data):
        start = position + HEADER
        if start > len(data):
            raise ValueError(f"the record at byte {position} is truncated")
        (length,) = struct.unpack_from("<Q", data, position)
        if length > len(data) - start - FOOTER:
            raise ValueError(f"the record at byte {position} is longer than the file")
        yield read_entry(data, start, start + length)
        position = start + length + FOOTER


def check_shard(
    records: Path, shard: Shard, *, verify: bool, cancelled: threading.Event | None = None
) -> None:
    """Check that a shard exists and has the size that the manifest records.

    Args:
        records: Folder that `convert` wrote.
        shard: The shard in the manifest.
        verify: Whether the SHA-256 is also checked.
        cancelled: Ends the check when it is set.

    Raises:
        UserError: if the file is missing or differs from the manifest.
        InterruptedError: if the check is cancelled.
    """
    path = records / shard.file
    if not path.is_file():
        raise UserError(
            f"{path} is missing, although manifest.json lists it; remove the folder and convert again"
        )
    size = path.stat().st_size
    if size != shard.bytes:
        raise UserError(f"{path} has {size} bytes, not {shard.bytes}; remove the folder and convert again")
    if verify and file_sha256(path, cancelled) != shard.sha256:
        raise UserError(f"{path} has changed (its SHA-256 differs); remove the folder and convert again")
