"""The manifest of ingested images: manifest.json in the folder that `ingest` writes."""

from typing import ClassVar

from tinyunet.core.documents.base import Document, JsonList, JsonObject


class SplitCounts(JsonObject):
    """Number of images of a split, and how many of them are defective."""

    images: int
    defective: int


class RawFile(JsonObject):
    """One sample.

    Attributes:
        split: `train` or `test`.
        name: File name of the image without extension.
        image_sha256: SHA-256 of the image file.
        pixels_sha256: SHA-256 of the decoded pixels; empty in manifests of early versions.
        mask_sha256: SHA-256 of the mask file; None without a mask.
        defective: Whether the image shows a defect.
    """

    split: str
    name: str
    image_sha256: str
    pixels_sha256: str = ""
    mask_sha256: str | None
    defective: bool


class RawManifest(Document):
    """What a folder of ingested images holds.

    Attributes:
        source: Where the images came from, without credentials.
        class_id: DAGM2007 class, 1 to 10.
        digest: SHA-256 over names and file digests of all samples.
        complete: Whether the images are the complete official class.
        synthetic: Whether any image was generated.
        image_shape: (height, width) of the images.
        splits: Counts of `train` and `test`.
        files: All samples.
    """

    FILE: ClassVar[str] = "manifest.json"
    MADE_BY: ClassVar[str] = "tinyunet ingest"
    REMEDY: ClassVar[str] = "ingest again"

    source: str
    class_id: int
    digest: str
    complete: bool
    synthetic: bool
    image_shape: JsonList[int]
    splits: dict[str, SplitCounts]
    files: JsonList[RawFile]
