"""The origin of a registered model: trace.json, which `tinyunet trace` writes."""

from typing import ClassVar, Literal

from tinyunet.core.documents.base import Document, JsonList, JsonObject

Status = Literal["verified", "recorded", "missing", "wrong"]


class TracedFact(JsonObject):
    """One fact about the origin of a version.

    Attributes:
        step: The part of the way: `version`, `run`, `code`, `model`, `records`, `images`, `evaluation` or
            `engine`.
        name: What the value is.
        value: The value; empty if it is missing.
        status: `verified`: computed again from a stored file, and equal. `recorded`: cannot be computed from
            stored files. `missing`: not recorded. `wrong`: the file or another record says something else.
        note: How the value was verified, where else it is recorded, or what is wrong.
    """

    step: str
    name: str
    value: str
    status: Status
    note: str = ""


class TracedImage(JsonObject):
    """A source image: its split, its name, and the SHA-256 of its file and, with a defect, of its mask."""

    split: str
    name: str
    image_sha256: str
    mask_sha256: str | None


class Trace(Document):
    """The way from a version of a registered model back to its images.

    Attributes:
        model: The URI that was asked for.
        name: Registered model.
        version: Number of the version.
        facts: The facts, from the version to the images.
        images: All source images; empty for versions of early releases.
    """

    FILE: ClassVar[str] = "trace.json"
    MADE_BY: ClassVar[str] = "tinyunet trace"
    REMEDY: ClassVar[str] = "trace the model again"

    model: str
    name: str
    version: str
    facts: JsonList[TracedFact]
    images: JsonList[TracedImage] = ()

    def wrong(self) -> list[TracedFact]:
        """Return the facts that do not fit."""
        return [fact for fact in self.facts if fact.status == "wrong"]

    def count(self, status: Status) -> int:
        """Return the number of facts with a status."""
        return sum(fact.status == status for fact in self.facts)
