"""Convert ingested images to TFRecord shards and a manifest; the same input gives the same bytes."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinyunet.core.config import DataConfig
from tinyunet.core.console import cores, say, track
from tinyunet.core.documents.raw import RawFile, RawManifest
from tinyunet.core.documents.records import RecordsManifest, RecordsSplit, Shard
from tinyunet.core.errors import UserError
from tinyunet.core.files import file_sha256, scratch_folder
from tinyunet.data.existing import already_holds, renew
from tinyunet.data.pictures.decode import read_picture, to_channels
from tinyunet.data.prefetch import prefetch
from tinyunet.data.raw import read_dataset, write_sources
from tinyunet.data.records.index import (
    FOOTER,
    HEADER,
    Entry,
    build_index,
    check_shard,
    index_path,
    read_entry,
)
from tinyunet.data.records.reader import Mask
from tinyunet.data.resize import Pixels
from tinyunet.data.scale import at_scale
from tinyunet.data.seen import Seen
from tinyunet.data.splits import SPLITS, choose_validation


@dataclass(frozen=True)
class Record:
    """One stored image.

    Attributes:
        name: Name of the image, such as `0576`.
        image: uint8 or uint16, [height, width] grey levels, or [height, width, 3] colours.
        mask: uint8 [height, width], 0 and 255.
        defective: Whether the image shows a defect.
        defect_type: Type of the defect; empty if it has none.
        faint: Whether the mask holds only the pixels that the defect covers most, see `at_scale`.
    """

    name: str
    image: Pixels
    mask: Mask
    defective: bool
    defect_type: str = ""
    faint: bool = False


def convert(raw: Path, out: Path, config: DataConfig) -> RecordsManifest:
    """Write the train, validation and test shards of an ingested data set, one image after another.

    Args:
        raw: Folder that `ingest` wrote.
        out: Folder to write: `{split}-NNNNN-of-NNNNN.tfrecord`, an index of every shard, manifest.json, and
            sources.json, a copy of dataset.json. If it already contains these records, they are not changed.
        config: Validation split, scale and number of shards.

    Returns:
        The manifest.

    Raises:
        UserError: if `raw` is not an ingested dataset or has changed; if there are too few defective or
            defect-free images for the validation split; or if `out` contains other files.
    """
    dataset = read_dataset(raw)
    files = choose_validation(dataset.files, config)
    import tensorflow  # noqa: F401  imported before the progress starts, because it takes seconds

    with scratch_folder(out) as scratch:
        seen, read = Seen(dataset.bits), partial(_read_record, raw, dataset, config.scale)
        splits = {
            split: _write_split(
                scratch, split, _read_split(read, split, files[split], seen), len(files[split]), config.shards
            )
            for split in SPLITS
        }
        manifest = _build_manifest(dataset, config, splits, seen)
        for note in seen.notes(config.scale):
            say(note)
        if already_holds(out, RecordsManifest, manifest.digest):
            for records_split in manifest.splits.values():
                for shard in records_split.shards:
                    check_shard(out, shard, verify=True)
            write_sources(dataset, out)
            return renew(out, manifest)
        write_sources(dataset, scratch)
        manifest.write(scratch)
        scratch.rename(out)
    return manifest


def serialize(record: Record) -> bytes:
    """Return a serialized tf.train.Example.

    Its features are the pixels (uint16 in little-endian order), the mask as packed bits, name, label, height
    and width. If they differ from an 8-bit grey image without a type, it also has the channels, the bits per
    channel, and the type of the defect.
    """
    import tensorflow as tf

    def bytes_feature(value: bytes) -> Any:  # noqa: ANN401  TensorFlow has no types
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def int_feature(value: int) -> Any:  # noqa: ANN401
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    image = record.image.astype(record.image.dtype.newbyteorder("<"), copy=False)
    feature = {
        "image": bytes_feature(image.tobytes()),
        "mask": bytes_feature(np.packbits(record.mask > 0).tobytes()),
        "name": bytes_feature(record.name.encode()),
        "defective": int_feature(int(record.defective)),
        "height": int_feature(image.shape[0]),
        "width": int_feature(image.shape[1]),
    }
    if image.ndim == 3:
        feature["channels"] = int_feature(image.shape[2])
    if image.itemsize > 1:
        feature["bits"] = int_feature(8 * image.itemsize)
    if record.defect_type:
        feature["type"] = bytes_feature(record.defect_type.encode())
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(example.SerializeToString(deterministic=True))


def _read_split(
    read: Callable[[RawFile], Record], split: str, files: list[RawFile], seen: Seen
) -> Iterator[Record]:
    """Decode the images of a split in threads, a few in advance; show the progress."""
    records = prefetch(read, files, threads=cores())
    for record in track(records, f"converting {split}", total=len(files)):
        seen.add(split, record.image)
        if record.mask.any():
            seen.add_defect(f"{split} {record.name}", faint=record.faint)
        yield record


def _read_record(raw: Path, dataset: RawManifest, scale: float, file: RawFile) -> Record:
    """Read a sample at a scale, and check its files against the hashes of the manifest."""
    image = to_channels(_decode(raw / file.image, file.image_sha256), dataset.channels)
    if 8 * image.itemsize != dataset.bits:
        raise UserError(
            f"{raw / file.image} has {8 * image.itemsize} bits, but the data set has {dataset.bits}; "
            "ingest the dataset again"
        )
    mask = np.zeros(image.shape[:2], np.uint8)
    if file.mask is not None:
        mask = _decode(raw / file.mask, file.mask_sha256).astype(np.uint8, copy=False)
    image, mask, faint = at_scale(image, mask, scale)
    return Record(file.name, image, mask, file.defective, file.defect_type, faint)


def _decode(path: Path, sha256: str | None) -> Pixels:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path} has changed since it was ingested; ingest the dataset again")
    try:
        return read_picture(data).pixels
    except UserError as error:
        raise UserError(f"{path} {error}; ingest the dataset again") from error


def _write_split(
    folder: Path, split: str, records: Iterator[Record], count: int, shards: int
) -> RecordsSplit:
    """Write one split as shards with nearly equal numbers of images, in the order of their names."""
    digest, defective, entries, types = hashlib.sha256(), 0, [], {""}
    shards = min(shards, count)
    for index in range(shards):
        path = folder / f"{split}-{index:05d}-of-{shards:05d}.tfrecord"
        size = (index + 1) * count // shards - index * count // shards
        written = _write_shard(path, itertools.islice(records, size), digest.update)
        shard = Shard(file=path.name, images=size, bytes=path.stat().st_size, sha256=file_sha256(path))
        index_path(path).write_text(build_index(written, shard.sha256).text())
        defective += sum(entry.defective for entry in written)
        types |= {entry.defect_type for entry in written}
        entries.append(shard)
    return RecordsSplit(
        images=count,
        defective=defective,
        digest=digest.hexdigest(),
        shards=tuple(entries),
        types=tuple(sorted(types - {""})),
    )


def _write_shard(path: Path, records: Iterator[Record], update: Callable[[bytes], None]) -> list[Entry]:
    """Write one shard and return where its records are; `update` receives names and pixels."""
    import tensorflow as tf

    entries, position = [], 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            data = serialize(record)
            writer.write(data)
            entries.append(read_entry(data, 0, len(data)).moved(position + HEADER))
            position += HEADER + len(data) + FOOTER
            update(record.name.encode() + b"\0" + record.image.tobytes() + record.mask.tobytes())
    return entries


def _build_manifest(
    dataset: RawManifest, config: DataConfig, splits: dict[str, RecordsSplit], seen: Seen
) -> RecordsManifest:
    given = any(file.split == "validation" for file in dataset.files)
    return RecordsManifest(
        dataset=dataset.dataset,
        category=dataset.category,
        source=dataset.source,
        options=dataset.options,
        complete=dataset.complete,
        synthetic=dataset.synthetic,
        image_shape=tuple(max(sides) for sides in zip(*seen.shapes, strict=True)),
        uniform=len(seen.shapes) == 1,
        channels=dataset.channels,
        bits=dataset.bits,
        levels=dataset.levels,
        notes=(*dataset.notes, *seen.notes(config.scale)),
        types=tuple(sorted({file.defect_type for file in dataset.files} - {""})),
        statistics=seen.statistics(),
        source_digest=dataset.digest,
        digest=RecordsManifest.digest_of(splits),
        validation_fraction=0.0 if given else config.validation_fraction,
        fold=config.fold,
        scale=config.scale,
        splits=splits,
    )
