"""Convert an ingested class to sharded TFRecords with a manifest; the same input gives the same bytes."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.config import DataConfig
from tinyunet.core.console import say, track
from tinyunet.core.errors import UserError
from tinyunet.core.files import read_json, scratch_folder
from tinyunet.data.dagm import Sample, read_class
from tinyunet.data.existing import already_holds
from tinyunet.data.ingest import read_raw
from tinyunet.data.pixels import read_grey
from tinyunet.data.splits import copies_of, validation_names

SCHEMA_VERSION = 1
SPLITS: tuple[str, ...] = ("train", "validation", "test")
Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Record:
    """One image as it is stored.

    Attributes:
        name: Its name, such as `0576`.
        image: uint8 [height, width], grey levels.
        mask: uint8 [height, width], 0 and 255.
        defective: Whether it shows a defect.
    """

    name: str
    image: Array
    mask: Array
    defective: bool


def convert(raw: Path, out: Path, config: DataConfig) -> dict[str, Any]:
    """Write train, validation and test shards of an ingested class.

    Args:
        raw: What `ingest` made.
        out: Folder that gets `{split}-NNNNN-of-NNNNN.tfrecord` and manifest.json. When it already holds these
            records, nothing is done.
        config: `class_id`, `validation_fraction`, `fold` and `shards` are used.

    Returns:
        The manifest.

    Raises:
        UserError: if `raw` is not an ingested dataset, is another class or has changed, if a stratum is too
            small to split, or if `out` holds something else.
    """
    dataset = read_raw(raw)
    held = dataset["class_id"]
    if held != config.class_id:
        raise UserError(f"{raw} holds class {held}, but class_id is {config.class_id}; give class_id={held}")
    hashes = {(f["split"], f["name"]): (f["image_sha256"], f["mask_sha256"]) for f in dataset["files"]}
    import tensorflow  # noqa: F401  takes seconds: here it does not count as progress

    pixels = {f["name"]: f.get("pixels_sha256", "") for f in dataset["files"] if f["split"] == "train"}
    groups = _groups(read_class(raw), config, pixels)
    with scratch_folder(out) as part:
        splits = {}
        for split, samples in groups.items():
            records = track(samples, f"converting {split}", total=len(samples))
            shards = min(config.shards, len(samples))
            splits[split] = _write_split(
                part, split, (_read(s, hashes) for s in records), len(samples), shards
            )
        manifest = _manifest(dataset, config, splits)
        if already_holds(out, manifest["digest"]):
            for split in manifest["splits"].values():
                for shard in split["shards"]:
                    check_shard(out, shard, verify=True)
            say(f"{out} already holds these records ({manifest['digest'][:12]}), nothing to do")
            return read_manifest(out)
        (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        part.rename(out)
    return manifest


def read_manifest(records: Path) -> dict[str, Any]:
    """Read the manifest of a folder of records.

    Raises:
        UserError: if there is none, or it has another schema.
    """
    if not (records / "manifest.json").is_file():
        raise UserError(f"{records} holds no manifest.json; expected what `tinyunet convert` makes")
    manifest = read_json(records / "manifest.json")
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION or "validation" not in manifest.get("splits", {}):
        raise UserError(
            f"{records} has a manifest of schema {version}, not of records ({SCHEMA_VERSION}); convert again"
        )
    return manifest


def check_shard(records: Path, shard: dict[str, Any], *, verify: bool) -> None:
    """Compare a shard with its entry in the manifest: there, of that size, and with `verify` of that SHA-256.

    Raises:
        UserError: naming the file.
    """
    path = records / shard["file"]
    if not path.is_file():
        raise UserError(f"{path} is missing, but in manifest.json; remove the folder and convert again")
    size = path.stat().st_size
    if size != shard["bytes"]:
        raise UserError(f"{path} has {size} bytes, not {shard['bytes']}; remove the folder and convert again")
    if verify and hashlib.sha256(path.read_bytes()).hexdigest() != shard["sha256"]:
        raise UserError(f"{path} has changed (its SHA-256 differs); remove the folder and convert again")


def serialize(record: Record) -> bytes:
    """Give a tf.train.Example: raw image bytes, mask as packed bits, name, label, height, width."""
    import tensorflow as tf

    def data(value: bytes) -> Any:  # noqa: ANN401  TensorFlow carries no types
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def number(value: int) -> Any:  # noqa: ANN401
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    feature = {
        "image": data(record.image.tobytes()),
        "mask": data(np.packbits(record.mask > 0).tobytes()),
        "name": data(record.name.encode()),
        "defective": number(int(record.defective)),
        "height": number(record.image.shape[0]),
        "width": number(record.image.shape[1]),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(example.SerializeToString(deterministic=True))


def parse(serialized: bytes) -> Record:
    """Read what `serialize` gave.

    Raises:
        ValueError: if bytes are missing or do not fit the shape.
    """
    import tensorflow as tf

    example = tf.train.Example.FromString(serialized)
    feature = dict(example.features.feature.items())
    try:
        height, width, defective = (feature[k].int64_list.value[0] for k in ("height", "width", "defective"))
        image, mask, name = (feature[k].bytes_list.value[0] for k in ("image", "mask", "name"))
    except (KeyError, IndexError) as error:
        raise ValueError(f"lacks {error}") from error
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), count=height * width)
    shape = (height, width)
    pixels = np.frombuffer(image, np.uint8).reshape(shape)
    return Record(name.decode(), pixels, (bits * np.uint8(255)).reshape(shape), bool(defective))


def _groups(samples: list[Sample], config: DataConfig, pixels: dict[str, str]) -> dict[str, list[Sample]]:
    held: set[str] = set()
    train = [sample for sample in samples if sample.split == "train"]
    for flag, stratum in ((True, "defective"), (False, "defect-free")):
        copies = copies_of([sample.name for sample in train if sample.defective == flag], pixels)
        for name in validation_names(
            copies, fraction=config.validation_fraction, fold=config.fold, stratum=stratum
        ):
            held |= copies[name]
    return {
        "train": [sample for sample in train if sample.name not in held],
        "validation": [sample for sample in train if sample.name in held],
        "test": [sample for sample in samples if sample.split == "test"],
    }


def _read(sample: Sample, hashes: dict[tuple[str, str], tuple[str, str | None]]) -> Record:
    """Read a sample and hold its files against the hashes of the manifest."""
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
) -> dict[str, Any]:
    """Write one split as shards of nearly equal counts, in order of name."""
    digest, defective, described = hashlib.sha256(), 0, []
    stream = iter(records)
    for index in range(shards):
        path = folder / f"{split}-{index:05d}-of-{shards:05d}.tfrecord"
        size = (index + 1) * count // shards - index * count // shards
        defective += _write_shard(path, list(itertools.islice(stream, size)), digest.update)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        described.append({"file": path.name, "images": size, "bytes": path.stat().st_size, "sha256": sha256})
    return {"images": count, "defective": defective, "digest": digest.hexdigest(), "shards": described}


def _write_shard(path: Path, records: list[Record], update: Callable[[bytes], None]) -> int:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(serialize(record))
            update(record.name.encode() + b"\0" + record.image.tobytes() + record.mask.tobytes())
    return sum(record.defective for record in records)


def _manifest(dataset: dict[str, Any], config: DataConfig, splits: dict[str, Any]) -> dict[str, Any]:
    shards = [f"{s['file']} {s['sha256']}\n" for split in splits.values() for s in split["shards"]]
    return {
        "schema_version": SCHEMA_VERSION,
        **{key: dataset[key] for key in ("class_id", "source", "complete", "synthetic", "image_shape")},
        "source_digest": dataset["digest"],
        "digest": hashlib.sha256("".join(shards).encode()).hexdigest(),
        "validation_fraction": config.validation_fraction,
        "fold": config.fold,
        "splits": splits,
    }
