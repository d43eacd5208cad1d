"""Checks of a whole data set: sizes, copies of images, counts, and whether there is something to learn."""

import collections
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tinyunet.core.categories import DAGM, class_number
from tinyunet.core.documents.raw import SplitCounts
from tinyunet.data.ingestion.prepare import PreparedSample
from tinyunet.data.layouts.base import Listing, Problem
from tinyunet.data.layouts.dagm import OFFICIAL_COUNTS
from tinyunet.data.pictures.mask_kinds import MaskKind
from tinyunet.data.splits import SPLITS

ENOUGH = "20 defective images are a good start, at least 3 are needed: one each to train, validate and test"


@dataclass(frozen=True)
class Report:
    """The result of a validation.

    Attributes:
        listing: What the layout found.
        samples: All samples without faults, sorted by split and name.
        problems: All faults; empty for a valid data set.
        warnings: Images that repeat another image of their split. They do not make the data set invalid.
        notes: Other facts that a user should know.
        complete: Whether the images are a complete official class of DAGM2007.
        split_origin: `given`, or how the splits were made.
        kind: The kind of the mask files; None for DAGM2007.
    """

    listing: Listing
    samples: tuple[PreparedSample, ...]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    complete: bool = False
    split_origin: str = "given"
    kind: MaskKind | None = None

    @property
    def synthetic(self) -> bool:
        """Return whether any of the images was generated."""
        return any(item.synthetic for item in self.samples)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the largest height and the largest width; (0, 0) without images."""
        shapes = [item.shape for item in self.samples if item.shape] or [(0, 0)]
        return max(height for height, _ in shapes), max(width for _, width in shapes)

    def defect_type(self, item: PreparedSample) -> str:
        """Return the type of the defect of a sample; empty if the data set has no types."""
        if not item.defective or item.sample.defect_type:
            return item.sample.defect_type if item.defective else ""
        if self.kind is None or self.listing.parts:  # the types of joined sources are known already
            return ""
        value = next((value for value, index in self.kind.types.items() if index == item.main_type), 0)
        return self.listing.type_names.get(value, self.kind.names.get(item.main_type, ""))

    def masks(self) -> str:
        """Return what was found in the masks and how it is read, in one sentence."""
        if self.kind is None:
            return "0 and 255"
        names = [self.listing.type_names.get(value, "") for value, index in self.kind.types.items() if index]
        return f"{self.kind}; the types are {', '.join(names)}" if any(names) else str(self.kind)

    def counts(self) -> dict[str, SplitCounts]:
        """Return the numbers of images and of defective images of each split that has images."""
        return count_images(self.samples)

    def official(self) -> dict[str, tuple[int, int]]:
        """Return the official numbers of a class of DAGM2007 by split; empty for other data sets."""
        number = class_number(self.listing.category) if self.listing.layout == DAGM else None
        return OFFICIAL_COUNTS[number] if number else {}

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for report.json."""
        return {
            "schema_version": 1,
            "layout": self.listing.layout,
            "found": self.listing.found,
            "category": self.listing.category,
            "valid": not self.problems,
            "complete": self.complete,
            "image_shape": list(self.shape),
            "splits": {split: counts.model_dump() for split, counts in self.counts().items()},
            "split_origin": self.split_origin,
            "official": {
                split: dict(zip(("images", "defective"), counts, strict=True))
                for split, counts in self.official().items()
            },
            "mask_pixels": {item.sample.name: item.mask_pixels for item in self.samples if item.defective},
            "problems": [{"file": p.file, "message": p.message} for p in self.problems],
            "warnings": [{"file": p.file, "message": p.message} for p in self.warnings],
            "notes": list(self.notes),
            "ignored": list(self.listing.ignored),
        }


def count_images(samples: Iterable[PreparedSample]) -> dict[str, SplitCounts]:
    """Return the numbers of images and of defective images of each split that has images."""
    flags: dict[str, list[bool]] = {split: [] for split in SPLITS}
    for item in samples:
        flags[item.sample.split].append(item.defective)
    return {
        split: SplitCounts(images=len(values), defective=sum(values))
        for split, values in flags.items()
        if values
    }


def find_copies(samples: Iterable[PreparedSample]) -> tuple[list[Problem], list[Problem]]:
    """Find images with the same pixels as an earlier image.

    Returns:
        The images whose earlier copy is in the same split, and those whose copy is in another split (a leak).
    """
    first_with_pixels: dict[str, PreparedSample] = {}
    within_split: list[Problem] = []
    across_splits: list[Problem] = []
    for item in samples:
        earlier = first_with_pixels.setdefault(item.pixels_sha256, item)
        message = f"has the same pixels as {earlier.sample.image.name}"
        if earlier.sample.split != item.sample.split:
            across_splits.append(Problem(item.sample.image.name, f"{message} of another split"))
        elif earlier is not item:
            within_split.append(Problem(item.sample.image.name, message))
    return within_split, across_splits


def find_contradictions(samples: Iterable[PreparedSample]) -> list[Problem]:
    """Return the images that have the same pixels as another image, but another mask."""
    by_pixels = collections.defaultdict[str, list[PreparedSample]](list)
    for item in samples:
        by_pixels[item.pixels_sha256].append(item)
    problems = []
    for copies in by_pixels.values():
        for item in copies:
            other = next((one for one in copies if one.mask_sha256 != item.mask_sha256), None)
            if other:
                theirs = "another mask" if item.mask and other.mask else "a mask" if other.mask else "no mask"
                message = f"has the same pixels as {other.sample.image.name}, which has {theirs}"
                problems.append(Problem(item.sample.image.name, f"{message}; only one of them can be right"))
    return problems


def check_kinds(samples: Sequence[PreparedSample]) -> list[Problem]:
    """Return the images with another number of bits than most images have."""
    common = collections.Counter(item.bits for item in samples).most_common(1)
    return [
        Problem(
            item.sample.image.name,
            f"is {item.kind}, but most images have {bits} bits per channel; convert them to one kind",
        )
        for bits, _ in common
        for item in samples
        if item.bits != bits
    ]


def check_learnable(report: Report) -> tuple[list[str], list[str]]:
    """Find out whether a model can be trained on the data set.

    Returns:
        The reasons against it with what would be enough, and notes on what the result will lack.
    """
    samples = report.samples
    defective = sum(item.defective for item in samples)
    counts = report.counts()
    reasons, notes = [], []
    if not samples:
        reasons.append("no usable image")
    elif defective < 3:
        found = {0: "no defective image", 1: "only 1 defective image"}.get(
            defective, f"only {defective} defective images"
        )
        reasons.append(f"{found} among {len(samples)}; {ENOUGH}")
    elif counts.get("train", SplitCounts(images=0, defective=0)).defective < 2 and "validation" not in counts:
        reasons.append("fewer than 2 defective images in train; one is needed to train and one to validate")
    elif "train" not in counts or not counts["train"].defective:
        reasons.append("no defective image in train; at least one is needed")
    elif "test" not in counts:
        reasons.append("no image for the test; images of one group are in one split, so give more groups")
    if samples and defective == len(samples):
        notes.append(
            "every image has a defect, so there will be no image-level scores; add good parts to have them"
        )
    if "test" in counts and not counts["test"].defective and not reasons:
        notes.append("no image of the test has a defect, so there will be no scores of defects")
    types = collections.Counter(report.defect_type(item) for item in samples if item.defective)
    rare = [f"{name} ({count})" for name, count in sorted(types.items()) if name and count < 3]
    if rare:
        notes.append(f"types with too few images: {', '.join(rare)}; 3 are needed to have one in every split")
    return reasons, notes
