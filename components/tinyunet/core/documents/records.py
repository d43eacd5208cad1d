"""The documents of TFRecords: manifest.json, and the index beside every shard, in the folder of `convert`."""

import hashlib
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from tinyunet.core.documents.base import DataIdentity, Document, JsonList, JsonObject, Options


class Shard(JsonObject):
    """One TFRecord file: its name, number of images, size in bytes, and SHA-256."""

    file: str
    images: int
    bytes: int
    sha256: str


class RecordsSplit(JsonObject):
    """One split.

    Attributes:
        images: Number of images.
        defective: Number of defective images.
        digest: SHA-256 over names and pixels of the split.
        shards: The files.
        types: Types of the defects of the split, sorted; empty without types.
    """

    images: int
    defective: int
    digest: str
    shards: JsonList[Shard]
    types: JsonList[str] = ()


class GreyStatistics(JsonObject):
    """Mean and standard deviation of the levels of all pixels and channels of a split."""

    mean: float
    deviation: float


class RecordsManifest(DataIdentity, Document):
    """What a folder of TFRecords holds.

    Attributes:
        source: Where the images came from, without credentials.
        options: Options of `ingest` that differ from their defaults, without the category.
        complete: Whether the images are a complete official class of DAGM2007.
        synthetic: Whether any image was generated.
        image_shape: Largest height and largest width of the stored images.
        uniform: Whether all images have this height and this width.
        channels: 1 for grey images, 3 for colour images.
        bits: Bits per channel, 8 or 16.
        levels: Smallest and largest level that an image can have.
        types: Types of the defects, sorted; empty without types.
        notes: What a reader of the results should know about the data.
        statistics: Levels of the stored images of `train`; None in manifests of early versions.
        source_digest: Digest of the ingested images.
        digest: SHA-256 over names and digests of all shards.
        validation_fraction: Fraction of Train that is held out for validation; 0 if the data set has its own
            validation images.
        fold: Which held-out part.
        scale: Factor by which the sides of the ingested images were reduced.
        splits: `train`, `validation` and `test`.
    """

    FILE: ClassVar[str] = "manifest.json"
    MADE_BY: ClassVar[str] = "tinyunet convert"
    REMEDY: ClassVar[str] = "convert again"

    source: str
    options: Options = Field(default_factory=dict)
    complete: bool
    synthetic: bool
    image_shape: JsonList[int]
    uniform: bool = True
    channels: int = 1
    bits: int = 8
    levels: JsonList[int] = (0, 255)
    types: JsonList[str] = ()
    notes: JsonList[str] = ()
    statistics: GreyStatistics | None = None
    source_digest: str
    digest: str
    validation_fraction: float
    fold: int
    scale: float = 1.0
    splits: dict[str, RecordsSplit]

    @staticmethod
    def digest_of(splits: Mapping[str, RecordsSplit]) -> str:
        """Return the digest of records: the SHA-256 over names and digests of all shards."""
        lines = [f"{shard.file} {shard.sha256}\n" for split in splits.values() for shard in split.shards]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


class ShardIndex(Document):
    """Where the records of a shard are, so that one of them can be read without the others.

    It is stored beside its shard as `<shard>.index.json`. Offsets are bytes from the beginning of the shard.

    Attributes:
        sha256: SHA-256 of the shard that the index describes.
        names: Names of the images.
        images: Begin of the pixels.
        masks: Begin of the packed bits of the mask.
        heights: Height of every image in pixels.
        widths: Width of every image in pixels.
        defective: Whether an image shows a defect.
        types: Type of the defect; empty if the image has none.
    """

    MADE_BY: ClassVar[str] = "tinyunet convert"
    REMEDY: ClassVar[str] = "remove the file"
    INDENT: ClassVar[int | None] = None  # a line per number would make the file five times as large

    sha256: str
    names: JsonList[str]
    images: JsonList[int]
    masks: JsonList[int]
    heights: JsonList[int]
    widths: JsonList[int]
    defective: JsonList[bool]
    types: JsonList[str]
