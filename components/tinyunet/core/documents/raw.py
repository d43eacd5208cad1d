"""The description of ingested images: dataset.json in the folder that `ingest` writes."""

from typing import ClassVar

from pydantic import Field

from tinyunet.core.documents.base import DataIdentity, Document, JsonList, JsonObject, Options


class SplitCounts(JsonObject):
    """Number of images of a split, and how many of them are defective."""

    images: int
    defective: int


class RawFile(JsonObject):
    """One sample.

    Attributes:
        split: `train`, `validation` or `test`.
        name: Name of the sample, unique in its split.
        image: Path of the image file in the folder.
        mask: Path of the mask file in the folder; None without a defect.
        image_sha256: SHA-256 of the image file.
        pixels_sha256: SHA-256 of the decoded pixels; empty in manifests of early versions.
        mask_sha256: SHA-256 of the mask file; None without a mask.
        defective: Whether the image shows a defect.
        defect_type: Type of the defect; if an image shows several, the one with the largest area. Empty
            without types.
        group: Images of one group are in one split; empty without groups.
    """

    split: str
    name: str
    image: str = ""
    mask: str | None = None
    image_sha256: str
    pixels_sha256: str = ""
    mask_sha256: str | None
    defective: bool
    defect_type: str = ""
    group: str = ""


class RawManifest(DataIdentity, Document):
    """What a folder of ingested images holds.

    Attributes:
        source: Where the images came from, without credentials.
        layout: Name of the layout of the source.
        options: Options of `ingest` that differ from their defaults, without the category.
        digest: SHA-256 over names and file digests of all samples.
        complete: Whether the images are a complete official class of DAGM2007.
        synthetic: Whether any image was generated.
        channels: 1 for grey images, 3 for colour images.
        bits: Bits per channel, 8 or 16.
        levels: Smallest and largest value of all pixels.
        image_shape: Largest height and largest width of the images.
        split_origin: `given`, or how the splits were made.
        pixels: What was done to the pixels, in words.
        masks: The kind of the mask files, in words.
        notes: What a user should know about the data.
        splits: Counts of every split.
        files: All samples.
    """

    FILE: ClassVar[str] = "dataset.json"
    MADE_BY: ClassVar[str] = "tinyunet ingest"
    REMEDY: ClassVar[str] = "ingest again"

    source: str
    layout: str = "dagm"
    options: Options = Field(default_factory=dict)
    digest: str
    complete: bool
    synthetic: bool
    channels: int = 1
    bits: int = 8
    levels: JsonList[int] = (0, 255)
    image_shape: JsonList[int]
    split_origin: str = "given"
    pixels: JsonList[str] = ()
    masks: str = ""
    notes: JsonList[str] = ()
    splits: dict[str, SplitCounts]
    files: JsonList[RawFile]
