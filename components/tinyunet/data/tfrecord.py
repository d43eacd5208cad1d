"""Convert an ingested class to TFRecord shards and a manifest; the same input gives the same bytes."""

import hashlib
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.config import DataConfig
from tinyunet.core.console import say, track
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.documents.records import RecordsManifest, RecordsSplit, Shard
from tinyunet.core.errors import UserError
from tinyunet.core.files import scratch_folder
from tinyunet.data.layouts.dagm import Sample, read_class
from tinyunet.data.existing import already_holds
from tinyunet.data.pictures.pixels import read_grey
from tinyunet.data.splits import group_copies, validation_names

SPLITS: tuple[str, ...] = ("train", "validation", "test")
Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Record:
    """One stored image.

    Attributes:
        name: Name of the image, such as `0576`.
        image: uint8 [height, width], grey levels.
        mask: uint8 [height, width], 0 and 255.
        defective: Whether the image shows a defect.
    """

    name: str
    image: Array
    mask: Array
    defective: bool


def convert(raw: Path, out: Path, config: DataConfig) -> RecordsManifest:
    """Write the train, validation and test shards of an ingested class.

    Args:
        raw: Folder that `ingest` wrote.
        out: Folder to write: `{split}-NNNNN-of-NNNNN.tfrecord` and manifest.json. If it already contains
            these records, it is not changed.
        config: Class, validation split and number of shards.

    Returns:
        The manifest.

    Raises:
        UserError: if `raw` is not an ingested dataset, contains another class or has changed; if there are
            too few defective or defect-free images for the validation split; or if `out` contains other
            files.
    """
    dataset = RawManifest.read(raw)
    class_id = dataset.class_id
    if class_id != config.class_id:
        raise UserError(
            f"{raw} holds class {class_id}, but class_id is {config.class_id}; give class_id={class_id}"
        )
    hashes = {(file.split, file.name): (file.image_sha256, file.mask_sha256) for file in dataset.files}
    import tensorflow  # noqa: F401  imported before the progress starts, because it takes seconds

    pixels = {file.name: file.pixels_sha256 for file in dataset.files if file.split == "train"}
    with scratch_folder(out) as scratch:
        splits = {}
        for split, samples in _split_samples(read_class(raw), config, pixels).items():
            tracked = track(samples, f"converting {split}", total=len(samples))
            records = (_read_record(sample, hashes) for sample in tracked)
            shards = min(config.shards, len(samples))
            splits[split] = _write_split(scratch, split, records, len(samples), shards)
        manifest = _build_manifest(dataset, config, splits)
        if already_holds(out, RecordsManifest, manifest.digest):
            for records_split in manifest.splits.values():
                for shard in records_split.shards:
                    check_shard(out, shard, verify=True)
            say(f"{out} already holds these records ({manifest.digest[:12]}), nothing to do")
            return RecordsManifest.read(out)
        manifest.write(scratch)
        scratch.rename(out)
    return manifest


def check_shard(records: Path, shard: Shard, *, verify: bool) -> None:
    """Check that a shard exists and has the size that the manifest records.

    Args:
        records: Folder that `convert` wrote.
        shard: The shard in the manifest.
        verify: Whether the SHA-256 is also checked.

    Raises:
        UserError: if the file is missing or differs from the manifest.
    """
    path = records / shard.file
    if not path.is_file():
        raise UserError(
            f"{path} is missing, although manifest.json lists it; remove the folder and convert again"
        )
    size = path.stat().st_size
    if size != shard.bytes:
        raise UserError(f"{path} has {size} bytes, not {shard.bytes}; remove the folder and convert again")
    if verify and hashlib.sha256(path.read_bytes()).hexdigest() != shard.sha256:
        raise UserError(f"{path} has changed (its SHA-256 differs); remove the folder and convert again")


def serialize(record: Record) -> bytes:
    """Return a serialized tf.train.Example: pixels, mask as packed bits, name, label, height and width."""
    import tensorflow as tf

    def bytes_feature(value: bytes) -> Any:  # noqa: ANN401  TensorFlow has no types
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def int_feature(value: int) -> Any:  # noqa: ANN401
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    feature = {
        "image": bytes_feature(record.image.tobytes()),
        "mask": bytes_feature(np.packbits(record.mask > 0).tobytes()),
        "name": bytes_feature(record.name.encode()),
        "defective": int_feature(int(record.defective)),
        "height": int_feature(record.image.shape[0]),
        "width": int_feature(record.image.shape[1]),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(example.SerializeToString(deterministic=True))


def parse(serialized: bytes) -> Record:
    """Return the record that `serialize` encoded.

    Raises:
        ValueError: if a field is missing or its length does not match the height and the width.
    """
    import tensorflow as tf

    example = tf.train.Example.FromString(serialized)
    feature = dict(example.features.feature.items())
    try:
        height, width, defective = (feature[k].int64_list.value[0] for k in ("height", "width", "defective"))
        image, mask, name = (feature[k].bytes_list.value[0] for k in ("image", "mask", "name"))
    except (KeyError, IndexError) as error:
        raise ValueError(f"a field is missing or empty: {error}") from error
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), count=height * width)
    shape = (height, width)
    pixels = np.frombuffer(image, np.uint8).reshape(shape)
    return Record(name.decode(), pixels, (bits * np.uint8(255)).reshape(shape), bool(defective))


def _split_samples(
    samples: list[Sample], config: DataConfig, pixels: dict[str, str]
) -> dict[str, list[Sample]]:
    """Return the samples of each split; all copies of an image are in the same split, train or validation."""
    held_out: set[str] = set()
    train = [sample for sample in samples if sample.split == "train"]
    for defective, stratum in ((True, "defective"), (False, "defect-free")):
        names = [sample.name for sample in train if sample.defective == defective]
        copies = group_copies(names, pixels)
        for name in validation_names(
            copies, fraction=config.validation_fraction, fold=config.fold, stratum=stratum
        ):
            held_out |= copies[name]
    return {
        "train": [sample for sample in train if sample.name not in held_out],
        "validation": [sample for sample in train if sample.name in held_out],
        "test": [sample for sample in samples if sample.split == "test"],
    }


def _read_record(sample: Sample, hashes: dict[tuple[str, str], tuple[str, str | None]]) -> Record:
    """Read a sample and check its files against the hashes of the manifest."""
    image_sha256, mask_sha256 = hashes.get((sample.split, sample.name), ("", ""))
    image = _decode(sample.image_path, image_sha256)
    mask = _decode(sample.mask_path, mask_sha256) if sample.mask_path else np.zeros_like(image)
    return Record(sample.name, image, mask, sample.defective)


def _decode(path: Path, sha256: str | None) -> Array:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path} has changed since it was ingested; ingest the dataset again")
    return read_grey(data)


def _write_split(
    folder: Path, split: str, records: Iterable[Record], count: int, shards: int
) -> RecordsSplit:
    """Write one split as shards with nearly equal numbers of images, in the order of their names."""
    digest, defective, shard_entries = hashlib.sha256(), 0, []
    remaining = iter(records)
    for index in range(shards):
        path = folder / f"{split}-{index:05d}-of-{shards:05d}.tfrecord"
        size = (index + 1) * count // shards - index * count // shards
        defective += _write_shard(path, list(itertools.islice(remaining, size)), digest.update)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        shard_entries.append(Shard(file=path.name, images=size, bytes=path.stat().st_size, sha256=sha256))
    return RecordsSplit(
        images=count, defective=defective, digest=digest.hexdigest(), shards=tuple(shard_entries)
    )


def _write_shard(path: Path, records: list[Record], update: Callable[[bytes], None]) -> int:
    """Write one shard and return the number of its defective images; `update` receives names and pixels."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(serialize(record))
            update(record.name.encode() + b"\0" + record.image.tobytes() + record.mask.tobytes())
    return sum(record.defective for record in records)


def _build_manifest(
    dataset: RawManifest, config: DataConfig, splits: dict[str, RecordsSplit]
) -> RecordsManifest:
    shards = [f"{shard.file} {shard.sha256}\n" for split in splits.values() for shard in split.shards]
    return RecordsManifest(
        class_id=dataset.class_id,
        source=dataset.source,
        complete=dataset.complete,
        synthetic=dataset.synthetic,
        image_shape=dataset.image_shape,
        source_digest=dataset.digest,
        digest=hashlib.sha256("".join(shards).encode()).hexdigest(),
        validation_fraction=config.validation_fraction,
        fold=config.fold,
        splits=splits,
    )
