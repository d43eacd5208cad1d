"""The manifest of TFRecords: manifest.json in the folder that `convert` writes."""

from typing import ClassVar

from tinyunet.core.documents.base import Document, JsonList, JsonObject


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
    """

    images: int
    defective: int
    digest: str
    shards: JsonList[Shard]


class RecordsManifest(Document):
    """What a folder of TFRecords holds.

    Attributes:
        class_id: DAGM2007 class, 1 to 10.
        source: Where the images came from, without credentials.
        complete: Whether the images are the complete official class.
        synthetic: Whether any image was generated.
        image_shape: (height, width) of the stored images.
        source_digest: Digest of the ingested images.
        digest: SHA-256 over names and digests of all shards.
        validation_fraction: Fraction of Train that is held out for validation.
        fold: Which held-out part.
        splits: `train`, `validation` and `test`.
    """

    FILE: ClassVar[str] = "manifest.json"
    MADE_BY: ClassVar[str] = "tinyunet convert"
    REMEDY: ClassVar[str] = "convert again"

    class_id: int
    source: str
    complete: bool
    synthetic: bool
    image_shape: JsonList[int]
    source_digest: str
    digest: str
    validation_fraction: float
    fold: int
    splits: dict[str, RecordsSplit]
